"""A worker is killed in the middle of a chore: the tick comes back, and all that was due is gone once. P2, P9; R14."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from schemas.routes import NEWSLETTER, RETENTION
from schemas.terms import Case
from schemas.ticks import SCHEDULE, UNCONFIRMED_SUBSCRIPTIONS, tick
from tests import factories
from tests.installation import installed
from tests.journeys.senders import Sender
from tests.waiting import until
from workers.services import utc_now

SUBSCRIPTIONS = 450
"""More than one part of the chore."""


@pytest.mark.slow  # the wait for a dead worker's message, half a minute
async def test_a_chore_whose_worker_is_killed_is_done_by_another(fast_path: Path) -> None:
    now = utc_now()
    long_ago = now - timedelta(days=10)
    never_confirmed = [
        factories.form(Case.NEWSLETTER, factories.someone(), received=long_ago) for _ in range(SUBSCRIPTIONS)
    ]
    planned = SCHEDULE[UNCONFIRMED_SUBSCRIPTIONS].latest(now)
    env = {"GREFFIER_HEARTBEAT_MS": "1000"}
    async with installed(fast_path / "system", doors=0, controllers=1, env=env) as system:
        sender = Sender(system)
        sender.post(NEWSLETTER, *never_confirmed)
        with system.mongo() as mongo:
            active, evidence, keys = mongo.greffier_active, mongo.greffier_evidence, mongo.greffier_keys
            await until(lambda: active.submissions.count_documents({}) == SUBSCRIPTIONS, 60, what="all are kept")
            sender.post(RETENTION, tick(UNCONFIRMED_SUBSCRIPTIONS, planned, now))
            await until(lambda: active.submissions.count_documents({}) < SUBSCRIPTIONS, 30, what="it has begun")
            system.controllers[0].kill9()
            left, [begun] = active.submissions.count_documents({}), list(evidence.ticks.find())
            assert 0 < left < SUBSCRIPTIONS
            assert "done" not in begun
            await until(lambda: evidence.ticks.count_documents({"done": {"$exists": True}}), 90, what="it is done")
            sender.post(RETENTION, tick(UNCONFIRMED_SUBSCRIPTIONS, planned, now))
            await sender.at_rest()
            assert [active[name].count_documents({}) for name in ("submissions", "persons", "parked")] == [0, 0, 0]
            assert keys.keys.count_documents({"wrapped": {"$exists": True}}) == 0
            assert evidence.ticks.count_documents({}) == 1
