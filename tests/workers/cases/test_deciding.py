"""What staff decide about a case: each once, noted, told, and only while the law allows it. Source: R22, R23."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from schemas.calendar import civil_day
from schemas.errors import InvalidBody
from schemas.jose import seal
from schemas.terms import Case, Purpose
from tests.factories import Someone, form, someone
from tests.workers.bench import Bench
from tests.workers.cases.court import Court, erased, letters, mails_leave, settled
from workers.cases import deciding, own_store
from workers.cases.deciding import CannotDecide
from workers.cases.engine import advance
from workers.cases.entering import record
from workers.correspondence.facts import ExtensionReason
from workers.rules.decisions import Refusal

DPO = "dpo.sample"
GROUND = "litigation, GDPR Art. 17(3)(e)"


def asked(whom: Someone, right: str = "erasure", **more: Any) -> dict[str, Any]:
    return {"right": right, "email": whom.email, "channel": "letter", "language": "en", **more}


async def entered(court: Court, whom: Someone, right: str = "erasure", *, days_ago: int = 0, **more: Any) -> str:
    today = civil_day(court.desk.services.clock())
    reference = await record(court.desk, asked(whom, right, **more), today - timedelta(days=days_ago), DPO)
    await advance(court.desk, reference)
    return reference


def noted(bench: Bench, reference: str) -> list[tuple[str, dict[str, Any]]]:
    """What was noted of a case, in an independent client's eyes; nothing gives the entries their place here."""
    bodies = [one["body"] for one in bench.collection("ledger_pending", "evidence")]
    return [(one["kind"], one["details"]) for one in bodies if one.get("case") == reference]


# ---------------------------------------------------------------------- entering


async def test_a_letter_counts_from_its_true_day_and_is_acknowledged(bench: Bench, court: Court) -> None:
    bench.clock.at = datetime(2026, 11, 20, 10, tzinfo=UTC)
    reference = await record(court.desk, asked(someone()), date(2026, 11, 2), DPO)
    await advance(court.desk, reference)
    case = await court.case(reference)
    assert (case["received_on"], case["due_on"], case["channel"]) == ("2026-11-02", "2026-12-02", "letter")
    told = await letters(court, reference)
    assert set(told) == {"acknowledgement-1", "confirmation-1"}
    assert "2 December 2026" in told["acknowledgement-1"]
    assert case["answer"] == "received", "eighteen days old, and its link is just on its way"


async def test_a_confirmed_letter_needs_no_link(court: Court) -> None:
    reference = await entered(court, someone(), days_ago=3, confirmed="yes")
    assert (await court.case(reference))["answer"] == "accepted"
    assert set(await letters(court, reference)) == {"acknowledgement-1"}


async def test_the_ground_of_a_child_stays_with_the_case(court: Court) -> None:
    reference = await entered(court, someone(), confirmed="yes", ground="child")
    assert (await court.case(reference))["ground"] == "child"


@pytest.mark.parametrize(
    ("change", "days_ago", "pointer"),
    [
        ({}, -1, "/received"),
        ({}, 400, "/received"),
        ({"channel": "website"}, 0, "/channel"),
        ({"right": "access", "ground": "child"}, 0, "/ground"),
        ({"right": "everything"}, 0, "/right"),
        ({"email": "nobody"}, 0, "/email"),
        ({"shoe_size": "44"}, 0, "/shoe_size"),
    ],
)
async def test_a_mistyped_entry_opens_nothing(
    bench: Bench, court: Court, change: dict[str, str], days_ago: int, pointer: str
) -> None:
    day = civil_day(court.desk.services.clock()) - timedelta(days=days_ago)
    with pytest.raises(InvalidBody) as refused:
        await record(court.desk, {**asked(someone()), **change}, day, DPO)
    assert pointer in {problem.pointer for problem in refused.value.problems}
    assert bench.collection("cases", "evidence") == []


async def test_a_letter_joins_the_open_case_and_counts_from_the_earlier_day(court: Court) -> None:
    ada = someone()
    first = await court.ask("erasure", ada.email)
    assert await entered(court, ada, days_ago=5, confirmed="yes") == first
    case = await court.case(first)
    assert case["received_on"] == (civil_day(court.desk.services.clock()) - timedelta(days=5)).isoformat()
    assert case["answer"] == "accepted"


# ---------------------------------------------------------------------- extending, refusing


async def test_an_extension_is_told_once_and_moves_the_date(bench: Bench, court: Court) -> None:
    bench.clock.at = datetime(2026, 11, 2, 10, tzinfo=UTC)
    reference = await entered(court, someone(), "access")
    for _ in range(2):
        case = await deciding.extend(court.desk, reference, ExtensionReason.VOLUME, "There is a great deal of it.", DPO)
    assert (case["extended"], case["due_on"]) == (True, "2027-02-02")
    assert case["answer_by"] == datetime(2027, 2, 2, 23, tzinfo=UTC)
    told = (await letters(court, reference))["extension-1"]
    assert "There is a great deal of it." in told
    assert "2 February 2027" in told
    assert [details for kind, details in noted(bench, reference) if kind == "extended"] == [
        {"until": "2027-02-02", "ground": "volume", "by": DPO}
    ]


