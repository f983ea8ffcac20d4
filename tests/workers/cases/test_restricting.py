"""Art. 18: what is held is stored and on no read path, until it is lifted; and the person is told before. P6, R18."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from schemas.ledger_keys import LedgerKeys
from schemas.terms import Case, Department, Purpose, Right
from tests.factories import Someone, contact, form, someone
from tests.workers.bench import Bench
from tests.workers.cases.court import Court, Entry, letters, mails_leave, nothing_held, settled
from tests.workers.cases.test_consent import HOUR, counted, served, subscribed
from tests.workers.cases.test_deciding import DPO, GROUND
from tests.workers.cases.test_evidence_of_cases import checked, ledger_keys, standings
from tests.workers.retention.people import sweep_all
from workers.audience import Audience
from workers.cases import deciding, restricting
from workers.cases.engine import advance
from workers.cases.receiving import Accepted
from workers.cases.showing import whole
from workers.gate import Reader, ReadRefused
from workers.retention.evidence import read_archive
from workers.retention.sweep import look_at_due
from workers.rules.cases import PROOF_LOOK
from workers.stores.suppression import Suppressions

__all__ = ["ledger_keys"]

SALES = Purpose.SALES_PROSPECTING
READER = Reader("mailer", Department.MARKETING_SALES)


@dataclass
class Marking:
    """A store that marks two rows, and takes the mark away when it is asked to."""

    marked: bool = False

    def __call__(self, entry: Entry) -> Entry:
        if entry["ask"] != "look":
            self.marked = entry["ask"] == "serve"
        one = {"name": "customers", "matched": 2}
        return {"outcome": "done", "collections": [one | ({"restricted": 2} if self.marked else {})]}


async def restricted(bench: Bench, court: Court, whom: Someone) -> str:
    """A contact form, its use restricted, answered, and proved by every store."""
    await bench.send(form(Case.CONTACT, whom, received=bench.clock() - HOUR))
    court.stores["de"].answer = Marking()
    reference = await served(court, whom, "restriction")
    await mails_leave(court, reference)
    await settled(court, reference)
    return reference


async def members(bench: Bench) -> list[str]:
    return [one.email async for page in Audience(bench.services, READER, SALES).pages() for one in page.members]


async def test_it_is_stored_and_on_no_read_path(bench: Bench, court: Court) -> None:
    ada, bo = someone(), someone()
    await bench.send(form(Case.CONTACT, bo, received=bench.clock() - HOUR))
    reference = await restricted(bench, court, ada)
    case = await court.case(reference)
    assert (case["answer"], case["proof"]) == ("answered", "verified"), "open as long as it stands"
    own = counted((await court.tasks(reference))["controller"])
    assert own["submissions"] == {"matched": 1, "restricted": 1}
    assert own["links"] == {"matched": 2, "restricted": 2}
    assert (await whole(court.desk, reference))["hold"] == {"ground": "restriction, GDPR Art. 18", "until": None}

    assert await bench.read(ada.email) == []
    assert await members(bench) == [bo.email]
    with pytest.raises(ReadRefused):
        await read_archive(bench.services, Reader("dpo", Department.ADMINISTRATION), ada.email, "a claim")
    assert len(bench.collection("submissions")) == 2, "stored all the same"
    copy = await served(court, ada, "access")  # a right of the person's own is no use of the data
    assert counted((await court.tasks(copy))["controller"])["submissions"] == {"matched": 1}


async def test_what_comes_in_meanwhile_is_kept_and_not_used_either(bench: Bench, court: Court) -> None:
    ada = someone()
    await restricted(bench, court, ada)
    await bench.send(form(Case.WHITE_PAPER, ada, received=bench.clock()))
    assert await bench.read(ada.email) == []
    assert len(bench.collection("submissions")) == 2


async def test_the_end_of_its_period_does_not_take_it_away(bench: Bench, court: Court) -> None:
    ada = someone()
    await restricted(bench, court, ada)
    bench.clock.at = bench.clock() + timedelta(days=365 * 4)
    await sweep_all(bench.services)
    assert len(bench.collection("submissions")) == 1, "the person may need it (Art. 18(1)(c))"


async def test_the_person_is_told_before_it_is_lifted_and_then_it_is_lifted_everywhere(
    bench: Bench, court: Court, ledger_keys: LedgerKeys
) -> None:
    ada = someone()
    reference = await restricted(bench, court, ada)
    await deciding.lift(court.desk, reference, DPO)
    for _ in range(3):
        await court.run(reference)
    assert await bench.read(ada.email) == [], "the letter has not left"
    assert court.posted == []
    notice = (await letters(court, reference))["lifting-1"]
    assert "This restriction is about to end" in notice
    assert "Art. 18(3) GDPR" in notice

    await mails_leave(court, reference)
    await court.run(reference)
    assert len(await bench.read(ada.email)) == 1
    assert await members(bench) == [ada.email]
    tasks = await court.tasks(reference)
    assert counted(tasks["de"]) == {"customers": {"matched": 2}}
    assert (await settled(court, reference))["proof"] == "closed"
    _, report = await checked(court, ledger_keys, reference)
    assert report.faults == []
    assert set(standings(report).values()) == {"verified", "attested"}
    await deciding.lift(court.desk, reference, DPO)  # said twice


async def test_a_store_that_leaves_the_mark_is_found_out(bench: Bench, court: Court) -> None:
    ada = someone()
    reference = await restricted(bench, court, ada)
    one = {"name": "customers", "matched": 2}

    def forgets(entry: Entry) -> Entry:
        return {"outcome": "done", "collections": [one | ({"restricted": 2} if entry["ask"] == "look" else {})]}

    court.stores["de"].answer = forgets
    await deciding.lift(court.desk, reference, DPO)
    await mails_leave(court, reference)
    await court.run(reference)
    await settled(court, reference)
    assert (await court.tasks(reference))["de"]["state"] == "doubtful"


async def test_lifted_while_a_store_never_answered(bench: Bench, court: Court) -> None:
    ada = someone()
    court.stores["us"].answer = None
    reference = await restricted(bench, court, ada)
    with pytest.raises(deciding.CannotDecide) as early:
        await deciding.lift(court.desk, reference, DPO)
    assert early.value.code == "not_answered"
    case = await court.case(reference)
    await court.desk.cases.change(case, {"answer_by": bench.clock()})  # its day has come: the answer leaves without it
    await advance(court.desk, reference)
    await mails_leave(court, reference)
    await deciding.lift(court.desk, reference, DPO)
    await mails_leave(court, reference)
    await court.run(reference)
    assert len(await bench.read(ada.email)) == 1


async def test_two_restrictions_are_lifted_one_by_one(bench: Bench, court: Court) -> None:
    ada = someone()
    first = await restricted(bench, court, ada)
    second = await served(court, ada, "restriction")
    assert first != second
    for reference, shown in ((first, 0), (second, 1)):
        await mails_leave(court, reference)
        await deciding.lift(court.desk, reference, DPO)
        await mails_leave(court, reference)
        await court.run(reference)
        assert len(await bench.read(ada.email)) == shown


async def test_a_lifted_restriction_is_proved_while_another_stands(bench: Bench, court: Court) -> None:
    """Also when it is asked about anew: it is not restricted again."""
    ada = someone()
    first = await restricted(bench, court, ada)
    second = await served(court, ada, "restriction")
    await deciding.lift(court.desk, first, DPO)
    await mails_leave(court, first)
    await court.run(first)
    assert (await settled(court, first))["proof"] == "closed"
    own = (await court.tasks(first))["controller"]
    assert (own["state"], own["look"]["collections"][0].get("restricted")) == ("proved", None)
    assert list((await bench.services.suppressions.restricting([ada.email]))[ada.email]) == [second]


async def test_whoever_lies_about_a_lifting_is_asked_to_lift_again(bench: Bench, court: Court) -> None:
    ada = someone()
    reference = await restricted(bench, court, ada)
    store = court.stores["de"].answer
    assert isinstance(store, Marking)
    await deciding.lift(court.desk, reference, DPO)
    await mails_leave(court, reference)
    await court.run(reference)
    store.marked = True
    await settled(court, reference)
    assert (await court.tasks(reference))["de"]["reason"] == "look_disagrees"
    await deciding.settle(court.desk, reference, "de", "again", "it is marked still", DPO)
    await court.run(reference)
    assert not store.marked
    assert (await settled(court, reference))["proof"] == "closed"


async def test_an_erasure_is_proved_though_a_later_one_is_held(bench: Bench, court: Court) -> None:
    ada = someone()
    await bench.send(form(Case.CONTACT, ada, received=bench.clock() - HOUR))
    first = await served(court, ada, "erasure")
    on_time = replace(bench, services=replace(bench.services, skew=timedelta()))
    await on_time.send(form(Case.CONTACT, ada, received=bench.clock()))
    await served(court, ada, "restriction")
    second = await served(court, ada, "erasure")
    assert second != first
    assert (await court.tasks(second))["controller"]["outcome"] == "partly-retained"
    await mails_leave(court, first)
    assert (await settled(court, first))["proof"] == "closed"


async def lifted(court: Court, reference: str) -> None:
    """The person is told, and the stores are asked."""
    await deciding.lift(court.desk, reference, DPO)
    await mails_leave(court, reference)
    await court.run(reference)


async def test_a_receipt_of_before_the_lifting_that_comes_again_contradicts_nothing(
    bench: Bench, court: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the restriction, and of the look at it: the store has been asked anew since."""
    said: list[tuple[str, str]] = []
    take = court.take

    async def and_keep(store: str, token: str) -> Accepted:
        said.append((store, token))
        return await take(store, token)

    monkeypatch.setattr(court, "take", and_keep)
    reference = await restricted(bench, court, someone())
    before = list(said)
    await lifted(court, reference)
    for store, token in before:
        await take(store, token)
    assert {task["state"] for task in (await court.tasks(reference)).values()} == {"receipted"}
    assert (await settled(court, reference))["proof"] == "closed"


