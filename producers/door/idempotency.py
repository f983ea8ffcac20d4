"""``Idempotency-Key``: the same request twice is one event, and a second body under a used key is refused.

The key derives the event's id, so a repeat is harmless even if everything below were lost; the fingerprint in Redis
(keyed digests only, 24 h) tells a repeat from another body and from a request still running.

=========== ============================================= ========================================
state       what it says                                  a repeat with the same body
=========== ============================================= ========================================
(absent)    never seen, or more than 24 h ago             is posted
``posting`` somebody posts it, until its lease is over    409; after the lease it is posted again
``open``    it was tried and not confirmed                is posted again
``posted``  Redis has it on disk                          is answered as before, and not posted
=========== ============================================= ========================================

Whoever posts again uses the first attempt's time of receipt: the event stays the same to its last byte.
Source: messaging-standards § 5; design § 6; P2.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import uuid
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from aiohttp import web

from producers.door.problems import Refused
from producers.gather import Gatherer
from producers.intake import Taken
from producers.publisher import Claims
from schemas.errors import QueueUnavailable
from schemas.fields import read_moment, wire_moment

LEASE: Final = timedelta(seconds=20)
"""Longer than any post takes: after it the process that held the claim is taken for dead."""
_SF_STRING: Final = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_BARE: Final = re.compile(r"[\x21\x23-\x7e]+")
MAX_KEY_CHARS: Final = 255


def read_key(request: web.BaseRequest) -> str | None:
    """The header's value, quoted or bare. Raises :class:`Refused` 400 when it is no key."""
    found = request.headers.getall("Idempotency-Key", ())
    if not found:
        return None
    text = found[0].strip()
    quoted = _SF_STRING.fullmatch(text)
    key = quoted[1] if quoted else text
    if len(found) != 1 or not 1 <= len(key) <= MAX_KEY_CHARS or not (quoted or _BARE.fullmatch(key)):
        raise Refused(400, "idempotency_key", "Idempotency-Key must be one string of at most 255 characters.")
    return key


@dataclass(frozen=True, slots=True)
class Claim:
    """A request that bears a key. ``id``: its event's id, the same for every repeat."""

    name: str
    id: str


def _received(taken: Sequence[Taken], at: datetime) -> list[Taken]:
    return [replace(one, event=one.event._replace(recordedtime=wire_moment(at))) for one in taken]


class Idempotency:
    """See the module. ``secret``: the door's own key, so that nothing in Redis can be guessed from a body."""

    def __init__(self, secret: bytes, claims: Claims, clock: Callable[[], datetime]) -> None:
        self._secret = secret
        self._claims = claims
        self._clock = clock
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="claims")

    def claim(self, client: str, key: str) -> Claim:
        """``client``: who sends and where to; two clients may use one key without meeting."""
        digest = self._digest("key", client, key)
        return Claim(digest[32:], str(uuid.UUID(digest[:32])))

    async def once(
        self, claim: Claim, body: bytes, received_at: datetime, post: Callable[[datetime], Awaitable[None]]
    ) -> datetime:
        """Call ``post`` unless it was done already; the time of receipt to answer with.

        Raises :class:`Refused` 409 or 422, and whatever ``post`` raises.
        """
        fingerprint = self._digest("body", claim.id, body.hex())
        mine = self._entry("posting", fingerprint, received_at)
        found = await self._run(self._claims.claim, claim.name, mine)
        if found is not None:
            state, known, first, lease = found.split(" ")
            if not hmac.compare_digest(known, fingerprint):
                raise Refused(422, "idempotency_key_reused", "This Idempotency-Key came before with another body.")
            received_at = read_moment(first)
            if state == "posted":
                return received_at
            if state == "posting" and read_moment(lease) > self._clock():
                raise Refused(409, "in_flight", "The first request still runs.", headers={"Retry-After": "1"})
            await self._run(self._claims.settle, claim.name, self._entry("posting", fingerprint, received_at))
        try:
            await post(received_at)
        except QueueUnavailable:
            await self._note(claim, self._entry("open", fingerprint, received_at))
            raise
        await self._note(claim, self._entry("posted", fingerprint, received_at))
        return received_at

    async def put(self, request: web.BaseRequest, client: str, taken: Sequence[Taken], gatherer: Gatherer) -> None:
        """Post events that bear ids of their own, once where the request has a key. Raises as :meth:`once`."""
        key = read_key(request)
        if key is None or not taken:
            return await gatherer.put_all(taken)
        body = b"\n".join(f"{one.event.type} {one.event.key} ".encode() + one.event.body for one in taken)
        received_at = read_moment(taken[0].event.recordedtime)
        await self.once(self.claim(client, key), body, received_at, lambda at: gatherer.put_all(_received(taken, at)))
        return None

    def close(self) -> None:
        self._threads.shutdown()
        self._claims.close()

    async def _note(self, claim: Claim, entry: str) -> None:
        # Not noted, the lease ends by itself and a repeat is posted again, as the same event.
        with suppress(QueueUnavailable):
            await self._run(self._claims.settle, claim.name, entry)

    def _entry(self, state: str, fingerprint: str, received_at: datetime) -> str:
        return f"{state} {fingerprint} {wire_moment(received_at)} {wire_moment(self._clock() + LEASE)}"

    def _digest(self, use: str, *parts: str) -> str:
        return hmac.digest(self._secret, "\n".join((use, *parts)).encode(), "sha256").hex()

    async def _run(self, call: Callable[[str, str], str | None], name: str, entry: str) -> str | None:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, name, entry)
