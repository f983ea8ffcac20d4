"""Tells who asked of every change: a call to the address that came with the request, repeated until it is taken.

Each request that is open is looked at every half minute, by whichever counter comes first, and its state put into its
protocol's words; where they are other than what was told last, they are sent. What fails is sent again by the schedule
of Standard Webhooks, always as it stands by then. After the last try it is given up, visibly; and it is an alarm too
when the answer's due date comes before the next try.

A call goes only to a host that the operator has named for whoever asked, and to no address inside a network.
Source: rights-protocols § 4; messaging-standards § 6; ASVS 1.3.6.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Any, Final, Protocol

import aiohttp
import structlog
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from schemas.errors import Temporary
from workers.outside.window import LOOK_EVERY, Window
from workers.rules import webhooks
from workers.rules.outside import Stage, Standing
from workers.stores.mongo import Document

log = structlog.get_logger("greffier.outside")

EVERY_S: Final = 2.0
KEPT_FOR: Final = timedelta(days=60)
"""How long a request is remembered once it is final and that was told."""
_LEASE: Final = timedelta(minutes=2)
_AT_ONCE: Final = 50
_UNREACHED: Final = 0


class Teller(Protocol):
    """One protocol's words for how a request stands."""

    @property
    def protocol(self) -> str: ...

    def word(self, request: Mapping[str, Any], standing: Standing, url: str) -> bytes | None:
        """What to send there; ``None``: whoever asked may not be called there any more."""

    def headers(self, request: Mapping[str, Any], word: bytes) -> Mapping[str, str]:
        """What goes with it."""


async def for_ever(what: str, work: Callable[[], Awaitable[int]]) -> None:
    """A pass every two seconds until cancelled; what is away is tried again."""
    while True:
        try:
            await work()
        except Temporary as error:
            log.info("waits", what=what, reason=type(error).__name__)
        except Exception as error:
            log.error("pass failed", what=what, exc_info=error)
        await asyncio.sleep(EVERY_S)


@dataclass(frozen=True, slots=True)
class Courier:
    """One per counter. ``tellers``: by protocol."""

    window: Window
    tellers: Mapping[str, Teller]
    http: aiohttp.ClientSession

    async def tell(self) -> int:
        """One pass; how many requests were looked at. Raises :class:`Temporary`."""
        now = self.window.clock()
        due = await self.window.outside.due("look_at", now, now + _LEASE, _AT_ONCE)
        for failed in await asyncio.gather(*map(self._look, due), return_exceptions=True):
            if isinstance(failed, Temporary):
                raise failed
            if failed is not None:  # one that cannot be told holds up no other
                log.error("not told", exc_info=failed)
        return len(due)

    async def _look(self, request: Document) -> None:
        standing, now = await self.window.standing(request), self.window.clock()
        calls = await asyncio.gather(*(self._one(request, standing, call, now) for call in request["calls"]))
        pending = [call["due"] for call in calls if "due" in call]
        changes: dict[str, Any] = {"calls": calls}
        unset = [] if (alarm := _alarm(calls, standing)) else ["alarm"]
        if alarm:
            changes["alarm"] = alarm
            log.error("word to who asked is overdue", request=request["_id"], peer=request["peer"], alarm=alarm)
        if pending or not standing.done:
            changes["look_at"] = min([*pending, *([] if standing.done else [now + LOOK_EVERY])])
        else:
            changes["drop_at"] = now + KEPT_FOR
            unset.append("look_at")
        await self.window.outside.change(request, changes, *unset)  # changed meanwhile: it is looked at again

    async def _one(self, request: Document, standing: Standing, call: Document, now: datetime) -> Document:
        """One address, told if there is news for it and its time has come; what is kept of it then."""
        url, teller = call["url"], self.tellers.get(request["peer"].partition(":")[0])
        word = teller.word(request, standing, url) if teller else None
        if teller is None or word is None or call.get("unwanted"):
            return {"url": url, "unwanted": True}
        news = hashlib.sha256(word).hexdigest()
        if call.get("told") == news or ("told" not in call and standing.stage is Stage.RECEIVED):
            return {"url": url, "told": news}  # the very first state is what the request was answered by
        if call.get("saying") != news:
            call = {**call, "saying": news, "tries": 0, "due": now}
            call.pop("given_up", None)
        if "due" not in call or call["due"] > now:
            return call
        status, wished_s = await self._post(url, word, teller.headers(request, word))
        log.info("told who asked", request=request["_id"], peer=request["peer"], status=status, tries=call["tries"])
        if webhooks.taken(status):
            return {"url": url, "told": news}
        return {"url": url, "unwanted": True} if webhooks.unwanted(status) else _later(call, now, wished_s)

    async def _post(self, url: str, word: bytes, headers: Mapping[str, str]) -> tuple[int, int | None]:
        """The status (0: not reached) and, in seconds, when the other side wants to be asked again. No body is read."""
        try:
            async with self.http.post(url, data=word, headers=headers, allow_redirects=False) as answered:
                wished = answered.headers.get("Retry-After", "")
                return answered.status, int(wished) if wished.isascii() and wished.isdigit() else None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return _UNREACHED, None


def _later(call: Document, now: datetime, wished_s: int | None) -> Document:
    tries = call["tries"] + 1
    pause = webhooks.again_after(tries, secrets.randbelow(1001) / 1000, wished_s)
    kept = {name: call[name] for name in ("url", "told", "saying") if name in call} | {"tries": tries}
    return {**kept, "given_up": True} if pause is None else {**kept, "due": now + pause}


def _alarm(calls: list[Document], standing: Standing) -> str | None:
    """Why somebody should look; ``None``: nobody need."""
    if any(call.get("given_up") for call in calls):
        return "given_up"
    failing = (call for call in calls if call.get("tries") and "due" in call)
    return "late" if any(call["due"] >= standing.answer_by for call in failing) else None


class OutsideOnly(AbstractResolver):
    """Resolves names, and none to an address inside a network: what is public by name may not lead in here."""

    def __init__(self) -> None:
        self._inner = ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        """Raises OSError."""
        found = await self._inner.resolve(host, port, family)
        if not found or not all(is_outside(one["host"]) for one in found):
            raise OSError("the name leads to no public address")
        return found

    async def close(self) -> None:
        await self._inner.close()


def is_outside(address: str) -> bool:
    """Whether this is an address of the public network."""
    found = ip_address(address.partition("%")[0])
    inner = getattr(found, "ipv4_mapped", None) or found
    return bool(inner.is_global and not inner.is_multicast)


def open_session() -> aiohttp.ClientSession:
    """What calls go out by: names resolved to public addresses only, certificates checked, no proxy, no cookies."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=OutsideOnly(), limit=20, force_close=True),
        timeout=aiohttp.ClientTimeout(total=webhooks.TIMEOUT_S),
        cookie_jar=aiohttp.DummyCookieJar(),
    )
