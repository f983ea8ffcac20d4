"""People and offices as they are: several addresses and devices, an office away for days, letters that mislead."""

from __future__ import annotations

from datetime import timedelta

import pytest

from schemas.errors import InvalidBody, InvalidMessage
from schemas.terms import Case, Purpose
from tests.factories import choice, form, someone, visit
from tests.workers.bench import Bench
from tests.workers.cases.court import Court, erased, settled
from tests.workers.cases.test_deciding import entered, letters
from workers.cases.deciding import CannotDecide
from workers.cases.engine import advance

ADA = someone("Ada")
OTHERS = [someone("Ada") for _ in range(4)]
"""Ada's other addresses."""
BO = someone("Bo")


async def test_five_addresses_and_three_devices_are_one_erasure(bench: Bench, court: Court) -> None:
    """R19: one case, one order to each store, one letter; and nothing of her is left under any of them."""
    devices = ["device-one", "device-two", "device-three"]
    for device in devices:
        await bench.send(choice(device))
        await bench.send(visit(device))
    for whom, device in zip((ADA, *OTHERS), [*devices, None, None], strict=True):
        await bench.send(form(Case.CONTACT, whom, **({"device_id": device} if device else {})))
    await bench.send(form(Case.CONTACT, BO))
    asked = []
    court.stores["de"].answer = lambda entry: asked.append(entry["person"]["emails"]) or erased(5)(entry)

    reference = await entered(court, ADA, confirmed="yes", also=[one.email.upper() for one in OTHERS])
    await court.run(reference)
    tasks = await court.tasks(reference)
    assert tasks["controller"]["outcome"] == "done"
    assert {len(emails) for emails in asked} == {5}
    for whom in (ADA, *OTHERS):
        assert await bench.read(whom.email) == []
    assert bench.collection("visits") == []
    assert [one["case"] for one in bench.collection("submissions")] == ["contact"], "Bo's alone"
    assert len(bench.collection("persons")) == 1
    assert set(await letters(court, reference)) == {"acknowledgement-1", "answer-1"}


async def test_an_address_that_nobody_proved_is_not_searched_for(court: Court) -> None:
    with pytest.raises(InvalidBody) as refused:
        await entered(court, ADA, also=[BO.email])
    assert [problem.pointer for problem in refused.value.problems] == ["/also"]


async def test_addresses_join_an_open_case_until_it_is_served(court: Court) -> None:
    reference = await entered(court, ADA)
    assert await entered(court, ADA, confirmed="yes", also=[OTHERS[0].email]) == reference
    await advance(court.desk, reference)
    case = await court.case(reference)
    person = await court.desk.identifiers(case)
    assert case["proof"] == "served"
    assert person is not None
    assert person["emails"] == [ADA.email, OTHERS[0].email]
    with pytest.raises(CannotDecide, match="of their own"):
        await entered(court, ADA, confirmed="yes", also=[OTHERS[1].email])


async def test_an_answer_goes_to_the_address_that_was_proved_whatever_the_request_says(
    bench: Bench, court: Court
) -> None:
    """Asking to be answered elsewhere is how a stranger would get at somebody's data."""
    await bench.send(form(Case.CONTACT, ADA))
    reference = await court.ask("access", ADA.email, details=f"I have moved: please answer to {BO.email} instead.")
    await court.confirm(reference)
    assert (await court.run(reference))["answer"] == "answered"
    key = await court.desk.case_key(reference)
    assert key is not None
    found = [await court.desk.cases.mail(mail["_id"]) for mail in await court.desk.cases.mails_of(reference)]
    whole = [key.open(f"mails/{mail['_id']}", bytes(mail["sealed"])) for mail in found if mail]
    assert len(whole) >= 2
    assert all(f"To: {ADA.email}".encode() in one for one in whole)
    assert not any(BO.email.encode() in one for one in whole)


async def test_an_office_that_is_away_for_ten_days_is_asked_again_and_then_proves(bench: Bench, court: Court) -> None:
    """Its orders wait in MongoDB and are made anew; one that lay in its queue for more than a week is refused there."""
    began = bench.clock.at = court.desk.services.clock()
    await bench.send(form(Case.CONTACT, ADA))
    reference = await court.ask("erasure", ADA.email)
    await court.confirm(reference)
    away, found = court.stores["us"].answer, []
    court.stores["us"].answer = None
    for day in range(10):
        bench.clock.at = began + timedelta(days=day)
        await court.post()
        found += [token for store, token in court.posted if store == "us"]
        await court.deliver()
        await advance(court.desk, reference)
    case = await court.case(reference)
    assert (case["answer"], case["proof"]) == ("accepted", "served")
    assert (await court.tasks(reference))["gb"]["state"] == "receipted", "the others did not wait for it"
    assert len(found) >= 8, "asked again each day"

    with pytest.raises(InvalidMessage, match="expired"):
        court.order("us", found[0])
    court.stores["us"].answer = away
    bench.clock.at = began + timedelta(days=11)
    case = await court.run(reference)
    assert (case["answer"], case["proof"]) == ("answered", "receipted")
    assert case["answered_at"] < case["answer_by"]
    for mail in await court.desk.cases.mails_of(reference):
        await court.desk.cases.mail_done(mail["_id"], "sent", court.desk.services.clock())
    assert (await settled(court, reference))["proof"] == "closed"
    assert await bench.read(ADA.email, Purpose.PROVIDE_SERVICES) == []
