"""Documents that bear an event's identity: one of each, whoever else inserts or deletes at the same moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.workers.bench import Bench, Document
from workers.stores import events
from workers.stores.events import insert_events
from workers.stores.mongo import Collection, insert_new

OURS: Document = {"_id": "/forms/contact 1", "digest": b"same", "person": "new"}
LEFT: Document = {**OURS, "person": "old"}
"""What an attempt that died left behind."""


@pytest.fixture
def submissions(bench: Bench) -> Collection:
    return bench.services.databases.active["submissions"]


async def test_what_stood_is_told_with_its_owner_and_what_differs_is_a_conflict(
    bench: Bench, submissions: Collection
) -> None:
    await submissions.insert_many([dict(LEFT), {"_id": "other body", "digest": b"theirs"}])
    new = {"_id": "new", "digest": b"new", "person": "new"}
    inserted = await insert_events(submissions, [new, OURS, {"_id": "other body", "digest": b"ours"}])
    assert inserted.repeated == {OURS["_id"]}
    assert inserted.conflicting == {"other body"}
    assert inserted.owners == {OURS["_id"]: "old"}
    assert len(bench.collection("submissions")) == 3


async def test_what_is_erased_between_two_glances_is_inserted_again(
    bench: Bench, submissions: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a fresh act would be lost: taken for kept, while what stood was the leftover that an erasure took."""
    await submissions.insert_one(dict(LEFT))
    erased = []

    async def then_an_erasure_comes(collection: Collection, documents: Sequence[Document]) -> Any:
        taken = await insert_new(collection, list(documents))
        if not erased:
            erased.append(await collection.delete_many({"person": "old"}))
        return taken

    monkeypatch.setattr(events, "insert_new", then_an_erasure_comes)
    inserted = await insert_events(submissions, [OURS])
    assert (inserted.repeated, inserted.owners) == (frozenset(), {})
    assert bench.collection("submissions") == [OURS]
