"""``POST /rights`` and ``/rights/{reference}/confirm``: what a data subject asks, and the proof of an address.

The answer is the same, in bytes and in work, whether the person is known or not: the door does not know. It holds the
public key of the tokens people are mailed, so it can tell a forged one and cannot make one.
Source: R17, R19, R20, R22; design § 5.1–2, § 6; reliability § 8.7.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from joserfc.jwk import OKPKey

from producers.door.bodies import BodyReader
from producers.door.crowds import Crowds
from producers.door.form_data import read_form
from producers.door.guard import Networks, Origins
from producers.door.metrics import DoorMetrics
from producers.door.pages import Words, page
from producers.door.problems import Refused, accepted
from producers.gather import Gatherer
from producers.intake import Intake
from schemas.errors import InvalidMessage
from schemas.rights import REFERENCE_PATTERN, new_reference
from schemas.routes import RIGHTS_CONFIRMED, RIGHTS_REQUESTED
from schemas.tokens import MAX_CHARS, TokenKind, read_token

_REFERENCE: Final = re.compile(REFERENCE_PATTERN)

_WORDS: Final[Words] = {
    "fr": {
        "confirm": ("Confirmer votre demande", "Votre demande sera traitée dès que vous aurez confirmé.", "Confirmer"),
        "done": ("Demande confirmée", "Votre demande est confirmée. La réponse vous parviendra par courriel.", ""),
        "expired": ("Lien expiré", "Ce lien n'est plus valable. Vous pouvez présenter votre demande à nouveau.", ""),
    },
    "en": {
        "confirm": ("Confirm your request", "Your request will be handled once you have confirmed it.", "Confirm"),
        "done": ("Request confirmed", "Your request is confirmed. The answer will reach you by e-mail.", ""),
        "expired": ("Link expired", "This link is no longer valid. You may make your request again.", ""),
    },
}


@dataclass(frozen=True, slots=True)
class Rights:
    """The handlers of rights requests. ``token_keys``: public, by key id."""

    intake: Intake
    gatherer: Gatherer
    origins: Origins
    networks: Networks
    crowds: Crowds
    metrics: DoorMetrics
    bodies: BodyReader
    token_keys: Mapping[str, OKPKey]

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_post("/rights", self.ask)
        router.add_route("OPTIONS", "/rights", self.origins.preflight)
        router.add_get("/rights/{reference}/confirm", self.show)
        router.add_post("/rights/{reference}/confirm", self.confirm)

    async def ask(self, request: web.Request) -> web.StreamResponse:
        """202 ``{"reference"}``; the request is not yet confirmed."""
        self.origins.check(request)
        form = await read_form(request, self.bodies, files=False)
        reference = new_reference()
        crowded = self.crowds.crowded(self.networks.of(request), self.intake.clock())
        taken = self.intake.right(form.data, reference, request.headers.get("traceparent"), crowded=crowded)
        await self.gatherer.put(taken.queue, (taken.event,))
        self.metrics.event(RIGHTS_REQUESTED, "accepted")
        return accepted({"reference": reference})

    async def show(self, request: web.Request) -> web.StreamResponse:
        """What a mailed link opens. It changes nothing: scanners of mail open links too."""
        token = request.query.get("token", "")
        try:
            self._claims(request, token)
        except InvalidMessage as fault:
            return self._refused(request, fault)
        return page(request, _WORDS, "confirm", 200, ("token", token))

    async def confirm(self, request: web.Request) -> web.StreamResponse:
        """202 when the token is ours, of this case, and in time; whether it is used the first time, a worker says."""
        form = await read_form(request, self.bodies, files=False)
        token = form.data.get("token") if isinstance(form.data, dict) else None
        try:
            claims = self._claims(request, token)
        except InvalidMessage as fault:
            return self._refused(request, fault)
        taken = self.intake.confirmed_right(claims.case, claims.id)
        await self.gatherer.put(taken.queue, (taken.event,))
        self.metrics.event(RIGHTS_CONFIRMED, "accepted")
        if form.plain:
            return page(request, _WORDS, "done", 202)
        return accepted({"reference": claims.case})

    def _claims(self, request: web.Request, token: Any) -> Any:
        reference = request.match_info["reference"]
        if not isinstance(token, str) or len(token) > MAX_CHARS or not _REFERENCE.fullmatch(reference):
            raise InvalidMessage("unknown_token")
        return read_token(token, self.token_keys, TokenKind.CONFIRM, self.intake.clock(), case=reference)

    def _refused(self, request: web.Request, fault: InvalidMessage) -> web.StreamResponse:
        if fault.code == "expired_token":
            return page(request, _WORDS, "expired", 410)
        raise Refused(404, "unknown_token", "There is nothing here.")
