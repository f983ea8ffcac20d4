"""A "no" by one click or through staff reaches every subsidiary, in rounds, with receipts. Source: R20, R24, R25."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from schemas.errors import InvalidMessage
from schemas.fields import wire_moment
from schemas.orders import MAX_ENTRIES
from schemas.party_keys import new_party
from schemas.subject import ReferenceUse
from schemas.terms import Case, SuppressionGround
from tests import factories
from tests.factories import Someone, someone
from tests.workers.bench import Bench
from tests.workers.cases.conftest import CODES
from tests.workers.cases.court import Court, Entry
from workers import slips
from workers.cases import receiving, rounds
from workers.cases.reconciler import reconcile
from workers.cases.rounds import LOOK_AGAIN, make_rounds
from workers.objecting import enter_address
from workers.retention.sweep import look_at_due
from workers.services import utc_now
from workers.slips import Told, leave_slip
from workers.status import look_around
from workers.stores.rounds import Rounds

MINUTE = timedelta(minutes=1)


async def person_of(bench: Bench, whom: Someone) -> str:
    """As whom somebody's records stand."""
    ref = bench.services.trust.references.of_email(ReferenceUse.LOOKUP, whom.email)
    return (await bench.services.people.find([ref]))[ref]


async def held(bench: Bench, number: int = 1) -> list[Someone]:
    people = [someone() for _ in range(number)]
    await bench.send(*(factories.form(Case.CONTACT, whom) for whom in people))
    return people


async def click(bench: Bench, *people: Someone, **more: Any) -> dict[str, Any]:
    """Each uses the link in a mail of theirs, all in one message; the message, to deliver it again."""
    references = bench.services.trust.references
    clicks = [factories.unsubscribed(references, one, person=await person_of(bench, one), **more) for one in people]
    return await bench.send(*clicks)


async def go_round(court: Court) -> None:
    """Make rounds, ask, and let whoever answers answer."""
    await make_rounds(court.desk)
    await court.post()
    await court.deliver()


def asked(court: Court) -> Counter[tuple[str, str]]:
    """(store, address) → how many tasks of the orders on their way ask it."""
    tasks = {
        (store, entry["person"]["emails"][0], entry["task"])
        for store, token in court.posted
        for entry in court.order(store, token)["entries"]
    }
    return Counter((store, email) for store, email, _ in tasks)


def stopped(_: Entry) -> Entry:
    """A store that held one customer and writes to them no more."""
    return {"outcome": "done", "collections": [{"name": "customers", "matched": 1, "restricted": 1}]}


def refusing(*numbers: int) -> Any:
    def answer(entry: Entry) -> Entry:
        if int(entry["task"].partition("/")[0].rpartition("-")[2]) in numbers:
            return {"outcome": "refused", "collections": [], "reason": "store-error"}
        return stopped(entry)

    return answer


def each_once(people: list[Someone], codes: tuple[str, ...] = CODES) -> Counter[tuple[str, str]]:
    return Counter((code, whom.email) for code in codes for whom in people)


def the_round(bench: Bench) -> dict[str, Any]:
    (found,) = bench.collection("rounds", "evidence")
    return found


def noted(bench: Bench, reference: str) -> Counter[str]:
    """Kind → how often, of what the ledger says of a round."""
    entries = [one["body"] for one in bench.collection("ledger_pending", "evidence")]
    return Counter(one["kind"] for one in entries if one.get("case") == reference)


# ---------------------------------------------------------------------- from the click to the last receipt


async def test_one_click_is_asked_of_every_store_and_ends_with_its_receipts(bench: Bench, court: Court) -> None:
    for store in court.stores.values():
        store.answer = stopped
    people = await held(bench, 3)
    await click(bench, *people)
    await make_rounds(court.desk)
    await court.post()
    assert asked(court) == each_once(people)
    assert len(court.posted) == len(CODES), "one order a store, whoever many people it is about"
    await court.deliver()
    found = the_round(bench)
    assert "over_at" in found
    assert noted(bench, found["_id"]) == {"order_issued": 3, "receipt_accepted": 3, "all_receipts": 1}
    assert len(bench.collection("receipts", "evidence")) == len(CODES)
    left = repr({name: ones for name, ones in bench.dump().items() if not name.startswith("active.")})
    assert not [word for whom in people for word in whom.canaries if word in left]
    keys = {one["_id"]: one for one in bench.collection("keys", "keys") if one["_id"].endswith(("/slip", "/round"))}
    assert len(keys) == 2
    assert not [one for one in keys.values() if "wrapped" in one], "nobody can open what was sealed for it"