LAST_INSTANT = datetime(2026, 12, 2, 22, 59, 59, tzinfo=UTC)
"""Of 2 December in Paris: a month after 2 November."""


@pytest.mark.parametrize(("late", "expected"), [(0, {"accepted"}), (1, {"too_late"})])
async def test_the_first_month_is_the_last_moment_for_both(
    bench: Bench, court: Court, late: int, expected: set[str]
) -> None:
    bench.clock.at = datetime(2026, 11, 2, 10, tzinfo=UTC)
    one, other = await entered(court, someone(), "access"), await entered(court, someone(), "access")
    bench.clock.at = LAST_INSTANT + timedelta(seconds=late)
    outcomes = set()
    for decision in (
        deciding.extend(court.desk, one, ExtensionReason.VOLUME, "Much.", DPO),
        deciding.refuse(court.desk, other, Refusal.EXCESSIVE, "The tenth this month.", DPO),
    ):
        try:
            await decision
            outcomes.add("accepted")
        except CannotDecide as error:
            outcomes.add(error.code)
    assert outcomes == expected
    assert ("extension-1" in await letters(court, one)) is (not late)
    assert ("refusal-1" in await letters(court, other)) is (not late)


async def test_a_refusal_names_reasons_complaint_and_court_and_ends_with_its_letter(bench: Bench, court: Court) -> None:
    ada = someone()
    reference = await entered(court, ada, "access")
    for _ in range(2):
        await deciding.refuse(court.desk, reference, Refusal.MANIFESTLY_UNFOUNDED, "Nobody of that name.", DPO)
    told = (await letters(court, reference))["refusal-1"]
    for block in ("Nobody of that name.", "12(5)", "CNIL", "court"):
        assert block in told
    await court.confirm(reference)
    case = await court.case(reference)
    assert (case["answer"], case["proof"]) == ("refused", "none")
    assert await court.desk.identifiers(case) is not None, "the letter has not left"
    assert case["wake_at"] is not None
    again = await court.ask("access", ada.email)
    assert again != reference, "refused is final: a new request is a new case"

    await mails_leave(court, reference)
    await advance(court.desk, reference)
    case = await court.case(reference)
    assert await court.desk.identifiers(case) is None
    assert "wake_at" not in case
    [ground] = [details["ground"] for kind, details in noted(bench, reference) if kind == "request_refused"]
    assert ground == "GDPR Art. 12(5): manifestly unfounded"


async def test_a_served_erasure_can_no_longer_be_refused(court: Court) -> None:
    reference = await entered(court, someone(), confirmed="yes")
    with pytest.raises(CannotDecide) as error:
        await deciding.refuse(court.desk, reference, Refusal.EXCESSIVE, "Too late.", DPO)
    assert error.value.code == "already_served"


async def test_of_two_staff_at_once_one_decides(court: Court) -> None:
    """A variant without the compare-and-set writes both letters: seen below."""
    reference = await entered(court, someone(), "access")
    both = (
        deciding.refuse(court.desk, reference, Refusal.EXCESSIVE, "The tenth.", DPO),
        deciding.extend(court.desk, reference, ExtensionReason.VOLUME, "Much.", "dpo.other"),
    )
    outcomes = await asyncio.gather(*both, return_exceptions=True)
    case = await court.case(reference)
    told = set(await letters(court, reference))
    assert case["answer"] == "refused" or not isinstance(outcomes[0], dict)
    assert ("extension-1" in told) is case.get("extended", False)
    assert ("refusal-1" in told) is (case["answer"] == "refused")


class _Unguarded:
    """Cases that change whatever became of them since they were read, letter apart from change: the broken variant."""

    def __init__(self, cases: Any) -> None:
        self._cases = cases

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cases, name)

    async def change_and_write(self, case: Any, changes: Any, mail: Any, *unset: str) -> bool:
        await self._cases.put_mail(mail)
        await self._cases.change(case, changes, *unset)
        return True


async def test_the_unguarded_variant_is_caught(court: Court) -> None:
    reference = await entered(court, someone(), "access")
    stale = await court.case(reference)

    class _Stale(_Unguarded):
        async def get(self, _: str) -> Any:
            return stale

    await deciding.refuse(court.desk, reference, Refusal.EXCESSIVE, "The tenth.", DPO)
    broken = replace(court.desk, cases=_Stale(court.desk.cases))  # type: ignore[arg-type]
    await deciding.extend(broken, reference, ExtensionReason.VOLUME, "Much.", DPO)
    told, case = set(await letters(court, reference)), await court.case(reference)
    assert "extension-1" in told
    assert "extended" not in case


