"""How long each kind of token holds, and the making of one; reading stands in :mod:`schemas.tokens`.

Source: design § 5.2; reliability § 8.7 (confirmation seven days, export at most seven).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from joserfc.jwk import OKPKey

from schemas.tokens import TokenKind, sign_token

LIFETIMES: Final[Mapping[TokenKind, timedelta]] = {
    TokenKind.CONFIRM: timedelta(days=7),
    TokenKind.STATUS: timedelta(days=180),
    TokenKind.DOWNLOAD: timedelta(days=7),
    TokenKind.UNSUBSCRIBE: timedelta(days=3 * 366),
    TokenKind.PREFERENCES: timedelta(days=397),
}
"""From the making. A status page outlives the longest extended deadline and its proof; a one-click link outlives by
far the thirteen months in which a mail is still opened; a link to one's preferences, which may say "yes" too, just."""


def make_token(key: OKPKey, kind: TokenKind, case: str, *, token_id: str, now: datetime) -> str:
    """A token for a case. ``token_id``: from :func:`secrets.token_urlsafe`; the worker keeps it to use it up once."""
    return sign_token(key, kind, case, token_id=token_id, now=now, lifetime=LIFETIMES[kind])


def expires_at(kind: TokenKind, now: datetime) -> datetime:
    """When a token made ``now`` ends, for the letter that brings it."""
    return now + LIFETIMES[kind]