async def test_what_comes_in_many_messages_leaves_in_one_order(bench: Bench, court: Court) -> None:
    people = await held(bench, 5)
    for whom in people:
        await click(bench, whom)
    await make_rounds(court.desk)
    await court.post()
    assert asked(court) == each_once(people)
    assert len(court.posted) == len(CODES)


async def test_no_order_holds_more_than_it_may(bench: Bench, court: Court) -> None:
    now = court.desk.services.clock()
    for letter in "abc":
        told = [Told(f"{letter}{n}", f"{letter}{n}@example.com", now) for n in range(MAX_ENTRIES * 3 // 5)]
        await leave_slip(bench.services, told)
    await go_round(court)
    first = len(bench.collection("attempts", "evidence"))
    assert first == len(CODES)
    await court.post()
    await court.post()
    entries = [one["asked"] for one in bench.collection("attempts", "evidence")]
    assert all(len(one) <= MAX_ENTRIES for one in entries)
    assert sum(map(len, entries)) == 3 * len(CODES) * (MAX_ENTRIES * 3 // 5)


@pytest.mark.parametrize("broken", [False, True], ids=["ours", "without a name of its own"])
async def test_a_message_that_comes_again_asks_nobody_again(
    bench: Bench, court: Court, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    if broken:
        numbers = iter(range(100))
        monkeypatch.setattr(slips, "_digest", lambda _: next(numbers).to_bytes(16, "big"))
    people = await held(bench, 2)
    wire = await click(bench, *people)
    await go_round(court)
    for _ in range(2):
        await bench.deliver(wire, "newsletter")
        await make_rounds(court.desk)
    again = await make_rounds(court.desk), len(bench.collection("rounds", "evidence"))
    assert (again == (0, 1)) is not broken


async def test_a_link_used_again_later_is_a_no_of_its_own(bench: Bench, court: Court) -> None:
    """Whoever came back in between is looked for again; of one round, each address once, by the latest."""
    (whom,) = await held(bench)
    person, references = await person_of(bench, whom), bench.services.trust.references
    first = factories.unsubscribed(references, whom, person=person)
    reference = first.body.decode().partition('"reference":"')[2].partition('"')[0]
    await bench.send(first)
    await go_round(court)
    for hours in (2, 1):
        later = factories.NOON + timedelta(hours=hours)
        await bench.send(factories.unsubscribed(references, whom, later, person=person, reference=reference))
    await make_rounds(court.desk)
    await court.post()
    assert asked(court) == each_once([whom])
    (entry,) = court.order(*court.posted[0])["entries"]
    assert entry["received_at"] == "2026-11-20T14:00:00.000Z"


# ---------------------------------------------------------------------- who is asked about


async def test_who_is_unknown_or_erased_is_on_the_list_and_in_no_round(bench: Bench, court: Court) -> None:
    stranger, (erased, old) = someone(), await held(bench, 2)
    references = bench.services.trust.references
    link = factories.unsubscribed(references, erased, person=await person_of(bench, erased))
    await bench.services.forgetting.forget(erased.email)
    await bench.send(link, factories.unsubscribed(references, stranger), factories.unsubscribed(references, old))
    assert await make_rounds(court.desk) == 0
    assert bench.collection("slips", "evidence") == []
    for whom in (stranger, erased, old):
        assert await bench.services.suppressions.of(whom.email)
    assert bench.collection("parked") == []


@pytest.mark.parametrize("broken", [False, True], ids=["ours", "without a look"])
async def test_an_erasure_that_begins_meanwhile_keeps_them_out(
    bench: Bench, court: Court, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    """Their address is still there to be opened; the tombstone says that it must not be used."""
    (whom,) = await held(bench)
    person = await person_of(bench, whom)
    await bench.services.tombstones.write([slips.of_person(person)])
    if broken:
        monkeypatch.setattr(slips, "_stands", lambda *_: True)
    await bench.send(factories.unsubscribed(bench.services.trust.references, whom, person=person))
    assert (await make_rounds(court.desk) == 0) is not broken


async def test_what_they_said_no_to_may_be_deleted_before_the_round_is_made(bench: Bench, court: Court) -> None:
    whom, said = someone(), utc_now()
    form = factories.form(Case.NEWSLETTER, whom, received=said - timedelta(hours=2))
    await bench.send(form, factories.confirmed(form, said - timedelta(hours=1)))
    await bench.send(
        factories.unsubscribed(bench.services.trust.references, whom, said, person=await person_of(bench, whom))
    )
    await look_at_due(bench.services)
    assert bench.collection("submissions") == []
    await make_rounds(court.desk)
    await court.post()
    assert asked(court) == each_once([whom])


async def test_what_staff_enter_goes_into_a_round_known_or_not(bench: Bench, court: Court) -> None:
    whom = someone()
    await enter_address(bench.services, whom.email, SuppressionGround.OBJECTION, None, "ada")
    await make_rounds(court.desk)
    await court.post()
    assert asked(court) == each_once([whom])


async def test_an_objection_with_a_case_is_in_no_round(bench: Bench, court: Court) -> None:
    (whom,) = await held(bench)
    reference = await court.ask("objection", whom.email)
    await court.run(reference)
    assert await make_rounds(court.desk) == 0
    assert bench.collection("slips", "evidence") == []


# ---------------------------------------------------------------------- stores that refuse, are silent, or lie


async def test_what_a_store_refuses_is_asked_again_and_seen(bench: Bench, court: Court) -> None:
    for store in court.stores.values():
        store.answer = stopped
    court.stores["gb"].answer = refusing(1)
    people = await held(bench, 3)
    await click(bench, *people)
    await go_round(court)
    (owing,) = await bench.services.rounds.owing()
    assert (owing.store, owing.rounds, owing.people) == ("gb", 1, 1)
    assert owing.reasons == ("store-error",)
    court.stores["gb"].answer = stopped
    bench.clock.at = utc_now() + 2 * MINUTE
    await court.post()
    ((store, token),) = court.posted
    (entry,) = court.order(store, token)["entries"]
    assert (entry["attempt"], entry["person"]["emails"]) == (2, [people[1].email])
    await court.deliver()
    assert "over_at" in the_round(bench)
    assert await bench.services.rounds.owing() == []


async def test_a_store_that_is_away_for_days_is_asked_until_it_answers(bench: Bench, court: Court) -> None:
    court.stores["us"].answer = None
    people, began = await held(bench, 2), utc_now()
    await click(bench, *people)
    await go_round(court)
    for hours in (1, 12, 48, 96):
        bench.clock.at = began + timedelta(hours=hours)
        await reconcile(court.desk)
        await court.post()
        assert {store for store, _ in court.posted} == {"us"}
        await court.deliver()
        (owing,) = await bench.services.rounds.owing()
        assert (owing.store, owing.people) == ("us", 2)
        assert owing.since < wire_moment(began + MINUTE)
        alarms = (await look_around(bench.services, bench.redis)).alarms
        assert any("subsidiary us" in alarm for alarm in alarms) is (hours > 24), alarms
    court.stores["us"].answer = stopped
    bench.clock.at = began + timedelta(hours=144)
    await court.post()
    await court.deliver()
    assert "over_at" in the_round(bench)


FORGED: dict[str, tuple[dict[str, Any], str]] = {
    "by another key": ({"by": new_party("de")}, "unknown_key"),
    "for somebody else": ({"audience": "gb"}, "wrong_audience"),
    "expired": ({"lifetime": timedelta(seconds=-1)}, "expired"),
    "of an order never sent": ({"order": "01890000-0000-7000-8000-000000000000"}, "answers_no_order_of_this_store"),
}


@pytest.mark.parametrize(("forged", "code"), FORGED.values(), ids=FORGED)
async def test_a_forged_receipt_ends_nothing(bench: Bench, court: Court, forged: dict[str, Any], code: str) -> None:
    await click(bench, *await held(bench, 2))
    await make_rounds(court.desk)
    await court.post()
    token = court.receipt("de", dict(court.posted)["de"], **forged)
    assert token is not None
    with pytest.raises(InvalidMessage, match=code):
        await court.take("de", token)
    assert "de" in {one.store for one in await bench.services.rounds.owing()}


@pytest.mark.parametrize("broken", [False, True], ids=["ours", "who believes every entry"])
async def test_a_store_answers_for_itself_alone_and_for_what_it_was_asked(
    bench: Bench, court: Court, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    """A foreign receipt, entries that nobody asked for, another attempt: refused each by itself, and in evidence."""
    if broken:
        monkeypatch.setattr(receiving, "_fault", lambda *_: None)
    await click(bench, *await held(bench, 3))
    await make_rounds(court.desk)
    await court.post()
    orders = dict(court.posted)
    foreign = court.receipt("gb", orders["gb"])
    assert foreign is not None
    with pytest.raises(InvalidMessage):
        await court.take("de", foreign)
    names = [entry["task"] for entry in court.order("de", orders["de"])["entries"]]

    def lying(entry: Entry) -> Entry:
        number = names.index(entry["task"])
        if number == 0:
            return stopped(entry) | {"task": entry["task"].replace("-0/de", "-7/de")}
        return stopped(entry) | ({"attempt": 2} if number == 1 else {})

    court.stores["de"].answer = lying
    token = court.receipt("de", orders["de"])
    assert token is not None
    accepted = await court.take("de", token)
    lies = {names[0].replace("-0/de", "-7/de"): "task_not_in_order", names[1]: "other_attempt"}
    (owing,) = [one for one in await bench.services.rounds.owing() if one.store == "de"]
    assert ((accepted.refused, owing.people) == (lies, 2)) is not broken


@pytest.mark.parametrize("broken", [False, True], ids=["ours", "who compares nothing"])
async def test_a_replayed_receipt_and_one_that_contradicts_change_nothing(
    bench: Bench, court: Court, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    async def nothing(*_: object) -> set[str]:
        return set()

    if broken:
        monkeypatch.setattr(rounds, "contradicting", nothing)
    court.stores["us"].answer = None
    court.stores["de"].answer = refusing(0)
    await click(bench, *await held(bench, 2))
    await make_rounds(court.desk)
    await court.post()
    order = dict(court.posted)["de"]
    refused = court.receipt("de", order)
    assert refused is not None
    await court.deliver()
    court.stores["de"].answer = stopped
    bench.clock.at = utc_now() + 2 * MINUTE
    await court.post()
    await court.deliver()
    (before,) = [one for one in bench.collection("tasks", "evidence") if one["store"] == "de"]
    assert before["state"] == "receipted"
    await court.take("de", refused)
    court.stores["de"].answer = lambda _: {"outcome": "nothing-held", "collections": []}
    other = court.receipt("de", order)
    assert other is not None
    accepted = await court.take("de", other)
    (after,) = [one for one in bench.collection("tasks", "evidence") if one["store"] == "de"]
    assert after == before
    told = set(accepted.refused.values()), noted(bench, the_round(bench)["_id"])["receipt_refused"]
    assert (told == ({"contradicting_receipts"}, 1)) is not broken


# ---------------------------------------------------------------------- bad luck


async def test_one_message_that_two_workers_have_at_once_leaves_one_slip(bench: Bench) -> None:
    now = utc_now()
    told = [[Told(str(n), f"w{n}@example.com", now) for n in range(first, first + 5)] for first in (0, 0, 3, 3)]
    await asyncio.gather(*(leave_slip(bench.services, ones) for ones in told))
    slips_left = bench.collection("slips", "evidence")
    assert sum(one["people"] for one in slips_left) == 8
    living = {one["_id"] for one in bench.collection("keys", "keys") if "wrapped" in one}
    assert living == {f"{one['_id']}/slip" for one in slips_left}


async def test_a_slip_that_cannot_be_opened_stops_nobody_else(bench: Bench, court: Court) -> None:
    now = utc_now()
    for name in ("lost", "ada"):
        await leave_slip(bench.services, [Told(name, f"{name}@example.com", now)])
    lost, _ = sorted(bench.collection("slips", "evidence"), key=lambda one: str(one["_id"]))
    await bench.services.keys.destroy([f"{lost['_id']}/slip"])
    await make_rounds(court.desk)
    await court.post()
    assert {email for _, email in asked(court)} == {"ada@example.com"}


@pytest.mark.parametrize("broken", [False, True], ids=["ours", "without a comparison"])
async def test_two_processes_that_make_rounds_at_once_put_nobody_into_two(
    bench: Bench, court: Court, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    if broken:
        monkeypatch.setattr(Rounds, "make", without_comparison)
    now, number = court.desk.services.clock(), 40
    for n in range(number):
        await leave_slip(bench.services, [Told(str(n), f"w{n}@example.com", now)])
    await asyncio.gather(*(make_rounds(court.desk) for _ in range(4)))
    people = sum(one["people"] for one in bench.collection("rounds", "evidence"))
    assert (people == number) is not broken


async def without_comparison(self: Rounds, found: Any, names: Any, tasks: Any) -> bool:
    """A maker that believes what it read."""
    await self._rounds.insert_one(found)
    taken = {"$set": {"round": found["_id"]}, "$unset": {"waiting": "", "sealed": ""}}
    await self._slips.update_many({"_id": {"$in": list(names)}}, taken)
    await self._tasks.insert_many([{**task, "version": 1} for task in tasks])
    return True


async def test_what_was_left_by_whoever_died_is_found_by_the_reconciler(bench: Bench, court: Court) -> None:
    """A slip that nobody was woken for; a round whose last receipt's reader died before he ended it."""
    people = await held(bench, 1)
    await click(bench, *people)
    await reconcile(court.desk)
    assert "rounds" in court.woken
    await go_round(court)
    handle = bench.reader[f"{bench.prefix}_evidence"]
    now = utc_now()
    handle["rounds"].update_one({}, {"$unset": {"over_at": ""}, "$set": {"look_at": now, "slips": []}})
    bench.clock.at = now + LOOK_AGAIN
    await reconcile(court.desk)
    assert "over_at" in the_round(bench)
