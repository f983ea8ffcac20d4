"""Data keys: one per (person, class), wrapped, destroyable for good.

Destroying a key empties its document and leaves ``{_id, destroyed_at}``, so that the key cannot be minted again by a
late event, and a restored one is destroyed again. A hold lives on the same document: hold and destroy are one
compare-and-set. Keys are never cached across batches.
Source: design § 4 "Keys"; crypto-and-evidence § 1, § 2; R19, R26.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pymongo import UpdateOne
from pymongo.errors import DuplicateKeyError

from schemas.errors import GreffierError
from workers.stores.gathering import AT_ONCE, ONE_REPLY, Gathered
from workers.stores.mongo import Collection, Databases, Document, available, pieces

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12

ACTIVE: Final = "active"
ARCHIVE: Final = "archive"
PARKED: Final = "parked"

_AFTER_SLASH: Final = "0"
"""The character after the one that parts owner and class."""


class KeyHeld(GreffierError):
    """A legal hold keeps this key: it is not destroyed. Source: R11."""


class Unreadable(GreffierError):
    """A sealed value does not open: its key is another one, or it was altered."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A legal hold. ``name``: the case it was set in; ``until``: when it is looked at again. It ends when lifted.

    Without ``until``: what its day is counted from has not happened yet.
    """

    name: str
    ground: str
    until: date | None


class KeyWrapper(Protocol):
    """What protects data keys at rest; room for a cloud's key service."""

    def wrap(self, key_id: str, key: bytes) -> dict[str, Any]:
        """What to store: the wrapped key and the id of what wrapped it."""

    def unwrap(self, key_id: str, stored: Mapping[str, Any]) -> bytes:
        """The data key. Raises :class:`Unreadable`."""


