"""A small group of companies to look at: three offices with stores of their own, for one machine.

=========== ==================================== =============================================
office      its store                            what is different about it
=========== ==================================== =============================================
``de``      a MongoDB server of its own, EU      orders are kept, on a ground and until a day
``us``      an SQL database, outside the EU      a list that an objection takes a row off
``jp``      a JSON file, outside the EU          no Python: the client in Node of docs/examples, over HTTP;
                                                 without Node an SQL database, served by a worker
=========== ==================================== =============================================

Never a production default: an office writes its own mapping (docs/subsidiary.md).
Source: design § 6 ``make demo``.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from schemas.errors import ConfigurationError, Fault
from schemas.party_keys import add_subsidiary
from schemas.register import SHIPPED, load_register
from schemas.register_reading import read_mapping
from schemas.terms import SubsidiaryKind
from workers.stores import samples

SETTLE_S: Final = 5
"""Until the second look: nothing on one machine is in flight for longer."""
STORE_URL: Final = "GREFFIER_STORE_URL"

_DE: Final = """\
store: {kind: mongodb, url_env: GREFFIER_STORE_URL, database: vertrieb}
collections:
  kontakte:
    found_by: [{field: mail}]
    fields: {vorname: first name, nachname: last name, mail: e-mail address, stadt: town}
    restriction: {set: {gesperrt: true}, lift: {gesperrt: false}}
    rectification: {first_name: vorname, last_name: nachname, postal_address.city: stadt}
    basis: legitimate-interests
    erasure: delete
    objection: {set: {werbung: false}, lift: {werbung: true}}
    canary: {vorname: Canary, nachname: Nobody, werbung: false}
  bestellungen:
    owned_by: {collection: kontakte, field: kontakt, parent_field: _id}
    fields: {nummer: number of the order, datum: day of the order, betrag: amount in cents}
    rectification: {}
    basis: contract
    provided: []
    erasure: {keep: {ground: "accounting, HGB 257", counted_from: datum, for: P10Y}}
"""
_US: Final = """\
store: {kind: sql, url_env: GREFFIER_STORE_URL}
collections:
  people:
    found_by: [{field: email_address}]
    fields: {full_name: name, email_address: e-mail address, company: employer}
    composed: {full_name: {of: [first_name, last_name]}}
    restriction: {set: {restricted: true}, lift: {restricted: false}}
    basis: legitimate-interests
    canary: {full_name: Canary}
    erasure: delete
  mailing_list:
    found_by: [{field: email}]
    fields: {email: e-mail address, topic: subject of the mailing}
    rectification: {}
    basis: consent
    provided: [email, topic]
    restriction: {set: {restricted: true}, lift: {restricted: false}}
    erasure: delete
    objection: delete
"""
_JP: Final = """\
store: {kind: sql, url_env: GREFFIER_STORE_URL}
collections:
  leads:
    found_by: [{field: mail}]
    fields: {mail: e-mail address, note: what was noted}
    restriction: {set: {restricted: true}, lift: {restricted: false}}
    rectification: {}
    basis: legitimate-interests
    erasure: delete
"""
IN_NODE: Final = "jp"
_CLIENT: Final = Path(__file__).parents[1] / "docs" / "examples" / "node" / "office.mjs"
NODE_MAJOR: Final = 20
_MAPPINGS: Final = {"de": _DE, "us": _US, "jp": _JP}
_SCHEMAS: Final = {
    "us": (
        "CREATE TABLE IF NOT EXISTS people (id INTEGER PRIMARY KEY, full_name TEXT, email_address TEXT, company TEXT, "
        "restricted INTEGER)",
        "CREATE TABLE IF NOT EXISTS mailing_list (id INTEGER PRIMARY KEY, email TEXT, topic TEXT, restricted INTEGER)",
    ),
    "jp": ("CREATE TABLE IF NOT EXISTS leads (id INTEGER PRIMARY KEY, mail TEXT, note TEXT, restricted INTEGER)",),
}

OFFICES: Final = tuple(_MAPPINGS)
WITH_MONGODB: Final = "de"


@dataclass(frozen=True, slots=True)
class Office:
    """Where one office's things lie on this machine. ``database``: the file of an SQL store."""

    code: str
    folder: Path
    keys: Path
    over_http: bool = False

    @property
    def mapping(self) -> Path:
        return self.folder / "mapping.yaml"

    @property
    def journal(self) -> Path:
        return self.folder / "journal.jsonl"

    @property
    def database(self) -> Path:
        return self.folder / ("store.json" if self.over_http else "store.sqlite")

    @property
    def client(self) -> list[str]:
        """What serves it over HTTP."""
        return [shutil.which("node") or "node", str(_CLIENT), self.code, str(self.database)]


def has_node() -> bool:
    """Whether the client in Node can run here: a checkout, on a machine with Node 20 or later."""
    node = shutil.which("node")
    if node is None or not _CLIENT.is_file():
        return False
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    major = told.strip().removeprefix("v").partition(".")[0]
    return major.isdigit() and int(major) >= NODE_MAJOR


def found_group(data: Path) -> tuple[Path, dict[str, Office]]:
    """Make what is missing under ``data``: the group's register, each office's keys, mapping and empty store.

    Returns the register's file and the offices. Keys and stores that are there stay as they are.
    Raises :class:`ConfigurationError` for a folder whose register needs Node where there is none.
    """
    register = data / "register.yaml"
    with_node = has_node()
    if not register.exists():
        register.write_text(_register(with_node), "utf-8")
    over_http = load_register(register).served(SubsidiaryKind.HTTP)
    if over_http and not with_node:
        fault = Fault("node", f"{IN_NODE} of this data folder is served by a client in Node {NODE_MAJOR}; none is here")
        raise ConfigurationError("offices", fault)
    offices = {
        code: Office(code, data / "offices" / code, data / "keys" / "offices" / code, code in over_http)
        for code in OFFICES
    }
    for code, office in offices.items():
        office.folder.mkdir(parents=True, exist_ok=True)
        office.mapping.write_text(_MAPPINGS[code], "utf-8")
        if not office.keys.exists():
            add_subsidiary(data / "keys" / "controller", office.keys, code)
        _make_tables(office)
    return register, offices


def _register(with_node: bool) -> str:
    """The shipped register, for these offices only, with a second look that comes soon."""
    raw, _ = read_mapping(SHIPPED)
    raw["subsidiaries"] = {code: entry for code, entry in raw["subsidiaries"].items() if code in OFFICES}
    raw["subsidiaries"][IN_NODE]["kind"] = (SubsidiaryKind.HTTP if with_node else SubsidiaryKind.WORKER).value
    raw["second_look_after"]["value"] = str(SETTLE_S)
    return yaml.safe_dump(raw, allow_unicode=True, sort_keys=False)


def _make_tables(office: Office) -> None:
    if office.over_http:
        samples.make_contacts(office.database)
    elif office.code in _SCHEMAS:
        with sqlite3.connect(office.database) as store:
            for statement in _SCHEMAS[office.code]:
                store.execute(statement)
            _mark_old_tables(store)
        store.close()


def _mark_old_tables(store: sqlite3.Connection) -> None:
    """Stores made before the use of a row could be restricted have no column for it."""
    tables = [name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        if "restricted" not in [column[1] for column in store.execute(f"PRAGMA table_info({table})")]:
            store.execute(f"ALTER TABLE {table} ADD COLUMN restricted INTEGER")
