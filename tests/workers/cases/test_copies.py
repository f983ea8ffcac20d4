"""R17, P7: a copy above 1 MiB comes in parts, and is worth what its store signed for; whatever order they come in."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import rfc8785
import uuid_utils
from bson import encode as bson_of

from schemas.copies import PART_BYTES, cut
from schemas.errors import InvalidMessage, StoreUnavailable
from schemas.fields import wire_moment
from schemas.jose import seal
from tests.factories import someone
from tests.workers.bench import Bench
from tests.workers.cases.court import Court, erased, settled
from workers.cases import receiving
from workers.cases.serving import dispatch

ADA = someone("ada")
Part = dict[str, str]


def copy_of(store: str = "de", size: int = 2 * PART_BYTES + 1000, seed: str = "") -> bytes:
    """A copy of so many bytes or a little more, in canonical form."""
    records = [{"n": n, "note": f"{seed} record {n:06} " + "é" * 480} for n in range(size // 990)]
    collections = [{"name": "visits", "fields": {"n": "number"}, "records": records}]
    return rfc8785.dumps({"store": store, "collections": collections})


@dataclass
class Coming:
    """An access case whose order reached the German store, and what that sends."""

    court: Court
    reference: str
    order: str

    @property
    def task(self) -> str:
        return f"{self.reference}/de"

    def part(self, part: Mapping[str, str]) -> str:
        return seal(json.dumps({"part": part}).encode(), self.court.stores["de"].controller)

    def parts(self, copy: bytes) -> list[str]:
        return [self.part(part) for part in cut(self.task, copy)]

    def receipt(self, copy: bytes) -> str:
        """The receipt that signs for a copy, without the copy."""
        order = self.court.order("de", self.order)
        (asked,) = order["entries"]
        entry = {name: asked[name] for name in ("task", "attempt", "ask")} | {
            "at": wire_moment(self.court.desk.services.clock()),
            "outcome": "done",
            "collections": [{"name": "visits", "matched": len(json.loads(copy)["collections"][0]["records"])}],
            "copy_sha256": hashlib.sha256(copy).hexdigest(),
        }
        claims = {"jti": str(uuid_utils.uuid7()), "order": order["jti"], "entries": [entry]}
        return self.court.seal(self.court.stores["de"], claims, {})

    async def state(self) -> dict[str, Any]:
        return (await self.court.tasks(self.reference))["de"]

    async def send(self, *tokens: str) -> None:
        for token in tokens:
            await self.court.take("de", token)

    async def refused(self, token: str, store: str = "de") -> str:
        """Why one message is refused, in whichever way it is."""
        try:
            accepted = await self.court.take(store, token)
        except InvalidMessage as fault:
            return fault.code
        return next(iter(accepted.refused.values()), "")

    async def asked_again(self) -> None:
        """Time goes by, the store has not answered, and gets another order."""
        await self.court.desk.cases.change_task(await self.state(), {"send_at": self.court.desk.services.clock()})
        await dispatch(self.court.desk, "de")
        self.order = self.court.posted[-1][1]


@pytest.fixture
async def coming(bench: Bench, court: Court) -> Coming:
    bench.clock.at = bench.clock()  # a slow machine must not make a store be asked again
    reference = await court.ask("access", ADA.email)
    await court.confirm(reference)
    await court.post()
    order = dict(court.posted)["de"]
    court.posted[:] = [(store, token) for store, token in court.posted if store != "de"]
    return Coming(court, reference, order)


def kept(bench: Bench) -> list[dict[str, Any]]:
    return bench.collection("copies", "evidence")


async def packaged(court: Court, reference: str, store: str = "de") -> list[dict[str, Any]]:
    """The collections of a store in the package, as whoever downloads it sees them."""
    package = await court.desk.packages.get(reference)
    assert package is not None
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        data = json.loads(archive.read("data.json"))
    (found,) = [one for one in data["stores"] if one["code"] == store]
    return list(found["collections"])


ORDERS: dict[str, Callable[[list[str], str], list[str]]] = {
    "parts, then the receipt": lambda parts, receipt: [*parts, receipt],
    "the receipt first": lambda parts, receipt: [receipt, *parts],
    "the receipt in between": lambda parts, receipt: [parts[0], receipt, *parts[1:]],
    "backwards, everything twice": lambda parts, receipt: [*parts[::-1], receipt, receipt, *parts],
    "anyhow": lambda parts, receipt: random.Random(7).sample([*parts, *parts, receipt], 2 * len(parts) + 1),
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
async def test_a_copy_in_parts_reaches_the_person(coming: Coming, order: Callable[[list[str], str], list[str]]) -> None:
    court, copy = coming.court, copy_of()
    parts = coming.parts(copy)
    assert len(parts) == 3
    await coming.send(*order(parts, coming.receipt(copy)))
    assert (await coming.state())["state"] == "receipted"
    case = await court.run(coming.reference)
    assert case["answer"] == "answered"
    (collection,) = await packaged(court, coming.reference)
    assert collection["records"] == json.loads(copy)["collections"][0]["records"]
    assert len(await german_receipts(coming)) == 1, "the signed receipt is the case's evidence, wherever its copy was"


@pytest.mark.parametrize("died_at", ["keep_parts", "count_parts", "parts_of", "receipt_speaks_of", "step_tasks"])
@pytest.mark.parametrize("last_is", ["a part", "the receipt"])
async def test_every_crash_in_between_is_mended_by_the_message_that_comes_again(
    coming: Coming, bench: Bench, monkeypatch: pytest.MonkeyPatch, died_at: str, last_is: str
) -> None:
    """Killed at each step: the message is not acknowledged, comes again, and the entry counts once."""
    copy, cases = copy_of(), coming.court.desk.cases
    *others, last = [*coming.parts(copy), coming.receipt(copy)]
    if last_is == "a part":
        others, last = [last, *others[:-1]], others[-1]
    await coming.send(*others)

    async def dies(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("killed")

    of_parts_alone = died_at in ("keep_parts", "count_parts")
    with monkeypatch.context() as killed, suppress(StoreUnavailable):
        killed.setattr(cases, died_at, dies)
        await coming.send(last)
        assert of_parts_alone
        assert last_is == "the receipt"
    await coming.send(last)
    assert (await coming.state())["state"] == "receipted"
    assert len(await german_receipts(coming)) == 1
    assert sorted(one["store"] for one in noted(bench, "receipt_accepted")) == ["controller", "de"]


def noted(bench: Bench, kind: str) -> list[dict[str, Any]]:
    """The details of every entry of a kind."""
    found = [one["body"] for one in bench.collection("ledger_pending", "evidence")]
    return [one["details"] for one in found if one["kind"] == kind]


async def german_receipts(coming: Coming) -> list[dict[str, Any]]:
    return [one for one in await coming.court.desk.cases.receipts_of(coming.reference) if one["store"] == "de"]


async def test_until_the_last_part_has_come_the_store_has_not_answered(coming: Coming, bench: Bench) -> None:
    copy = copy_of()
    await coming.send(coming.receipt(copy), *coming.parts(copy)[:-1])
    task = await coming.state()
    assert (task["state"], "send_at" in task) == ("waiting", True), "it is asked again like any that is silent"
    assert not await german_receipts(coming)
    await coming.asked_again()
    other = copy_of(seed="later")
    await coming.send(*coming.parts(other), coming.receipt(other))
    assert (await coming.state())["state"] == "receipted"
    assert {one["copy"] for one in kept(bench)} == {hashlib.sha256(other).hexdigest()}, "of the first nothing stays"


async def test_what_is_kept_is_sealed_and_goes_with_the_case(coming: Coming, bench: Bench) -> None:
    court, copy = coming.court, copy_of(seed=ADA.last_name)
    await coming.send(*coming.parts(copy), coming.receipt(copy))
    stored = b"".join(bson_of(one) for one in kept(bench))
    assert kept(bench)
    for told in (ADA.last_name, base64.b64encode(ADA.last_name.encode()).decode().rstrip("=")):
        assert told.encode() not in stored
    count = len(json.loads(copy)["collections"][0]["records"])
    court.stores["de"].answer = lambda _: {
        "outcome": "done",
        "collections": [{"name": "visits", "matched": count}],
    }
    await court.run(coming.reference)
    for mail in await court.desk.cases.mails_of(coming.reference):
        await court.desk.cases.mail_done(mail["_id"], "sent", court.desk.services.clock())
    assert (await settled(court, coming.reference))["proof"] == "closed"
    assert kept(bench) == []
    assert await coming.refused(coming.parts(copy)[0]) == "no_copy_awaited"


def of(part: Part, **changed: str) -> Part:
    return {**part, **changed}


BAD_PARTS: dict[str, tuple[Callable[[Part], Any], str]] = {
    "of an unknown case": (lambda part: of(part, task="R-0000-0000-0000/de"), "no_task_of_this_store"),
    "of another store's task": (lambda part: of(part, task=part["task"][:-2] + "gb"), "no_task_of_this_store"),
    "of our own store's task": (lambda part: of(part, task=part["task"][:-2] + "controller"), "no_task_of_this_store"),
    "beyond the last": (lambda part: of(part, place="3"), "bad_part"),
    "of too many": (lambda part: of(part, of="87"), "bad_part"),
    "of none": (lambda part: of(part, place="0", of="0"), "bad_part"),
    "too large": (lambda part: of(part, bytes="A" * (2 * PART_BYTES + 4)), "invalid_field"),
    "without a place": (lambda part: {name: said for name, said in part.items() if name != "place"}, "missing_field"),
    "with more than a part has": (lambda part: of(part, more="x"), "unknown_field"),
    "a list": (lambda part: [part], ""),
    "nothing": (lambda _: None, ""),
}


@pytest.mark.parametrize(("change", "code"), BAD_PARTS.values(), ids=BAD_PARTS)
async def test_a_bad_part_is_refused_and_not_kept(
    coming: Coming, bench: Bench, change: Callable[[Part], Any], code: str
) -> None:
    part = next(cut(coming.task, copy_of()))
    refused = await coming.refused(coming.part(change(part)))
    assert refused
    if code in ("no_task_of_this_store", "bad_part"):
        assert refused == code
    assert kept(bench) == []
    assert (await coming.state())["state"] == "waiting"


async def test_a_part_from_another_store_s_namespace_is_refused(coming: Coming, bench: Bench) -> None:
    assert await coming.refused(coming.parts(copy_of())[0], "gb") == "no_task_of_this_store"
    assert kept(bench) == []


async def test_parts_are_taken_for_access_alone(coming: Coming, bench: Bench) -> None:
    court = coming.court
    reference = await court.ask("erasure", ADA.email)
    await court.confirm(reference)
    part = next(cut(f"{reference}/de", copy_of()))
    assert await coming.refused(coming.part(part)) == "no_task_of_this_store"
    await court.desk.cases.change_task(await coming.state(), {"right": "erasure"})
    assert await coming.refused(coming.receipt(copy_of())) == "copy_missing"
    assert kept(bench) == []


async def test_parts_for_a_case_that_has_ended_leave_nothing_behind(coming: Coming, bench: Bench) -> None:
    """The key goes before the copies, so a part that is on its way at that moment goes too."""
    first, second, _ = coming.parts(copy_of())
    await coming.send(first)
    await coming.court.desk.services.keys.destroy([f"{coming.reference}/case"])
    assert await coming.refused(second) == "case_ended"
    assert kept(bench) == []


async def test_an_altered_part_is_found_and_the_store_is_asked_again(coming: Coming, bench: Bench) -> None:
    """Whoever can write to the namespace can send a part: it is the receipt's digest that decides."""
    copy = copy_of()
    first, second, last = cut(coming.task, copy)
    bad = bytearray(base64.b64decode(second["bytes"]))
    bad[len(bad) // 2] ^= 1
    await coming.send(coming.part(first), coming.part({**second, "bytes": base64.b64encode(bad).decode()}))
    await coming.send(coming.receipt(copy))
    assert await coming.refused(coming.part(last)) == "bad_copy"
    task = await coming.state()
    assert (task["state"], "awaits" in task, kept(bench)) == ("waiting", False, [])
    assert [one["reason"] for one in noted(bench, "receipt_refused")] == ["bad_copy"]
    await coming.asked_again()
    await coming.send(*coming.parts(copy), coming.receipt(copy))
    assert (await coming.state())["state"] == "receipted"


UNREADABLE: dict[str, Any] = {
    "another store's": {"store": "gb", "collections": []},
    "a list": [{"store": "de"}],
    "records that are no objects": {"store": "de", "collections": [{"fields": {}, "name": "x", "records": [1, 2]}]},
    "no records": {"store": "de", "collections": [{"fields": {}, "name": "x"}]},
    "more than a copy has": {"store": "de", "collections": [], "zest": 1},
}


@pytest.mark.parametrize("copy", UNREADABLE.values(), ids=UNREADABLE)
async def test_a_signed_copy_that_no_package_can_be_made_of_is_refused_at_once(coming: Coming, copy: Any) -> None:
    """Found out now, while the store can be asked again, and not on the day the answer is due."""
    content = rfc8785.dumps(copy)
    held = {"outcome": "done", "collections": [{"name": "x", "matched": 2}]}
    coming.court.stores["de"].answer = lambda _: {**held, "copy": copy}
    token = coming.court.receipt("de", coming.order)
    assert token is not None
    assert await coming.refused(token) == "bad_copy"
    whole = Coming.receipt(coming, copy_of())  # in parts it is the same
    order = coming.court.order("de", coming.order)
    (asked,) = order["entries"]
    entry = {name: asked[name] for name in ("task", "attempt", "ask")} | held
    entry |= {"at": wire_moment(coming.court.desk.services.clock()), "copy_sha256": hashlib.sha256(content).hexdigest()}
    claims = {"jti": str(uuid_utils.uuid7()), "order": order["jti"], "entries": [entry]}
    await coming.send(*coming.parts(content))
    assert await coming.refused(coming.court.seal(coming.court.stores["de"], claims, {})) == "bad_copy"
    await coming.send(*coming.parts(copy_of()), whole)
    assert (await coming.state())["state"] == "receipted"


async def test_a_store_cannot_fill_ours(coming: Coming, bench: Bench) -> None:
    """Of one task two copies are kept at a time, and the one that a receipt waits for is not pushed out."""
    awaited = copy_of()
    parts = coming.parts(awaited)
    await coming.send(coming.receipt(awaited), *parts[:-1])
    for n in range(6):
        await coming.send(coming.parts(copy_of(seed=f"{n}"))[0])
    begun = {one["copy"] for one in kept(bench)}
    assert len(begun) == 2
    assert hashlib.sha256(awaited).hexdigest() in begun
    await coming.send(parts[-1])
    assert (await coming.state())["state"] == "receipted"


async def test_without_the_digest_an_altered_copy_would_pass(coming: Coming, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deliberately broken variant: joined and not compared."""

    async def joined(_: Any, key: Any, task: str, digest: str) -> bytes:
        kept = await coming.court.desk.cases.parts_of(task, digest)
        opened = [json.loads(key.open(f"copies/{part['_id']}", bytes(part["sealed"]))) for part in kept]
        return b"".join(base64.b64decode(part["bytes"]) for part in opened)

    monkeypatch.setattr(receiving, "copy_in_parts", joined)
    copy = copy_of()
    first, *others = cut(coming.task, copy)
    raw = base64.b64decode(first["bytes"]).replace(b"record 000001", b"record 666666")
    for part in ({**first, "bytes": base64.b64encode(raw).decode()}, *others):
        await coming.send(coming.part(part))
    await coming.send(coming.receipt(copy))
    assert (await coming.state())["state"] == "receipted", "what the test above refuses"


async def test_an_erasure_s_receipt_needs_no_copy(court: Court) -> None:
    court.stores["de"].answer = erased(2)
    reference = await court.ask("erasure", ADA.email)
    await court.confirm(reference)
    assert (await court.run(reference))["answer"] == "answered"
