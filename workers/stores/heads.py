"""Signed heads of the ledger, and the check that the ledger still is what was signed.

A head is the hash of everything below it. It is signed when there is something new, every few seconds at most and
whenever somebody needs one; it names no secret, so it leaves the machine as often as one likes. From then on nothing
under it can be changed, removed or put in another order without its being found.
Source: P12; I22; crypto-and-evidence § 5 "Signed tree head"; reliability § 8.8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
from workers.stores.mongo import Collection, Databases, available, insert_new

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

    async def all(self) -> list[Head]:
        """Every head, the smallest first."""
        with available():
            return [found["head"] async for found in self._heads.find().sort("_id", 1)]

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

    async def check(self, known: Iterable[Head] = ()) -> Checked:
        """Recompute the whole tree from the leaves and compare it with every signed head; stop writing on a fault.

        ``known``: heads kept elsewhere, which nobody who can write here could have removed.
        """
        heads = await self.all()
        faults = [fault for head in (*heads, *known) if (fault := self._fault_of(head))]
        roots = {int(head["body"]["size"]): str(head["body"]["root"]) for head in heads}
        for head in known:
            size, root = head["body"]["size"], head["body"]["root"]
            if roots.setdefault(size, root) != root:
                faults.append(f"ledger_forked at size {size}")
        size = await self._recompute(roots, faults)
        conflicting = await self._ledger.pending(conflicting=True)
        if conflicting:
            faults.append(f"entries_contradict: {conflicting}")
        if faults:
            self._ledger.stop(faults[0])
        newest = max((head["body"]["at"] for head in heads), default=None)
        return Checked(size, len(heads), await self._ledger.pending(), newest, tuple(faults))

    def _fault_of(self, head: Mapping[str, Any]) -> str | None:
        try:
            SIGNED_HEAD.check(head)
            check_document(head, HEAD, self._keys.verifying)
        except InvalidMessage as error:
            return f"head_{error.code}"
        return None if head["body"]["log"] == self._keys.log else "head_of_another_log"

    async def _recompute(self, roots: Mapping[int, str], faults: list[str]) -> int:
        frontier = Frontier()
        async for leaf in self._ledger.leaves({}):
            seq = frontier.size
            if leaf.seq != seq:
                faults.append(f"leaf_missing at leaf {seq}")
                return seq
            if frontier.append(leaf_hash(leaf.text.encode())) != leaf.hashes:
                faults.append(f"leaf_altered at leaf {seq}")
                return seq
            if frontier.size in roots and roots[frontier.size] != frontier.root.hex():
                faults.append(f"ledger_altered before size {frontier.size}")
                return frontier.size
        if any(size > frontier.size for size in roots):
            faults.append(f"ledger_truncated at size {frontier.size}")
        return frontier.size
