"""After a restore the replay gives up again what had been, keeps what is held, and touches nobody else. R26; P5."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.terms import Case
from tests import factories
from tests.workers.bench import Bench, settings_for
from tests.workers.cases.conftest import court, subsidiary_keys
from tests.workers.cases.court import Court, mails_leave, settled
from workers.cases.desk import CASE
from workers.cases.own_store import active_keys
from workers.drill import drill_controller
from workers.services import Services
from workers.stores.keys import Hold, KeyHeld, key_id
from workers.stores.restoring import Restoring
from workers.stores.tombstones import of_person
from workers.tombstone_replay import Replayed, replay

__all__ = ["court", "subsidiary_keys"]


async def test_a_restored_backup_is_cleared_of_everyone_who_was_erased(bench: Bench) -> None:
    erased, kept, parked = factories.someone(), factories.someone(), factories.someone()
    visited = factories.form(Case.CONTACT, erased)
    await bench.send(visited, factories.contact(Case.CLIENT, erased), factories.form(Case.CONTACT, kept))
    await bench.send(
        factories.form(Case.NEWSLETTER, erased), factories.agreed(erased, factories.Purpose.EVENT_INVITATIONS)
    )
    twice = factories.form(Case.CONTACT, parked, event_id=visited.id)
    await bench.send(twice)  # the same id, another body: parked
    restoring = Restoring(bench.services.databases)
    backup = await restoring.everything()
    for whom in (erased, parked):
        await bench.services.forgetting.forget(whom.email)
    after = bench.dump()
    await restoring.put_back(backup)
    assert any((await bench.services.standing.of(erased.email)).values())
    replayed = await replay(bench.services)
    assert (replayed.people, replayed.letters, replayed.held) == (2, 1, 0)
    assert restored_part(bench.dump()) == restored_part(after)
    assert (await bench.services.standing.of(kept.email))["submissions"] == 1
    again = await replay(bench.services)
    assert (again.people, again.records, again.letters, again.keys) == (0, 0, 0, 0)


async def test_whom_a_worker_only_looked_at_is_not_given_up(bench: Bench) -> None:
    """Their tombstone was proposed when everything stopped, and evidence is not restored."""
    whom = factories.someone()
    await bench.send(factories.form(Case.CONTACT, whom))
    [person] = bench.collection("persons")
    await bench.services.tombstones.propose([of_person(person["_id"])])
    assert (await replay(bench.services)).people == 0
    assert len(await bench.read(whom.email)) == 1


def restored_part(dump: dict[str, list[Any]]) -> dict[str, list[str]]:
    """What stands in the databases that a backup holds; when a key was destroyed may be later."""
    return {
        name: sorted(repr({**one, "destroyed_at": "destroyed_at" in one}) for one in documents)
        for name, documents in dump.items()
        if documents and not name.startswith("evidence.")
    }


async def test_a_hold_younger_than_the_backup_keeps_what_it_kept(court: Court, bench: Bench) -> None:
    whom = factories.someone()
    await bench.send(factories.form(Case.CONTACT, whom))
    restoring = Restoring(bench.services.databases)
    backup = await restoring.everything()
    reference = await court.ask("erasure", whom.email)
    keys = await active_keys(bench.services, [whom.email])
    hold = {"ground": "litigation", "until": "2027-12-31", "keys": keys}
    await court.desk.cases.change(await court.case(reference), {"hold": hold})
    await bench.services.keys.hold(keys, Hold(reference, "litigation", None))
    with pytest.raises(KeyHeld):
        await bench.services.forgetting.forget(whom.email)
    await restoring.put_back(backup)
    replayed = await replay(bench.services)
    assert (replayed.people, replayed.held) == (0, 1)
    assert (await bench.services.standing.of(whom.email))["submissions"] == 1
    assert await bench.services.keys.held(keys) == frozenset(keys)


async def test_the_key_of_a_case_that_has_ended_opens_nothing_again(court: Court, bench: Bench) -> None:
    whom = factories.someone()
    await bench.send(factories.form(Case.CONTACT, whom))
    reference, open_one = await court.ask("erasure", whom.email), await court.ask("access", whom.email)
    backup = await Restoring(bench.services.databases).everything()
    await court.confirm(reference)
    await court.run(reference)
    await mails_leave(court, reference)
    await settled(court, reference)
    assert (await court.case(reference))["proof"] == "closed"
    await Restoring(bench.services.databases).put_back(backup)
    assert await court.desk.identifiers(await court.case(reference)), "the backup opens it again"
    await replay(bench.services)
    assert await court.desk.identifiers(await court.case(reference)) is None
    assert key_id(open_one, CASE) in await bench.services.keys.read([key_id(open_one, CASE)])


# ---------------------------------------------------------------------- the drill


async def test_a_drill_brings_everybody_back_and_leaves_nobody(bench: Bench, mongo_url: str, keys: Any) -> None:
    whom = factories.someone()
    await bench.send(factories.form(Case.CONTACT, whom))
    before = {name: found for name, found in bench.dump().items() if name != "evidence.ledger_pending"}
    drilled = await drill_controller(bench.services, settings_for(mongo_url, bench.prefix, keys), people=5)
    assert drilled.as_json() == {"store": "controller", "people": 5, "back": 5, "left": 0, "passed": True}
    [entry] = bench.collection("ledger_pending", "evidence")
    assert (entry["body"]["kind"], entry["body"]["details"]) == (
        "restore_drilled",
        {"store": "controller", "people": 5, "back": 5, "left": 0},
    )
    assert {name: found for name, found in bench.dump().items() if name != "evidence.ledger_pending"} == before
    assert not [name for name in bench.reader.list_database_names() if name.startswith("drill-")]


async def test_a_drill_without_the_replay_fails_and_says_so(bench: Bench, mongo_url: str, keys: Any) -> None:
    """The broken variants: nothing is replayed; the documents go and the keys stay."""

    async def nothing(_: Services) -> Replayed:
        return Replayed()

    async def documents_alone(services: Services) -> Replayed:
        for name in ("persons", "submissions", "links"):
            await services.databases.active[name].delete_many({})
        return Replayed()

    settings = settings_for(mongo_url, bench.prefix, keys)
    for broken in (nothing, documents_alone):
        drilled = await drill_controller(bench.services, settings, people=3, replayed_by=broken)
        assert (drilled.left, drilled.passed) == (3, False)
    kinds = [one["body"]["details"]["left"] for one in bench.collection("ledger_pending", "evidence")]
    assert kinds == [3, 3], "a failure is evidence too"
