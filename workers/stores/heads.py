"""Signed heads of the ledger, and the check that the ledger still is what was signed.

A head is the hash of everything below it. It is signed when there is something new, every few seconds at most and
whenever somebody needs one; it names no secret, so it leaves the machine as often as one likes. From then on nothing
under it can be changed, removed or put in another order without its being found.
Source: P12; I22; crypto-and-evidence § 5 "Signed tree head"; reliability § 8.8.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from schemas.errors import InvalidMessage
from schemas.evidence import HEAD, SIGNED_HEAD
from schemas.fields import wire_moment
from schemas.ledger_keys import LedgerKeys
from schemas.signed import check_document, sign_document
from workers.rules.merkle import Frontier, leaf_hash
from workers.stores.ledger import Ledger, LedgerBroken
from workers.stores.mongo import Collection, Databases, Document, available, insert_new

Head = dict[str, Any]
"""As :data:`schemas.evidence.SIGNED_HEAD`."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found. ``faults``: what is wrong, by name, empty when the ledger is what was signed."""

    size: int
    heads: int
    pending: int
    newest_head_at: str | None
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LedgerState:
    """The ledger at one look, for which no key is needed. ``size``: its leaves; ``signed``: under the newest head.

    ``waiting_since``: of the oldest entry that no head covers; ``fault``: why it is not what was signed.
    """

    size: int
    signed: int
    newest_head_at: str | None
    waiting_since: str | None
    fault: str | None


async def at_one_look(databases: Databases) -> LedgerState:
    """How the ledger stands. Cheap: whether anything older was altered, :meth:`Heads.check` finds out."""
    ledger = Ledger(databases)
    with available():
        found = await databases.evidence["ledger_heads"].find_one({}, sort=[("_id", -1)])
    head: Head = found["head"]["body"] if found else {"size": 0, "root": None, "at": None}
    size = await ledger.size()  # after the head: what it has under it was there when it was signed
    return LedgerState(
        size=size,
        signed=head["size"],
        newest_head_at=head["at"],
        waiting_since=await ledger.waiting_since(head["size"]),
        fault=await _fault_at_one_look(ledger, size, head),
    )


async def _fault_at_one_look(ledger: Ledger, size: int, head: Mapping[str, Any]) -> str | None:
    if size < head["size"]:
        return "ledger_truncated"
    try:
        if head["size"] and (await ledger.root(head["size"])).hex() != head["root"]:
            return "ledger_altered"
    except LedgerBroken as error:
        return str(error)
    return "entries_contradict" if await ledger.pending(conflicting=True) else None


