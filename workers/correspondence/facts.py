"""What each letter is about, as plain data: whoever writes a letter fills one of these and nothing else.

============================ ================================================= =====================================
letter                       when                                              must hold
============================ ================================================= =====================================
:class:`ConfirmationLink`    a request came from the website                   the same for known and unknown people
:class:`Acknowledgement`     staff entered a request from an e-mail or letter  the date that counts
:class:`IdentityRequest`     staff have a reasonable doubt                     why, and that the clock stands still
:class:`ExtensionNotice`     within the first month, Art. 12(3)                the reasons, the new date
:class:`RefusalLetter`       within the first month, Art. 12(4)                reasons, complaint, judicial remedy
:class:`LiftingNotice`       before a restriction is lifted, Art. 18(3)         that it ends, and what then
:class:`AnswerLetter`        by the due date                                   every store, what is kept, what is owed
============================ ================================================= =====================================
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import ClassVar

from schemas.errors import InvalidMessage
from schemas.terms import Channel, Proof, Right
from workers.rules.decisions import Decision, Refusal


class StoreState(StrEnum):
    """How a store stands in the answer. ``barred``: nothing may cross its border; ``silent``: no answer yet;
    ``conflict``: it holds something else than a correction is of, and left it.
    """

    DONE = "done"
    NOTHING_HELD = "nothing-held"
    PARTLY_RETAINED = "partly-retained"
    REFUSED = "refused"
    CONFLICT = "conflict"
    BARRED = "barred"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class CollectionReport:
    """One collection of a store, as its receipt counts it. ``until``: the last day of what was retained."""

    name: str
    matched: int
    erased: int = 0
    anonymised: int = 0
    restricted: int = 0
    corrected: int = 0
    conflicting: int = 0
    retained: int = 0
    ground: str | None = None
    until: date | None = None


@dataclass(frozen=True, slots=True)
class StoreReport:
    """One store's part. ``company``: its name; ``country``: of its servers; ``reason``: a code, where it refused.

    ``proof``: how its answer was looked at again; None while that is still to come.
    """

    company: str
    country: str
    state: StoreState
    collections: tuple[CollectionReport, ...] = ()
    proof: Proof | None = None
    reason: str | None = None

    @property
    def refuses(self) -> bool:
        """Whether the person was denied something here, so that reasons and remedies must be told."""
        return self.state in (StoreState.PARTLY_RETAINED, StoreState.REFUSED, StoreState.BARRED, StoreState.CONFLICT)


class StillHeld(StrEnum):
    """What stays about a person once all is done, and only for that. Source: design § 5.7."""

    SUPPRESSION = "suppression"
    RESTRICTION = "restriction"
    WITHDRAWN = "withdrawn"
    TOMBSTONE = "tombstone"
    CASE_EVIDENCE = "case-evidence"


class ExtensionReason(StrEnum):
    """Why two months more are needed; effort alone or ordinary volume is no reason. Source: EDPB 01/2022 §§ 162-164."""

    VOLUME = "volume"
    HARD_RETRIEVAL = "hard-retrieval"
    REDACTION = "redaction"
    NUMBER_OF_REQUESTS = "number-of-requests"


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """What all letters share. ``to``: the address as typed; ``part``: 2, 3… for a further letter of the same kind."""

    kind: ClassVar[str]

    to: str
    reference: str
    right: Right
    part: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmationLink(Letter):
    """The link that proves an address. Holds nothing that was typed: strangers may have typed it. Source: R22.

    ``status``: the link that shows where the request stands. ``channel``: whoever asked in the person's name is named.
    """

    kind: ClassVar[str] = "confirmation"

    link: str
    status: str
    expires_at: datetime
    channel: Channel = Channel.WEBSITE


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedLetter(Letter):
    """A letter to somebody whose request stands. ``name``: for the envelope only, as display name."""

    name: str | None = None
    received_on: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement(NamedLetter):
    """The request was received, by which channel, and the date that counts. ``status``: as in the confirmation."""

    kind: ClassVar[str] = "acknowledgement"

    channel: Channel
    due: date
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityRequest(NamedLetter):
    """Proof of identity is asked for. ``why``: the reasonable doubt, in staff's words. Source: GDPR Art. 12(6)."""

    kind: ClassVar[str] = "identity"

    why: str

    def __post_init__(self) -> None:
        _demand_words(self.why, "/why")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtensionNotice(NamedLetter):
    """The answer needs longer. ``text``: the reason in staff's words, beside its code."""

    kind: ClassVar[str] = "extension"

    reason: ExtensionReason
    text: str
    due: date
    extended_due: date

    def __post_init__(self) -> None:
        _demand_words(self.text, "/text")


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalLetter(NamedLetter):
    """The whole request is refused. ``text``: why, in staff's words; none is no refusal. Source: Art. 12(4), 12(5)."""

    kind: ClassVar[str] = "refusal"

    refusal: Refusal
    text: str

    def __post_init__(self) -> None:
        _demand_words(self.text, "/text")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiftingNotice(NamedLetter):
    """A restriction ends: the person is told before it does. Source: GDPR Art. 18(3)."""

    kind: ClassVar[str] = "lifting"


@dataclass(frozen=True, slots=True)
class Package:
    """Where the access package waits, for one download."""

    link: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Remainder:
    """Something still held. ``until``: its last day, None where it has no end of its own."""

    what: StillHeld
    until: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerLetter(NamedLetter):
    """The answer: what was done in every store, what was kept and why, who is still silent, what is still held."""

    kind: ClassVar[str] = "answer"

    stores: tuple[StoreReport, ...]
    decision: Decision | None = None
    package: Package | None = None
    still_held: tuple[Remainder, ...] = ()

    @property
    def refuses(self) -> bool:
        """Whether part of the request is refused: then complaint and judicial remedy must be named. Art. 12(4)."""
        decided = self.decision.refusals if self.decision else ()
        return bool(decided) or any(store.refuses for store in self.stores)

    @property
    def silent(self) -> tuple[StoreReport, ...]:
        """The stores that have not answered yet."""
        return tuple(store for store in self.stores if store.state is StoreState.SILENT)


def _demand_words(text: str, pointer: str) -> None:
    if not text.strip():
        raise InvalidMessage("no_reason_given", pointer)
