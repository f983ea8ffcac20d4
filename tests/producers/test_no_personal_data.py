"""No personal data in clear: Redis, logs at DEBUG, metrics, answers, URLs. Source: P4."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import cast

import aiohttp
import pytest
import structlog

from schemas.logs import configure_logs
from tests.producers.conftest import Front, Letters, OpenDoor
from tests.producers.files import PDF
from tests.producers.samples import APPLICATION, CANARIES, CLIENT, CONTACT, FORMS, cloud, consent, visit
from tests.producers.test_uploads import multipart


def seen(text: bytes) -> list[str]:
    """The canaries that show, plainly or as JSON writes them."""
    return [word for word in CANARIES if word.encode() in text or json.dumps(word)[1:-1].encode() in text]


async def traffic(front: Front) -> list[bytes]:
    """One of everything, good and bad; what was answered."""
    bearer = front.bearer | {"Content-Type": "application/cloudevents+json"}
    batch = front.bearer | {"Content-Type": "application/cloudevents-batch+json"}
    requests: list[tuple[str, dict[str, object]]] = [(f"/forms/{case}", {"json": form}) for case, form in FORMS.items()]
    requests += [
        ("/forms/contact", {"json": CONTACT, "headers": {"Idempotency-Key": CANARIES[0]}}),
        ("/forms/contact", {"json": CONTACT, "headers": {"Idempotency-Key": CANARIES[0]}}),
        ("/forms/contact", {"json": {**CONTACT, "first_name": CANARIES[0] + "\0"}}),
        ("/forms/contact", {"json": {**CONTACT, "nickname": CANARIES[1]}}),
        ("/forms/contact", {"json": {**CONTACT, CANARIES[2]: CANARIES[1]}}),
        ("/forms/contact", {"json": {**CONTACT, "email": [CANARIES[2]]}}),
        ("/forms/contact", {"data": json.dumps(CONTACT), "headers": {"Content-Type": "text/plain"}}),
        ("/forms/contact", {"data": json.dumps(CONTACT)[:-1], "headers": {"Content-Type": "application/json"}}),
        ("/forms/contact", {"json": {**CONTACT, "age": 9}}),
        ("/forms/job-application", {"data": multipart(("cv", f"{CANARIES[0]}.pdf", PDF))}),
        ("/forms/job-application", {"data": multipart(("cv", f"{CANARIES[0]}.exe", b"MZ" + CANARIES[1].encode()))}),
        ("/forms/job-application", {"json": {**APPLICATION, "cv": {"name": CANARIES[0], "content": CANARIES[1]}}}),
        ("/events", {"json": cloud(), "headers": bearer}),
        ("/events", {"json": cloud(CANARIES[2]), "headers": bearer}),
        ("/events", {"json": [cloud("a"), cloud("b", data={**CLIENT, "email": CANARIES[3]})], "headers": batch}),
        ("/events", {"json": cloud(), "headers": {**bearer, "Authorization": f"Bearer {CANARIES[0]}"}}),
        ("/cookies", {"json": consent()}),
        ("/cookies", {"json": consent(CANARIES[2])}),
        ("/cookies", {"json": visit(url=f"https://www.example.com/?q={CANARIES[0]}")}),
        (f"/forms/{CANARIES[0]}", {"json": CONTACT}),
        (f"/forms/contact?q={CANARIES[0]}", {"json": CONTACT}),
    ]
    answers = []
    for path, arguments in requests:
        async with front.http.post(path, **arguments) as answer:  # type: ignore[arg-type]
            answers.append(await answer.read() + repr(answer.headers).encode())
    return answers


@pytest.fixture
def debug_logs() -> Iterator[io.StringIO]:
    """Logs as the process writes them, at the most talkative level."""
    root = logging.getLogger()
    handlers, level, before = root.handlers[:], root.level, structlog.get_config()
    root.handlers.clear()  # so that those of pytest are not closed
    configure_logs("DEBUG")
    structlog.configure(cache_logger_on_first_use=False)  # what is kept would stay for the tests that follow
    (handler,) = root.handlers
    written = io.StringIO()
    cast("logging.StreamHandler[io.StringIO]", handler).setStream(written)
    yield written
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**before)


async def test_no_canary_shows_anywhere(open_door: OpenDoor, letters: Letters, debug_logs: io.StringIO) -> None:
    async with open_door() as front:
        answers = await traffic(front)
        async with aiohttp.ClientSession() as http:
            metrics = await (await http.get(f"http://127.0.0.1:{front.door.metrics_port}/metrics")).read()

    logs = debug_logs.getvalue().encode()
    assert seen(b"\n".join(answers)) == []
    assert seen(metrics) == []
    assert seen(logs) == []
    assert seen(letters.everything()) == []
    assert letters.events(), "the traffic did arrive"
    assert b"greffier_door_events_total" in metrics
    assert b"door_open" in logs


def test_the_scan_finds_what_is_there() -> None:
    """The broken variant: a body that was queued unsealed would be seen."""
    assert seen(json.dumps(CONTACT).encode()) != []


def test_a_librarys_line_keeps_its_arguments_to_itself(debug_logs: io.StringIO) -> None:
    try:
        raise ValueError(CANARIES[0])
    except ValueError:
        logging.getLogger("some.library").exception("could not read %s", CANARIES[1])
    assert seen(debug_logs.getvalue().encode()) == []
    assert json.loads(debug_logs.getvalue().splitlines()[-1])["error"] == "ValueError"


def test_a_line_that_cannot_be_written_is_not_printed_otherwise(
    debug_logs: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    debug_logs.close()
    logging.getLogger("some.library").error("could not read %s", CANARIES[1])
    assert seen("".join(capsys.readouterr()).encode()) == []


async def test_metrics_count_by_type_and_outcome(open_door: OpenDoor, letters: Letters) -> None:
    async with open_door() as front:
        await front.post("/cookies", json=[consent("a"), consent("b"), {"id": "c"}])
        await front.post("/forms/contact", json={})
        async with aiohttp.ClientSession() as http:
            text = await (await http.get(f"http://127.0.0.1:{front.door.metrics_port}/metrics")).text()
    lines = set(text.splitlines())
    assert {
        'greffier_door_events_total{outcome="accepted",type="greffier.cookie.consent"} 2.0',
        'greffier_door_events_total{outcome="refused",type="greffier.form.contact"} 1.0',
        'greffier_door_batch_events_count{queue="consent"} 1.0',
        'greffier_queue_messages{queue="consent"} 1.0',
        'greffier_door_answers_total{status="422"} 1.0',
    } <= lines
    assert 'greffier_door_enqueue_seconds_count{queue="consent"} 1.0' in lines


async def test_metrics_are_not_shown_to_the_public(front: Front) -> None:
    async with front.http.get("/metrics") as answer:
        assert answer.status == 404
