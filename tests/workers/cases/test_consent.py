"""A withdrawal of consent, from the request to the closed case: what rests only on it goes, and it is timed. R14."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import pytest

from schemas.ledger_keys import LedgerKeys
from schemas.terms import Case, LawfulBasis, Purpose, Right
from tests.factories import Someone, agreed, confirmed, contact, form, someone
from tests.workers.bench import Bench
from tests.workers.cases.court import Court, Entry, letters, mails_leave, settled
from tests.workers.cases.test_deciding import DPO, GROUND, entered
from tests.workers.cases.test_evidence_of_cases import checked, ledger_keys, standings
from workers.cases import consent, deciding
from workers.cases.engine import advance
from workers.cases.showing import whole
from workers.retention.sweep import look_at_due
from workers.rules.receipts import look_agrees
from workers.services import utc_now
from workers.status import look_around
from workers.stores.forgetting import Forgetting

__all__ = ["ledger_keys"]

SALES = Purpose.SALES_PROSPECTING
HOUR = timedelta(hours=1)


async def subscribed(bench: Bench, whom: Someone, *, ago: timedelta = HOUR) -> dict[str, Any]:
    """A newsletter subscription with its mailed link used; the message that brought it."""
    received = bench.clock() - ago
    asked = form(Case.NEWSLETTER, whom, received=received)
    wire = await bench.send(asked)
    await bench.send(confirmed(asked, received))
    return wire


async def served(court: Court, whom: Someone, right: str = "withdrawal", **more: Any) -> str:
    reference = await court.ask(right, whom.email, language="en", **more)
    await court.confirm(reference)
    await court.run(reference)
    return reference


def counted(task: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: {k: v for k, v in one.items() if k != "name"} for one in task["entry"]["collections"]}


def consented(entry: Entry) -> Entry:
    """A store that held two rows on consent."""
    one = {"name": "subscribers", "matched": 2, "erased": 2}
    left: Entry = {"outcome": "nothing-held", "collections": []}
    return left if entry["ask"] == "look" else {"outcome": "done", "collections": [one]}


async def test_what_rested_only_on_consent_goes_everywhere(bench: Bench, court: Court, ledger_keys: LedgerKeys) -> None:
    ada, bo = someone(), someone()
    for whom in (ada, bo):
        await subscribed(bench, whom)
    await bench.send(form(Case.CONTACT, ada, received=bench.clock() - HOUR))
    court.stores["de"].answer = consented
    reference = await served(court, ada)

    tasks = await court.tasks(reference)
    assert counted(tasks["controller"]) == {
        "submissions": {"matched": 1, "erased": 1},
        "links": {"matched": 2, "erased": 2},
    }
    assert [one["case"] for one in bench.collection("submissions")].count("newsletter") == 1, "bo's stays"
    assert [one.case for one in await bench.read(ada.email, SALES)] == [Case.CONTACT], "it rests on another basis"
    answer = (await letters(court, reference))["answer-1"]
    for words in (
        "withdrawal of consent",
        "subscribers: 2 found, 2 erased",
        "holds nothing that rests on your consent",
        "sales prospecting: this does not rest on your consent",
        "Choices about cookies are kept with your browser",
    ):
        assert words in answer
    shown = (await whole(court.desk, reference))["withdrawal"]
    assert shown["waiting"] == 0
    assert shown["took_ms"] >= 0
    await mails_leave(court, reference)
    assert (await settled(court, reference))["proof"] == "closed"
    _, report = await checked(court, ledger_keys, reference)
    assert report.faults == []
    assert standings(report)["controller"] == "verified"
    state = (await look_around(court.desk.services, bench.redis)).consent_withdrawals
    assert state is not None
    assert (state.answered, state.last_ms, state.waiting) == (1, shown["took_ms"], 0)


async def test_a_silent_store_is_timed_while_it_is_silent(bench: Bench, court: Court) -> None:
    bench.clock.at = utc_now()
    court.stores["gb"].answer = None
    reference = await served(court, someone())
    bench.clock.at += timedelta(minutes=3)
    shown = (await whole(court.desk, reference))["withdrawal"]
    assert (shown["waiting"], shown["took_ms"], shown["so_far_ms"]) == (1, None, 180_000)
    state = (await look_around(court.desk.services, bench.redis)).consent_withdrawals
    assert state is not None
    assert (state.waiting, state.waiting_since) == (1, shown["since"])
    bench.clock.at += timedelta(days=1)
    alarms = (await look_around(court.desk.services, bench.redis)).alarms
    assert any(one.startswith("consents: 1 withdrawal(s) not answered by every store") for one in alarms)


async def test_nothing_is_done_before_the_link_was_used_and_all_at_once_after(bench: Bench, court: Court) -> None:
    ada = someone()
    await subscribed(bench, ada)
    reference = await court.ask("withdrawal", ada.email)
    assert len(await bench.read(ada.email, SALES)) == 1
    await court.confirm(reference)
    assert await bench.read(ada.email, SALES) == [], "before any store has answered"


async def test_withdrawn_twice_is_one_case_and_then_nothing_is_held(bench: Bench, court: Court) -> None:
    ada = someone()
    await subscribed(bench, ada)
    reference = await court.ask("withdrawal", ada.email)
    assert await court.ask("withdrawal", ada.email) == reference, "the open case is joined"
    await court.confirm(reference)
    await court.run(reference)
    again = await served(court, ada)
    assert again != reference
    assert (await court.tasks(again))["controller"]["outcome"] == "nothing-held"


async def test_a_late_message_does_not_bring_it_back_and_a_new_consent_stands(bench: Bench, court: Court) -> None:
    ada = someone()
    wire = await subscribed(bench, ada)
    asked = form(Case.NEWSLETTER, ada, received=bench.clock() - HOUR)  # it was on its way all the time
    await served(court, ada)
    await bench.deliver(wire, "newsletter")
    await bench.send(asked)
    await bench.send(confirmed(asked, bench.clock() - HOUR))
    assert await bench.read(ada.email, SALES) == []
    await subscribed(bench, ada, ago=timedelta())
    assert len(await bench.read(ada.email, SALES)) == 1, "given after the withdrawal"


async def test_an_express_agreement_ends_with_it(bench: Bench, court: Court) -> None:
    ada, invited = someone(), Purpose.EVENT_INVITATIONS
    await bench.send(form(Case.CONTACT, ada, received=bench.clock() - HOUR))
    await bench.send(agreed(ada, invited, bench.clock() - HOUR))
    assert len(await bench.read(ada.email, invited)) == 1
    reference = await served(court, ada)
    assert counted((await court.tasks(reference))["controller"]) == {
        "agreements": {"matched": 1, "erased": 0, "restricted": 1}
    }
    assert await bench.read(ada.email, invited) == []
    assert len(await bench.read(ada.email)) == 1, "the record itself rests on something else"


async def test_a_legal_hold_keeps_the_record_and_says_so(bench: Bench, court: Court) -> None:
    ada = someone()
    await subscribed(bench, ada)
    reference = await court.ask("withdrawal", ada.email)
    until = bench.clock().date() + timedelta(days=400)
    await deciding.hold(court.desk, reference, GROUND, until, DPO)
    await court.confirm(reference)
    await court.run(reference)
    told = counted((await court.tasks(reference))["controller"])
    kept = {"retained": 1, "ground": GROUND, "until": until.isoformat()}
    assert told["submissions"] == {"matched": 1, "erased": 0, **kept}
    assert told["links"] == {"matched": 2, "erased": 0, "restricted": 2}
    assert await bench.read(ada.email, SALES) == [], "kept, and used for nothing"
    await mails_leave(court, reference)
    assert (await settled(court, reference))["proof"] == "closed"
    await deciding.lift(court.desk, reference, DPO)
    await look_at_due(bench.services)
    assert bench.collection("submissions") == [], "what was withdrawn goes with the hold"


async def test_two_workers_say_the_same_though_a_restriction_sets_in_between(
    bench: Bench, court: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One has seen no hold and takes the record, the other sees one and leaves it: what was said first stands."""
    ada, held = someone(), Forgetting._held
    await bench.send(form(Case.CONTACT, ada, received=bench.clock() - HOUR))
    await subscribed(bench, ada)
    restriction, reference = await court.ask("restriction", ada.email), await court.ask("withdrawal", ada.email)

    async def and_then(self: Forgetting, persons: Iterable[str]) -> set[str]:
        found = await held(self, persons)
        monkeypatch.undo()
        await court.confirm(restriction)
        await advance(court.desk, reference)
        return found

    monkeypatch.setattr(Forgetting, "_held", and_then)
    await court.confirm(reference)
    own = (await court.tasks(reference))["controller"]
    assert (own["state"], own["outcome"]) == ("receipted", "partly-retained")
    assert len(bench.collection("receipts", "evidence")) == 3, "of the restriction, and of each worker"


