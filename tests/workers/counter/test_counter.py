"""What a mailed link shows and fetches: once, in time, and for nobody else. Source: R17; reliability § 8.7."""

from __future__ import annotations

import asyncio
import io
import json
import re
import zipfile
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from schemas.calendar import civil_day
from schemas.errors import StoreUnavailable
from schemas.tokens import TokenKind
from tests.factories import someone
from tests.workers.bench import Bench
from tests.workers.cases.court import Court, letters
from tests.workers.counter.conftest import Window
from workers.cases import delivering
from workers.cases.engine import advance
from workers.cases.entering import record
from workers.stores.cases import Cases
from workers.stores.packages import Packages


async def post(window: Window, token: str) -> tuple[int, bytes, aiohttp.ClientResponse]:
    async with window.http.post(f"/download/{token}") as answer:
        return answer.status, await answer.read(), answer


async def get(window: Window, path: str, **headers: str) -> tuple[int, str]:
    async with window.http.get(path, headers=headers) as answer:
        return answer.status, await answer.text()


# ---------------------------------------------------------------------- the package


async def test_the_package_is_delivered_once(bench: Bench, window: Window) -> None:
    ada = someone()
    reference = await window.answered(ada)
    token = await window.download_token(reference)
    for _ in range(3):
        status, text = await get(window, f"/download/{token}", **{"Accept-Language": "en"})
        assert (status, "<form method" in text) == (200, True), "looking fetches nothing"

    status, content, answer = await post(window, token)
    assert status == 200
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{reference}.zip"'
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert ada.street in archive.read("data.json").decode()

    status, content, _ = await post(window, token)
    assert (status, ada.street.encode() in content) == (410, False)
    assert (await get(window, f"/download/{token}"))[0] == 410
    assert bench.collection("packages.files", "evidence") == []
    assert bench.collection("packages.chunks", "evidence") == []
    [key] = bench.collection("package_keys", "keys")
    assert "destroyed_at" in key
    noted = [one["body"]["kind"] for one in bench.collection("ledger_pending", "evidence")]
    assert noted.count("package_fetched") == 1


async def test_of_many_at_once_one_gets_it(window: Window) -> None:
    token = await window.download_token(await window.answered())
    outcomes = await asyncio.gather(*(post(window, token) for _ in range(8)))
    assert sorted(status for status, _, _ in outcomes) == [200] + [410] * 7


