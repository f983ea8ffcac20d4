"""Was every case proved, once, in order and in time? Asked of the databases, the mailbox and the offices' own stores.

Plain clients, and signatures checked with public keys by another library than ours; besides, a few cases' evidence is
exported and verified by the commands an auditor would use. Nothing here uses the system's stores, counters or status.
Source: P2, P6, P7, P8, P12; reliability § 2, § 9.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from typer.testing import CliRunner

from schemas.orders import CONTROLLER
from tests.chaos.asking import Asked, Mailbox, contact_key
from tests.chaos.checker import ACTIVE, Faults, Reader
from tests.chaos.group import Group, Person
from tests.chaos.rows_checker import SPECIMENS, Tables, Told, check_rows
from tests.waiting import until
from workers.evidence_commands import evidence_app

EVIDENCE: Final = "greffier_evidence"
KEYS: Final = "greffier_keys"
SAMPLE: Final = 10
PLACED_S: Final = 30.0
ONCE: Final = ("request_received", "request_accepted", "all_receipts", "verified", "closed")

Document = dict[str, Any]


@dataclass
class Proved(Faults):
    """The numbers say what the run has seen. ``repeated``: orders beyond the first for one task and ask; ``absorbed``:
    signed answers beyond the first; ``letters_again``: letters handed over again under the same Message-ID.
    """

    cases: int = 0
    stores: int = 0
    receipts: int = 0
    effects: int = 0
    letters: int = 0
    letters_again: int = 0
    repeated: int = 0
    absorbed: int = 0


@dataclass
class Scene:
    """What stands when all is at rest. ``whose``: case → who asked; ``entries``: task → ask → what was signed."""

    cases: dict[str, Document]
    tasks: dict[str, Document]
    whose: dict[str, Asked]
    entries: dict[str, dict[str, list[Document]]] = field(default_factory=dict)


async def check(
    group: Group,
    everybody: Sequence[Person],
    before: Mapping[str, Tables],
    asked: Sequence[Asked],
    mailbox: Mailbox,
) -> Proved:
    """Everything. ``before``: office → table → rows before anybody asked."""
    proved = Proved(stores=len(group.codes) + 1)
    with group.mongo() as reader:
        pending = reader[EVIDENCE]["ledger_pending"]
        with contextlib.suppress(AssertionError):  # what never gets its place is found below
            await until(lambda: not pending.count_documents({}), PLACED_S, what="every fact in its place")
        scene = _scene(proved, reader, asked)
        _check_cases(proved, reader, scene)
        _check_tasks(proved, reader, scene, [CONTROLLER, *group.codes])
        _check_receipts(proved, reader, scene, _public_keys(group))
        _check_order_of_facts(proved, reader, scene, {CONTROLLER, *group.codes})
        _check_own_store(proved, reader, everybody)
        _check_letters(proved, scene, mailbox)
        told = {name: Told(one["state"], _counted(scene, one)) for name, one in scene.tasks.items()}
        proved.effects = await check_rows(proved, group, everybody, before, _told_of(scene, told))
    await asyncio.to_thread(_check_evidence, proved, group, sorted(scene.cases)[:SAMPLE])
    return proved


def _scene(proved: Proved, reader: Reader, asked: Sequence[Asked]) -> Scene:
    evidence = reader[EVIDENCE]
    cases = {case["_id"]: case for case in evidence["cases"].find()}
    tasks = {task["_id"]: task for task in evidence["tasks"].find()}
    whose = {reference: one for one in asked for reference in one.references}
    proved.cases = len(cases)
    proved.blame("people without a case", [one for one in asked if not any(name in cases for name in one.references)])
    proved.blame("cases that nobody asked for", set(cases) - set(whose))
    return Scene(cases, tasks, {name: whose[name] for name in cases if name in whose})


def _check_cases(proved: Proved, reader: Reader, scene: Scene) -> None:
    cases = scene.cases.values()
    proved.blame(
        "cases not closed",
        [(one["_id"], one["answer"], one["proof"]) for one in cases if one["proof"] != "closed"],
    )
    proved.blame("cases not answered", [one["_id"] for one in cases if "answered_at" not in one])
    late = [one["_id"] for one in cases if "answered_at" in one and one["answered_at"] > one["answer_by"]]
    proved.blame("answers after their due date", late)
    opened = {f"{one['_id']}/case" for one in cases if one["proof"] == "closed"}
    kept = reader[KEYS]["keys"].find({"wrapped": {"$exists": True}}, {"_id": 1})
    proved.blame("closed cases whose identifiers can be read", opened & {key["_id"] for key in kept})


def _check_tasks(proved: Proved, reader: Reader, scene: Scene, stores: Sequence[str]) -> None:
    wanted = {f"{name}/{store}" for name in scene.cases for store in stores}
    proved.blame("tasks that are missing or too many", wanted ^ set(scene.tasks))
    doubtful = [
        (one["_id"], one["state"], one.get("reason")) for one in scene.tasks.values() if one["state"] != "proved"
    ]
    proved.blame("tasks not proved", doubtful)
    orders = reader[EVIDENCE]["attempts"].find({"store": {"$ne": CONTROLLER}}, {"asked": 1})
    asked = Counter((task, ask) for order in orders for task, (_, ask) in order["asked"])
    proved.repeated = sum(asked.values()) - len(asked)
    silent = [(scene.tasks.get(f"{name}/{one.silent}"), scene.cases[name]) for name, one in scene.whose.items()]
    early = [case["_id"] for task, case in silent if task and task["answered_at"] <= case["answered_at"]]
    proved.blame("answers that waited for the silent office", early)


# ---------------------------------------------------------------------- receipts


def _public_keys(group: Group) -> dict[str, dict[str, Ed25519PublicKey]]:
    """Store → key id → key, from the files of public keys alone."""
    peers = json.loads((group.data / "keys" / "controller" / "subsidiaries.public.json").read_text())["subsidiaries"]
    peers[CONTROLLER] = json.loads((group.keys_of(group.codes[0]) / "controller.public.json").read_text())
    return {
        store: {key["kid"]: Ed25519PublicKey.from_public_bytes(_decoded(key["x"])) for key in peer["verifying"]}
        for store, peer in peers.items()
    }


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _claims(jws: str, keys: Mapping[str, Ed25519PublicKey]) -> Document | None:
    header, payload, signature = jws.split(".")
    try:
        keys[json.loads(_decoded(header))["kid"]].verify(_decoded(signature), f"{header}.{payload}".encode())
    except (KeyError, InvalidSignature):
        return None
    return dict(json.loads(_decoded(payload)))


def _check_receipts(
    proved: Proved, reader: Reader, scene: Scene, keys: Mapping[str, Mapping[str, Ed25519PublicKey]]
) -> None:
    entries: dict[str, dict[str, list[Document]]] = defaultdict(lambda: defaultdict(list))
    for receipt in reader[EVIDENCE]["receipts"].find():
        proved.receipts += 1
        claims = _claims(receipt["jws"], keys[receipt["store"]])
        if claims is None:
            proved.faults.append(f"a receipt of {receipt['store']} that does not verify")
            continue
        for entry in claims["entries"]:
            entries[entry["task"]][entry["ask"]].append({**entry, "digest": receipt["_id"]})
    scene.entries = entries
    signed = [(name, ask) for name in scene.tasks for ask in ("serve", "look") if not entries[name][ask]]
    proved.blame("tasks without a signed answer", signed)
    others = [(name, store) for name in entries if (store := name.partition("/")[2]) not in keys]
    proved.blame("receipts of nobody", others)
    refused = [
        name for name, asks in entries.items() for one in [*asks["serve"], *asks["look"]] if one["outcome"] == "refused"
    ]
    proved.blame("answers that refuse", refused)
    unlike = [name for name, asks in entries.items() if len({_said(one) for one in asks["serve"]}) > 1]
    proved.blame("tasks whose answers differ", unlike)
    proved.absorbed = sum(len(found) - 1 for asks in entries.values() for found in asks.values() if found)


def _said(entry: Document) -> str:
    return json.dumps([entry["outcome"], entry["collections"]], sort_keys=True)


def _counted(scene: Scene, task: Document) -> Sequence[Document]:
    """What a store signed for: its collections, by the receipt that was believed."""
    [*served] = [one for one in scene.entries[task["_id"]]["serve"] if one["digest"] == task.get("receipt")]
    return list(served[0]["collections"]) if served else []


def _told_of(scene: Scene, told: Mapping[str, Told]) -> dict[tuple[int, str], list[Told]]:
    """(Who, office) → what its receipts tell, of all his cases."""
    found: dict[tuple[int, str], list[Told]] = defaultdict(list)
    for name, one in told.items():
        reference, _, store = name.partition("/")
        if reference in scene.whose:
            found[scene.whose[reference].person.number, store].append(one)
    return found


# ---------------------------------------------------------------------- the ledger


def _check_order_of_facts(proved: Proved, reader: Reader, scene: Scene, stores: set[str]) -> None:
    """From the entries in their order: nothing is called proved or closed before every store was heard and seen."""
    facts: dict[str, list[Document]] = defaultdict(list)
    places = []
    for leaf in reader[EVIDENCE]["ledger"].find({}, {"leaf": 1}).sort("_id", 1):
        places.append(leaf["_id"])
        entry = json.loads(leaf["leaf"])
        if "case" in entry:
            facts[entry["case"]].append(entry)
    proved.blame("places of the ledger that are empty", set(range(len(places))) ^ set(places))
    proved.blame("facts without a place", reader[EVIDENCE]["ledger_pending"].find({}, {"_id": 1}))
    for name, case in scene.cases.items():
        if case["proof"] == "closed":
            answers = _answers(scene.whose.get(name))
            proved.blame(f"faults in the order of facts of {name}", _disorder(facts[name], stores, answers))


def _answers(asked: Asked | None) -> int:
    """How often somebody is answered: once, and once more when the office that was silent has answered."""
    return 2 if asked and asked.silent else 1


def _disorder(facts: Sequence[Document], stores: set[str], answers: int) -> Iterable[str]:
    kinds = [one["kind"] for one in facts]
    wanted = {**dict.fromkeys(ONCE, 1), "answered": answers}
    yield from (f"{kind} {kinds.count(kind)} times" for kind, count in wanted.items() if kinds.count(kind) != count)
    if any(kind not in kinds for kind in wanted):
        return
    place = {kind: kinds.index(kind) for kind in wanted}
    heard = {one["details"]["store"] for one in facts[: place["all_receipts"]] if one["kind"] == "receipt_accepted"}
    seen = {one["details"]["store"] for one in facts[: place["verified"]] if one["kind"] == "looked"}
    yield from (f"all_receipts before {store} was heard" for store in stores - heard)
    yield from (f"verified before {store} was looked at" for store in stores - seen)
    if not place["request_accepted"] < place["all_receipts"] < place["verified"] < place["closed"] == len(facts) - 1:
        yield from (f"{kind} at {where} of {len(facts)}" for kind, where in place.items())
    if place["answered"] > place["closed"]:
        yield "closed before it was answered"


# ---------------------------------------------------------------------- the controller's own store, letters


def _check_own_store(proved: Proved, reader: Reader, everybody: Sequence[Person]) -> None:
    standing = {one["_id"] for one in reader[ACTIVE]["submissions"].find({}, {"_id": 1})}
    gone = {contact_key(one) for one in everybody if one.right == "erasure"}
    proved.blame("erased people the controller still has", standing & gone)
    proved.blame("people the controller has lost", {contact_key(one) for one in everybody} - gone - standing)
    raw = (str(one) for name in (ACTIVE, EVIDENCE, KEYS) for one in _everything(reader, name))
    proved.blame("people named in the clear", {email for text in raw for email in SPECIMENS.findall(text)})


def _everything(reader: Reader, database: str) -> Iterable[Document]:
    for name in reader[database].list_collection_names():
        yield from reader[database][name].find()


def _check_letters(proved: Proved, scene: Scene, mailbox: Mailbox) -> None:
    """Of each kind one letter to a case, however often it was handed over; each to the one who asked."""
    proved.letters = len(mailbox.letters)
    proved.letters_again = sum(len(found) - 1 for found in mailbox.letters.values())
    for name in scene.cases:
        wanted = {"answer": _answers(scene.whose.get(name))}
        kinds = Counter(map(_kind, mailbox.of(name)))
        proved.blame(
            f"kinds of letters about {name} that are too few or too many",
            [(kind, kinds[kind]) for kind in {*kinds, *wanted} if kinds[kind] != wanted.get(kind, 1)],
        )
    misled = [
        name for name, one in scene.whose.items() for letter in mailbox.of(name) if letter["To"] != one.person.email
    ]
    proved.blame("letters to somebody else", misled)


def _kind(letter: EmailMessage) -> str:
    """What a letter is: its Message-ID says its case, its kind and perhaps its number."""
    return str(letter["Message-ID"]).partition("@")[0].split(".")[1]


# ---------------------------------------------------------------------- as an auditor


def _check_evidence(proved: Proved, group: Group, sample: Sequence[str]) -> None:
    """The ledger computed again; a few cases exported, and verified with the ledger's public keys alone."""
    public = group.data / "ledger.public.json"
    proved.blame("words from the ledger's check", _greffier(group, "check"))
    proved.blame("words from the ledger's keys", _greffier(group, "keys", "-o", str(public)))
    for reference in sample:
        file = group.data / f"{reference}.json"
        proved.blame(f"words from the export of {reference}", _greffier(group, "export", reference, "-o", str(file)))
        verified = _greffier(group, "verify", str(file), "--key", str(public))
        proved.blame(f"words from the verification of {reference}", verified)


def _greffier(group: Group, *words: str) -> list[str]:
    """What a command that failed had to say."""
    ran = CliRunner().invoke(evidence_app, words, env=group.environment())
    return [] if ran.exit_code == 0 else [ran.output[-500:] or repr(ran.exception)]
