"""Messages that somebody forged or broke are parked with a reason, once, and their neighbours done.

Source: `reliability.md` § 5, items 89–96.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from schemas.errors import StoreUnavailable
from tests.waiting import until
from tests.workers.broker.conftest import MakeRig
from tests.workers.broker.rig import QUEUE

Change = Callable[[dict[str, Any]], Any]


def _set(*path: str, to: Any) -> Change:
    def change(message: dict[str, Any]) -> None:
        place: Any = message
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return change


def _drop(*path: str) -> Change:
    def change(message: dict[str, Any]) -> None:
        place: Any = message
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]

    return change


FORGED: list[tuple[str, Change]] = [
    ("redis_message_id", _drop("options", "redis_message_id")),
    ("redis_message_id", _set("options", "redis_message_id", to="another")),
    ("redis_message_id", _set("options", "redis_message_id", to=7)),
    ("options", _set("options", to=[])),
    ("kwargs", _set("kwargs", to=[])),
    ("args", _set("args", to=None)),
    ("arguments", _set("args", to=["batch", "more"])),
    ("arguments", _set("kwargs", to={"surprise": 1})),
    ("actor_name", _set("actor_name", to=[QUEUE])),
    ("actor_name", _set("actor_name", to="unknown")),
    ("foreign_option", _set("options", "throws", to="x")),
    ("foreign_option", _set("options", "pipe_target", to={"actor_name": QUEUE})),
    ("foreign_option", _set("options", "on_success", to=QUEUE)),
    ("foreign_option", _set("options", "max_age", to=1)),
    ("foreign_option", _set("options", "time_limit", to=10**9)),
    ("eta", _set("options", "eta", to=1)),  # not on a delay queue
    ("eta", _set("options", "eta", to="soon")),
    ("not_json", _set("options", "eta", to=float("nan"))),
    ("not_json", _set("options", "eta", to=float("inf"))),
    ("retries", _set("options", "retries", to="x")),
    ("retries", _set("options", "retries", to=-1)),
    ("retries", _set("options", "retries", to=True)),
    ("retries", _set("options", "retries", to=10**9)),
    ("requeue_timestamp", _set("options", "requeue_timestamp", to=1.5)),
    ("traceparent", _set("options", "traceparent", to="person@example.org")),
    ("queue_name", _set("queue_name", to="elsewhere")),
    ("queue_name", _set("queue_name", to=f"{QUEUE}.DQ")),
    ("fields", _set("surprise", to=1)),
    ("fields", _drop("message_timestamp")),
    ("message_timestamp", _set("message_timestamp", to="yesterday")),
    ("message_id", _set("message_id", to="a person@example.org")),
    ("too_large", _set("kwargs", "batch", to="x" * (2 << 20))),
]


async def test_what_was_forged_is_parked_and_its_neighbours_are_done(make_rig: MakeRig, redis_url: str) -> None:
    """The whole corpus through one worker: each entry parked once under its reason, nothing of it run."""
    rig = make_rig(redis_url)
    expected = {}
    for code, change in FORGED:
        message = rig.message("forged")
        redis_id = message["options"]["redis_message_id"]
        change(message)
        rig.put_raw(json.dumps(message).encode(), redis_id)
        expected[redis_id] = code
        rig.send()
    rig.put_raw(pickle.dumps({"queue_name": QUEUE}), "pickled")
    rig.put_raw(b"[]", "a-list")
    rig.put_raw(b"{}", "an-id-nobody-would-choose \xff")
    expected |= {"pickled": "not_json", "a-list": "not_an_object", "an-id-nobody-would-choose \\xc3\\xbf": "fields"}
    rig.start()
    await rig.judge()
    assert {poison.redis_id: poison.code for poison in rig.poisons} == expected
    assert len(rig.poisons) == len(expected)
    assert "forged" not in rig.started


@pytest.mark.parametrize("eta", ["soon", 10**18, None, True])
async def test_a_delay_has_bounds(make_rig: MakeRig, redis_url: str, eta: Any) -> None:
    """On a delay queue: no date beyond the hour, nothing but a whole number, not none."""
    rig = make_rig(redis_url)
    message = rig.message("forged") | {"queue_name": f"{QUEUE}.DQ"}
    if eta is not None:
        message["options"]["eta"] = eta
    rig.put_raw(json.dumps(message).encode(), message["options"]["redis_message_id"], f"{QUEUE}.DQ")
    rig.send(1, delay=0)
    rig.start()
    await rig.judge()
    assert [poison.code for poison in rig.poisons] == ["eta"]


async def test_a_message_that_claims_its_neighbours_id_takes_nothing_from_it(make_rig: MakeRig, redis_url: str) -> None:
    rig = make_rig(redis_url)
    rig.send()
    (neighbour,) = rig.reader.lrange(f"dramatiq:{QUEUE}", 0, -1)
    thief = rig.message("forged")
    thief["options"]["redis_message_id"] = neighbour.decode()
    rig.put_raw(json.dumps(thief).encode(), "thief")
    rig.start()
    await rig.judge()
    assert [(poison.redis_id, poison.code) for poison in rig.poisons] == [("thief", "redis_message_id")]


async def test_a_refused_message_stays_until_it_is_parked(make_rig: MakeRig, redis_url: str) -> None:
    """While the parker cannot keep it, it is not acknowledged; good messages are still done afterwards."""
    rig = make_rig(redis_url)
    away = True
    attempts = []

    def park(poison: object) -> None:
        attempts.append(poison)
        if away:
            raise StoreUnavailable

    rig.on_poison = park
    rig.put_raw(b"{not json", "refused")
    rig.start()
    await until(lambda: len(attempts) >= 2)
    assert rig.reader.hexists(f"dramatiq:{QUEUE}.msgs", "refused")
    away = False
    rig.send(3)
    await rig.judge()
    assert [poison.redis_id for poison in rig.poisons] == ["refused"]


async def test_a_poison_letter_never_shows_what_it_holds(make_rig: MakeRig, redis_url: str) -> None:
    rig = make_rig(redis_url)
    rig.put_raw(b'{"email":"ada@example.org"}', "refused")
    rig.start()
    await until(lambda: rig.poisons)
    assert "ada@example.org" not in repr(rig.poisons)