async def test_what_a_withdrawal_could_not_take_goes_when_it_ends(bench: Bench, court: Court) -> None:
    ada = someone()
    await subscribed(bench, ada)
    reference = await restricted(bench, court, ada)
    withdrawal = await served(court, ada, "withdrawal")
    assert counted((await court.tasks(withdrawal))["controller"])["submissions"]["retained"] == 1
    await look_at_due(bench.services)
    assert len(bench.collection("submissions")) == 2
    bench.clock.at = bench.clock() + timedelta(days=7)
    await lifted(court, reference)
    await look_at_due(bench.services)
    assert [one["case"] for one in bench.collection("submissions")] == ["contact"]
    took = await bench.services.disposals.no_to_deletion()
    assert took is not None
    assert took.longest_s == 0, "it counts from the end of the restriction"


@pytest.mark.parametrize("right", ["withdrawal", "erasure"])
async def test_what_it_keeps_is_done_and_told_when_it_ends(
    bench: Bench, court: Court, ledger_keys: LedgerKeys, right: str
) -> None:
    """Without the person asking again: the case is proved and answered, and closed only then."""
    ada = someone()
    await subscribed(bench, ada)
    restriction = await restricted(bench, court, ada)
    reference = await served(court, ada, right)
    kept = counted((await court.tasks(reference))["controller"])["submissions"]
    assert (kept.get("erased", 0), kept["retained"]) == (0, kept["matched"])
    await look_at_due(bench.services)
    assert len(bench.collection("submissions")) == 2
    await mails_leave(court, reference)
    case = await settled(court, reference)
    assert (case["answer"], case["proof"]) == ("answered", "verified")
    assert case["wake_at"] <= bench.clock() + PROOF_LOOK, "should word of the lifting be lost"

    await lifted(court, restriction)
    assert reference in court.woken
    took = (await court.run(reference)).get("receipts_took_ms")
    assert took == case.get("receipts_took_ms"), "what the restriction took is nobody's delay"
    gone = counted((await court.tasks(reference))["controller"])["submissions"]
    assert gone == {"matched": kept["matched"], "erased": kept["matched"]}
    assert [one["case"] for one in bench.collection("submissions")] == ["contact"] * (right == "withdrawal")
    assert "answer-2" in await letters(court, reference)
    await mails_leave(court, reference)
    assert (await settled(court, reference))["proof"] == "closed"
    _, report = await checked(court, ledger_keys, reference)
    assert report.faults == []


