"""The ledger's keys: what signs its heads and its exports, apart from the key that signs orders.

=================== ============ ==================================================================
file                held by      what it can do
=================== ============ ==================================================================
ledger.private.json controller   sign heads and bundles; the public halves of retired keys
ledger.public.json  anyone       check them offline: what the controller publishes and an auditor keeps
=================== ============ ==================================================================

A key of its own, because it is checked for decades and by strangers, while the keys of orders turn over. One key signs
at a time; a retired one keeps its public half and the moment of its retirement.
Source: P12; crypto-and-evidence §§ 5, 6.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from joserfc.jwk import OKPKey

from schemas.errors import ConfigurationError, Fault, InvalidMessage
from schemas.fields import wire_moment
from schemas.keyfiles import naming, read_json, write_json
from schemas.signed import DatedKey

PRIVATE: Final = "ledger.private.json"


@dataclass(frozen=True, slots=True)
class LedgerKeys:
    """``log``: the ledger's id, in every head; ``signing``: the current private key; ``verifying``: all, by key id."""

    log: str
    signing: OKPKey
    verifying: Mapping[str, DatedKey]

    def public(self) -> dict[str, Any]:
        """What anyone may have."""
        return {"log": self.log, "keys": [dated.as_json() for dated in self.verifying.values()]}


def new_ledger_keys(now: datetime) -> LedgerKeys:
    """A fresh ledger's id and its first key."""
    key = _new_key()
    return LedgerKeys(f"log-{secrets.token_hex(8)}", key, {str(key.kid): DatedKey(key, wire_moment(now))})


def rotated(keys: LedgerKeys, now: datetime) -> LedgerKeys:
    """The same ledger with a new key; the old one may no longer sign."""
    key, moment = _new_key(), wire_moment(now)
    current = keys.verifying[str(keys.signing.kid)]
    retired = {**keys.verifying, current.kid: DatedKey(current.key, current.not_before, moment)}
    return LedgerKeys(keys.log, key, {**retired, str(key.kid): DatedKey(key, moment)})


def _new_key() -> OKPKey:
    return OKPKey.generate_key("Ed25519", parameters={"kid": f"ledger-{secrets.token_hex(4)}"})


def generate_ledger_keys(controller: Path) -> None:
    """Make the keys of a new installation."""
    write_ledger_keys(controller, new_ledger_keys(datetime.now(UTC)))


def write_ledger_keys(controller: Path, keys: LedgerKeys) -> None:
    """Write or replace the key file."""
    write_json(controller / PRIVATE, {**keys.public(), "signing": keys.signing.as_dict(private=True)})


def read_ledger_keys(controller: Path) -> LedgerKeys:
    """The controller's own. Raises :class:`ConfigurationError`."""
    found = read_json(controller / PRIVATE)
    with naming(PRIVATE):
        signing = OKPKey.import_key(found["signing"])
        log, verifying = read_public(found)
        if str(signing.kid) not in verifying:
            raise ValueError("the signing key is not among the verifying ones")
        return LedgerKeys(log, signing, verifying)


def read_public(found: Any) -> tuple[str, dict[str, DatedKey]]:
    """Log id and keys by id, from what :meth:`LedgerKeys.public` wrote. Raises :class:`ConfigurationError`."""
    try:
        keys = [DatedKey.from_json(one) for one in found["keys"]]
        return str(found["log"]), {dated.kid: dated for dated in keys}
    except (InvalidMessage, KeyError, TypeError, AttributeError):
        raise ConfigurationError("keys", Fault("ledger keys", "is not a readable key file")) from None
