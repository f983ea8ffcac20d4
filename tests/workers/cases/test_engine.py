"""A case from request to proof."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from datetime import timedelta
from typing import Any

import bson
from pymongo import MongoClient

from schemas.terms import Case, Purpose, TransferBasis
from tests.factories import NOON, confirmed, form, someone
from tests.workers.bench import Bench
from tests.workers.cases.court import Court, erased, mails_leave, settled
from workers.cases.deciding import settle
from workers.cases.receiving import receive
from workers.cases.reconciler import reconcile
from workers.services import utc_now

HOUR = timedelta(hours=1)
ADA = someone("Ada")
BO = someone("Bo")


async def test_an_erasure_is_served_everywhere_and_closes_on_proof(bench: Bench, court: Court) -> None:
    """P6: every store answers, is looked at again, and only then is the case closed."""
    await bench.send(form(Case.CONTACT, ADA))
    court.stores["de"].answer = erased(3)

    reference = await court.ask("erasure", ADA.email)
    assert (await court.case(reference))["answer"] == "received"
    await court.confirm(reference)
    case = await court.run(reference)
    assert (case["answer"], case["proof"]) == ("answered", "receipted")

    await mails_leave(court, reference)
    case = await settled(court, reference)
    assert (case["answer"], case["proof"]) == ("answered", "closed")
    tasks = await court.tasks(reference)
    assert {store: task["state"] for store, task in tasks.items()} == dict.fromkeys(
        ("controller", "de", "gb", "us"), "proved"
    )
    assert tasks["controller"]["proof"] == "verified"
    assert tasks["de"]["proof"] == "attested"
    assert tasks["controller"]["entry"]["outcome"] == "done"
    assert await court.desk.identifiers(case) is None, "the case key is destroyed at the end"
    keys = [key for key in bench.collection("keys", "keys") if key["_id"].startswith(reference)]
    assert ["destroyed_at" in key for key in keys] == [True], "a case has one key, and none when it has ended"


async def test_who_comes_back_before_the_look_is_no_leftover(bench: Bench, court: Court) -> None:
    """The look asks what the erasure left behind, not whether anybody of that address is there again."""
    await bench.send(form(Case.CONTACT, ADA))
    reference = await court.ask("erasure", ADA.email)
    await court.confirm(reference)
    await court.run(reference)
    await bench.send(form(Case.CONTACT, ADA, received=utc_now() + timedelta(minutes=1)))
    assert await bench.read(ADA.email)

    await settled(court, reference)
    own = (await court.tasks(reference))["controller"]
    assert (own["state"], own["look"]["collections"]) == ("proved", [])
    assert await bench.read(ADA.email), "and nobody was erased for it"


async def test_a_silent_store_keeps_the_case_open(court: Court) -> None:
    court.stores["us"].answer = None
    reference = await court.ask("erasure", ADA.email)
    await court.confirm(reference)
    case = await court.run(reference)
    assert (case["answer"], case["proof"]) == ("accepted", "served")
    assert (await court.tasks(reference))["us"]["state"] == "waiting"


async def test_word_of_a_receipt_may_be_lost(court: Court) -> None:
    """Nobody wakes the case when the last answer is in: the reconciler finds it all the same, within the day."""
    reference = await court.ask("erasure", ADA.email)
    await court.confirm(reference)
    await court.post()
    for store, token in court.posted:
        await receive(court.desk, store, str(court.receipt(store, token)))
    assert (await court.case(reference))["proof"] == "served"

    court.woken.clear()
    services = court.desk.services
    court.desk = replace(court.desk, services=replace(services, clock=lambda: utc_now() + timedelta(hours=2)))
    await reconcile(court.desk)
    assert reference in court.woken


async def test_a_lying_store_keeps_the_case_open(court: Court) -> None:
    """It says it erased, and still holds the person when it is looked at."""

    def lies(entry: dict[str, Any]) -> dict[str, Any]:
        if entry["ask"] == "look":
            return {"outcome": "done", "collections": [{"name": "customers", "matched": 3}]}
        return erased(3)(entry)

    court.stores["gb"].answer = lies
    reference = await court.ask("erasure", ADA.email)
    await court.confirm(reference)
    await court.run(reference)
    case = await settled(court, reference)
    assert (case["answer"], case["proof"]) == ("answered", "receipted")
    task = (await court.tasks(reference))["gb"]
    assert (task["state"], task["reason"]) == ("doubtful", "look_disagrees")


async def test_objection_needs_no_link_and_holds_at_once(bench: Bench, court: Court) -> None:
    await bench.send(form(Case.CONTACT, ADA))
    assert await bench.read(ADA.email, Purpose.SALES_PROSPECTING)
    reference = await court.ask("objection", ADA.email)
    assert not await bench.read(ADA.email, Purpose.SALES_PROSPECTING)
    assert await bench.read(ADA.email, Purpose.PROVIDE_SERVICES)
    assert (await court.run(reference))["answer"] == "answered"


async def test_an_objection_that_joins_an_open_case_counts_from_its_own_moment(bench: Bench, court: Court) -> None:
    """Who subscribed again while the first was being served, and objects again, is not written to. Source: P10."""
    at = bench.clock.at = NOON
    court.stores["gb"].answer = None
    first = await court.ask("objection", ADA.email)
    subscribed = form(Case.NEWSLETTER, ADA, received=at + HOUR)
    bench.clock.at = at + 3 * HOUR
    await bench.send(subscribed, confirmed(subscribed, at + 2 * HOUR))
    assert await bench.read(ADA.email, Purpose.SALES_PROSPECTING)
    await court.run(first)
    assert await bench.read(ADA.email, Purpose.SALES_PROSPECTING), "serving the first goes by its own moment"
    assert await court.ask("objection", ADA.email) == first
    assert not await bench.read(ADA.email, Purpose.SALES_PROSPECTING)


async def test_the_same_request_twice_is_one_case(court: Court) -> None:
    first = await court.ask("access", ADA.email)
    assert await court.ask("access", ADA.email.upper()) == first
    assert await court.ask("erasure", ADA.email) != first
    assert len(await court.desk.cases.mails_of(first)) == 1


async def test_a_link_works_once_and_for_its_own_case(court: Court) -> None:
    one, other = await court.ask("erasure", ADA.email), await court.ask("erasure", BO.email)
    link = (await court.case(other))["link"]
    await court.confirm(one, link)
    assert (await court.case(one))["answer"] == "received"
    await court.confirm(one)
    assert (await court.case(one))["answer"] == "accepted"


async def test_nothing_of_the_person_stands_in_evidence_in_the_clear(
    court: Court, mongo_reader: MongoClient[dict[str, Any]], bench: Bench
) -> None:
    reference = await court.ask("erasure", ADA.email, details=f"Please forget {ADA.last_name}.")
    await court.confirm(reference)
    await court.run(reference)
    for collection in mongo_reader[f"{bench.prefix}_evidence"].list_collection_names():
        for document in mongo_reader[f"{bench.prefix}_evidence"][collection].find():
            stored = bson.encode(document).lower()
            assert ADA.email.encode() not in stored, collection
            assert ADA.last_name.lower().encode() not in stored, collection


async def test_access_is_barred_where_no_basis_lives(court: Court) -> None:
    """P8: access is refused and told; erasure goes all the same."""
    _lapse(court, "us")
    reference = await court.ask("access", ADA.email)
    await court.confirm(reference)
    await court.run(reference)
    assert (await court.tasks(reference))["us"]["state"] == "barred"
    erasing = await court.ask("erasure", ADA.email)
    await court.confirm(erasing)
    await court.run(erasing)
    assert (await court.tasks(erasing))["us"]["outcome"] == "nothing-held"


def _lapse(court: Court, code: str) -> None:
    """Let a subsidiary's transfer basis end."""
    services = court.desk.services
    register = services.trust.register
    one = register.subsidiaries[code]
    suspended = one.transfer.model_copy(update={"basis": TransferBasis.SUSPENDED})
    others = {**register.subsidiaries, code: one.model_copy(update={"transfer": suspended})}
    trust = replace(services.trust, register=register.model_copy(update={"subsidiaries": others}))
    court.desk = replace(court.desk, services=replace(services, trust=trust))


