"""Parked letters: what could not be accepted and must not be lost, sealed, with a reason that names no person.

Each has a data key of its own, so that erasing a letter works as erasing a person does. Keyed references of the
address it speaks of, where that could be read, put it inside erasure.
Source: P3, P4; R29; design § 3 "Parked".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from workers.stores.gathering import Gathered
from workers.stores.keys import PARKED, Keys, key_id
from workers.stores.mongo import Collection, Databases, Document, available, insert_new

ClearFiles = Callable[[Iterable[str]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Letter:
    """``content``: the event's body, or the raw message where it was none of ours. ``event``: its key, if it has one.

    ``refs``: keyed references of the addresses it speaks of; ``stones``: the tombstones that would end it (not stored).
    ``files``: ids of uploaded files that wait in Redis as long as the letter stands.
    """

    reason: str
    queue: str
    content: bytes
    received: datetime
    event: str = ""
    type: str = ""
    pointer: str = ""
    refs: Sequence[bytes] = ()
    stones: Sequence[str] = ()
    files: Sequence[str] = ()


class Parked:
    """The letters, in **active**; each one's key, in **keys**.

    ``digest``: keyed, for a letter's id outlives it in **keys**; ``clear_files``: deletes files that wait in Redis.
    """

    def __init__(
        self, databases: Databases, keys: Keys, digest: Callable[[bytes], bytes], clear_files: ClearFiles
    ) -> None:
        self._letters: Collection = databases.active["parked"]
        self._gathered = Gathered(self._letters)
        self._keys = keys
        self._digest = digest
        self._clear_files = clear_files

    def id_of(self, letter: Letter) -> str:
        """The same letter parked twice is one letter."""
        return self._digest(b"\0".join((letter.event.encode(), letter.reason.encode(), letter.content))).hex()[:40]

    async def put(self, letters: Sequence[Letter], *, now: datetime, until: datetime) -> list[str]:
        """Store letters; those parked before stay as they are. Returns their ids."""
        by_id = {self.id_of(letter): letter for letter in letters}
        keys = await self._keys.ensure(key_id(letter, PARKED) for letter in by_id)
        documents = [
            {
                "_id": letter_id,
                "reason": letter.reason,
                "pointer": letter.pointer,
                "queue": letter.queue,
                "type": letter.type,
                "event": letter.event,
                "received": letter.received,
                "parked_at": now,
                "expires": until,
                "sealed": keys[key_id(letter_id, PARKED)].seal(_place(letter_id), letter.content),
                **({"refs": list(letter.refs)} if letter.refs else {}),
                **({"files": list(letter.files)} if letter.files else {}),
            }
            for letter_id, letter in by_id.items()
            if key_id(letter_id, PARKED) in keys  # a letter that was erased is not written again
        ]
        await insert_new(self._letters, documents)
        return list(by_id)

    async def content(self, letter: str, now: datetime) -> bytes | None:
        """What a letter holds; ``None`` where there is no such letter, its time is over, or its key is gone."""
        with available():
            found = await self._letters.find_one({"_id": letter, "expires": {"$gt": now}}, {"sealed": 1})
        key = (await self._keys.read([key_id(letter, PARKED)])).get(key_id(letter, PARKED))
        return key.open(_place(letter), bytes(found["sealed"])) if found and key else None

    async def find(self, query: Document | None = None, *, limit: int = 1000) -> list[Document]:
        """Letters without their content, the latest first."""
        with available():
            found = self._letters.find(query or {}, {"sealed": 0, "refs": 0}).sort("parked_at", -1).limit(limit)
            return await found.to_list(None)

    async def count_by_reason(self) -> dict[str, int]:
        """Reason → how many letters."""
        with available():
            counted = self._letters.aggregate([{"$group": {"_id": "$reason", "n": {"$sum": 1}}}])
            return {found["_id"]: found["n"] async for found in counted}

    async def erase_expired(self, now: datetime, *, limit: int) -> int:
        """Erase letters whose time is over, the longest over first; how many there were, ``limit`` at most."""
        with available():
            found = self._letters.find({"expires": {"$lte": now}}, {"files": 1}).sort("expires", 1).limit(limit)
            over = await found.to_list(None)
        return await self._erase_all(over)

    async def erase(self, ids: Iterable[str]) -> int:
        """Clear the letters' files, destroy their keys, then delete the letters; how many there were."""
        return await self._erase_all(await self._gathered.having("_id", ids, "files"))

    async def erase_about(self, refs: Iterable[bytes], until: datetime) -> int:
        """Erase every letter that speaks of one of these addresses and was received by then; how many there were."""
        found = await self._gathered.having("refs", refs, "files", "received")
        return await self._erase_all([letter for letter in found if letter["received"] <= until])

    async def erase_of(self, events: Iterable[str]) -> int:
        """Erase every letter of these events; how many there were."""
        return await self._erase_all(await self._gathered.having("event", events, "files"))

    async def _erase_all(self, found: Sequence[Document]) -> int:
        if not found:
            return 0
        await self._clear_files(file for letter in found for file in letter.get("files", ()))
        await self._keys.destroy(key_id(letter["_id"], PARKED) for letter in found)
        with available():
            gone = await self._letters.delete_many({"_id": {"$in": [letter["_id"] for letter in found]}})
        return gone.deleted_count


def _place(letter: str) -> str:
    return f"parked/{letter}"
