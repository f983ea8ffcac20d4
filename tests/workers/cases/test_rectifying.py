"""R18: corrected everywhere where what the person saw still stands; a conflict is shown, never overwritten."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest

from schemas.errors import InvalidBody
from schemas.ledger_keys import LedgerKeys
from schemas.terms import Case
from tests.factories import Someone, contact, form, someone
from tests.workers.bench import Bench
from tests.workers.cases.court import Court, Entry, letters, mails_leave, settled
from tests.workers.cases.test_consent import HOUR, counted, served
from tests.workers.cases.test_deciding import DPO, entered
from tests.workers.cases.test_evidence_of_cases import checked, ledger_keys, standings
from workers.cases import deciding, opening, rectifying
from workers.cases.showing import whole
from workers.rules.corrections import Judged, Patch, judged

__all__ = ["ledger_keys"]

Corrections = dict[str, Any]


def last_name(was: str | None, to: str) -> Corrections:
    return {"last_name": {"to": to, **({"was": was} if was else {})}}


async def held(bench: Bench, whom: Someone, case: Case = Case.CONTACT) -> dict[str, Any]:
    return await bench.send(form(case, whom, received=bench.clock() - HOUR))


async def asked(court: Court, whom: Someone, corrections: Corrections) -> str:
    return await served(court, whom, "rectification", corrections=corrections)


async def name_of(bench: Bench, whom: Someone) -> str:
    [record] = await bench.read(whom.email)
    return str(record.data["last_name"])


def corrects(entry: Entry) -> Entry:
    assert entry["right"] == "rectification"
    one = {"name": "customers", "matched": len(entry["patches"]), "corrected": len(entry["patches"])}
    return {"outcome": "done", "collections": [one]}


def in_conflict(_: Entry) -> Entry:
    return {"outcome": "conflict", "collections": [{"name": "customers", "matched": 1, "conflicting": 1}]}


async def test_it_is_corrected_everywhere_and_recipients_are_told(
    bench: Bench, court: Court, ledger_keys: LedgerKeys
) -> None:
    ada, bo = someone(), someone()
    wire = await held(bench, ada)
    await held(bench, bo)
    await bench.send(contact(Case.CLIENT, ada, received=bench.clock() - HOUR))
    court.stores["de"].answer = corrects
    corrections = last_name(ada.last_name, "Newname") | {
        "postal_address": {"city": {"was": "Paris", "to": "Lyon"}},
        "position": {"was": "buyer", "to": "Head of buying"},
    }
    reference = await asked(court, ada, corrections)

    tasks = await court.tasks(reference)
    assert counted(tasks["controller"]) == {"submissions": {"matched": 2, "corrected": 2}}
    [shown] = await bench.read(ada.email)
    assert (shown.data["last_name"], shown.data["postal_address"]["city"]) == ("Newname", "Lyon")
    assert shown.data["postal_address"]["street"] == ada.street, "the rest of the address stays"
    contacts = [one for one in bench.collection("submissions") if one["case"] == "contact"]
    assert [one.get("versions") for one in contacts] == [{"last_name": 1, "postal_address-city": 1}, None]
    assert await name_of(bench, bo) == bo.last_name
    await bench.deliver(wire)  # the message that brought it, once more
    assert await name_of(bench, ada) == "Newname"

    answer = (await letters(court, reference))["answer-1"]
    for words in (
        "rectification of personal data",
        "submissions: 2 found, 2 correct now",
        "customers: 3 found, 3 correct now",
        "holds none of the fields you asked to have corrected",
    ):
        assert words in answer
    await mails_leave(court, reference)
    assert (await settled(court, reference))["proof"] == "closed"
    _, report = await checked(court, ledger_keys, reference)
    assert (report.faults, standings(report)["controller"]) == ([], "verified")


async def test_a_patch_on_an_old_version_is_shown_and_overwrites_nothing(
    bench: Bench, court: Court, ledger_keys: LedgerKeys
) -> None:
    ada = someone()
    await held(bench, ada)
    await asked(court, ada, last_name(ada.last_name, "Newname"))
    late = await asked(court, ada, last_name(ada.last_name, "Othername"))
    task = (await court.tasks(late))["controller"]
    assert (task["state"], task["outcome"], task.get("reason")) == ("doubtful", "conflict", "something_else_stands")
    assert counted(task) == {"submissions": {"matched": 1, "conflicting": 1}}
    assert await name_of(bench, ada) == "Newname"
    own = next(one for one in (await whole(court.desk, late))["stores"] if one["store"] == "controller")
    assert (own["outcome"], own["reason"]) == ("conflict", "something_else_stands")
    answer = (await letters(court, late))["answer-1"]
    assert "holds something else than what you told us was wrong, and left it; somebody is looking at it" in answer
    assert "1 left as they are" in answer
    assert "cnil.fr" in answer

    await mails_leave(court, late)
    assert (await settled(court, late))["proof"] == "receipted", "open until somebody has looked"
    await deciding.settle(court.desk, late, "controller", "accept", "what stands was corrected later", DPO)
    await settled(court, late)
    assert "did not correct what it holds" in (await letters(court, late))["answer-2"], "and is told"
    await mails_leave(court, late)
    assert (await settled(court, late))["proof"] == "closed"
    _, report = await checked(court, ledger_keys, late)
    assert (report.faults, standings(report)["controller"]) == ([], "decided")


async def test_two_that_cross_never_overwrite_each_other(bench: Bench, court: Court) -> None:
    """Each is the first in one store and the second in another."""
    ada = someone()
    await held(bench, ada)
    first = await court.ask("rectification", ada.email, corrections=last_name(ada.last_name, "Firstname"))
    second = await court.ask("rectification", ada.email, corrections=last_name(ada.last_name, "Secondname"))
    assert first != second, "two corrections are two things asked for"
    same = await court.ask("rectification", ada.email, corrections=last_name(ada.last_name, "Firstname"))
    assert same == first, "the very same one joins"

    def second_first(entry: Entry) -> Entry:
        return corrects(entry) if entry["patches"][0]["to"] == "Secondname" else in_conflict(entry)

    court.stores["gb"].answer = second_first
    await court.confirm(second)
    await court.confirm(first)
    await court.run(first)
    await court.run(second)
    assert await name_of(bench, ada) == "Secondname"
    told = {reference: await court.tasks(reference) for reference in (first, second)}
    assert [told[one]["controller"]["outcome"] for one in (first, second)] == ["conflict", "done"]
    assert [told[one]["gb"]["outcome"] for one in (first, second)] == ["conflict", "done"]


async def test_a_correction_that_meets_another_in_the_middle_of_writing(
    bench: Bench, court: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = someone()
    await held(bench, ada)
    other = await court.ask("rectification", ada.email, corrections=last_name(ada.last_name, "Quickname"))
    real, once = rectifying._correct, []

    async def meanwhile(*written: Any) -> None:
        if not once:
            once.append(True)
            await court.confirm(other)
        await real(*written)

    monkeypatch.setattr(rectifying, "_correct", meanwhile)
    reference = await asked(court, ada, last_name(ada.last_name, "Slowname"))
    assert await name_of(bench, ada) == "Quickname"
    assert (await court.tasks(reference))["controller"]["outcome"] == "conflict"


async def test_asked_again_once_somebody_has_mended_it(bench: Bench, court: Court) -> None:
    ada = someone()
    await held(bench, ada)
    court.stores["us"].answer = in_conflict
    reference = await asked(court, ada, last_name(ada.last_name, "Newname"))
    assert (await court.tasks(reference))["us"]["state"] == "doubtful"
    court.stores["us"].answer = corrects
    await deciding.settle(court.desk, reference, "us", "again", "the office has mended its row", DPO)
    await court.run(reference)
    assert (await court.tasks(reference))["us"]["outcome"] == "done"
    await settled(court, reference)
    assert "Sopexa Example US Inc" in (await letters(court, reference))["answer-2"]
    await mails_leave(court, reference)
    assert (await settled(court, reference))["proof"] == "closed"


async def test_somebody_erased_is_not_brought_back_by_a_correction(bench: Bench, court: Court) -> None:
    ada = someone()
    await held(bench, ada)
    await served(court, ada, "erasure")
    reference = await asked(court, ada, last_name(ada.last_name, "Newname"))
    assert (await court.tasks(reference))["controller"]["outcome"] == "nothing-held"
    assert bench.collection("submissions") == []
    assert bench.collection("persons") == []


async def test_an_erasure_in_the_middle_of_a_correction_wins(
    bench: Bench, court: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = someone()
    await held(bench, ada)
    real = rectifying._correct

    async def erased_first(*written: Any) -> None:
        await bench.services.forgetting.forget(ada.email)
        await real(*written)

    monkeypatch.setattr(rectifying, "_correct", erased_first)
    reference = await asked(court, ada, last_name(ada.last_name, "Newname"))
    assert (await court.tasks(reference))["controller"]["outcome"] == "nothing-held"
    assert bench.collection("submissions") == []


async def test_what_the_person_said_after_asking_is_left_alone(bench: Bench, court: Court) -> None:
    ada = someone()
    await held(bench, ada)
    reference = await court.ask("rectification", ada.email, corrections=last_name(ada.last_name, "Newname"))
    await bench.send(form(Case.WHITE_PAPER, ada, received=bench.clock() + HOUR))
    await court.confirm(reference)
    assert sorted(one.data["last_name"] for one in await bench.read(ada.email)) == sorted(["Newname", ada.last_name])


async def test_new_values_cross_no_border_without_a_basis(bench: Bench, court: Court) -> None:
    bench.clock.at = bench.clock() + timedelta(days=365 * 6)
    given = {"confirmed": "yes", "corrections": last_name("Muster", "Master")}
    reference = await entered(court, someone(), "rectification", **given)
    assert {store: one["state"] for store, one in (await court.tasks(reference)).items()}["us"] == "barred"


@pytest.mark.parametrize(
    ("right", "corrections"), [("rectification", None), ("rectification", {}), ("erasure", last_name(None, "Newname"))]
)
async def test_a_rectification_says_what_is_wrong_and_nothing_else_does(
    court: Court, right: str, corrections: Corrections | None
) -> None:
    given = {} if corrections is None else {"corrections": corrections}
    with pytest.raises(InvalidBody) as refused:
        await entered(court, someone(), right, **given)
    assert [one.pointer for one in refused.value.problems] == ["/corrections"]


async def test_the_answer_in_french(bench: Bench, court: Court) -> None:
    ada = someone()
    await held(bench, ada)
    corrections = last_name(ada.last_name, "Newname")
    reference = await court.ask("rectification", ada.email, corrections=corrections, language="fr")
    await court.confirm(reference)
    await court.run(reference)
    answer = (await letters(court, reference))["answer-1"]
    assert "détient désormais ce que vous nous avez indiqué" in answer
    assert "désormais exacts : 1" in answer


async def test_what_was_said_stands_in_the_clear_nowhere(bench: Bench, court: Court) -> None:
    ada = someone()
    await held(bench, ada)
    await asked(court, ada, last_name(ada.last_name, "Hiddenname"))
    assert "Hiddenname" not in str(bench.dump())


async def test_one_that_overwrites_whatever_stands_is_caught(
    bench: Bench, court: Court, monkeypatch: pytest.MonkeyPatch, ledger_keys: LedgerKeys
) -> None:
    """The broken variant takes what stands for what the person saw."""

    def overwriting(stands: Iterable[tuple[Patch, Any]]) -> Judged:
        return judged((Patch(patch.name, patch.to, stored), stored) for patch, stored in stands)

    monkeypatch.setattr(rectifying, "judged", overwriting)
    with pytest.raises(AssertionError):
        await test_a_patch_on_an_old_version_is_shown_and_overwrites_nothing(bench, court, ledger_keys)


async def test_two_that_would_join_lose_one_of_them(
    bench: Bench, court: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken variant joins every rectification of one address: the second is never asked of anybody."""
    monkeypatch.setattr(opening, "patches_of", lambda _: [])
    with pytest.raises(AssertionError):
        await test_two_that_cross_never_overwrite_each_other(bench, court)