# ---------------------------------------------------------------------- identity


async def test_the_clock_stands_still_while_identity_is_awaited(bench: Bench, court: Court) -> None:
    bench.clock.at = datetime(2026, 11, 2, 10, tzinfo=UTC)
    reference = await entered(court, someone())
    bench.clock.at = datetime(2026, 11, 4, 10, tzinfo=UTC)
    for _ in range(2):
        await deciding.ask_identity(court.desk, reference, "The name differs from the one on file.", DPO)
    assert "The name differs from the one on file." in (await letters(court, reference))["identity-1"]
    assert (await court.run(reference))["answer"] == "identity_pending"
    bench.clock.at = datetime(2026, 11, 14, 10, tzinfo=UTC)
    for _ in range(2):
        case = await deciding.identity_proved(court.desk, reference, DPO)
    assert case["due_on"] == "2026-12-14", "ten days more, the 12th being a Saturday"
    await advance(court.desk, reference)
    assert (await court.case(reference))["answer"] == "accepted"
    kinds = [kind for kind, _ in noted(bench, reference)]
    assert (kinds.count("identity_asked"), kinds.count("identity_checked")) == (1, 1)


async def test_identity_that_was_not_asked_for_proves_nothing(court: Court) -> None:
    reference = await entered(court, someone())
    with pytest.raises(CannotDecide, match="no proof of identity"):
        await deciding.identity_proved(court.desk, reference, DPO)


# ---------------------------------------------------------------------- holds


def in_a_year(court: Court) -> date:
    return civil_day(court.desk.services.clock()) + timedelta(days=365)


async def test_what_is_held_is_kept_with_its_ground_until_the_hold_is_lifted(bench: Bench, court: Court) -> None:
    ada = someone()
    await bench.send(form(Case.CONTACT, ada))
    reference = await entered(court, ada)
    until = in_a_year(court)
    for _ in range(2):
        await deciding.hold(court.desk, reference, GROUND, until, DPO)
    await court.confirm(reference)
    await court.run(reference)
    task = (await court.tasks(reference))["controller"]
    assert task["outcome"] == "partly-retained"
    assert all(one["ground"] == GROUND and one["until"] == until.isoformat() for one in task["entry"]["collections"])
    assert bench.collection("submissions"), "held"
    assert not await bench.read(ada.email, Purpose.PROVIDE_SERVICES), "held is not used"

    await mails_leave(court, reference)
    case = await settled(court, reference)
    assert case["proof"] == "closed"
    for _ in range(2):
        await deciding.lift(court.desk, reference, DPO)
    for name in ("submissions", "links", "persons"):
        assert bench.collection(name) == [], name
    assert all("destroyed_at" in key for key in bench.collection("keys", "keys") if key["_id"].endswith("/active"))
    kinds = [kind for kind, _ in noted(bench, reference)]
    assert (kinds.count("hold_set"), kinds.count("hold_lifted")) == (1, 1)


async def test_two_holds_on_one_person_are_lifted_one_by_one(bench: Bench, court: Court) -> None:
    ada = someone()
    await bench.send(form(Case.CONTACT, ada))
    erasing, seeing = await entered(court, ada), await entered(court, ada, "access")
    for reference in (erasing, seeing):
        await deciding.hold(court.desk, reference, GROUND, in_a_year(court), DPO)
    await court.confirm(erasing)
    await court.run(erasing)
    await deciding.lift(court.desk, erasing, DPO)
    assert bench.collection("submissions"), "the other hold stands"
    await deciding.lift(court.desk, seeing, DPO)
    assert bench.collection("submissions") == []


async def test_hold_and_destruction_meet_in_one_key(bench: Bench, court: Court) -> None:
    """Whichever comes first, the other sees it: never a key that is held and gone."""
    for _ in range(20):
        ada = someone()
        await bench.send(form(Case.CONTACT, ada))
        reference = await entered(court, ada)
        keys = await own_store.active_keys(court.desk.services, [ada.email])
        await asyncio.gather(
            deciding.hold(court.desk, reference, GROUND, in_a_year(court), DPO),
            court.desk.services.forgetting.forget(ada.email),
            return_exceptions=True,
        )
        [key] = [one for one in bench.collection("keys", "keys") if one["_id"] in keys]
        assert ("hold" in key) is ("wrapped" in key)
        assert ("hold" in await court.case(reference)) is ("hold" in key)


