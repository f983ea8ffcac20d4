"""``POST /preferences/{token}``: purposes accepted or refused by a mailed link, on their way in.

The page itself is the counter's, which shows it and hands on here what was chosen: so the counter puts nothing into the
controller's queues, and a choice is a message like any other, with its moment and the proof of what was shown. The door
can tell a forged link and cannot read whom one is for.
Source: R16, R21; P1, P10; docs/decisions/0018.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web
from joserfc.jwk import OKPKey

from producers.door import bodies
from producers.door.bodies import JSON_BYTES, BodyReader
from producers.door.metrics import DoorMetrics
from producers.door.problems import Refused, accepted
from producers.gather import Gatherer
from producers.intake import Intake
from schemas.errors import InvalidBody, InvalidMessage
from schemas.newsletter import PREFERENCES
from schemas.routes import PREFERENCE_CHANGED
from schemas.tokens import TokenClaims, TokenKind, read_token


@dataclass(frozen=True, slots=True)
class Preferences:
    """The handler. ``token_keys``: public, by key id."""

    intake: Intake
    gatherer: Gatherer
    metrics: DoorMetrics
    bodies: BodyReader
    token_keys: Mapping[str, OKPKey]

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_post("/preferences/{token}", self.choose)

    async def choose(self, request: web.Request) -> web.StreamResponse:
        """202 once it is kept; the same for who is known and who is not."""
        try:
            claims = self._claims(request)
            if bodies.media_type(request) != "application/json":
                raise bodies.unsupported()
            taken = self.intake.chosen(await self.bodies.read_json(request, JSON_BYTES), claims.case, claims.id)
        except (InvalidBody, InvalidMessage, Refused):
            self.metrics.event(PREFERENCE_CHANGED, "refused")
            raise
        await self.gatherer.put(taken.queue, (taken.event,))
        self.metrics.event(PREFERENCE_CHANGED, "accepted")
        return accepted({"accepted": 1})

    def _claims(self, request: web.Request) -> TokenClaims:
        try:
            token, now = request.match_info["token"], self.intake.clock()
            return read_token(token, self.token_keys, TokenKind.PREFERENCES, now, case=PREFERENCES)
        except InvalidMessage as fault:
            if fault.code == "expired_token":
                raise Refused(410, "expired_token", "The link has ended.") from None
            raise Refused(404, "unknown_token", "There is nothing here.") from None
