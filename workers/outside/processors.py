"""Runs errands: asks external processors by OpenDSR, and believes what they answer in the written order.

1. the domain that an answer claims is on the list; 2. its certificate is of that domain, in its time, of a named
authority and not revoked (fetched by discovery, kept, fetched anew once when it no longer holds); 3. its signature is
over the raw bytes; 4. only then is it read. A call back goes the same way, must name our own address, and is answered
202, 401 (who speaks is not known) or 400.

The counter opens an errand's letter for one call and keeps nothing of it; when the request was taken the letter goes.
What a processor hands over for access is fetched from the address that it signed, and sealed to the controller at once.
Source: rights-protocols § 2, § 4; P4, P6, P7.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import structlog
import uuid_utils
from aiohttp import web
from cryptography import x509

from schemas.envelope import Event, Opener, Sealer
from schemas.errors import GreffierError, InvalidMessage, Temporary
from schemas.fields import wire_moment
from schemas.terms import Right
from workers.cases.errands import ERRAND
from workers.cases.handed_over import HANDED_OVER, SOURCE, described
from workers.evidence.notes import Notes
from workers.outside.peers import OpendsrPeers, Processor
from workers.outside.words import in_its_words
from workers.rules import webhooks
from workers.rules.opendsr import AWAY, TOO_LARGE, Unserved
from workers.rules.opendsr_asked import (
    UNTRUSTED,
    Statement,
    build_request,
    claimed,
    read_callback,
    read_status,
    read_taken,
)
from workers.rules.signatures import check_certificate, check_signature
from workers.rules.urls import is_https
from workers.stores.cases import Cases
from workers.stores.errands import DONE, REFUSED, Errands
from workers.stores.mongo import Document
from workers.web import BASE_HEADERS, JSON

log = structlog.get_logger("greffier.outside")

CALLBACKS: Final = "/opendsr/callbacks"
"""Where processors call us back."""
ASK_AGAIN: Final = timedelta(hours=1)
"""How often a processor that has taken a request is asked how it stands, should it not call back."""
DISCOVER_EVERY: Final = timedelta(minutes=1)
_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EVERY_DAY: Final = timedelta(days=1)
_LEASE: Final = timedelta(minutes=2)
_MAX_ANSWER: Final = 256 * 1024
_MAX_RESULTS: Final = 8 * 1024 * 1024
"""What is fetched for one address: sealed, it lies in one document of MongoDB."""


class Failed(GreffierError):
    """A processor could not be asked, or its answer not be believed. ``reason``: a code of ours."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Processors:
    """One per counter. ``anchors``: authorities that are named; ``certificates``: fetched, by domain.

    ``discovered``: when each was fetched last, so that nobody makes us fetch by calling back with what does not hold.
    """

    peers: OpendsrPeers
    anchors: tuple[x509.Certificate, ...]
    opener: Opener
    sealer: Sealer
    errands: Errands
    cases: Cases
    notes: Notes
    clock: Callable[[], datetime]
    http: aiohttp.ClientSession
    certificates: dict[str, list[x509.Certificate]] = field(default_factory=dict)
    discovered: dict[str, datetime] = field(default_factory=dict)

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_post(CALLBACKS, in_its_words(self.take, AWAY, TOO_LARGE))

    @property
    def callback_url(self) -> str:
        """Our own address, as processors are told it."""
        return f"https://{self.peers.domain}{CALLBACKS}"

    # ------------------------------------------------------------------ asking

    async def run(self) -> int:
        """Run what is due; how many errands. Raises :class:`schemas.errors.Temporary`."""
        count, now = 0, self.clock()
        while errand := await self.errands.take("run_at", now, now + _LEASE):
            count += 1
            try:
                await self._ask(errand) if "letter" in errand else await self._look(errand)
            except Failed as failure:
                await self._later(errand, failure.reason)
            except Temporary:
                raise
            except Exception as error:  # one that cannot be run holds up no other
                log.error("errand failed", errand=errand["_id"], exc_info=error)
                await self._later(errand, "defect")
        return count

    async def _ask(self, errand: Document) -> None:
        processor = self._named(errand["domain"])
        sent = self._body(errand)
        status, raw, headers = await self._call(processor, "POST", "requests", sent)
        if 400 <= status < 500 and status not in (401, 403, 408, 429):
            await self._settle(errand, REFUSED, f"http_{status}")
            return
        if not webhooks.taken(status):
            raise Failed(f"http_{status}" if status else "unreachable")
        await self._believed(headers, raw, processor)
        expected = _read(lambda: read_taken(raw, sent, errand["_id"]))
        now = self.clock()
        await self.notes.note("processor_asked", errand["case"], errand["_id"], processor=errand["processor"])
        taken = {"state": "asked", "taken_at": now, "expected_at": expected, "tries": 0, "run_at": now + ASK_AGAIN}
        await self.errands.change(errand, taken, "letter", "alarm", "reason")

    async def _look(self, errand: Document) -> None:
        processor = self._named(errand["domain"])
        status, raw, headers = await self._call(processor, "GET", f"requests/{errand['_id']}")
        if not webhooks.taken(status):
            raise Failed(f"http_{status}" if status else "unreachable")
        await self._believed(headers, raw, processor)
        said = _read(lambda: read_status(raw, errand["_id"]))
        if said.status == "completed" and said.results_url is not None and Right(errand["right"]).gives_a_copy:
            handed_over = await self._fetched(errand, processor, said.results_url)
            await self._settle(errand, DONE, said.status, said.digest, handed_over=handed_over)
        elif said.status == "completed":
            await self._settle(errand, DONE, said.status, said.digest)
        else:
            await self._told(errand, said)

    async def _fetched(self, errand: Document, processor: Processor, url: str) -> dict[str, Any]:
        """What a processor holds about the person, sealed to the controller; nobody here can open it any more."""
        if not is_https(url, processor.hosts):
            raise Failed("results_elsewhere")
        known = _known_by(processor) if urlsplit(url).netloc == urlsplit(processor.url).netloc else {}
        status, content, headers = await self._fetch("GET", url, None, known, _MAX_RESULTS)
        if not webhooks.taken(status):
            raise Failed(f"http_{status}" if status else "unreachable")
        if not content:
            raise Failed("results_empty_or_too_large")
        said = described(content, headers.get("Content-Type", ""))
        event = Event(errand["_id"], SOURCE, HANDED_OVER, wire_moment(self.clock()), said)
        letter = self.sealer.seal(str(uuid_utils.uuid7()), "outside", 1, [event])
        return {"letter": letter, "content": self.sealer.seal_file(errand["_id"], HANDED_OVER, content)}

    def _body(self, errand: Mapping[str, Any]) -> bytes:
        try:
            [event] = self.opener.open(errand["letter"]).events
        except InvalidMessage as fault:
            raise Failed(fault.code) from None
        if event.type != ERRAND or event.id != errand["_id"]:
            raise Failed("other_letter")
        email = json.loads(event.body)["email"]
        return build_request(errand["_id"], Right(errand["right"]), email, errand["submitted_at"], self.callback_url)

    async def _told(self, errand: Document, said: Statement) -> None:
        """What a processor has said, by whichever way it came."""
        if errand["state"] in (DONE, REFUSED):
            return
        if said.status == "completed" and Right(errand["right"]).gives_a_copy:
            await self.errands.change(errand, {"run_at": self.clock()})  # whoever called does not wait for the fetching
        elif said.status == "completed":
            await self._settle(errand, DONE, said.status, said.digest)
        elif said.status == "cancelled":  # nobody here took it back
            await self._settle(errand, REFUSED, said.status, said.digest)
        else:
            later = {"state": "asked", "run_at": self.clock() + ASK_AGAIN, "tries": 0}
            await self.errands.change(errand, later | ({"expected_at": said.expected_at} if said.expected_at else {}))

    async def _settle(
        self,
        errand: Document,
        state: str,
        reason: str,
        digest: str | None = None,
        handed_over: Mapping[str, Any] | None = None,
    ) -> None:
        told = {"processor": errand["processor"], "status": reason} | ({"digest": digest} if digest else {})
        await self.notes.note("processor_answered", errand["case"], f"{errand['_id']}/{reason}", **told)
        now = self.clock()
        changes = {"state": state, "reason": reason, "answered_at": now, **({"digest": digest} if digest else {})}
        if handed_over is not None:
            changes["handed_over"] = handed_over
        if state == REFUSED:
            log.error("processor will not do its part", errand=errand["_id"], case=errand["case"], reason=reason)
            changes["alarm"] = "refused"
        unset = ("letter", "run_at", *(() if state == REFUSED else ("alarm",)))
        if await self.errands.change(errand, changes, *unset):
            await self._wake(errand["case"])

    async def _wake(self, reference: str) -> None:
        """Have the case looked at: it may be what it waited for."""
        while case := await self.cases.get(reference):
            if "wake_at" not in case or await self.cases.change(case, {"wake_at": self.clock()}):
                return

    async def _later(self, errand: Document, reason: str) -> None:
        """By the schedule, then every day; the day it is given up to that, and the due date, are alarms."""
        tries, now = errand["tries"] + 1, self.clock()
        pause = webhooks.again_after(tries, secrets.randbelow(1001) / 1000)
        again = now + (pause or _EVERY_DAY)
        alarm = pause is None or again >= errand["answer_by"]
        log.warning("processor not asked", errand=errand["_id"], processor=errand["processor"], reason=reason)
        changes = {"tries": tries, "reason": reason, "run_at": again, **({"alarm": "unanswered"} if alarm else {})}
        await self.errands.change(errand, changes)

    def _named(self, domain: str) -> Processor:
        try:
            return self.peers.processor(domain)
        except KeyError:
            raise Failed("unknown_domain") from None

    async def _call(
        self, processor: Processor, method: str, path: str, body: bytes | None = None
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Status (0: not reached), raw body and headers."""
        headers = _known_by(processor) | ({"Content-Type": JSON} if body else {})
        return await self._fetch(method, f"{processor.url}/{path}", body, headers)

    async def _fetch(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], most: int = _MAX_ANSWER
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """As :meth:`_call`; a body of more than ``most`` bytes is none."""
        try:
            async with self.http.request(method, url, data=body, headers=headers, allow_redirects=False) as answered:
                raw = bytearray()
                async for chunk in answered.content.iter_any():
                    raw += chunk
                    if len(raw) > most:
                        return answered.status, b"", answered.headers
                return answered.status, bytes(raw), answered.headers
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return 0, b"", {}

    # ------------------------------------------------------------------ believing

    async def _believed(self, headers: Mapping[str, str], raw: bytes, expected: Processor | None = None) -> Processor:
        """Whose word this is, once all of the order holds. Raises :class:`Failed`; the body is not read here."""
        domain, signature = _read(lambda: claimed(headers))
        processor = self._named(domain)
        if expected is not None and processor.domain != expected.domain:
            raise Failed("unknown_domain")
        certificate = await self._certificate(processor)
        _read(lambda: check_signature(certificate, raw, signature))
        return processor

    async def _certificate(self, processor: Processor) -> x509.Certificate:
        """The processor's certificate, that holds now: as kept, or as discovery names it."""
        for chain in (self.certificates.get(processor.domain), None):
            fresh = chain or await self._discovered(processor)
            try:
                check_certificate(fresh, processor.domain, self.anchors, self.clock(), processor.revoked)
            except InvalidMessage as fault:
                self.certificates.pop(processor.domain, None)
                if chain is None:
                    raise Failed(fault.code) from None
                continue
            self.certificates[processor.domain] = fresh
            return fresh[0]
        raise Failed("no_certificate")

    async def _discovered(self, processor: Processor) -> list[x509.Certificate]:
        now = self.clock()
        if now - self.discovered.get(processor.domain, _NEVER) < DISCOVER_EVERY:
            raise Failed("no_certificate")
        self.discovered[processor.domain] = now
        status, raw, _ = await self._call(processor, "GET", "discovery")
        try:
            url = json.loads(raw)["processor_certificate"] if webhooks.taken(status) else ""
        except (ValueError, KeyError, TypeError, RecursionError):
            url = ""
        if not isinstance(url, str) or not is_https(url, processor.hosts):
            raise Failed("no_certificate")
        status, pem, _ = await self._fetch("GET", url, None, {})
        try:
            return x509.load_pem_x509_certificates(pem) if webhooks.taken(status) else []
        except ValueError:
            raise Failed("no_certificate") from None

    # ------------------------------------------------------------------ being told

    async def take(self, request: web.Request) -> web.StreamResponse:
        """A call back. Raises :class:`Unserved`."""
        raw = await request.read()
        try:
            processor = await self._believed(request.headers, raw)
            name, said = _read(lambda: read_callback(raw, self.callback_url))
            errand = await self.errands.get(name)
            if errand is None or errand["domain"] != processor.domain:
                raise Failed("other_request")
        except Failed as failure:
            log.warning("call back not believed", reason=failure.reason)
            status = 401 if failure.reason in UNTRUSTED else 400
            raise Unserved(status, failure.reason, "This call back is not believed.") from None
        await self._told(errand, said)
        return web.Response(status=202, headers=BASE_HEADERS)


def _known_by(processor: Processor) -> dict[str, str]:
    return {"Authorization": f"Bearer {processor.token.get_secret_value()}"} if processor.token is not None else {}


def _read(step: Callable[[], Any]) -> Any:
    try:
        return step()
    except InvalidMessage as fault:
        raise Failed(fault.code) from None