class LocalKeyWrapper:
    """Key-encryption keys from files; the first wraps, any unwraps. Bound to the key's id, so none can be swapped."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._current = next(iter(keys))
        self._ciphers = {kid: AESGCM(key) for kid, key in keys.items()}

    def wrap(self, key_id: str, key: bytes) -> dict[str, Any]:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        wrapped = nonce + self._ciphers[self._current].encrypt(nonce, key, key_id.encode())
        return {"kid": self._current, "wrapped": wrapped}

    def unwrap(self, key_id: str, stored: Mapping[str, Any]) -> bytes:
        cipher, wrapped = self._ciphers.get(stored["kid"]), bytes(stored["wrapped"])
        if cipher is None:
            raise Unreadable("unknown wrapping key")
        try:
            return cipher.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], key_id.encode())
        except InvalidTag:
            raise Unreadable("wrapped key does not open") from None


class DataKey:
    """One unwrapped data key, for as long as a batch or a read lasts."""

    def __init__(self, key_id: str, key: bytes) -> None:
        self.id = key_id
        self._key = key
        self._cipher = AESGCM(key)

    def seal(self, place: str, content: bytes) -> bytes:
        """``place``: where the value will stand, as ``collection/id``; it opens nowhere else."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, place.encode())

    def seal_alike(self, place: str, content: bytes) -> bytes:
        """The same bytes for the same content each time: two workers that store one file write one file.

        The nonce is derived under the key from place and content, so that it is equal only where both are.
        """
        own = hmac.digest(self._key, b"greffier/nonce", "sha256")
        nonce = hmac.digest(own, place.encode() + b"\0" + content, "sha256")[:_NONCE_BYTES]
        return nonce + self._cipher.encrypt(nonce, content, place.encode())

    def open(self, place: str, sealed: bytes) -> bytes:
        """Raises :class:`Unreadable`."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place.encode())
        except InvalidTag:
            raise Unreadable("sealed value does not open") from None


def key_id(owner: str, key_class: str) -> str:
    """``owner``: a person's id, or a parked letter's; never an address or its hash."""
    return f"{owner}/{key_class}"


class Keys:
    """A store of wrapped data keys. ``name``: its collection; each has credentials and a wrapper of its own."""

    def __init__(self, databases: Databases, wrapper: KeyWrapper, name: str = "keys") -> None:
        self._keys: Collection = databases.keys[name]
        self._gathered = Gathered(self._keys)
        self._wrapper = wrapper

    async def ensure(self, ids: Iterable[str]) -> dict[str, DataKey]:
        """The keys of these ids, minted where there was none. A destroyed one is absent from what comes back.

        Two workers that mint one key at once end up with the same: the first insert wins and both read it.
        """
        wanted = list(dict.fromkeys(ids))
        found = await self._stored(wanted)
        missing = [wanted_id for wanted_id in wanted if wanted_id not in found]
        fresh = {new: AESGCM.generate_key(256) for new in missing}
        documents = [{"_id": new, **self._wrapper.wrap(new, key)} for new, key in fresh.items()]
        taken = await self._gathered.insert_new(documents)
        keys = {new: DataKey(new, key) for position, (new, key) in enumerate(fresh.items()) if position not in taken}
        if taken:
            found |= await self._stored([missing[position] for position in taken])
        return keys | self._opened(found)

    async def read(self, ids: Iterable[str]) -> dict[str, DataKey]:
        """The living keys among these ids; none is minted."""
        return self._opened(await self._stored(list(dict.fromkeys(ids))))

    async def between(self, first: str, last: str, key_class: str) -> dict[str, Document]:
        """Owner → the stored key of this class, for the owners from ``first`` to ``last``: to be read by :meth:`open`.

        By their range, not by their names: for very many, that is most of what a read of them costs.
        """
        with available():
            found = await self._keys.find(
                {"_id": {"$gte": key_id(first, ""), "$lt": last + _AFTER_SLASH}}, {"hold": 0}, batch_size=ONE_REPLY
            ).to_list(None)
        ending = key_id("", key_class)
        return {one["_id"].removesuffix(ending): one for one in found if one["_id"].endswith(ending)}

    def open(self, stored: Document) -> DataKey | None:
        """One of those; ``None`` where it was destroyed. Raises :class:`Unreadable`."""
        return DataKey(stored["_id"], self._wrapper.unwrap(stored["_id"], stored)) if "wrapped" in stored else None

    async def read_whole(self, ids: Iterable[str]) -> tuple[dict[str, DataKey], frozenset[str]]:
        """The living keys among these ids, and which of the ids a hold keeps."""
        stored = await self._stored(list(dict.fromkeys(ids)))
        return self._opened(stored), frozenset(one for one, document in stored.items() if "hold" in document)

    async def destroy(self, ids: Iterable[str]) -> None:
        """Destroy for good, also a key that was never minted: from now on none can be. Repeating changes nothing.

        Raises :class:`KeyHeld` when a legal hold keeps one of them; the others are destroyed.
        """
        destroyed = await asyncio.gather(*map(self._destroy, dict.fromkeys(ids)))
        if not all(destroyed):
            raise KeyHeld("a legal hold keeps a key")

    async def destroy_all(self, ids: Iterable[str]) -> frozenset[str]:
        """The same of very many at once; those that a hold keeps come back."""
        wanted = list(dict.fromkeys(ids))
        if not wanted:
            return frozenset()
        emptied = [{"$replaceWith": {"_id": "$_id", "destroyed_at": {"$ifNull": ["$destroyed_at", "$$NOW"]}}}]
        free = [{"_id": {"$in": some}, "hold": {"$exists": False}} for some in pieces(wanted)]
        with available():
            done = await asyncio.gather(*(self._keys.update_many(one, emptied) for one in free))
        if sum(one.matched_count for one in done) == len(wanted):
            return frozenset()
        stored = await self._stored(wanted)
        left = [one for one in wanted if "destroyed_at" not in stored.get(one, ())]  # held, or never minted
        destroyed = await asyncio.gather(*map(self._destroy, left))
        return frozenset(one for one, gone in zip(left, destroyed, strict=True) if not gone)

    async def hold(self, ids: Iterable[str], hold: Hold) -> list[str]:
        """Keep these keys from being destroyed until the hold is lifted; those that it keeps now.

        One compare-and-set a key: whichever of hold and destruction comes first, the other sees it. A key that is
        destroyed, or was never minted, is not held. Repeating changes nothing.
        """
        wanted = list(dict.fromkeys(ids))
        entry = {"name": hold.name, "ground": hold.ground, "until": hold.until and hold.until.isoformat()}
        with available():
            for held in wanted:
                living = {"_id": held, "wrapped": {"$exists": True}, "hold.name": {"$ne": hold.name}}
                await self._keys.update_one(living, {"$push": {"hold": entry}})
            kept = self._keys.find({"_id": {"$in": wanted}, "hold.name": hold.name}, {"_id": 1})
            return [found["_id"] async for found in kept]

    async def lift(self, ids: Iterable[str], name: str) -> None:
        """End a hold on these keys; another one on the same key stands. Repeating changes nothing."""
        others = {"$filter": {"input": "$hold", "cond": {"$ne": ["$$this.name", name]}}}
        lifted: list[dict[str, Any]] = [
            {"$set": {"hold": others}},
            {"$set": {"hold": {"$cond": [{"$eq": ["$hold", []]}, "$$REMOVE", "$hold"]}}},
        ]
        with available():
            await self._keys.update_many({"_id": {"$in": list(ids)}, "hold.name": name}, lifted)

    async def holds(self, ids: Iterable[str]) -> list[Hold]:
        """The holds on these keys, the one that ends last first."""
        stored = await self._stored(list(dict.fromkeys(ids)))
        found = [
            Hold(one["name"], one["ground"], one["until"] and date.fromisoformat(one["until"]))
            for document in stored.values()
            for one in document.get("hold", ())
        ]
        return sorted(found, key=lambda hold: hold.until or date.max, reverse=True)

    async def held(self, ids: Iterable[str]) -> frozenset[str]:
        """Which of these keys a hold keeps."""
        wanted = list(ids)
        if len(wanted) <= AT_ONCE:
            return frozenset(held for held, document in (await self._stored(wanted)).items() if "hold" in document)
        with available():  # by what its index is of: few are held, however many are asked about
            found = self._keys.find({"_id": {"$in": wanted}, "hold.name": {"$exists": True}}, {"_id": 1})
            return frozenset([held["_id"] async for held in found])

    async def all_held(self) -> list[str]:
        """Every key that a hold keeps."""
        with available():
            return [held["_id"] async for held in self._keys.find({"hold.name": {"$exists": True}}, {"_id": 1})]

    async def _destroy(self, doomed: str) -> bool:
        emptied = [{"$replaceWith": {"_id": doomed, "destroyed_at": {"$ifNull": ["$destroyed_at", "$$NOW"]}}}]
        while True:
            try:
                free = {"_id": doomed, "hold": {"$exists": False}}
                await self._gathered.write(UpdateOne(free, emptied, upsert=True))
                return True
            except DuplicateKeyError:  # it is held, or was minted at this very moment: then it is destroyed next
                if "hold" in (await self._gathered.get(doomed) or {}):
                    return False

    async def _stored(self, ids: list[str]) -> dict[str, Document]:
        return {stored["_id"]: stored for stored in await self._gathered.having("_id", ids)}

    def _opened(self, stored: Mapping[str, Document]) -> dict[str, DataKey]:
        return {found: key for found, document in stored.items() if (key := self.open(document)) is not None}