async def test_an_access_package_holds_every_store_s_copy(bench: Bench, court: Court) -> None:
    """R17: what the group holds, from every subsidiary, "nothing held" included; sealed until it is fetched."""
    await bench.send(form(Case.CONTACT, ADA))
    record = {"name": ADA.last_name, "city": "Lyon"}
    copy = {"store": "de", "collections": [{"name": "customers", "fields": {"city": "town"}, "records": [record]}]}
    held = {"outcome": "done", "collections": [{"name": "customers", "matched": 1}]}
    court.stores["de"].answer = lambda entry: held if entry["ask"] == "look" else {**held, "copy": copy}

    reference = await court.ask("access", ADA.email)
    await court.confirm(reference)
    assert (await court.run(reference))["answer"] == "answered"

    assert not [one for one in bench.collection("packages.chunks", "evidence") if ADA.last_name.encode() in one["data"]]
    package = await court.desk.packages.get(reference)
    assert package is not None
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        data = json.loads(archive.read("data.json"))
    stores = {store["code"]: store for store in data["stores"]}
    assert set(stores) == {"controller", "de", "gb", "us"}
    assert ADA.street in json.dumps(data, ensure_ascii=False)
    assert "Lyon" in json.dumps(stores["de"])
    assert stores["gb"]["state"] == "nothing-held"


async def test_a_mail_that_is_due_is_handed_out_once_however_far_workers_are_behind(court: Court) -> None:
    """Handed out at each pass, what is due would fill the queue faster than workers that are behind can empty it."""
    reference = await court.ask("erasure", "ada@example.com")
    court.woken.clear()
    for _ in range(3):
        await reconcile(court.desk)
    mails = [one for one in court.woken if one.startswith(f"{reference}/")]
    assert len(mails) == 1
    await court.desk.cases.mail_later(mails[0], court.desk.services.clock())
    await reconcile(court.desk)
    assert court.woken.count(mails[0]) == 2  # it is due anew


async def test_a_store_that_contradicts_itself_at_the_last_moment_keeps_the_case_open(court: Court) -> None:
    """All were found proved and only a letter was owed; then another account of what was done came in."""
    reference = await court.ask("erasure", ADA.email)
    await court.confirm(reference)
    await court.post()
    order = dict(court.posted)["gb"]
    await court.run(reference)
    assert (await settled(court, reference))["proof"] == "verified"

    court.stores["gb"].answer = erased(3)
    await court.take("gb", str(court.receipt("gb", order)))
    await mails_leave(court, reference)
    assert (await court.run(reference))["proof"] == "verified"

    await settle(court.desk, reference, "gb", "again", "restored backup found", "dpo.sample")
    assert (await court.run(reference))["proof"] == "receipted"
    assert (await settled(court, reference))["proof"] == "closed"
