"""One-click links: what a mail bears so that its reader can leave with one click, and what such a link says. Beside it
the link to one's preferences, which is made alike.

For whoever composes mails: both headers, as they are, and DKIM must sign both. The link holds the address's reference
and the person's id sealed, so it needs no record, outlives an erasure, and tells nobody who finds it in a log whose it
is; two links for one person have nothing in common. By the id the address is found, while the person is held, that the
subsidiaries are to look for.
Source: R24; RFC 2369, 8058; design § 5.2 "Tokens"; messaging-standards § 7.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

from joserfc.jwk import OKPKey
from pydantic import AfterValidator
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.errors import InvalidMessage
from schemas.newsletter import LIST, PREFERENCES, Addressee, open_addressee, seal_addressee
from schemas.party_keys import read_token_key
from schemas.subject import References
from schemas.tokens import MAX_CHARS, TokenKind, read_token
from workers.correspondence.mailer import https_url
from workers.rules.tokens import make_token
from workers.settings import ControllerSettings, read_settings

_LINK: Final = re.compile(rf"/unsubscribe/([A-Za-z0-9_.-]{{1,{MAX_CHARS}}})")
_MOST: Final = 20
"""Links looked at in one mail: each costs a signature's check, and the mail is anybody's."""


@dataclass(frozen=True, slots=True)
class OneClickLinks:
    """Makes links. ``public_url``: how people reach the door, https, without a slash at its end; ``counter_url``: the
    counter, where no proxy leads to it from there.
    """

    token_key: OKPKey
    references: References
    public_url: str
    counter_url: str | None = None

    def headers(self, email: str, person: str | None, now: datetime) -> dict[str, str]:
        """``List-Unsubscribe`` and ``List-Unsubscribe-Post`` of a mail to this address, as it is kept.

        ``person``: as whom the address is held; none where it is not.
        """
        reference, *_ = self.references.suppression(email)
        sealed = seal_addressee(self.references, LIST, Addressee(reference, person))
        token = make_token(self.token_key, TokenKind.UNSUBSCRIBE, LIST, token_id=sealed, now=now)
        return {
            "List-Unsubscribe": f"<{self.public_url}/unsubscribe/{token}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        }

    def preferences(self, email: str, person: str | None, now: datetime) -> str:
        """The link to their preferences, for a mail to this address: who follows it may also say yes."""
        reference, *_ = self.references.suppression(email)
        sealed = seal_addressee(self.references, PREFERENCES, Addressee(reference, person))
        token = make_token(self.token_key, TokenKind.PREFERENCES, PREFERENCES, token_id=sealed, now=now)
        return f"{self.counter_url or self.public_url}/preferences/{token}"


class _LinkSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="GREFFIER_", frozen=True, extra="ignore", hide_input_in_errors=True)

    public_url: Annotated[str, AfterValidator(https_url)] | None = None
    counter_url: Annotated[str, AfterValidator(https_url)] | None = None


def read_links(settings: ControllerSettings, references: References) -> OneClickLinks | None:
    """What makes links here; ``None`` where ``GREFFIER_PUBLIC_URL`` does not say how people reach the door.

    Raises :class:`schemas.errors.ConfigurationError`.
    """
    urls = read_settings(_LinkSettings)
    if urls.public_url is None:
        return None
    return OneClickLinks(read_token_key(settings.keys), references, urls.public_url, urls.counter_url)


def named_in(headers: Iterable[str], token_key: OKPKey, references: References, now: datetime) -> list[Addressee]:
    """Whom the links in these ``List-Unsubscribe`` headers are for.

    Links of other senders, forged and expired ones are passed over.
    """
    keys, found = {str(token_key.kid): token_key}, dict[Addressee, None]()
    tokens = [token for header in headers for token in _LINK.findall(re.sub(r"\s", "", header))]
    for token in tokens[:_MOST]:
        try:
            claims = read_token(token, keys, TokenKind.UNSUBSCRIBE, now, case=LIST)
            found[open_addressee(references, LIST, claims.id)] = None
        except InvalidMessage:
            continue
    return list(found)
