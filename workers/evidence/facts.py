"""What a bundle needs to know of a case beside the ledger, wherever cases are kept. Nothing here names a person.

Source: R30; P12.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from joserfc.jwk import OKPKey

from schemas.terms import Channel, Right


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """A store of the register: its company's legal name and country, and what its transfers rest on."""

    code: str
    name: str
    country: str
    region: str
    basis: str


@dataclass(frozen=True, slots=True)
class ReceiptFacts:
    """A receipt as it was signed, and when it came."""

    store: str
    jws: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """One case. ``answer`` and ``proof``: its states; ``stores``: all that were to be asked, the controller's own too;
    ``keys``: verifying keys by store, retired ones too, as far as receipts need them. Moments are aware.
    """

    reference: str
    right: Right
    channel: Channel
    received_at: datetime
    due_on: date
    answer: str
    proof: str
    stores: tuple[StoreFacts, ...]
    receipts: tuple[ReceiptFacts, ...]
    keys: Mapping[str, tuple[OKPKey, ...]] = field(default_factory=dict)
    answered_at: datetime | None = None
    closed_at: datetime | None = None
