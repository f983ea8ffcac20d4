"""Who calls on behalf of a subsidiary: told by a short JWT that it signed with its own key, at every call anew.

The very key that signs its receipts. A token proves who calls and nothing of what is brought: a receipt has a signature
of its own, which the controller checks.
Source: R28; P7; design § 6 "Counter"; RFC 8725.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web

from schemas.errors import InvalidMessage
from schemas.jose import key_id, verify
from schemas.orders import CALL, CALL_LIFETIME, COUNTER
from schemas.party_keys import read_subsidiaries
from schemas.replaceable import Replaceable
from workers.web import Refused

log = structlog.get_logger("greffier.counter")

_CLAIMS: Final = {"iss", "aud", "iat", "exp", "jti"}
_MAX_CHARS: Final = 2_048
_FILE: Final = "subsidiaries.public.json"


class Callers:
    """``codes``: the subsidiaries that the register serves over HTTP. Others are known, and turned away."""

    def __init__(self, folder: Path, codes: Collection[str], clock: Callable[[], datetime]) -> None:
        """Raises :class:`ConfigurationError`."""
        self._codes = codes
        self._clock = clock
        self._peers = Replaceable(folder / _FILE, lambda: read_subsidiaries(folder))

    def code_of(self, request: web.Request) -> str:
        """The subsidiary that calls. Raises :class:`Refused`: 401 for nobody we know, 403 for one with a worker."""
        try:
            code = self._verified(request.headers.get("Authorization", ""))
        except InvalidMessage as fault:
            # Which of a dozen checks it was helps an office whose clock is wrong, and nobody else: it is logged.
            log.info("call refused", reason=fault.code)
            raise Refused(
                401, "invalid_token", "Not signed by a subsidiary, or not in time.", {"WWW-Authenticate": "Bearer"}
            ) from None
        if code not in self._codes:
            raise Refused(403, "not_over_http", "The register serves this subsidiary by a worker.")
        return code

    def _verified(self, header: str) -> str:
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or len(token) > _MAX_CHARS:
            raise InvalidMessage("no_token")
        kid = key_id(token)
        peer = next((one for one in self._peers.now.values() if kid in one.verifying), None)
        if peer is None:
            raise InvalidMessage("unknown_key")
        claims = verify(token, peer, CALL, audience=COUNTER, now=self._clock())
        if set(claims) != _CLAIMS or claims["exp"] - claims["iat"] > CALL_LIFETIME.total_seconds():
            raise InvalidMessage("lives_too_long")
        return peer.party
