"""A network that asks for rights more often than a person would is marked, and never turned away."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

from producers.door.crowds import A_DAY, Crowds
from tests.producers.conftest import Letters, OpenDoor
from tests.producers.samples import PERSON

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HERE, THERE = "192.0.2.0/24", "198.51.100.0/24"


def test_beyond_what_a_person_asks_a_network_is_crowded_until_the_day_ends() -> None:
    crowds = Crowds()
    assert [crowds.crowded(HERE, NOON) for _ in range(A_DAY + 2)] == [*[False] * A_DAY, True, True]
    assert not crowds.crowded(THERE, NOON), "one network's crowd is not another's"
    assert not crowds.crowded(HERE, NOON + timedelta(days=1))


def test_networks_beyond_count_share_one() -> None:
    """Whoever has a million networks does not get a million counts."""
    crowds = Crowds(most=3)
    marked = [crowds.crowded(f"2001:db8:{number:x}::/48", NOON) for number in range(3 + A_DAY + 1)]
    assert marked == [*[False] * (3 + A_DAY), True]


def test_no_network_is_remembered_by_its_name() -> None:
    crowds = Crowds()
    crowds.crowded(HERE, NOON)
    assert HERE not in repr(vars(crowds))


def test_an_unnamed_proxy_on_this_machine_stands_for_everybody() -> None:
    crowds = Crowds()
    assert not any(crowds.crowded(network, NOON) for network in (None, "127.0.0.0/24", "::/48") for _ in range(20))


async def test_a_crowded_network_gets_the_same_answer_and_its_requests_are_kept(
    open_door: OpenDoor, letters: Letters
) -> None:
    answers = set()
    async with open_door(trusted_proxies=(ip_network("127.0.0.0/8"),)) as front:
        for number in range(A_DAY + 3):
            asked = {"right": "access", "email": f"visitor{number}@example.org"}
            async with front.http.post("/rights", json=asked, headers={"X-Forwarded-For": "192.0.2.7"}) as answer:
                headers = {name: value for name, value in answer.headers.items() if name != "Date"}
                said = await answer.json()
                answers.add((answer.status, tuple(sorted(headers.items())), tuple(said)))
    assert [status for status, *_ in answers] == [202], "all alike"
    bodies = [json.loads(event.body) for event in letters.events("rights")]
    assert [body.get("crowded") for body in bodies] == [*[None] * A_DAY, "yes", "yes", "yes"]


async def test_nobody_says_of_himself_that_he_is_no_crowd(open_door: OpenDoor) -> None:
    async with open_door() as front:
        status, problem = await front.post(
            "/rights", json={"right": "access", "email": PERSON["email"], "crowded": "no"}
        )
    assert (status, [one["pointer"] for one in problem["errors"]]) == (422, ["/crowded"])
