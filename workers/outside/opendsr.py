"""OpenDSR's routes, as processor: a controller asks in a person's name. Answers are signed with our certificate's key.

| call (``/v2``; of version 1 in brackets) | answer |
| --- | --- |
| ``GET /discovery`` | what is supported, and where the certificate is |
| ``GET /certificate.pem`` | the certificate |
| ``POST /requests`` (``/opengdpr_requests``) | 201; the same request again gets the same, another under its id 409 |
| ``GET /requests/{id}`` | the status; 404 for what this controller did not ask for |
| ``DELETE /requests/{id}`` | 202 while it is pending, else 400 |
| ``GET /requests/{id}/results`` | the access package, once; 410 after that |

The routes of version 1 stand under ``/v1`` and, as its examples have them, under nothing. A controller shows the key
that an operator gave it: the protocol leaves that to the parties. Errors are the protocol's error object.
Source: rights-protocols § 2, § 4.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
from aiohttp import web
from pydantic_core import to_json

from schemas.calendar import civil_day
from schemas.errors import Conflict
from schemas.keyring import read_api_keys
from schemas.terms import Channel
from workers.counter.handing import Handing
from workers.outside.peers import Controller, OpendsrPeers
from workers.outside.seal import ProcessorKey
from workers.outside.window import Asked, Window
from workers.outside.words import in_its_words
from workers.rules import opendsr
from workers.rules.opendsr import AWAY, HEADERS, TOO_LARGE, V1, V2, Unserved
from workers.rules.outside import Stage, Standing
from workers.rules.signatures import sign
from workers.rules.urls import is_https
from workers.stores.mongo import Document
from workers.web import BASE_HEADERS, JSON

log = structlog.get_logger("greffier.outside")

PROTOCOL: Final = "opendsr"
_PLACES: Final = (("/v2", "requests"), ("/v1", "opengdpr_requests"), ("", "opengdpr_requests"))
"""Where each version is served, and what it calls its requests."""


@dataclass(frozen=True, slots=True)
class OpendsrRoutes:
    """The handlers. ``keys``: the folder whose ``api-keys.json`` knows the controllers' keys."""

    peers: OpendsrPeers
    key: ProcessorKey
    keys: Path
    window: Window
    handing: Handing

    @property
    def protocol(self) -> str:
        return PROTOCOL

    def add_to(self, router: web.UrlDispatcher) -> None:
        for place, name in _PLACES:
            for method, path, handler in (
                ("GET", "/discovery", self.discover),
                ("GET", "/certificate.pem", self.certificate),
                ("POST", f"/{name}", self.ask),
                ("GET", f"/{name}/{{id}}", self.status),
                ("DELETE", f"/{name}/{{id}}", self.cancel),
                ("GET", f"/{name}/{{id}}/results", self.results),
            ):
                router.add_route(method, f"{place}{path}", in_its_words(handler, AWAY, TOO_LARGE))

    async def discover(self, request: web.Request) -> web.StreamResponse:
        """What is supported."""
        version = _spoken(request)
        told = {
            "api_version": version,
            "supported_identities": opendsr.SUPPORTED_IDENTITIES,
            "supported_subject_request_types": list(opendsr.RIGHTS),
            "processor_certificate": f"https://{self.peers.domain}/v{version[0]}/certificate.pem",
        }
        return self._signed(told, version)

    async def certificate(self, _: web.Request) -> web.StreamResponse:
        """The certificate, with those that lead to its authority."""
        return web.Response(body=self.key.pem, content_type="application/x-pem-file", headers=BASE_HEADERS)

    async def ask(self, request: web.Request) -> web.StreamResponse:
        """A request; the same answer for a person whom nobody knows."""
        controller, version = self._controller(request), _spoken(request)
        raw = await request.read()
        asked = opendsr.read_request(raw, version, frozenset(controller.callback_hosts))
        log.info("asked", peer=f"{PROTOCOL}:{controller.id}", sha256=hashlib.sha256(raw).hexdigest())
        try:
            kept = await self.window.take_in(
                Asked(
                    peer=f"{PROTOCOL}:{controller.id}",
                    key=_key(controller, asked.subject_request_id),
                    channel=Channel.CONTROLLER,
                    right=asked.right,
                    email=asked.email,
                    same=asked.same,
                    callbacks=asked.callbacks,
                    known_as=asked.subject_request_id,
                    dialect=version,
                )
            )
        except Conflict:
            raise Unserved(409, "same_id_other_body", "subject_request_id came before with another request.") from None
        told = {
            "controller_id": controller.id,
            "expected_completion_time": opendsr.moment((await self.window.standing(kept)).expected),
            "received_time": opendsr.moment(kept["received_at"]),
            "encoded_request": base64.b64encode(raw).decode(),
            "subject_request_id": asked.subject_request_id,
        }
        return self._signed(told, version, 201)

    async def status(self, request: web.Request) -> web.StreamResponse:
        """How a request stands."""
        asked = await self._asked(request)
        told = self._told(asked, await self.window.standing(asked))
        return self._signed({**told, "api_version": _spoken(request)}, _spoken(request))

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """Take a request back, while it is pending."""
        asked = await self._asked(request)
        cancelled = await self.window.revoke(asked, may=opendsr.may_cancel)
        if cancelled is None:
            raise Unserved(400, "not_pending", "Only a request that is pending can be cancelled.")
        told = {
            "controller_id": self._controller(request).id,
            "subject_request_id": cancelled["known_as"],
            "received_time": opendsr.moment(cancelled["revoked_at"]),
            "api_version": _spoken(request),
        }
        return self._signed(told, _spoken(request), 202)

    async def results(self, request: web.Request) -> web.StreamResponse:
        """What was found, once."""
        case = await self.window.package_of(await self._asked(request))
        found = await self.handing.over(request, case) if case else None
        if found is None:
            raise Unserved(410, "gone", "There are no results, or none any more.")
        return found

    # ------------------------------------------------------------------ who asks, and what they are told

    def _controller(self, request: web.Request) -> Controller:
        """The controller behind the key that is shown, which may be revoked at any moment. Raises :class:`Unserved`."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token.isascii():
            key = read_api_keys(self.keys).find(token.strip(), civil_day(self.window.clock()))
            for controller in self.peers.controllers:
                if key is not None and key.id == controller.key:
                    return controller
        raise Unserved(401, "unknown_controller", "A valid key is needed.")

    async def _asked(self, request: web.Request) -> Document:
        controller = self._controller(request)
        named = opendsr.subject_request_id(request.match_info["id"])
        found = await self.window.outside.find(_key(controller, named))
        if found is None:
            raise Unserved(404, "unknown_request", "There is no such request.")
        return found

    def _told(self, asked: Mapping[str, Any], standing: Standing) -> dict[str, Any]:
        told = {
            "controller_id": asked["peer"].partition(":")[2],
            "expected_completion_time": opendsr.moment(standing.expected),
            "subject_request_id": asked["known_as"],
            "request_status": opendsr.status_word(standing),
        }
        if standing.stage is Stage.ANSWERED and standing.done and standing.results_until is not None:
            told["results_url"] = f"https://{self.peers.domain}/v2/requests/{asked['known_as']}/results"
        return told

    def _signed(self, told: Mapping[str, Any], version: str, status: int = 200) -> web.Response:
        body = to_json(told)
        headers = {**BASE_HEADERS, **self._signature(body, version)}
        return web.Response(body=body, status=status, content_type=JSON, headers=headers)

    def _signature(self, body: bytes, version: str) -> dict[str, str]:
        name = HEADERS[version]
        return {f"{name}-Processor-Domain": self.peers.domain, f"{name}-Signature": sign(self.key.private, body)}

    def word(self, request: Mapping[str, Any], standing: Standing, url: str) -> bytes | None:
        """The call back's body, to the controller that asked, while its host is named."""
        controller = self.peers.by_id.get(request["peer"].partition(":")[2])
        if controller is None or not is_https(url, frozenset(controller.callback_hosts)):
            return None
        return to_json({**self._told(request, standing), "status_callback_url": url})

    def headers(self, request: Mapping[str, Any], word: bytes) -> Mapping[str, str]:
        """The signature, by the names of the version that the request was made in."""
        return {"Content-Type": JSON, **self._signature(word, request["dialect"])}


def _key(controller: Controller, subject_request_id: str) -> str:
    return f"{PROTOCOL}:{controller.id}/{subject_request_id}"


def _spoken(request: web.Request) -> str:
    """The version of the route."""
    return V2 if request.path.startswith("/v2/") else V1