async def test_what_two_restrictions_keep_is_done_when_the_last_ends(bench: Bench, court: Court) -> None:
    """Also one that was asked for after the withdrawal."""
    ada = someone()
    await subscribed(bench, ada)
    first = await restricted(bench, court, ada)
    reference = await served(court, ada, "withdrawal")
    await mails_leave(court, reference)
    second = await served(court, ada, "restriction")
    await mails_leave(court, second)
    court.stores["de"].answer = nothing_held
    for restriction, submissions, proof in ((first, 2, "verified"), (second, 1, "closed")):
        await lifted(court, restriction)
        await look_at_due(bench.services)
        assert len(bench.collection("submissions")) == submissions
        await court.run(reference)
        await mails_leave(court, reference)
        assert (await settled(court, reference))["proof"] == proof


async def came_back(bench: Bench, court: Court, whom: Someone) -> None:
    """Erased, or to be when a hold ends, and back by a form of their own at once, as somebody new."""
    await served(court, whom, "erasure")
    on_time = replace(bench, services=replace(bench.services, skew=timedelta()))
    await on_time.send(form(Case.CONTACT, whom, received=bench.clock()))


async def test_a_letter_about_them_goes_with_what_it_kept(bench: Bench, court: Court) -> None:
    """What the CRM sent after an erasure is parked; the next one is to take it too."""
    ada = someone()
    await bench.send(form(Case.CONTACT, ada, received=bench.clock() - HOUR))
    await came_back(bench, court, ada)
    await bench.send(contact(Case.CLIENT, ada, received=bench.clock()))
    restriction = await served(court, ada, "restriction")
    await mails_leave(court, restriction)
    reference = await served(court, ada, "erasure")
    assert len(bench.collection("parked")) == 1
    await lifted(court, restriction)
    await court.run(reference)
    assert bench.collection("parked") == []


