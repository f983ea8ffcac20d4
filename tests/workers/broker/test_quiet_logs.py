"""No log line of dramatiq carries an argument, an exception's text or a traceback."""

from __future__ import annotations

import logging

import pytest

from tests.waiting import until
from tests.workers.broker.conftest import MakeRig

CANARY = "Zebediah-Canary"


async def test_no_value_reaches_a_log(
    make_rig: MakeRig,
    redis_url: str,
    hardened: bool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At DEBUG, with an actor that fails. The broken variant is dramatiq as it comes."""
    caplog.set_level(logging.DEBUG)
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(logging.LogRecord)
    try:
        rig = make_rig(redis_url, hardened=hardened)

        def fail(batch: str) -> None:
            raise ValueError(f"{batch} at 1 Example Street")

        rig.behave = fail
        rig.send(name=CANARY)
        rig.start()
        await until(lambda: len(rig.started) == 3)
        rig.worker.stop(timeout=2_000)
    finally:
        logging.setLogRecordFactory(before)
    assert (CANARY in caplog.text) is not hardened
    assert ("Example Street" in caplog.text) is not hardened
    assert rig.started[0] not in caplog.text or not hardened
    assert "ValueError" in caplog.text