class Heads:
    """The heads of one ledger."""

    def __init__(self, databases: Databases, ledger: Ledger, keys: LedgerKeys, clock: Callable[[], datetime]) -> None:
        self._heads: Collection = databases.evidence["ledger_heads"]
        self._ledger = ledger
        self._keys = keys
        self._clock = clock

    async def newest(self) -> Head | None:
        """The head over most leaves."""
        with available():
            found = await self._heads.find_one({}, sort=[("_id", -1)])
        return found["head"] if found else None

    async def covering(self, seq: int) -> Head | None:
        """The earliest head that has leaf ``seq`` under it."""
        with available():
            found = await self._heads.find_one({"_id": {"$gt": seq}}, sort=[("_id", 1)])
        return found["head"] if found else None

    async def each(self) -> AsyncIterator[Head]:
        """Every head, the smallest first."""
        with available():
            async for found in self._heads.find().sort("_id", 1):
                yield found["head"]

    async def for_others(self) -> list[Head]:
        """Those to keep elsewhere: the last of each day, whatever was handed out before, and now the newest.

        So each such list holds every head of the ones before it, and stays short.
        """
        days: list[Document] = [
            {"$group": {"_id": {"$substrBytes": ["$head.body.at", 0, 10]}, "size": {"$max": "$_id"}}}
        ]
        with available():
            last = await self._heads.find_one_and_update({}, {"$set": {"handed_out": True}}, sort=[("_id", -1)])
            wanted = [day["size"] async for day in self._heads.aggregate(days)]
            if last is not None:
                wanted.append(last["_id"])
            found = self._heads.find({"$or": [{"_id": {"$in": wanted}}, {"handed_out": True}]}).sort("_id", 1)
            return [one["head"] async for one in found]

    async def sign(self) -> Head | None:
        """The head over everything there is: a new one if the ledger has grown; ``None`` while it is empty.

        Raises :class:`LedgerBroken` when what is kept no longer begins with what the newest head signed.
        """
        self._ledger.require_sound()
        newest = await self.newest()
        size = await self._ledger.size()  # after the head: what it has under it was there when it was signed
        if newest is not None:
            await self._require_grown(newest, size)
            if newest["body"]["size"] == size:
                return newest
        if size == 0:
            return None
        # Heads of several workers' clocks: none is dated before the one it follows.
        at = max(wire_moment(self._clock()), newest["body"]["at"] if newest else "")
        root = (await self._ledger.root(size)).hex()
        body = {"type": HEAD, "log": self._keys.log, "size": size, "root": root, "at": at}
        head = sign_document(body, self._keys.signing)
        if await insert_new(self._heads, [{"_id": size, "head": head}]):
            return await self.newest()  # somebody else signed this size first
        return head

    async def _require_grown(self, newest: Head, size: int) -> None:
        signed = newest["body"]["size"]
        if size < signed:
            raise self._stop("ledger_truncated")
        if (await self._ledger.root(signed)).hex() != newest["body"]["root"]:
            raise self._stop("ledger_altered")

    def _stop(self, why: str) -> LedgerBroken:
        self._ledger.stop(why)
        return LedgerBroken(why)

    async def check(self, known: Sequence[Head] = (), *, every_signature: bool = True) -> Checked:
        """Recompute the whole tree from the leaves and compare it with every signed head; stop writing on a fault.

        ``known``: heads kept elsewhere, which nobody who can write here could have removed. ``every_signature``: of
        all heads, not only of the newest. Reads everything, in constant memory.
        """
        newest = await self.newest()
        once = [newest] if newest is not None and not every_signature else []
        faults = [fault for head in once if (fault := self._fault_of(head))]
        seen = await self._recompute(_Expected(self.each(), known), faults, every_signature)
        if conflicting := await self._ledger.pending(conflicting=True):
            faults.append(f"entries_contradict: {conflicting}")
        if faults:
            self._ledger.stop(faults[0])
        at = newest["body"]["at"] if newest else None
        return Checked(seen.leaves, seen.heads, await self._ledger.pending(), at, tuple(faults))

    def _fault_of(self, head: Mapping[str, Any]) -> str | None:
        try:
            SIGNED_HEAD.check(head)
            check_document(head, HEAD, self._keys.verifying)
        except InvalidMessage as error:
            return f"head_{error.code}"
        return None if head["body"]["log"] == self._keys.log else "head_of_another_log"

    async def _recompute(self, expected: _Expected, faults: list[str], every_signature: bool) -> _Seen:
        frontier = Frontier()
        await expected.next(frontier.size)
        async for leaf in self._ledger.leaves({}):
            seq = frontier.size
            if leaf.seq != seq:
                faults.append(f"leaf_missing at leaf {seq}")
                return _Seen(seq, expected.heads)
            if frontier.append(leaf_hash(leaf.text.encode())) != leaf.hashes:
                faults.append(f"leaf_altered at leaf {seq}")
                return _Seen(seq, expected.heads)
            signed = await expected.next(frontier.size)
            if every_signature:
                faults += [fault for head in signed if (fault := self._fault_of(head))]
            roots = {head["body"]["root"] for head in signed}
            if len(roots) > 1:
                faults.append(f"ledger_forked at size {frontier.size}")
            elif roots - {frontier.root.hex()}:
                faults.append(f"ledger_altered before size {frontier.size}")
                return _Seen(frontier.size, expected.heads)
        if await expected.left():
            faults.append(f"ledger_truncated at size {frontier.size}")
        return _Seen(frontier.size, expected.heads)


@dataclass(frozen=True, slots=True)
class _Seen:
    leaves: int
    heads: int


class _Expected:
    """Heads in the order of their sizes: those of the store as they are read, and a few from elsewhere."""

    def __init__(self, stored: AsyncIterator[Head], known: Iterable[Head]) -> None:
        self._stored = stored
        self._known = sorted(known, key=_size)
        self._ahead: Head | None = None
        self.heads = 0

    async def next(self, size: int) -> list[Head]:
        """The heads of this very size; sizes are asked for in rising order, 0 first."""
        found = []
        if size == 0:
            await self._read()
        while self._ahead is not None and _size(self._ahead) <= size:
            found.append(self._ahead)
            await self._read()
        while self._known and _size(self._known[0]) <= size:
            found.append(self._known.pop(0))
        return found

    async def _read(self) -> None:
        self._ahead = await anext(self._stored, None)
        self.heads += self._ahead is not None

    async def left(self) -> bool:
        """Whether there is a head over more than there is; reads the rest."""
        longer = self._ahead is not None or bool(self._known)
        while self._ahead is not None:
            await self._read()
        return longer


def _size(head: Head) -> int:
    return int(head["body"]["size"])
