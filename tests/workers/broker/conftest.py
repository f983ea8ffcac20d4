"""A rig per test, its delays shortened."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq.worker
import pytest
import redis

from tests.workers.broker.rig import Rig

MakeRig = Callable[..., Rig]


@pytest.fixture
def make_rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeRig]:
    """Build rigs; each is stopped after the test, whatever is left of it."""
    monkeypatch.setattr(dramatiq.worker, "CONSUMER_RESTART_DELAY_SECS", 0.2)
    monkeypatch.setattr(dramatiq.worker, "POST_PROCESS_MESSAGE_RETRY_DELAY_SECS", 0.2)
    with contextlib.ExitStack() as stack:

        def make(url: str, **options: Any) -> Rig:
            rig = Rig(url, **options)
            stack.callback(_stop, rig)
            return rig

        yield make


def _stop(rig: Rig) -> None:
    with contextlib.suppress(redis.RedisError, AttributeError):  # a stock worker may be beyond stopping in order
        rig.stop()


@pytest.fixture(params=[True, False], ids=["hardened", "stock"])
def hardened(request: pytest.FixtureRequest) -> bool:
    """Every fault runs on both; the checker must tell them apart."""
    return bool(request.param)
