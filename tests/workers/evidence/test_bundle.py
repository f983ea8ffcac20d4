"""A bundle tells what happened, and holds only as it was written, for who has the ledger's public key."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from schemas.ledger_keys import new_ledger_keys, rotated
from schemas.orders import CONTROLLER
from schemas.signed import sign_document
from tests.workers.evidence.cases import GONE, CaseBook, trust
from tests.workers.evidence.rig import BEGINNING, LedgerRig, some
from workers.evidence.bundle import to_bytes
from workers.evidence.export import NothingNoted
from workers.evidence.findings import Standing
from workers.evidence.trusted import Trusted
from workers.evidence.verify import verify
from workers.evidence.wording import rows, sentences

Document = dict[str, Any]
ROOT = Path(__file__).parents[3]


ANYONE = Trusted()


def codes(raw: bytes, trusted: Trusted = ANYONE) -> set[str]:
    return {fault.code for fault in verify(raw, trusted).faults}


async def test_a_closed_case_is_told_and_holds(rig: LedgerRig) -> None:
    await rig.grow(7)
    raw = await (await CaseBook(rig).whole()).file()
    report = verify(raw, trust(rig.keys))
    assert (report.faults, report.notes) == ([], [])
    standings = {story.code: story.standing for story in report.stores}
    assert standings == {CONTROLLER: Standing.VERIFIED, "de": Standing.ATTESTED, "gb": Standing.ATTESTED}
    assert all(story.asked_at and story.answered_at and story.looked_at for story in report.stores)
    told = "\n".join(sentences(report))
    assert "Sopexa Example GB Ltd (GB) was asked on 2026-11-23" in told
    assert "contacts: 2 found, 2 erased" in told
    assert "Everything in this file holds" in told
    assert [row[-1] for row in rows(report.stores)] == ["verified", "attested", "attested"]


async def test_an_open_case_is_told_as_it_stands(rig: LedgerRig) -> None:
    """One silent, one not looked at, one that may not be asked, one whose second look disagrees."""
    book = CaseBook(rig, stores=(CONTROLLER, "de", "gb", "us"))
    await book.opened()
    await book.asked("de", "gb")
    await book.note("transfer_refused", "us", store="us")
    await book.answered_by(CONTROLLER, "gb")
    await book.looked_at("gb", collections=({"name": "contacts", "matched": 1},))
    report = verify(await book.file(), trust(rig.keys))
    assert report.faults == []
    assert {story.code: story.standing for story in report.stores} == {
        CONTROLLER: Standing.ANSWERED,
        "de": Standing.SILENT,
        "gb": Standing.CONTRADICTING,
        "us": Standing.BARRED,
    }
    assert "Not proved so far: controller, de, gb, us" in "\n".join(sentences(report))


async def test_entries_of_other_cases_stay_out(rig: LedgerRig) -> None:
    one, other = CaseBook(rig), CaseBook(rig, "R-OTHER", stores=(CONTROLLER,))
    await other.opened()
    await one.whole()
    await other.note("closed")
    raw = await one.file()
    assert b"R-OTHER" not in raw
    assert codes(raw, trust(rig.keys)) == set()


async def test_an_older_head_proves_the_leaves_and_the_newest_grows_from_it(rig: LedgerRig) -> None:
    book = await CaseBook(rig).whole()
    first = (await book.bundle())["body"]
    await rig.grow(5, 4)
    later = (await book.bundle())["body"]
    assert later["head"] == first["head"] == first["newest"]
    assert later["newest"]["body"]["size"] == first["head"]["body"]["size"] + 9
    assert codes(to_bytes(await book.bundle()), trust(rig.keys)) == set()


async def test_a_case_that_the_ledger_does_not_know(rig: LedgerRig) -> None:
    with pytest.raises(NothingNoted):
        await CaseBook(rig).bundle()


async def test_who_is_trusted(rig: LedgerRig) -> None:
    raw = await (await CaseBook(rig).whole()).file()
    thumbprint = next(iter(rig.keys.verifying.values())).thumbprint
    stranger = new_ledger_keys(BEGINNING)
    assert verify(raw).notes == ["no_key_given"]
    assert codes(raw, Trusted(fingerprints=frozenset({thumbprint}))) == set()
    assert "no_trusted_key" in codes(raw, Trusted(fingerprints=frozenset({"x" * 43})))
    assert {"no_trusted_key", "another_ledger"} <= codes(raw, trust(stranger))
    assert codes(raw, Trusted.from_file(json.dumps(rig.keys.public()).encode())) == set()


async def test_keys_are_rotated_and_old_bundles_hold(rig: LedgerRig) -> None:
    book = await CaseBook(rig).whole()
    before = await book.file()
    new = rotated(rig.keys, rig.clock())
    later = rig.another(new)
    await later.grow(3)
    book.rig = later
    after = await book.file()
    assert codes(before, trust(new)) == set()
    assert codes(after, trust(new)) == set()
    assert codes(after, trust(rig.keys)) >= {"seal_unknown_key"}
    by_the_retired = to_bytes(sign_document(json.loads(after)["body"], rig.keys.signing))
    assert codes(by_the_retired, trust(new)) == {"seal_key_retired"}


# ---------------------------------------------------------------------- altered files


@pytest.fixture
async def small(rig: LedgerRig) -> bytes:
    """A file with everything in it once: one store, its answer and its look."""
    return await (await CaseBook(rig, stores=(CONTROLLER,)).whole()).file()


def flipped(raw: bytes, every: int) -> Iterator[bytes]:
    for at in range(0, len(raw), every):
        yield raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


async def test_one_flipped_bit_is_found(rig: LedgerRig, small: bytes) -> None:
    """Every 23rd byte here, a prime to the file's own rhythm; each one in the long run below."""
    for altered in flipped(small, 23):
        assert codes(altered, trust(rig.keys))


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_a_flipped_bit_of_each_byte_is_found(rig: LedgerRig, small: bytes) -> None:
    for altered in flipped(small, 1):
        assert codes(altered, trust(rig.keys))


