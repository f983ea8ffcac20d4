"""P3: an event that the store will not take costs its neighbours nothing, not even much time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from structlog.testing import capture_logs

from schemas.envelope import MAX_EVENTS
from schemas.errors import StoreUnavailable
from schemas.routes import SUBMISSIONS
from schemas.terms import Case
from tests import factories
from tests.workers.bench import Bench
from workers.actors.batches import Arrived
from workers.actors.submissions import keep_submissions
from workers.actors.work import SomeFailed, work
from workers.services import Services


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Unconfigured, structlog draws the traceback of a batch of 500 with all its values: it takes half a minute."""
    with capture_logs():
        yield


class Fussy:
    """Keeps as the actor does, but for events that it will not have. ``bulks``: the size of each call."""

    def __init__(self, error: Exception, *refused: str) -> None:
        self.error = error
        self.refused = set(refused)
        self.bulks: list[int] = []

    async def keep(self, services: Services, arrived: Sequence[Arrived]) -> None:
        self.bulks.append(len(arrived))
        if self.refused & {one.key for one in arrived}:
            raise self.error
        await keep_submissions(services, arrived)


@pytest.mark.parametrize("bad", [[0], [MAX_EVENTS // 2], [MAX_EVENTS - 1], [7, 8, 400]])
async def test_its_neighbours_land_in_few_bulks(bench: Bench, bad: list[int]) -> None:
    events = [factories.contact(Case.CLIENT, factories.someone()) for _ in range(MAX_EVENTS)]
    fussy = Fussy(ValueError("not this one"), *(events[position].key for position in bad))
    with pytest.raises(SomeFailed) as failed:
        await work(bench.services, SUBMISSIONS, bench.seal(*events), fussy.keep)
    assert (failed.value.failed, failed.value.code) == (len(bad), "ValueError")
    assert {one["_id"] for one in bench.collection("submissions")} == {event.key for event in events} - fussy.refused
    assert len(fussy.bulks) <= 20 * len(bad)


async def test_a_store_that_is_away_decides_nothing(bench: Bench) -> None:
    events = [factories.contact(Case.CLIENT, factories.someone()) for _ in range(10)]
    fussy = Fussy(StoreUnavailable("away"), events[3].key)
    with pytest.raises(StoreUnavailable):
        await work(bench.services, SUBMISSIONS, bench.seal(*events), fussy.keep)
    assert (fussy.bulks, bench.collection("submissions")) == ([10], [])