async def test_nothing_held_cannot_be_held_back(court: Court) -> None:
    reference = await entered(court, someone())
    with pytest.raises(CannotDecide, match="holds nothing"):
        await deciding.hold(court.desk, reference, GROUND, in_a_year(court), DPO)
    with pytest.raises(CannotDecide, match="future"):
        await deciding.hold(court.desk, reference, GROUND, civil_day(court.desk.services.clock()), DPO)
    with pytest.raises(InvalidBody):
        await deciding.hold(court.desk, reference, "<script>", in_a_year(court), DPO)


# ---------------------------------------------------------------------- doubt


async def doubtful(court: Court, store: str = "gb") -> str:
    """A case whose store says it erased, and still holds the person when it is looked at."""

    def lies(entry: dict[str, Any]) -> dict[str, Any]:
        if entry["ask"] == "look":
            return {"outcome": "done", "collections": [{"name": "customers", "matched": 3}]}
        return erased(3)(entry)

    court.stores[store].answer = lies
    reference = await entered(court, someone(), confirmed="yes")
    await court.run(reference)
    await settled(court, reference)
    assert (await court.tasks(reference))[store]["state"] == "doubtful"
    return reference


async def test_a_store_in_doubt_is_asked_again_and_what_it_said_before_is_void(court: Court) -> None:
    reference = await doubtful(court)
    before = await court.desk.cases.receipts_of(reference)
    court.stores["gb"].answer = erased(3)
    await deciding.settle(court.desk, reference, "gb", "again", "restored backup found", DPO)
    task = (await court.tasks(reference))["gb"]
    assert (task["state"], "entry" in task) == ("waiting", False)

    old = next(one for one in before if one["store"] == "gb")
    await court.take("gb", replayed(court, "gb", old["jws"]))
    assert (await court.tasks(reference))["gb"]["state"] == "waiting", "what was in doubt is no answer any more"
    await court.post()
    await court.deliver()
    await mails_leave(court, reference)
    await court.run(reference)
    case = await settled(court, reference)
    assert case["proof"] == "closed"
    task = (await court.tasks(reference))["gb"]
    assert (task["state"], task["attempt"] > 1) == ("proved", True)
    assert task["receipt"] != old["_id"]


def replayed(court: Court, store: str, jws: str) -> str:
    """A receipt sent once more, as whoever kept it may."""
    return seal(json.dumps({"receipt": jws, "copies": {}}).encode(), court.stores[store].controller)


async def test_what_is_not_void_would_be_believed_again(court: Court) -> None:
    """The variant that forgets up to which attempt a store was in doubt is caught by the replay."""
    reference = await doubtful(court)
    await deciding.settle(court.desk, reference, "gb", "again", "restored backup found", DPO)
    await court.desk.cases.change_task((await court.tasks(reference))["gb"], {}, "void_attempts")
    old = next(one for one in await court.desk.cases.receipts_of(reference) if one["store"] == "gb")
    await court.take("gb", replayed(court, "gb", old["jws"]))
    assert (await court.tasks(reference))["gb"]["state"] == "receipted"


async def test_a_store_in_doubt_may_be_accepted_with_a_reason(bench: Bench, court: Court) -> None:
    reference = await doubtful(court)
    for _ in range(2):
        await deciding.settle(court.desk, reference, "gb", "accept", "three test records, seen on the spot", DPO)
    await mails_leave(court, reference)
    assert (await settled(court, reference))["proof"] == "closed"
    [details] = [details for kind, details in noted(bench, reference) if kind == "doubt_settled"]
    assert (details["store"], details["decision"], details["by"]) == ("gb", "accept", DPO)
    assert "proof" not in (await court.tasks(reference))["gb"], "accepted is not proved by anybody's look"


async def test_our_own_store_can_be_asked_again(bench: Bench, court: Court) -> None:
    ada = someone()
    reference = await entered(court, ada, confirmed="yes")
    await court.run(reference)
    task = (await court.tasks(reference))["controller"]
    await court.desk.cases.change_task(task, {"state": "doubtful", "reason": "look_disagrees"})
    later = court.desk.services.clock() + timedelta(minutes=1)
    await bench.send(form(Case.CONTACT, ada, received=later))
    bench.clock.at = later + timedelta(minutes=1)
    await deciding.settle(court.desk, reference, "controller", "again", "written to us once more", DPO)
    await court.run(reference)
    task = (await court.tasks(reference))["controller"]
    assert (task["state"], task["outcome"]) == ("receipted", "done")
    assert bench.collection("submissions") == []


async def test_only_doubt_can_be_settled(court: Court) -> None:
    reference = await entered(court, someone(), confirmed="yes")
    for store, code in (("gb", "not_doubtful"), ("xx", "unknown_store")):
        with pytest.raises(CannotDecide) as error:
            await deciding.settle(court.desk, reference, store, "accept", "no doubt", DPO)
        assert error.value.code == code
    with pytest.raises(CannotDecide, match="no such case"):
        await deciding.settle(court.desk, "R-2222-2222-2222", "gb", "accept", "no doubt", DPO)
