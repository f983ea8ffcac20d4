"""``/unsubscribe/{token}``: the one click of RFC 8058, and the page behind the same link for a person.

Opening the link changes nothing: scanners of mail open links too. The button's post, and the mail program's, need no
cookie, no login, nothing but the link itself, and are answered once the unsubscribe is on disk; never with a redirect.
The door can tell a forged link and cannot read whom one is for: it hands on what is sealed in it.
Source: R24; P10; design § 5.2, § 6; RFC 8058; messaging-standards § 7; reliability § 8.7.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from joserfc.jwk import OKPKey

from producers.door.bodies import BodyReader
from producers.door.form_data import read_form
from producers.door.metrics import DoorMetrics
from producers.door.pages import Words, page
from producers.door.problems import Refused
from producers.gather import Gatherer
from producers.intake import Intake
from schemas.errors import InvalidBody, InvalidMessage, Problem
from schemas.newsletter import LIST
from schemas.routes import NEWSLETTER_UNSUBSCRIBED
from schemas.tokens import TokenClaims, TokenKind, read_token

ONE_CLICK: Final = ("List-Unsubscribe", "One-Click")
"""What the post must say, so that nobody unsubscribes by mistake."""

_WORDS: Final[Words] = {
    "fr": {
        "ask": (
            "Se désabonner",
            "Vous ne recevrez plus notre lettre d'information ni nos offres par courriel, de la part d'aucune société "
            "du groupe.",
            "Me désabonner",
        ),
        "done": (
            "Désabonnement enregistré",
            "Il prend effet immédiatement, dans tout le groupe. Vous n'avez rien d'autre à faire.",
            "",
        ),
        "expired": (
            "Lien expiré",
            "Ce lien n'est plus valable. Utilisez celui d'un message plus récent, ou écrivez-nous.",
            "",
        ),
    },
    "en": {
        "ask": (
            "Unsubscribe",
            "You will receive neither our newsletter nor our offers by e-mail any more, from any company of the group.",
            "Unsubscribe",
        ),
        "done": ("Unsubscribed", "It holds at once, in the whole group. There is nothing else to do.", ""),
        "expired": (
            "Link expired",
            "This link is no longer valid. Use the one of a more recent message, or write to us.",
            "",
        ),
    },
}


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """The handlers of one-click links. ``token_keys``: public, by key id."""

    intake: Intake
    gatherer: Gatherer
    metrics: DoorMetrics
    bodies: BodyReader
    token_keys: Mapping[str, OKPKey]

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/unsubscribe/{token}", self.show)
        router.add_post("/unsubscribe/{token}", self.unsubscribe)

    async def show(self, request: web.Request) -> web.StreamResponse:
        """The page with the button; it changes nothing."""
        try:
            self._claims(request)
        except InvalidMessage as fault:
            return self._refused(request, fault)
        return page(request, _WORDS, "ask", 200, ONE_CLICK)

    async def unsubscribe(self, request: web.Request) -> web.StreamResponse:
        """202 once it is kept; the same for the first use and every other, for who is known and who is not."""
        try:
            claims = self._claims(request)
        except InvalidMessage as fault:
            self.metrics.event(NEWSLETTER_UNSUBSCRIBED, "refused")
            return self._refused(request, fault)
        form = await read_form(request, self.bodies, files=False)
        name, value = ONE_CLICK
        if not isinstance(form.data, dict) or form.data.get(name) != value:
            raise InvalidBody(Problem("not_one_click", f"/{name}", f"must be {value}"))
        taken = self.intake.unsubscribed(claims.case, claims.id)
        await self.gatherer.put(taken.queue, (taken.event,))
        self.metrics.event(NEWSLETTER_UNSUBSCRIBED, "accepted")
        return page(request, _WORDS, "done", 202)

    def _claims(self, request: web.Request) -> TokenClaims:
        token = request.match_info["token"]
        return read_token(token, self.token_keys, TokenKind.UNSUBSCRIBE, self.intake.clock(), case=LIST)

    def _refused(self, request: web.Request, fault: InvalidMessage) -> web.StreamResponse:
        if fault.code == "expired_token":
            return page(request, _WORDS, "expired", 410)
        raise Refused(404, "unknown_token", "There is nothing here.")