async def test_one_asked_for_later_keeps_what_another_kept_from_an_erasure(bench: Bench, court: Court) -> None:
    """Though they came back since."""
    ada = someone()
    first = await restricted(bench, court, ada)
    await came_back(bench, court, ada)
    second = await served(court, ada, "restriction")
    await mails_leave(court, second)
    for restriction, left in ((first, 2), (second, 1)):
        await lifted(court, restriction)
        assert len(bench.collection("submissions")) == left


async def test_what_a_second_worker_finds_more_is_not_held_for_ever(bench: Bench, court: Court) -> None:
    """They came back between the two."""
    ada = someone()
    reference = await restricted(bench, court, ada)
    await came_back(bench, court, ada)
    case, task = await court.case(reference), (await court.tasks(reference))["controller"]
    await restricting.restrict(court.desk, case, task, {"emails": [ada.email]})
    await lifted(court, reference)
    assert await bench.services.keys.all_held() == []


async def test_what_it_keeps_beside_a_legal_hold_does_not_wait_for_that(bench: Bench, court: Court) -> None:
    """When the restriction ends the case is closed on what the other hold keeps."""
    ada = someone()
    await subscribed(bench, ada)
    restriction = await restricted(bench, court, ada)
    reference = await court.ask("withdrawal", ada.email)
    until = bench.clock().date() + timedelta(days=400)
    await deciding.hold(court.desk, reference, GROUND, until, DPO)
    await court.confirm(reference)
    await court.run(reference)
    await mails_leave(court, reference)
    assert (await settled(court, reference))["proof"] == "verified"
    await lifted(court, restriction)
    assert (await court.run(reference))["proof"] == "closed"
    assert len(bench.collection("submissions")) == 2


async def test_an_erasure_waits_for_the_end_of_it(bench: Bench, court: Court) -> None:
    ada = someone()
    reference = await restricted(bench, court, ada)
    erasure = await served(court, ada, "erasure")
    own = (await court.tasks(erasure))["controller"]
    assert own["outcome"] == "partly-retained"
    assert counted(own)["submissions"]["ground"] == "restriction, GDPR Art. 18"
    await deciding.lift(court.desk, reference, DPO)
    await mails_leave(court, reference)
    await court.run(reference)
    await court.run(erasure)
    assert (await court.tasks(erasure))["controller"]["outcome"] == "done"
    assert bench.collection("submissions") == []


WORDS = {
    "en": (
        "restriction of the use of personal data",
        "stores what it holds about you and uses it for nothing else",
        "2 no longer used",
        "we will tell you before this ends",
        "This restriction is about to end",
    ),
    "fr": (
        "limitation de l'utilisation des données personnelles",
        "conserve ce qu'elle détient à votre sujet sans l'utiliser",
        "plus utilisés : 2",
        "nous vous préviendrons avant que cela prenne fin",
        "Cette limitation va prendre fin",
    ),
}


@pytest.mark.parametrize("language", WORDS)
async def test_what_the_person_is_told(bench: Bench, court: Court, language: str) -> None:
    ada = someone()
    await bench.send(form(Case.CONTACT, ada, received=bench.clock() - HOUR))
    reference = await court.ask("restriction", ada.email, language=language)
    await court.confirm(reference)
    await court.run(reference)
    answer = (await letters(court, reference))["answer-1"]
    await mails_leave(court, reference)
    await deciding.lift(court.desk, reference, DPO)
    told = answer + (await letters(court, reference))["lifting-1"]
    assert [one for one in WORDS[language] if one not in told] == []


async def test_a_list_that_forgets_it_is_caught(bench: Bench, court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broken variant holds the keys and says so, and restricts no read: our own second look finds it."""

    async def nothing(*_: object) -> None:
        pass

    monkeypatch.setattr(Suppressions, "restrict", nothing)
    reference = await restricted(bench, court, someone())
    assert (await court.tasks(reference))["controller"]["state"] == "doubtful"
    assert Right((await court.case(reference))["right"]).ends_a_use
