"""``/preferences/{token}``: a person accepts or refuses each purpose, by the link in a mail.

| call | what |
| --- | --- |
| ``GET`` | the page, or as JSON what stands and what is shown; it changes nothing: scanners of mail open links too |
| ``POST`` | what was chosen, on its way; 202 once it is on disk, the same for who is known and who is not |

What is chosen goes to the door like everything else that people say: the counter puts nothing into the
controller's queues. It cannot read whom a link is for; what it shows is what was chosen by this same link before.
Source: R16, R21; design § 6 "Counter"; docs/decisions/0018.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any, Final

import aiohttp
from aiohttp import web
from joserfc.jwk import OKPKey

from schemas.errors import InvalidMessage
from schemas.newsletter import PREFERENCES
from schemas.register import Register
from schemas.strict_json import parse
from schemas.terms import Purpose
from schemas.tokens import TokenClaims, TokenKind, read_token
from workers.counter.choosing import ALL, Shown
from workers.counter.pages import html, language_of, page
from workers.stores.preferences import Preferences
from workers.web import JSON, Refused, answer

_ANSWERS: Final = {"yes": True, "no": False}
_DOOR_S: Final = 10.0
"""How long the door may take with what somebody chose."""
_AGAIN: Final = {"Retry-After": "5"}


@dataclass(frozen=True, slots=True)
class PreferencesPage:
    """The handlers. ``door``: its URL; ``http``: a session of this event loop; ``token_keys``: public, by key id."""

    register: Register
    preferences: Preferences
    door: str
    http: aiohttp.ClientSession
    token_keys: Mapping[str, OKPKey]
    clock: Callable[[], datetime]

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/preferences/{token}", self.show)
        router.add_post("/preferences/{token}", self.choose)

    async def show(self, request: web.Request) -> web.StreamResponse:
        """The page, with what was chosen by this link."""
        claims = self._claims(request)
        if claims is None:
            return page(request, "gone", 410)
        chosen = await self.preferences.of(claims.id)
        shown = Shown.by(self.register, language_of(request))
        return self._page(request, shown, chosen, None, 200)

    async def choose(self, request: web.Request) -> web.StreamResponse:
        """Hand on what was chosen. What the page did not ask, or no longer asks in these words, is not accepted."""
        claims = self._claims(request)
        if claims is None:
            return page(request, "gone", 410)
        said = await _said(request)
        language = said.get("language")
        shown = Shown.by(self.register, language if language in ("fr", "en") else language_of(request))
        stands = await self.preferences.of(claims.id)
        if said.get("notice", shown.sha256) != shown.sha256:
            return self._page(request, shown, stands, "changed", 409)
        choices = _choices(said, shown)
        if not choices:
            return self._page(request, shown, stands, "nothing", 422)
        if not await self._hand_on(request.match_info["token"], shown, choices, withdraw=said.get(ALL) == "no"):
            raise Refused(503, "door_unavailable", "Try again later.", _AGAIN)
        return self._page(request, shown, {**stands, **choices}, "kept", 202)

    def _claims(self, request: web.Request) -> TokenClaims | None:
        """What the link says; ``None`` for one that has ended."""
        token = request.match_info["token"]
        try:
            return read_token(token, self.token_keys, TokenKind.PREFERENCES, self.clock(), case=PREFERENCES)
        except InvalidMessage as fault:
            if fault.code == "expired_token":
                return None
            raise Refused(404, "unknown_token", "There is nothing here.") from None

    async def _hand_on(self, token: str, shown: Shown, choices: Mapping[Purpose, bool], *, withdraw: bool) -> bool:
        """Whether the door has it on disk. Raises :class:`Refused` for what it will never take."""
        body = {
            "choices": {purpose.value: yes for purpose, yes in choices.items()},
            "policy_version": self.register.policy.current,
            "notice_sha256": shown.sha256,
            "language": shown.language,
        }
        body |= {"withdraw": "yes"} if withdraw else {}
        url = f"{self.door}/preferences/{token}"
        try:
            async with self.http.post(url, json=body, allow_redirects=False) as answered:
                if answered.status in (404, 410, 422):
                    raise Refused(answered.status, "refused", "The choice cannot be accepted.")
                return answered.status == 202
        except (aiohttp.ClientError, TimeoutError):
            return False

    def _page(
        self, request: web.Request, shown: Shown, chosen: Mapping[Purpose, bool], said: str | None, status: int
    ) -> web.Response:
        if JSON in request.headers.get("Accept", ""):
            return answer(self._told(shown, chosen, said), status)
        word = "" if said is None else f'<p role="status"><strong>{escape(shown.say(said))}</strong></p>'
        return html(shown.language, shown.title, word + shown.form(chosen), status)

    def _told(self, shown: Shown, chosen: Mapping[Purpose, bool], said: str | None) -> dict[str, Any]:
        told: dict[str, Any] = {
            "purposes": {purpose.value: label for purpose, label in shown.purposes.items()},
            "choices": {purpose.value: yes for purpose, yes in chosen.items()},
            "notice": shown.sha256,
            "policy_version": self.register.policy.current,
            "language": shown.language,
        }
        return told if said is None else {**told, "outcome": said}


@asynccontextmanager
async def open_preferences(
    register: Register,
    preferences: Preferences,
    door: str,
    token_keys: Mapping[str, OKPKey],
    clock: Callable[[], datetime],
) -> AsyncIterator[PreferencesPage]:
    """The page, with a way to the door that is closed at the end."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_DOOR_S), trust_env=False) as http:
        yield PreferencesPage(register, preferences, door, http, token_keys, clock)


async def _said(request: web.Request) -> dict[str, Any]:
    """The fields of the form, or the members of a JSON object: ``language``, ``notice`` and the choices."""
    if request.content_type == JSON:
        found = parse(await request.read())
        choices = found.pop("choices", {}) if isinstance(found, dict) else None
        if not isinstance(choices, dict) or not all(isinstance(one, str) for one in found.values()):
            raise InvalidMessage("not_in_normal_form")
        return {
            **found,
            **{name: "yes" if yes is True else "no" if yes is False else "" for name, yes in choices.items()},
        }
    if request.content_type != "application/x-www-form-urlencoded":
        raise Refused(415, "unsupported_media_type", "A form or JSON is read here.")
    return dict((await request.post()).items())


def _choices(said: Mapping[str, Any], shown: Shown) -> dict[Purpose, bool]:
    """Purpose → yes or no, of those that are asked about. Raises :class:`InvalidMessage` for an answer that is none."""
    if said.get(ALL) == "no":
        return dict.fromkeys(shown.purposes, False)
    found = {purpose: said[purpose.value] for purpose in shown.purposes if purpose.value in said}
    strange = said.keys() - {purpose.value for purpose in shown.purposes} - {"language", "notice", ALL}
    if strange or any(answer not in _ANSWERS for answer in found.values()):
        raise InvalidMessage("unknown_choice")
    return {purpose: _ANSWERS[answer] for purpose, answer in found.items()}