async def test_the_variant_that_only_looks_delivers_twice(window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking and marking in two calls lets several through: the test above would see it."""
    everybody_has_looked = asyncio.Barrier(8)

    async def only_look(cases: Cases, wanted: dict[str, Any], now: object) -> bool:
        case = await cases.get(wanted["_id"])
        assert case is not None
        await everybody_has_looked.wait()
        return "taken_at" not in case["package"]

    monkeypatch.setattr("workers.counter.handing.take", only_look)
    token = await window.download_token(await window.answered())
    outcomes = await asyncio.gather(*(post(window, token) for _ in range(8)))
    assert [status for status, _, _ in outcomes].count(200) == 8


@pytest.mark.parametrize("first_was_fetched", [True, False])
async def test_the_word_that_was_promised_brings_a_package_of_its_own(
    window: Window, bench: Bench, first_was_fetched: bool
) -> None:
    """A store was silent on the answer's date; what it holds comes with the second letter, and the first link ends."""
    court, ada = window.court, someone()
    court.stores["us"].answer = None
    reference = await court.ask("access", ada.email)
    await court.confirm(reference)
    await court.run(reference)
    await court.desk.cases.change(await court.case(reference), {"answer_by": court.desk.services.clock()})
    await advance(court.desk, reference)
    first = await window.download_token(reference)
    if first_was_fetched:
        status, content, _ = await post(window, first)
        assert (status, state_of("us", content)) == (200, "silent")

    held = {"outcome": "done", "collections": [{"name": "leads", "matched": 1}]}
    leads = {"name": "leads", "fields": {}, "records": [{"name": ada.last_name}]}
    court.stores["us"].answer = lambda _: {**held, "copy": {"store": "us", "collections": [leads]}}
    task = (await court.tasks(reference))["us"]
    await court.desk.cases.change_task(task, {"send_at": court.desk.services.clock()})
    await court.run(reference, 2)

    second = await window.download_token(reference)
    assert second != first
    assert (await post(window, first))[0] == 410
    status, content, _ = await post(window, second)
    assert (status, state_of("us", content)) == (200, "done")
    assert ada.last_name.encode() in content_of(content)
    assert (await post(window, second))[0] == 410
    assert bench.collection("packages.files", "evidence") == []
    assert ["destroyed_at" in key for key in bench.collection("package_keys", "keys")] == [True, True]


def content_of(archive: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return opened.read("data.json")


def state_of(store: str, archive: bytes) -> str:
    """What a package says of a store."""
    (found,) = [one for one in json.loads(content_of(archive))["stores"] if one["code"] == store]
    return str(found["state"])


async def test_a_package_whose_link_has_ended_is_gone(bench: Bench, court: Court, window: Window) -> None:
    reference = await window.answered()
    token = await window.download_token(reference)
    bench.clock.at = court.desk.services.clock() + timedelta(days=8)
    status, content, _ = await post(window, token)
    assert (status, b"<form" in content) == (410, False)
    assert await delivering.sweep(court.desk) == 1
    assert await delivering.sweep(court.desk) == 0
    assert bench.collection("packages.files", "evidence") == []


async def test_a_package_that_was_taken_when_the_counter_died_is_dropped(bench: Bench, court: Court) -> None:
    ada = someone()
    reference = await court.ask("access", ada.email)
    await court.confirm(reference)
    await court.run(reference)
    assert await delivering.take(court.desk.cases, await court.case(reference), court.desk.services.clock())
    assert await delivering.sweep(court.desk) == 1
    assert bench.collection("packages.files", "evidence") == []


async def test_what_is_not_ours_is_not_there(window: Window) -> None:
    """Forged, altered, of another kind, of another case, used up elsewhere: one answer, byte for byte."""
    reference, other = await window.answered(), await window.answered()
    token = await window.download_token(reference)
    head, body, signature = token.split(".")
    wrong = (
        "x",
        "x" * 3000,
        f"{head}.{body}.{signature[:-4]}AAAA",
        f"{head}.{body[:-4]}AAAA.{signature}",
        await window.status_token(reference),
        window.token(TokenKind.DOWNLOAD, other, (await window.court.case(reference))["package"]["token"]),
        window.token(TokenKind.DOWNLOAD, "R-2222-2222-2222", "0" * 32),
    )
    seen = {(await post(window, one))[:2] for one in wrong}
    [(status, content)] = seen
    assert (status, json.loads(content)["code"]) == (404, "unknown_token")


async def test_a_store_that_is_away_does_not_use_the_link_up(window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = await window.answered()
    token = await window.download_token(reference)

    async def away(*_: object) -> bytes:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(Packages, "get", away)
        status, _, answer = await post(window, token)
    assert (status, "Retry-After" in answer.headers) == (503, True)
    assert (await post(window, token))[0] == 200


# ---------------------------------------------------------------------- the status


async def test_the_status_says_state_and_dates_and_nothing_else(window: Window) -> None:
    ada = someone()
    reference = await window.answered(ada)
    token = await window.status_token(reference)
    status, text = await get(window, f"/status/{token}", Accept="application/json")
    told = json.loads(text)
    assert (status, told["state"], told["reference"]) == (200, "answered", reference)
    assert set(told) == {"reference", "right", "state", "received_on", "due_on", "extended", "answered_on"}
    status, page = await get(window, f"/status/{token}", **{"Accept-Language": "en-GB"})
    assert (status, "answer sent" in page, told["due_on"] in page) == (200, True, True)
    assert not [word for word in ada.canaries if word in text + page]


@pytest.mark.parametrize(("language", "words"), [("en", "where it stands"), ("fr", "où elle en est")])
async def test_the_first_letter_brings_the_link(window: Window, language: str, words: str) -> None:
    """To whoever asks on the website with the link to confirm, to whoever wrote with the acknowledgement."""
    court, ada, bo = window.court, someone(), someone()
    online = await court.ask("erasure", ada.email, language=language)
    by_letter = await record(
        court.desk,
        {"right": "access", "email": bo.email, "channel": "letter", "language": language, "confirmed": "yes"},
        civil_day(court.desk.services.clock()),
        "dpo.sample",
    )
    await advance(court.desk, by_letter)
    for reference, kind in ((online, "confirmation-1"), (by_letter, "acknowledgement-1")):
        told = (await letters(court, reference))[kind]
        found = re.search(r"https://rights\.example\.com(/status/\S+)", told)
        assert found
        assert words in told
        status, text = await get(window, found[1], Accept="application/json")
        assert (status, json.loads(text)["reference"]) == (200, reference)


async def test_a_status_link_may_be_revoked_and_fetches_nothing(window: Window) -> None:
    reference = await window.answered()
    token = await window.status_token(reference)
    assert (await post(window, token))[0] == 404
    await window.court.desk.cases.change(await window.court.case(reference), {}, "status")
    assert (await get(window, f"/status/{token}"))[0] == 404


async def test_it_says_whether_it_is_alive_and_ready(window: Window) -> None:
    for path in ("/livez", "/readyz"):
        assert (await get(window, path))[0] == 200
    assert (await get(window, "/nowhere"))[0] == 404
