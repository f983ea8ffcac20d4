"""A mapping says everything that is wrong with it, each with its place, before anybody's data is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from schemas.register_reading import parse_mapping as parse_yaml
from tests.workers.subsidiary.conftest import OpenOffice
from tests.workers.subsidiary.kits import COLLECTIONS, Kit, SqliteKit, mapping_of
from workers.stores.subsidiaries import open_store
from workers.stores.subsidiaries.mapping import (
    Constant,
    Mapping,
    Special,
    load_mapping,
    parse_mapping,
    read_url,
)

SQL = "store: {kind: sql, url_env: OFFICE_STORE_URL}\n"
MONGO = "store: {kind: mongodb, url_env: OFFICE_STORE_URL, database: crm}\n"
LEADS = "collections: {leads: {found_by: [email], fields: {email: E-mail}, erasure: delete}}\n"


def read(text: str) -> Mapping:
    return parse_mapping(*parse_yaml(text.encode()))


def faults(text: str) -> dict[str, str]:
    with pytest.raises(ConfigurationError) as caught:
        read(text)
    return {fault.path: fault.problem for fault in caught.value.faults}


def test_the_smallest_mapping_is_three_lines() -> None:
    assert read(SQL + LEADS).children_first() == ["leads"]


LEAD = "fields: {email: E-mail}, erasure: delete"

FAULTY = {
    "no store": (LEADS, "store", "missing"),
    "a secret in the file": (
        "store: {kind: sql, url: 'postgresql://u:secret@h/d'}\n" + LEADS,
        "store.url",
        "unknown field",
    ),
    "two places for the URL": (
        "store: {kind: sql, url_env: A, url_file: /b}\n" + LEADS,
        "store",
        "needs exactly one of url_env and url_file",
    ),
    "MongoDB without a database": ("store: {kind: mongodb, url_env: A}\n" + LEADS, "store.database", "missing"),
    "a kind nobody knows": ("store: {kind: paper, url_env: A}\n" + LEADS, "store.kind", "paper is not one of"),
    "a zone that is none": (
        "store: {kind: sql, url_env: A, time_zone: Mars/Olympus}\n" + LEADS,
        "store.time_zone",
        "not a time zone",
    ),
    "nobody could be found": (SQL + f"collections: {{a: {{{LEAD}}}}}", "collections.a", "needs found_by"),
    "no copy": (
        SQL + "collections: {a: {found_by: [email], erasure: delete}}",
        "collections.a.fields",
        "missing: the person has a right to a copy",
    ),
    "no rule": (
        SQL + "collections: {a: {found_by: [email], fields: {email: E}}}",
        "collections.a.erasure",
        "missing: delete, anonymise or keep",
    ),
    "anonymised and still findable": (
        SQL + "collections: {a: {found_by: [email], fields: {email: E}, erasure: {anonymise: {name: null}}}}",
        "collections.a.erasure.anonymise",
        "leaves the person findable by email",
    ),
    "a mention anonymised and still findable": (
        SQL + "collections: {a: {mentions: [{found_by: guest, fields: {guest: G}, anonymise: {name: null}}]}}",
        "collections.a.mentions.0.anonymise",
        "leaves the person findable by guest",
    ),
    "a mention without an end": (
        SQL + "collections: {a: {mentions: [{found_by: guest, fields: {guest: G}}]}}",
        "collections.a.mentions.0",
        "needs exactly one of anonymise and keep",
    ),
    "kept without a ground": (
        SQL + "collections: {a: {found_by: [email], fields: {email: E}, erasure: {keep: {}}}}",
        "collections.a.erasure.keep.ground",
        "missing",
    ),
    "kept from no date": (
        SQL + "collections: {a: {found_by: [email], fields: {email: E}, erasure: {keep: {ground: Law, for: P1Y}}}}",
        "collections.a.erasure.keep",
        "needs both counted_from and for",
    ),
    "kept for no civil period": (
        SQL
        + "collections: {a: {found_by: [e], fields: {e: E}, erasure: {keep: {ground: L, counted_from: d, for: 3650}}}}",
        "collections.a.erasure.keep.for",
        "not a civil ISO 8601 duration",
    ),
    "a parent nobody declared": (
        SQL + f"collections: {{a: {{owned_by: {{collection: b, field: x, parent_field: y}}, {LEAD}}}}}",
        "collections.a.owned_by.collection",
        "b is not declared",
    ),
    "its own parent": (
        SQL + f"collections: {{a: {{owned_by: {{collection: a, field: x, parent_field: y}}, {LEAD}}}}}",
        "collections.a.owned_by",
        "leads back to itself",
    ),
    "a list in a table": (
        SQL + "collections: {a: {mentions: [{found_by: g, list: l, fields: {g: G}, anonymise: {g: null}}]}}",
        "collections.a.mentions.0.list",
        "is for mongodb only",
    ),
    "two corrections of one column": (
        SQL + f"collections: {{a: {{found_by: [email], rectification: {{first_name: n, last_name: n}}, {LEAD}}}}}",
        "collections.a.rectification.first_name",
        "n holds another field too: say so under composed",
    ),
    "a column alone and composed": (
        SQL
        + f"collections: {{a: {{found_by: [e], rectification: {{last_name: n}}, {LEAD}, "
        + "composed: {n: {of: [first_name, last_name]}}}}",
        "collections.a.composed.n",
        "stands under rectification too",
    ),
    "composed of one": (
        SQL + f"collections: {{a: {{found_by: [email], composed: {{n: {{of: [last_name]}}}}, {LEAD}}}}}",
        "collections.a.composed.n.of",
        "needs two fields or more",
    ),
    "composed of one twice": (
        SQL + f"collections: {{a: {{found_by: [email], composed: {{n: {{of: [last_name, last_name]}}}}, {LEAD}}}}}",
        "collections.a.composed.n.of",
        "last_name",
    ),
    "composed of what nobody corrects": (
        SQL + f"collections: {{a: {{found_by: [email], composed: {{n: {{of: [last_name, title]}}}}, {LEAD}}}}}",
        "collections.a.composed.n.of.1",
        "is none of last_name",
    ),
    "composed with nothing between": (
        SQL
        + f"collections: {{a: {{found_by: [email], {LEAD}, "
        + "composed: {n: {of: [first_name, last_name], join: ''}}}}",
        "collections.a.composed.n.join",
        "missing",
    ),
    "composed in somebody else's row": (
        SQL
        + "collections: {a: {composed: {n: {of: [first_name, last_name]}}, "
        + "mentions: [{found_by: g, fields: {g: G}, anonymise: {g: null}}]}}",
        "collections.a.composed",
        "needs found_by or owned_by",
    ),
    "an operator as a field": (
        MONGO + "collections: {a: {found_by: [$where], fields: {email: E}, erasure: delete}}",
        "collections.a.found_by.0.field",
        "should match pattern",
    ),
    "a statement as a column": (
        SQL + "collections: {a: {found_by: ['email\"; DROP TABLE a; --'], fields: {email: E}, erasure: delete}}",
        "collections.a.found_by.0.field",
        "should match pattern",
    ),
    "a key twice": (SQL + LEADS + "store: {}\n", "store", "written twice (line 3)"),
    "a tag": (SQL + "collections: !!python/object:os.system {}\n", "collections", "tags are not allowed"),
    "an anchor": (SQL + "collections: &a {b: *a}\n", "(file)", "anchors and aliases are not allowed"),
    "deeper than anybody means": (SQL + "collections: " + "[" * 40 + "]" * 40, "(file)", "nested deeper than 16"),
    "no text": ("\udcff", "(file)", ""),
}


@pytest.mark.parametrize(("text", "place", "problem"), FAULTY.values(), ids=FAULTY.keys())
def test_a_fault_has_its_place(text: str, place: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "mapping.yaml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigurationError) as caught:
        load_mapping(path)
    found = [fault.problem for fault in caught.value.faults if fault.path == place]
    assert any(problem in one for one in found), caught.value.faults
    assert "secret" not in str(caught.value)


def test_every_fault_is_told_at_once() -> None:
    two = "a: {found_by: [email], fields: {email: E}}, b: {erasure: delete}"
    assert set(faults(SQL + f"collections: {{{two}}}")) == {
        "collections.a.erasure",
        "collections.b",
        "collections.b.erasure",
    }


def test_a_constant_means_what_it_looks_like() -> None:
    settings = "{a: null, b: true, c: false, d: 12, e: now, f: random, g: gone, h: 'text:true', email: null}"
    mapping = read(
        SQL + f"collections: {{x: {{found_by: [email], fields: {{a: A}}, erasure: {{anonymise: {settings}}}}}}}"
    )
    erasure = mapping.collections["x"].erasure
    assert erasure is not None
    assert erasure.anonymise is not None
    assert {name: one.value for name, one in erasure.anonymise.items() if name != "email"} == {
        "a": None,
        "b": True,
        "c": False,
        "d": 12,
        "e": Special.NOW,
        "f": Special.RANDOM,
        "g": "gone",
        "h": "true",
    }
    assert Constant(None) == erasure.anonymise["email"]


def test_children_come_before_parents_whatever_their_order() -> None:
    own = "fields: {x: X}, erasure: delete"
    chain = (
        f"a: {{found_by: [email], {own}}}, "
        f"b: {{owned_by: {{collection: a, field: f, parent_field: id}}, {own}}}, "
        f"c: {{owned_by: {{collection: b, field: f, parent_field: id}}, {own}}}"
    )
    assert read(SQL + f"collections: {{{chain}}}").children_first() == ["c", "b", "a"]


@pytest.mark.parametrize("place", ["url_env: OFFICE_STORE_URL", "url_file: {folder}/url"])
def test_the_url_is_read_from_where_the_mapping_says(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFICE_STORE_URL", "sqlite:///x")
    (tmp_path / "url").write_text("sqlite:///x\n")
    mapping = read(f"store: {{kind: sql, {place.format(folder=tmp_path)}}}\n" + LEADS)
    assert read_url(mapping.store) == "sqlite:///x"


def test_a_missing_url_is_named_by_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OFFICE_STORE_URL", raising=False)
    with pytest.raises(ConfigurationError, match=r"store\.url_env"):
        read_url(read(SQL + LEADS).store)


@pytest.mark.parametrize("url", ["postgresql://user:secret@[::bad", "nonsense://secret@host/x", "secret"])
async def test_a_url_that_is_none_is_not_quoted(url: str) -> None:
    for text in (SQL + LEADS, MONGO + LEADS)[: 1 if url == "secret" else 2]:  # a bare word is a host to MongoDB
        with pytest.raises(ConfigurationError) as caught:
            open_store(read(text), url)
        assert "secret" not in str(caught.value)


async def test_a_mapping_that_fits_has_no_fault(kit: Kit, open_office: OpenOffice) -> None:
    office = await open_office(kit)
    assert await office.store.check() == []


async def test_what_the_live_store_does_not_have_is_named(sqlite_kit: SqliteKit, open_office: OpenOffice) -> None:
    sqlite_kit.connection.execute("CREATE TABLE keyless (email text)")
    wrong = COLLECTIONS + (
        "  nowhere: {found_by: [email], fields: {email: E}, erasure: delete}\n"
        "  keyless: {found_by: [mail], fields: {email: E}, erasure: delete, rectification: {phone: tel},\n"
        "    composed: {whole: {of: [first_name, last_name]}}, withdrawal: {set: {yes: false}},\n"
        "    restriction: {set: {off: true}, lift: {off: null}}}\n"
    )
    mapping = mapping_of(sqlite_kit, wrong.replace("parent_field: id", "parent_field: number"))
    office = await open_office(sqlite_kit, mapping=mapping)
    assert {fault.path: fault.problem for fault in await office.store.check()} == {
        "collections.nowhere": "no such table in the store",
        "collections.keyless": "the table has no primary key to tell its rows apart",
        "collections.keyless.found_by.0": "no column mail in the table",
        "collections.keyless.rectification.phone": "no column tel in the table",
        "collections.keyless.composed.whole": "no column whole in the table",
        "collections.keyless.withdrawal.set.yes": "no column yes in the table",
        "collections.keyless.restriction.set.off": "no column off in the table",
        "collections.keyless.restriction.lift.off": "no column off in the table",
        "collections.invoices.owned_by.parent_field": "no column number in customers",
        "collections.visits.owned_by.parent_field": "no column number in customers",
    }