async def test_where_consent_is_one_basis_of_several_only_that_purpose_ends(bench: Bench, court: Court) -> None:
    ada = someone()
    await bench.send(contact(Case.CLIENT, ada, received=bench.clock() - HOUR))
    bench.reader[f"{bench.prefix}_active"]["links"].update_many(
        {"purpose": "event-invitations"}, {"$set": {"basis": LawfulBasis.CONSENT.value}}
    )
    reference = await served(court, ada)
    assert counted((await court.tasks(reference))["controller"]) == {
        "links": {"matched": 1, "erased": 0, "restricted": 1}
    }
    assert await bench.read(ada.email, Purpose.EVENT_INVITATIONS) == []
    assert len(await bench.read(ada.email, Purpose.SALES_INFORMATION)) == 1


async def test_what_staff_enter_counts_from_its_receipt(court: Court) -> None:
    reference = await entered(court, someone(), "withdrawal", days_ago=3, confirmed="yes")
    case = await court.run(reference)
    assert case["withdrawn_at"] == case["received_at"]
    assert case["receipts_took_ms"] > 2 * 24 * 3600 * 1000


async def test_the_answer_in_french(bench: Bench, court: Court) -> None:
    ada = someone()
    await bench.send(form(Case.CONTACT, ada, received=bench.clock() - HOUR))
    reference = await court.ask("withdrawal", ada.email, language="fr")
    await court.confirm(reference)
    await court.run(reference)
    answer = (await letters(court, reference))["answer-1"]
    assert "ne détient rien qui repose sur votre consentement" in answer
    assert "ceci ne repose pas sur votre consentement : son retrait n'y change rien" in answer


def test_rows_that_still_serve_contradict_the_receipt() -> None:
    """The look of a store that says "ended" and did nothing."""
    entry = {"outcome": "done", "collections": [{"name": "customers", "matched": 2, "restricted": 2}]}
    stands = {"outcome": "done", "collections": [{"name": "customers", "matched": 2, "restricted": 1}]}
    assert look_agrees(Right.WITHDRAWAL, entry, entry)
    assert not look_agrees(Right.WITHDRAWAL, entry, stands)


async def test_a_withdrawal_that_only_marks_is_caught(
    bench: Bench, court: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken variant says "erased" and leaves the records where they are: our own second look finds them."""

    async def marks(*asked: Any) -> list[dict[str, Any]]:
        task = asked[2]
        return [{**one, "erased": one["matched"]} for one in task["found"]]

    monkeypatch.setattr(consent, "withdraw", marks)
    ada = someone()
    await subscribed(bench, ada)
    reference = await served(court, ada)
    await settled(court, reference)
    task = (await court.tasks(reference))["controller"]
    assert (task["state"], task["reason"]) == ("doubtful", "look_disagrees")
