"""When a call outside is repeated, and when it is given up."""

from __future__ import annotations

from datetime import timedelta

import pytest

from workers.rules.webhooks import AGAIN_AFTER, again_after, taken, unwanted


def test_the_schedule_is_that_of_standard_webhooks() -> None:
    assert [pause.total_seconds() for pause in AGAIN_AFTER] == [
        *(5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600)
    ]
    assert sum(AGAIN_AFTER, timedelta()) > timedelta(hours=75)


def test_nine_pauses_then_the_end() -> None:
    assert [again_after(tries, 0) for tries in range(1, 10)] == list(AGAIN_AFTER)
    assert again_after(10, 0) is None
    assert again_after(0, 0) is None


def test_pauses_are_spread() -> None:
    assert again_after(2, 1) == timedelta(seconds=330)


@pytest.mark.parametrize(("wished_s", "found_s"), [(60, 60), (1, 5), (10**9, 86_400), (None, 5), (0, 5)])
def test_a_wish_for_a_longer_pause_is_kept_within_a_day(wished_s: int | None, found_s: int) -> None:
    assert again_after(1, 0, wished_s) == timedelta(seconds=found_s)


def test_what_counts_as_taken() -> None:
    assert [status for status in (0, 200, 202, 204, 301, 308, 400, 410, 429, 503) if taken(status)] == [200, 202, 204]
    assert [status for status in (0, 200, 404, 410) if unwanted(status)] == [410]
