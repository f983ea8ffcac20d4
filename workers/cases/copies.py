"""Access copies until the package is made: kept in parts, sealed under the case key, dropped when the case ends.

A copy above 1 MiB comes in parts before its receipt, each a message of its own; one that came whole, and our own, are
kept the same way. A part is worth nothing by itself: what is joined is believed because the signed receipt names its
digest. Of one task no more than two copies are kept at a time, so a store cannot fill ours; nothing that is refused is
parked, for nobody vouches for it and it holds somebody's data.
Source: R17; P7; design § 5.5; reliability § 8.7 "Access export".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from schemas.copies import cut, join
from schemas.errors import InvalidMessage
from schemas.terms import Right
from workers.cases.desk import Desk, open_sealed_json, seal_json
from workers.rules.cases import TaskState
from workers.stores.keys import DataKey
from workers.stores.mongo import Document

_BEGUN_AT_MOST: Final = 2
"""The copy that is coming, and one that a later attempt makes meanwhile."""


async def keep_part(desk: Desk, store: str, part: Mapping[str, str]) -> bool:
    """Keep a part (see :func:`schemas.copies.check_part`) that a store sent; whether its copy is whole now.

    Raises :class:`InvalidMessage`: ``no_task_of_this_store``, ``no_copy_awaited``, ``case_ended``.
    """
    task = (await desk.cases.tasks([part["task"]])).get(part["task"])
    if task is None or task["store"] != store or not Right(task["right"]).gives_a_copy:
        raise InvalidMessage("no_task_of_this_store")
    if task["state"] != TaskState.WAITING:
        raise InvalidMessage("no_copy_awaited")
    digest = part["copy_sha256"]
    await _make_room(desk, task, digest)
    if not await _keep(desk, task, [part]):
        raise InvalidMessage("case_ended")
    return await desk.cases.count_parts(task["_id"], digest) >= int(part["of"])


async def keep_copy(desk: Desk, task: Document, content: bytes) -> None:
    """Keep a copy that came whole, in the place of whatever was sent under its digest; not once the case has ended."""
    parts = list(cut(task["_id"], content))
    await desk.cases.drop_parts(task["_id"], [parts[0]["copy_sha256"]])
    await _keep(desk, task, parts)


async def copy_in_parts(desk: Desk, key: DataKey, task: str, digest: str) -> bytes | None:
    """A copy's canonical bytes; ``None`` while a part of it is missing. Raises :class:`InvalidMessage` ``bad_copy``."""
    kept = await desk.cases.parts_of(task, digest)
    return join([open_sealed_json(key, f"copies/{part['_id']}", part["sealed"]) for part in kept])


async def drop_others(desk: Desk, task: str, digest: str) -> None:
    """One copy is the task's: what came of any other goes."""
    await desk.cases.drop_parts(task, [begun for begun in await desk.cases.copies_begun(task) if begun != digest])


async def _make_room(desk: Desk, task: Document, digest: str) -> None:
    """A further copy takes the place of the oldest that no receipt waits for."""
    begun = await desk.cases.copies_begun(task["_id"])
    if digest in begun or len(begun) < _BEGUN_AT_MOST:
        return
    awaited = task.get("awaits", {}).get("entry", {}).get("copy_sha256")
    spare = [one for one in begun if one != awaited]
    await desk.cases.drop_parts(task["_id"], spare[: len(begun) - _BEGUN_AT_MOST + 1])


async def _keep(desk: Desk, task: Document, parts: list[Mapping[str, str]] | list[dict[str, str]]) -> bool:
    """Whether the case still has its key; without it nothing stays, also of what was written while it went."""
    key = await desk.case_key(task["case"])
    if key is not None:
        await desk.cases.keep_parts([_sealed(desk, key, task, part) for part in parts])
        if await desk.case_key(task["case"]) is not None:
            return True
    await desk.cases.drop_copies(task["case"])
    return False


def _sealed(desk: Desk, key: DataKey, task: Document, part: Mapping[str, str]) -> Document:
    name = f"{task['_id']}/{part['copy_sha256']}/{part['place']}"
    return {
        "_id": name,
        "case": task["case"],
        "task": task["_id"],
        "copy": part["copy_sha256"],
        "place": int(part["place"]),
        "at": desk.services.clock(),
        "sealed": seal_json(key, f"copies/{name}", dict(part)),
    }
