"""Whom the reader of a file trusts: the ledger's public keys, got by another way than the file.

Source: P12; R30.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from schemas.ledger_keys import read_public
from schemas.signed import DatedKey
from schemas.strict_json import parse


@dataclass(frozen=True, slots=True)
class Trusted:
    """The ledger keys that the reader got elsewhere: whole, or as fingerprints (RFC 7638). Empty: none."""

    keys: tuple[DatedKey, ...] = ()
    fingerprints: frozenset[str] = frozenset()
    log: str | None = None

    @classmethod
    def from_file(cls, raw: bytes, fingerprints: Iterable[str] = ()) -> Trusted:
        """From what ``greffier evidence keys`` wrote. Raises :class:`schemas.errors.ConfigurationError`,
        :class:`schemas.errors.InvalidMessage`.
        """
        log, keys = read_public(parse(raw))
        return cls(tuple(keys.values()), frozenset(fingerprints), log)

    @property
    def given(self) -> bool:
        return bool(self.keys or self.fingerprints)

    def accept(self, stated: DatedKey) -> DatedKey | None:
        """The key to check with, for one that the file states; ``None``: not one the reader trusts."""
        if not self.given:
            return stated
        own = {dated.thumbprint: dated for dated in self.keys}  # with the retirement the reader knows of
        found = own.get(stated.thumbprint, stated if stated.thumbprint in self.fingerprints else None)
        return found if found is None or found.kid == stated.kid else None


NOBODY: Final = Trusted()
"""No key to compare with: a file is then checked with the keys it brings along, and its report says so."""
