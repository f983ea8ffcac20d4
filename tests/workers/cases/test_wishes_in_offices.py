"""A "no" and a "yes" from what the person chose to the rows of offices on SQL and MongoDB, and back to the receipts.

Rounds are the controller's, orders and receipts signed and sealed, the offices' workers as they are shipped; their rows
are read by clients of their own. Source: R20, R21, R25; P7, P10; docs/decisions/0022.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from typing import Any

import pytest

from tests.factories import Someone
from tests.workers.bench import Bench
from tests.workers.cases.test_every_right import Group, group, ledger_keys
from tests.workers.test_preferences import PROSPECTING, choose, client
from tests.workers.test_unsubscribe import at
from workers.cases.rounds import make_rounds
from workers.rules.objections import Heard, Wish
from workers.stores.subsidiaries.adapter import Subject, Tally
from workers.stores.subsidiaries.mapped import MappedStore

__all__ = ["group", "ledger_keys"]

OFFICES = ("de", "gb")


async def said(group: Group) -> list[tuple[str, str]]:
    """The orders of the round of whoever has just said something."""
    await make_rounds(group.court.desk)
    return await group.orders()


async def delivered(group: Group, orders: list[tuple[str, str]]) -> None:
    for code, token in orders:
        await group.deliver(code, token)


async def written_to(group: Group, whom: Someone) -> list[tuple[bool, bool, int]]:
    """Office by office: whether they get its newsletter, whether they are marked, on how many lists they stand."""
    found = []
    for code in OFFICES:
        [row] = await group.rows(code, "customers", whom)
        lists = await group.rows(code, "subscribers", whom)
        found.append((bool(row["newsletter"]), row.get("opted_out_at") is not None, len(lists)))
    return found


def latest_receipts(bench: Bench) -> dict[str, list[dict[str, Any]]]:
    """Office → what its newest receipt signs for, read from what is kept of it."""
    kept = sorted(bench.collection("receipts", "evidence"), key=lambda one: one["at"])
    claims = {one["store"]: one["jws"].split(".")[1] for one in kept if one["store"] in OFFICES}
    return {code: json.loads(urlsafe_b64decode(said + "=="))["entries"] for code, said in sorted(claims.items())}


BEFORE, REFUSED, ACCEPTED = (True, False, 1), (False, True, 0), (True, False, 0)


async def undone(bench: Bench, group: Group) -> tuple[Someone, Someone]:
    """One who refused and accepted again, and one who refused: in every office's rows, and in its receipt."""
    whom, other = await client(bench), await client(bench)
    for one in (whom, other):
        await group.holds(one)
        assert await written_to(group, one) == [BEFORE] * 2
        await choose(bench, one, {PROSPECTING: False}, at(1))
    await delivered(group, await said(group))
    assert await written_to(group, whom) == [REFUSED] * 2
    await choose(bench, whom, {PROSPECTING: True}, at(2))
    await delivered(group, await said(group))
    assert await written_to(group, whom) == [ACCEPTED] * 2, "what the no took off a list is not put back"
    assert await written_to(group, other) == [REFUSED] * 2
    return whom, other


def says_so(bench: Bench) -> None:
    for entries in latest_receipts(bench).values():
        [entry] = entries
        assert entry["outcome"] == "done"
        counts = {
            one.pop("name"): {what: count for what, count in one.items() if count} for one in entry["collections"]
        }
        assert counts == {"customers": {"matched": 1}, "subscribers": {}}, "of the list: nobody stands on it"


async def overtaken(bench: Bench, group: Group) -> None:
    """A yes that is overtaken by the newer no, and repeats of everything: the newer no stands."""
    whom, _ = await undone(bench, group)
    says_so(bench)
    await choose(bench, whom, {PROSPECTING: False}, at(3))
    newer = await said(group)
    await delivered(group, newer)
    assert await written_to(group, whom) == [REFUSED] * 2
    await choose(bench, whom, {PROSPECTING: True}, at(4))
    late = await said(group)
    await choose(bench, whom, {PROSPECTING: False}, at(5))
    await delivered(group, await said(group))
    for orders in (late, late, newer):
        await delivered(group, orders)
        assert await written_to(group, whom) == [REFUSED] * 2
    await choose(bench, whom, {PROSPECTING: True}, at(6))
    await delivered(group, await said(group))
    assert await written_to(group, whom) == [ACCEPTED] * 2


async def test_a_yes_reaches_every_offices_rows_and_a_newer_no_stands_whatever_comes_after_it(
    bench: Bench, group: Group
) -> None:
    await overtaken(bench, group)
    assert all("over_at" in one for one in bench.collection("rounds", "evidence"))


async def test_a_worker_that_takes_the_last_order_for_the_last_word_is_caught(
    bench: Bench, group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken twice on purpose: a newer "no" is told by itself and by a wish, and either alone is enough."""
    monkeypatch.setattr(Heard, "accepted", property(lambda heard: heard.wish is not None and heard.wish.accepts))
    monkeypatch.setattr(Wish, "counts_over", lambda *_: True)
    with pytest.raises(AssertionError):
        await overtaken(bench, group)


async def test_an_office_that_accepts_in_words_is_caught(
    bench: Bench, group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def in_words(_: MappedStore, subject: Subject) -> list[Tally]:
        return [Tally("customers", matched=len(subject.emails))]

    monkeypatch.setattr(MappedStore, "accept", in_words)
    with pytest.raises(AssertionError):
        await undone(bench, group)
