"""What stands in the databases when all is quiet, as an independent client sees it."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.chaos.acts import Act
from tests.workers.bench import Dump
from workers.stores.keys import ACTIVE


def standing_of(dump: Dump, act: Act) -> list[str]:
    """The collections in which something of an act stands. Letters that wait for staff count as ``active.parked``."""
    key, file_id = act.key, act.file.id if act.file else None
    found = {
        "active.submissions": [one for one in dump["active.submissions"] if one["_id"] == key],
        "active.links": [one for one in dump["active.links"] if one["submission"] == key],
        "active.anchors": [one for one in dump["active.anchors"] if key in (one["_id"], one.get("about"))],
        "active.confirmations": [one for one in dump["active.confirmations"] if key in (one["_id"], one["about"])],
        "active.visits": [one for one in dump["active.visits"] if one["_id"] == key],
        "active.files.files": [one for one in dump["active.files.files"] if one["metadata"]["event"] == key],
        "active.files.chunks": [
            one for one in dump["active.files.chunks"] if file_id and str(one["files_id"]).startswith(file_id)
        ],
        "active.parked": [one for one in dump["active.parked"] if one["event"] == key],
    }
    return [place for place, documents in found.items() if documents]


def loose_ends(dump: Dump, stone: datetime | None) -> list[str]:
    """What no state at rest may hold, whatever happened: things without an owner, and twins."""
    persons = {person["_id"]: person for person in dump["active.persons"]}
    living = {key["_id"] for key in dump["keys.keys"] if "wrapped" in key}
    submissions = {one["_id"] for one in dump["active.submissions"]}
    files = {one["_id"] for one in dump["active.files.files"]}
    letters = {one["_id"] for one in dump["active.parked"]}
    refs = [bytes(ref) for person in persons.values() for ref in person["refs"]]
    owned = [
        *(one["person"] for one in dump["active.submissions"]),
        *(one["person"] for one in dump["active.links"]),
        *(one["metadata"]["person"] for one in dump["active.files.files"]),
    ]
    faults = ["a person is there twice"] if len(refs) != len(set(refs)) else []
    faults += [f"data of nobody: {owner}" for owner in set(owned) if owner not in persons]
    faults += [
        f"a link of nothing: {one['_id']}" for one in dump["active.links"] if one["submission"] not in submissions
    ]
    faults += [
        f"a piece of no file: {one['files_id']}" for one in dump["active.files.chunks"] if one["files_id"] not in files
    ]
    # A letter's key without a letter opens nothing: its worker died in between.
    orphans = [key for key in living if key.endswith(f"/{ACTIVE}") and key.removesuffix(f"/{ACTIVE}") not in persons]
    faults += [f"a living key of nobody: {key}" for key in orphans]
    faults += [f"a letter without a key: {one}" for one in letters if f"{one}/parked" not in living]
    faults += [f"a person whose key is destroyed: {one}" for one in persons if f"{one}/active" not in living]
    if stone is not None:
        faults += [
            f"a person from before the erasure: {one['_id']}"
            for one in persons.values()
            if one.get("after", datetime.min.replace(tzinfo=UTC)) < stone
        ]
    return faults