async def test_bytes_added_or_cut_off_are_found(rig: LedgerRig, small: bytes) -> None:
    for altered in (small + b"\n", b" " + small, small[:-1], small[1:], small * 2, small.replace(b":", b": ", 1)):
        assert codes(altered, trust(rig.keys))


Path_ = tuple[str | int, ...]


def places(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Every place in a JSON document, the root not."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield (*path, key)
        yield from places(below, (*path, key))


def at(document: Any, path: Path_) -> Any:
    for key in path:
        document = document[key]
    return document


def altered_at(document: Document, path: Path_, change: Callable[[Any], Any]) -> Document:
    """A copy with one place changed; ``change`` returns the new value, or REMOVED."""
    whole = copy.deepcopy(document)
    parent = at(whole, path[:-1])
    value = change(parent[path[-1]])
    if value is REMOVED:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return whole


REMOVED = object()


def other_value(value: Any) -> Any:
    if isinstance(value, str):
        return value[:-1] + ("0" if value[-1] != "0" else "1")
    return value + 1 if isinstance(value, int) else value


async def test_every_value_and_every_member_matters(rig: LedgerRig, small: bytes) -> None:
    """Each leaf of the JSON changed; each member and each item removed; each list turned round."""
    document = json.loads(small)
    for path in places(document):
        value = at(document, path)
        changes: list[Callable[[Any], Any]] = [lambda _: REMOVED]
        if isinstance(value, str | int):
            changes.append(other_value)
        if isinstance(value, list) and len(value) > 1:
            changes.append(lambda items: items[::-1])
        for change in changes:
            assert codes(rfc8785.dumps(altered_at(document, path, change)), trust(rig.keys)), path


async def test_what_the_seal_is_for(rig: LedgerRig, small: bytes) -> None:
    """A check without it would let through what only the controller states: names, countries, dates due."""
    document = json.loads(small)
    unseen = set()
    for path in places(document["body"]):
        if isinstance(at(document["body"], path), str):
            altered = altered_at(document, ("body", *path), other_value)
            if not {code for code in codes(rfc8785.dumps(altered), trust(rig.keys)) if not code.startswith("seal_")}:
                unseen.add(path)
    assert ("stores", 0, "name") in unseen
    assert ("case", "due_on") in unseen
    assert not {path for path in unseen if path[0] in ("leaves", "head", "newest", "consistency")}


# ---------------------------------------------------------------------- a controller who cheats and seals it himself


def sealed_again(rig: LedgerRig, document: Document, change: Callable[[Document], None]) -> bytes:
    body = copy.deepcopy(document["body"])
    change(body)
    return to_bytes(sign_document(body, rig.keys.signing))


def leaf_index(body: Document, kind: str) -> int:
    return next(n for n, leaf in enumerate(body["leaves"]) if json.loads(leaf["leaf"])["kind"] == kind)


def without_leaf(kind: str) -> Callable[[Document], None]:
    return lambda body: body["leaves"].pop(leaf_index(body, kind))


def without_store(body: Document) -> None:
    body["stores"] = [store for store in body["stores"] if store["code"] != "gb"]
    body["receipts"] = [receipt for receipt in body["receipts"] if receipt["store"] != "gb"]
    body["leaves"] = [leaf for leaf in body["leaves"] if '"store":"gb"' not in leaf["leaf"]]


def rewritten(kind: str, **details: Any) -> Callable[[Document], None]:
    def change(body: Document) -> None:
        found = body["leaves"][leaf_index(body, kind)]
        leaf = json.loads(found["leaf"])
        found["leaf"] = rfc8785.dumps({**leaf, "details": {**leaf["details"], **details}}).decode()

    return change


def swapped(name: str) -> Callable[[Document], None]:
    def change(body: Document) -> None:
        body[name][0], body[name][1] = body[name][1], body[name][0]

    return change


def stated(**values: Any) -> Callable[[Document], None]:
    return lambda body: body["case"].update(values)


def another_signature(body: Document) -> None:
    body["receipts"][1]["jws"] = body["receipts"][1]["jws"][:-4] + "AAAA"


def another_key(body: Document) -> None:
    body["store_keys"][1]["jwk"]["x"] = body["store_keys"][0]["jwk"]["x"]


def another_root(body: Document) -> None:
    body["newest"]["body"]["root"] = "0" * 64


def doubled_receipt(body: Document) -> None:
    body["receipts"].append(body["receipts"][0])


def renamed_store(body: Document) -> None:
    body["receipts"][1]["store"] = "gb"


CHEATS: dict[str, tuple[Callable[[Document], None], str]] = {
    "an entry left out": (without_leaf("receipt_accepted"), "entry_left_out"),
    "the first entry left out": (without_leaf("request_received"), "entry_left_out"),
    "entries swapped": (swapped("leaves"), "leaves_out_of_order"),
    "an entry rewritten": (rewritten("order_issued", attempt=2), "leaf_not_in_ledger"),
    "a store left out": (without_store, "stores_disagree"),
    "a receipt left out": (lambda body: body["receipts"].pop(), "receipt_missing"),
    "a receipt doubled": (doubled_receipt, "receipt_twice"),
    "a receipt under another name": (renamed_store, "receipt_unknown_key"),
    "a receipt's signature": (another_signature, "receipt_bad_signature"),
    "a store's key": (another_key, "fingerprint_disagrees"),
    "a store's key left out": (lambda body: body["store_keys"].pop(), "receipt_unknown_key"),
    "the key's entry left out": (without_leaf("key_known"), "key_not_noted"),
    "another right": (stated(right="access"), "right_disagrees"),
    "another channel": (stated(channel="letter"), "channel_disagrees"),
    "never closed": (stated(proof="served"), "closed_disagrees"),
    "never answered": (stated(answer="accepted"), "answered_disagrees"),
    "another root": (another_root, "head_bad_signature"),
    "no consistency": (lambda body: body.update(consistency=["0" * 64]), "heads_not_consistent"),
    "a proof too short": (lambda body: body["leaves"][2]["proof"].pop(), "leaf_not_in_ledger"),
    "another log": (lambda body: body.update(log="log-other"), "head_of_another_ledger"),
    "dated before its head": (lambda body: body.update(at="2026-11-22T08:00:00.000Z"), "heads_out_of_order"),
}


@pytest.mark.parametrize("cheat", CHEATS)
async def test_what_the_ledger_s_own_key_cannot_hide(rig: LedgerRig, cheat: str) -> None:
    document = await (await CaseBook(rig).whole()).bundle()
    change, code = CHEATS[cheat]
    report = verify(sealed_again(rig, document, change), trust(rig.keys))
    assert code in {fault.code for fault in report.faults}
    assert "must not be relied on" in "\n".join(sentences(report))


async def test_a_rewritten_ledger_does_not_begin_with_the_old_head(rig: LedgerRig) -> None:
    """Who rewrites everything and signs again fails at a head that is in other hands."""
    await rig.grow(4)
    old = await rig.heads.newest()
    assert old is not None
    await rig.leaves().delete_many({})
    await rig.signed().delete_many({})
    await rig.another().ledger.append(*some(9, 100))
    book = CaseBook(rig.another())
    document = await (await book.whole()).bundle()
    assert codes(to_bytes(document), trust(rig.keys)) == set()  # by itself it cannot be told

    def with_the_old_head(body: Document) -> None:
        body["head"] = old

    assert "heads_not_consistent" in codes(sealed_again(rig, document, with_the_old_head), trust(rig.keys))


# ---------------------------------------------------------------------- receipts that do not belong


async def test_receipts_that_do_not_belong(rig: LedgerRig) -> None:
    """Each taken and noted by a careless controller, each found by who checks."""
    counted = ({"name": "contacts", "matched": 1, "erased": 2},)

    async def found(reference: str, sign: Callable[[CaseBook], str], about: str = "de") -> set[str]:
        book = CaseBook(rig, reference, stores=(CONTROLLER, "de", "gb"))
        await book.opened()
        await book.asked("de", "gb")
        await book.take("de", sign(book), about=about)
        return codes(await book.file(), trust(rig.keys))

    other = CaseBook(rig, "R-ELSE")
    assert "receipt_of_another_case" in await found("R-1", lambda book: book.signed("de", [other.entry("de")]))
    assert "receipt_of_another_store" in await found("R-2", lambda book: book.signed("de", [book.entry("gb")]), "gb")
    assert "receipt_unknown_key" in await found(
        "R-3", lambda book: book.signed("de", [book.entry("de")], by=book.parties["gb"])
    )
    assert "counts_disagree" in await found(
        "R-4", lambda book: book.signed("de", [book.entry("de", collections=counted)])
    )
    assert "receipt_not_in_normal_form" in await found("R-5", lambda book: book.signed("de", [{"task": "R-5/de"}]))
    assert "entry_says_more_than_receipt" in await found(
        "R-6", lambda book: book.signed("de", [book.entry("de", "look")])
    )
    none = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJkZSJ9."
    assert "receipt_bad_signature" in await found("R-7", lambda _: none)


async def test_a_batch_s_receipt_may_speak_of_other_cases_too(rig: LedgerRig) -> None:
    book, other = CaseBook(rig), CaseBook(rig, "R-ELSE")
    await book.opened()
    await book.asked("de", "gb")
    await book.take("de", book.signed("de", [other.entry("de"), book.entry("de")]))
    assert codes(await book.file(), trust(rig.keys)) == set()


async def test_two_answers_that_differ_leave_a_store_contradicting(rig: LedgerRig) -> None:
    book = CaseBook(rig)
    await book.opened()
    await book.asked("de", "gb")
    await book.answered_by("de")
    await book.take("de", book.signed("de", [book.entry("de", collections=GONE, attempt=2)]))
    report = verify(await book.file(), trust(rig.keys))
    assert report.faults == []
    assert report.stores[1].standing is Standing.CONTRADICTING


async def in_doubt(rig: LedgerRig) -> CaseBook:
    book = CaseBook(rig)
    await book.opened()
    await book.asked("de", "gb")
    await book.answered_by(CONTROLLER, "de", "gb")
    await book.looked_at(CONTROLLER, "de")
    return await book.looked_at("gb", collections=({"name": "contacts", "matched": 2},))


def standing(raw: bytes, store: str) -> Standing:
    return next(story.standing for story in verify(raw).stores if story.code == store)


async def test_a_doubt_that_a_person_settled_is_shown_as_that(rig: LedgerRig) -> None:
    book = await in_doubt(rig)
    assert standing(await book.file(), "gb") is Standing.CONTRADICTING
    await book.note("doubt_settled", "gb", store="gb", decision="accept", ground="migrated meanwhile", by="staff-1")
    await book.closed()
    assert codes(await book.file(), trust(rig.keys)) == set()
    assert standing(await book.file(), "gb") is Standing.DECIDED
    await book.take("gb", book.signed("gb", [book.entry("gb", collections=GONE, attempt=2)]))
    raw = await book.file()  # what comes after the end is seen, and does not undo that it was closed on proof
    assert (standing(raw, "gb"), codes(raw, trust(rig.keys))) == (Standing.CONTRADICTING, set())


async def test_a_store_asked_again_starts_anew(rig: LedgerRig) -> None:
    book = await in_doubt(rig)
    await book.note("doubt_settled", "gb", store="gb", decision="again", ground="look again", by="staff-1")
    assert standing(await book.file(), "gb") is Standing.SILENT
    late = book.signed("gb", [book.entry("gb", collections=GONE, reason="late")])
    await book.take("gb", late)  # an answer to the order from before
    assert standing(await book.file(), "gb") is Standing.SILENT
    await book.note("order_issued", "gb 2", store="gb", digest="2" * 64, ask="serve", attempt=2)
    await book.take("gb", book.signed("gb", [book.entry("gb", attempt=2)]))
    await book.take("gb", book.signed("gb", [book.entry("gb", "look", GONE, attempt=3)]), "look")
    await book.closed()
    assert codes(await book.file(), trust(rig.keys)) == set()
    assert standing(await book.file(), "gb") is Standing.ATTESTED


@pytest.mark.parametrize("missing", ["answer", "look", "agreement"])
async def test_a_case_closed_without_proof_is_found(rig: LedgerRig, missing: str) -> None:
    book = CaseBook(rig)
    await book.opened()
    await book.asked("de", "gb")
    await book.answered_by(CONTROLLER, "de", *(["gb"] if missing != "answer" else []))
    await book.looked_at(CONTROLLER, "de")
    if missing == "agreement":
        await book.looked_at("gb", collections=({"name": "contacts", "matched": 2},))
    await book.closed()
    assert "closed_without_proof" in codes(await book.file(), trust(rig.keys))


async def test_an_answer_names_the_stores_that_were_silent(rig: LedgerRig) -> None:
    book = CaseBook(rig)
    await book.opened()
    await book.asked("de", "gb")
    await book.answered_by(CONTROLLER, "de")
    await book.note("answered", silent=["gb"])
    book.answer, book.states = "answered", {"answered_at": BEGINNING}
    assert codes(await book.file(), trust(rig.keys)) == set()
    other = CaseBook(rig, "R-2")
    await other.opened()
    await other.note("answered", silent=["gb"])
    other.answer, other.states = "answered", {"answered_at": BEGINNING}
    assert codes(await other.file(), trust(rig.keys)) == {"silence_disagrees"}


# ---------------------------------------------------------------------- offline

OFFLINE = """
import socket, sys
def refuse(*_, **__):
    raise AssertionError("a socket was opened")
socket.socket = socket.create_connection = socket.getaddrinfo = refuse
from workers.evidence.trusted import Trusted
from workers.evidence.verify import verify
raw, keys = open(sys.argv[1], "rb").read(), open(sys.argv[2], "rb").read()
report = verify(raw, Trusted.from_file(keys))
loaded = {name.partition(".")[0] for name in sys.modules}
rooms = {name for name in sys.modules if name.startswith(("workers.", "producers."))}
assert not loaded & {"pymongo", "motor", "bson", "redis", "dramatiq", "aiohttp", "producers"}, loaded
assert all(name.startswith(("workers.evidence", "workers.rules")) for name in rooms), rooms
print("sound" if report.sound else "not sound")
"""


async def test_it_is_checked_without_network_or_store(rig: LedgerRig, small: bytes, tmp_path: Path) -> None:
    """Only `schemas`, `workers.rules` and the check itself are loaded, and no socket is opened."""
    (tmp_path / "keys.json").write_text(json.dumps(rig.keys.public()))
    for raw, said in ((small, "sound"), (small.replace(b'"answered"', b'"answereb"', 1), "not sound")):
        (tmp_path / "case.json").write_bytes(raw)
        command = [sys.executable, "-c", OFFLINE, str(tmp_path / "case.json"), str(tmp_path / "keys.json")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.stdout.strip(), done.returncode) == (said, 0), done.stderr
