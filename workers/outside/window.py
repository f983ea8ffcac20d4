"""What every protocol does with a request: keep it once, say how it stands, take it back, hand over what was found.

The counter can open no request that it keeps: it seals each to the controller, as the door does, and the sealed letter
waits beside the request until a worker of ``rights`` has made the case. So a request is durable, remembered and
answered by one write, and the counter needs no queue.
Source: rights-protocols § 4; P1, P4; design § 1.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
import uuid_utils
from pydantic_core import to_json

from schemas.envelope import Event, Sealer
from schemas.errors import Conflict
from schemas.fields import wire_moment
from schemas.rights import REQUESTED, new_reference
from schemas.routes import RIGHTS_REQUESTED, RIGHTS_SOURCE
from schemas.terms import Channel, Right
from workers.cases.withdrawing import withdraw
from workers.evidence.notes import Notes
from workers.rules.cases import Answer
from workers.rules.deadlines import CaseDates, deadlines
from workers.rules.decisions import Refusal
from workers.rules.outside import Stage, Standing
from workers.stores.cases import Cases
from workers.stores.mongo import Document
from workers.stores.outside import Outside

log = structlog.get_logger("greffier.outside")

LOOK_EVERY: Final = timedelta(seconds=30)
"""How often a request that is open is looked at, for what is to be told of it."""

_DOOR: Final = "outside"
"""What stands in a letter in place of a door's name."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that a protocol has believed. ``key``: who asked and their own id. ``same``: what makes it the same.

    ``known_as``: their own id, where they are told it again. ``dialect``: which version of the protocol they speak.
    """

    peer: str
    key: str
    channel: Channel
    right: Right
    email: str
    same: bytes
    callbacks: Sequence[str] = ()
    known_as: str | None = None
    dialect: str | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """One per counter. ``secret``: of the digests that tell one body from another."""

    outside: Outside
    cases: Cases
    notes: Notes
    sealer: Sealer
    secret: bytes
    clock: Callable[[], datetime]

    async def take_in(self, asked: Asked) -> Document:
        """Keep a request; the one that stands. Raises :class:`Conflict` where its id came before and said otherwise."""
        now, reference = self.clock(), new_reference()
        body = hmac.digest(self.secret, asked.same, "sha256")
        kept = await self.outside.keep(
            {
                "_id": str(uuid.uuid4()),
                "key": asked.key,
                "peer": asked.peer,
                "known_as": asked.known_as,
                "dialect": asked.dialect,
                "right": asked.right.value,
                "body": body,
                "received_at": now,
                "reference": reference,
                "letter": self._letter(asked, reference, now),
                "opens_at": now,
                "calls": [{"url": url} for url in asked.callbacks],
                "look_at": now + LOOK_EVERY,
            }
        )
        if not hmac.compare_digest(bytes(kept["body"]), body):
            raise Conflict("same_id_other_body")
        return kept

    def _letter(self, asked: Asked, reference: str, now: datetime) -> dict[str, Any]:
        said = {
            "reference": reference,
            "right": asked.right.value,
            "email": asked.email,
            "channel": asked.channel.value,
            "language": "en",  # the protocols have no word for the person's own
            "peer": asked.peer,
        }
        body = to_json(REQUESTED.clean(said))
        event = Event(reference, RIGHTS_SOURCE, RIGHTS_REQUESTED, wire_moment(now), body)
        return self.sealer.seal(str(uuid_utils.uuid7()), _DOOR, 1, [event])

    async def standing(self, request: Mapping[str, Any]) -> Standing:
        """How a request stands: as its case does, and as one just received until there is a case."""
        return standing_of(request, await self._case(request), self.clock())

    async def _case(self, request: Mapping[str, Any]) -> Document | None:
        return await self.cases.get(request["case"]) if "case" in request else None

    async def revoke(self, request: Document, *, may: Callable[[Standing], bool]) -> Document | None:
        """Take a request back where it ``may`` be; as it stands then. ``None``: it may not, or not any more."""
        while True:
            case, now = await self._case(request), self.clock()
            if "revoked_at" in request:
                return request
            if not may(standing_of(request, case, now)):
                return None
            if case is not None and not await withdraw(self.cases, self.notes, case, request["peer"], now):
                return None
            if await self.outside.change(request, {"revoked_at": now, "look_at": now}, "letter", "opens_at"):
                log.info("request taken back", case=request["reference"])
            request = await self.outside.get(request["_id"]) or request

    async def package_of(self, request: Mapping[str, Any]) -> Document | None:
        """The case whose access package waits for who asked; ``None`` where there is none, or none any more."""
        case = await self._case(request)
        return case if case is not None and _waits(case, self.clock()) else None


def digest_of(message: bytes) -> str:
    """What a signed message or a token is known by here."""
    return hashlib.sha256(message).hexdigest()


def standing_of(request: Mapping[str, Any], case: Mapping[str, Any] | None, now: datetime) -> Standing:
    """How a request stands, by what is kept of it and of its case."""
    received_at = request["received_at"]
    if case is None:
        return Standing(_before(request), received_at, deadlines(CaseDates(received_at), now).answer_by)
    return Standing(
        stage=_stage(request, case),
        received_at=received_at,
        answer_by=case["answer_by"],
        extended=case.get("extended", False),
        refusal=Refusal(case["refusal"]) if "refusal" in case else None,
        word_follows=case["answer"] == Answer.ANSWERED and bool(case.get("promised")),
        results_until=case["package"]["expires"] if _waits(case, now) else None,
    )


def _before(request: Mapping[str, Any]) -> Stage:
    """Where a request is that has no case yet, or never will have one."""
    if "revoked_at" in request:
        return Stage.REVOKED
    return Stage.REFUSED if "refused" in request else Stage.RECEIVED


def _stage(request: Mapping[str, Any], case: Mapping[str, Any]) -> Stage:
    if "revoked_at" in request:
        return Stage.REVOKED
    answer = Answer(case["answer"])
    if answer is Answer.WITHDRAWN:
        return Stage.LAPSED if case.get("reason") == "link_not_used" else Stage.REVOKED
    return Stage(answer.value)


def _waits(case: Mapping[str, Any], now: datetime) -> bool:
    """Whether an access package waits to be fetched."""
    package = case.get("package", {})
    over = not package.keys().isdisjoint(("taken_at", "dropped_at"))
    return case["answer"] == Answer.ANSWERED and not over and "expires" in package and now < package["expires"]
