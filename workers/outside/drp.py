"""The Data Rights Protocol's routes, as covered business: an authorised agent asks in a person's name.

| call | answer |
| --- | --- |
| ``POST /v1/agent/{agent}`` | ``{"agent-id", "token"}``; whatever is wrong with the message: 403, empty |
| ``GET /v1/agent/{agent}`` | ``{}`` while the bearer token is that agent's; else 403 |
| ``POST /v1/data-rights-request`` | the status object; the same request again gets the same one |
| ``GET`` the same``/{request_id}`` | the status object; 403 for what this agent did not ask for, or nobody did |
| ``DELETE`` the same``/{request_id}`` | the status object, ``revoked``; 409 once a store was asked to erase |
| ``GET`` the same``/{request_id}/results`` | the access package, once; 410 after that |

Errors are the protocol's: ``{"code", "message", "fatal"}``. Source: rights-protocols § 3.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from aiohttp import web
from pydantic_core import to_json

from schemas.errors import Conflict
from schemas.terms import Channel
from workers.counter.handing import Handing
from workers.outside.peers import Agent, DrpPeers
from workers.outside.window import Asked, Window, digest_of
from workers.outside.words import in_its_words
from workers.rules import drp
from workers.rules.drp import Rejected, Signed
from workers.rules.outside import Stage, Standing
from workers.rules.urls import is_https
from workers.stores.mongo import Document
from workers.web import BASE_HEADERS, JSON, answer

log = structlog.get_logger("greffier.outside")

REQUESTS: Final = "/v1/data-rights-request"
_REVOCABLE: Final = (Stage.RECEIVED, Stage.IDENTITY_PENDING, Stage.ACCEPTED)
_AWAY: Final = Rejected(503, "Try again later.")
_TOO_LARGE: Final = Rejected(413, "The message is too large.", fatal=True)


@dataclass(frozen=True, slots=True)
class DrpRoutes:
    """The handlers."""

    network: DrpPeers
    public_url: str
    window: Window
    handing: Handing

    @property
    def protocol(self) -> str:
        return "drp"

    def add_to(self, router: web.UrlDispatcher) -> None:
        for method, path, handler in (
            ("POST", "/v1/agent/{agent}", self.set_up),
            ("GET", "/v1/agent/{agent}", self.agent_information),
            ("POST", REQUESTS, self.exercise),
            ("POST", f"{REQUESTS}/", self.exercise),  # as agents of before 0.9.3 say it
            ("GET", f"{REQUESTS}/{{id}}", self.status),
            ("DELETE", f"{REQUESTS}/{{id}}", self.revoke),
            ("GET", f"{REQUESTS}/{{id}}/results", self.results),
        ):
            router.add_route(method, path, in_its_words(handler, _AWAY, _TOO_LARGE))

    async def set_up(self, request: web.Request) -> web.StreamResponse:
        """A token for an agent that signs with its directory's key; one that it had is dead from now on."""
        try:
            agent = self._known(request.match_info["agent"])
            signed = drp.open_signed(await _text(request), agent.key)
            expires_at = drp.check_envelope(signed.body, agent.id, self._business, self.window.clock())
            drp.check_setup(signed.body)
            token = secrets.token_urlsafe(32)
            if not await self.window.outside.first_for(_known_by(signed), digest_of(token.encode()), expires_at):
                raise Rejected(403, "This message was used before.")
        except Rejected as fault:
            log.warning("key setup refused", reason=fault.message)
            return web.Response(status=403, headers=BASE_HEADERS)
        await self.window.outside.set_token(agent.id, digest_of(token.encode()), self.window.clock())
        return answer({"agent-id": agent.id, "token": token})

    async def agent_information(self, request: web.Request) -> web.StreamResponse:
        """That a token is still good."""
        if (await self._agent(request, missing=403)).id != request.match_info["agent"]:
            raise Rejected(403, "This token is another agent's.")
        return answer({})

    async def exercise(self, request: web.Request) -> web.StreamResponse:
        """A request; the same bytes for a person whom nobody knows."""
        agent = await self._agent(request)
        signed = drp.open_signed(await _text(request), agent.key)
        expires_at = drp.check_envelope(signed.body, agent.id, self._business, self.window.clock())
        asked = drp.read_exercise(signed.body, agent.hosts)
        message, peer = _known_by(signed), f"drp:{agent.id}"
        if not await self.window.outside.first_for(message, "exercise", expires_at):
            raise Rejected(403, "This message was used for something else.", fatal=True)
        try:
            kept = await self.window.take_in(
                Asked(
                    peer=peer,
                    key=f"{peer}/{asked.agent_request_id or f'#{message}'}",
                    channel=Channel.AGENT,
                    right=asked.right,
                    email=asked.email,
                    same=asked.same,
                    callbacks=[asked.callback] if asked.callback else [],
                    known_as=asked.agent_request_id,
                )
            )
        except Conflict:
            raise Rejected(409, "agent-request-id came before with another request.", fatal=True) from None
        return await self._told(kept)

    async def status(self, request: web.Request) -> web.StreamResponse:
        """How a request stands."""
        return await self._told(await self._asked(request, await self._agent(request)))

    async def revoke(self, request: web.Request) -> web.StreamResponse:
        """Take a request back, while nothing was erased for it."""
        agent = await self._agent(request)
        signed = drp.open_signed(await _text(request), agent.key)
        expires_at = drp.check_revocation(signed.body, agent.id, self._business, self.window.clock())
        asked = await self._asked(request, agent)
        if expires_at and not await self.window.outside.first_for(_known_by(signed), str(asked["_id"]), expires_at):
            raise Rejected(403, "This message was used for something else.")
        revoked = await self.window.revoke(asked, may=_revocable)
        if revoked is None:
            raise Rejected(409, "It is too late: the request was answered, or stores were asked to erase.")
        return await self._told(revoked)

    async def results(self, request: web.Request) -> web.StreamResponse:
        """What was found, once."""
        case = await self.window.package_of(await self._asked(request, await self._agent(request)))
        found = await self.handing.over(request, case) if case else None
        if found is None:
            raise Rejected(410, "There are no results, or none any more.")
        return found

    # ------------------------------------------------------------------ who asks, and for what

    @property
    def _business(self) -> str:
        return self.network.business.id

    def _known(self, agent: str) -> Agent:
        try:
            return self.network.by_id[agent]
        except KeyError:
            raise Rejected(403, "The directory names no such agent.") from None

    async def _agent(self, request: web.Request, missing: int = 401) -> Agent:
        """The agent behind the bearer token, while the directory names it. Raises :class:`Rejected`."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token:
            found = await self.window.outside.agent_of(digest_of(token.strip().encode()))
            if found and found in self.network.by_id:
                return self.network.by_id[found]
        raise Rejected(missing, "A valid bearer token is needed.")

    async def _asked(self, request: web.Request, agent: Agent) -> Document:
        found = await self.window.outside.get(request.match_info["id"])
        if found is None or found["peer"] != f"drp:{agent.id}":
            raise Rejected(403, "This request is not yours.")
        return found

    async def _told(self, asked: Document) -> web.Response:
        return answer(self.told(asked, await self.window.standing(asked)))

    def told(self, asked: Mapping[str, Any], standing: Standing) -> dict[str, str]:
        """The status object of a request."""
        results = f"{self.public_url}{REQUESTS}/{asked['_id']}/results"
        return drp.status_of(
            asked["_id"], asked["known_as"], standing, self.network.business.user_verification_url, results
        )

    def word(self, request: Mapping[str, Any], standing: Standing, url: str) -> bytes | None:
        """The status object, to the agent that asked, while the directory names both it and the address's host."""
        agent = self.network.by_id.get(request["peer"].partition(":")[2])
        if agent is None or not is_https(url, agent.hosts):
            return None
        return to_json(self.told(request, standing))

    def headers(self, _: Mapping[str, Any], __: bytes) -> Mapping[str, str]:
        """The protocol signs no call back."""
        return {"Content-Type": JSON}


def _revocable(standing: Standing) -> bool:
    return standing.stage in _REVOCABLE


def _known_by(signed: Signed) -> str:
    """What a message is remembered by until it has expired."""
    return digest_of(f"{signed.body.get('issued-at')}/".encode() + signed.signature)


async def _text(request: web.Request) -> bytes:
    if request.content_type != "text/plain":
        raise Rejected(415, "Signed messages are text/plain.")
    return await request.read()
