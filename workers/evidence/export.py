"""Makes the one file about a case: everything needed to check it, nothing that names a person.

Source: P12; R30.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from schemas.errors import GreffierError
from schemas.evidence import VERSION, entry
from schemas.fields import wire_moment
from schemas.ledger_keys import LedgerKeys
from schemas.signed import public_key, sign_document
from workers.evidence.bundle import BUNDLE, SIGNED_BUNDLE
from workers.evidence.facts import CaseFacts
from workers.evidence.keeping import Keeper
from workers.stores.ledger import Leaf


class NothingNoted(GreffierError):
    """The ledger has no entry of this case."""


@dataclass(frozen=True, slots=True)
class Exporter:
    """Makes bundles from one ledger."""

    keeper: Keeper
    keys: LedgerKeys
    clock: Callable[[], datetime]

    async def export(self, facts: CaseFacts) -> dict[str, Any]:
        """The signed bundle about a case, in the form of :data:`workers.evidence.bundle.SIGNED_BUNDLE`.

        Raises :class:`NothingNoted`, :class:`schemas.errors.StoreUnavailable`, and
        :class:`workers.stores.ledger.LedgerBroken` when the ledger is not what was signed.
        """
        ledger, heads = self.keeper.ledger, self.keeper.heads
        keys_noted = await self._note_keys(facts)
        newest = await self.keeper.settle()
        leaves = [*await ledger.leaves_by_entry(keys_noted), *await ledger.leaves_of(facts.reference)]
        if newest is None or len(leaves) == len(keys_noted):
            raise NothingNoted("the ledger has no entry of this case")
        leaves.sort(key=lambda leaf: leaf.seq)
        head = await heads.covering(leaves[-1].seq) or newest
        sizes = head["body"]["size"], newest["body"]["size"]
        proofs = await ledger.inclusions((leaf.seq for leaf in leaves), sizes[0])
        body = {
            "type": BUNDLE,
            "v": VERSION,
            "at": max(wire_moment(self.clock()), newest["body"]["at"]),
            "log": self.keys.log,
            "ledger_keys": [dated.as_json() for dated in self.keys.verifying.values()],
            "leaves": [{"leaf": leaf.text, "proof": _hex(proofs[leaf.seq])} for leaf in leaves],
            "head": head,
            "newest": newest,
            "consistency": _hex(await ledger.consistency(*sizes)),
            **_stated(facts, leaves),
        }
        document = sign_document(body, self.keys.signing)
        SIGNED_BUNDLE.check(document)  # what we could not read ourselves never leaves
        return document

    async def _note_keys(self, facts: CaseFacts) -> list[str]:
        """Note the stores' keys, should that not have been done when they were taken on; the entries' ids."""
        now = self.clock()
        known = [
            entry("key_known", None, f"{store}/{key.thumbprint()}", now, store=store, key=key.thumbprint(), kid=key.kid)
            for store, keys in sorted(facts.keys.items())
            for key in keys
        ]
        return list(await self.keeper.ledger.append(*known)) if known else []


def _stated(facts: CaseFacts, leaves: Iterable[Leaf]) -> dict[str, Any]:
    """What the controller says of the case, its stores and their answers."""
    moments = {"answered_at": facts.answered_at, "closed_at": facts.closed_at}
    noted = {json.loads(leaf.text)["details"].get("digest") for leaf in leaves}
    return {
        "case": {
            "reference": facts.reference,
            "right": facts.right.value,
            "channel": facts.channel.value,
            "received_at": wire_moment(facts.received_at),
            "due_on": facts.due_on.isoformat(),
            "answer": facts.answer,
            "proof": facts.proof,
            **{name: wire_moment(moment) for name, moment in moments.items() if moment is not None},
        },
        "stores": [
            {"code": one.code, "name": one.name, "country": one.country, "region": one.region, "basis": one.basis}
            for one in facts.stores
        ],
        # A receipt that came while this file was made, and is not in the ledger yet, is for the next one.
        "receipts": [
            {"store": one.store, "jws": one.jws, "received_at": wire_moment(one.received_at)}
            for one in facts.receipts
            if hashlib.sha256(one.jws.encode()).hexdigest() in noted
        ],
        "store_keys": [
            {"store": store, "jwk": public_key(key), "thumbprint": key.thumbprint()}
            for store, keys in sorted(facts.keys.items())
            for key in keys
        ],
    }


def _hex(hashes: Iterable[bytes]) -> list[str]:
    return [one.hex() for one in hashes]
