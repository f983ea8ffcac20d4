"""Taking back what an event wrote, and nothing that another body under the same id did. P5; R26."""

from __future__ import annotations

from schemas.terms import Case
from tests import factories
from tests.workers.bench import Bench


async def test_only_the_own_body_is_taken_back(bench: Bench) -> None:
    await bench.send(factories.form(Case.CONTACT, factories.someone()))
    (stored,), links = bench.collection("submissions"), bench.collection("links")
    await bench.services.submissions.undo_own({stored["_id"]: b"another body's digest"})
    assert bench.collection("submissions") == [stored]
    assert bench.collection("links") == links
    await bench.services.submissions.undo_own({stored["_id"]: stored["digest"]})
    assert bench.collection("submissions") == bench.collection("links") == []


async def test_links_go_where_nothing_stands(bench: Bench) -> None:
    gone, standing = (factories.form(Case.CONTACT, factories.someone()) for _ in range(2))
    await bench.send(gone, standing)
    links = bench.collection("links")
    await bench.services.submissions.undo_own(
        {one["_id"]: one["digest"] for one in bench.collection("submissions") if one["_id"] == gone.key}
    )
    await bench.services.submissions.insert_links(links)  # as a worker does that has not looked yet
    await bench.services.submissions.undo_links_of_nothing([gone.key, standing.key])
    assert {link["submission"] for link in bench.collection("links")} == {standing.key}
