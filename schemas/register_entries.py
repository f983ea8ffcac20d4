"""The entries of the register, one model each: what may be written, and what must agree with what inside an entry.

`schemas.register` puts the entries together; `schemas.register_values` holds the words they are written in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import date
from typing import Annotated

from dateutil.relativedelta import relativedelta
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from schemas.countries import EEA
from schemas.durations import parse_duration
from schemas.register_values import (
    CaseRef,
    CookieRef,
    CountryCode,
    Declared,
    Duration,
    DurationOrNone,
    EUCountryCode,
    LanguageCode,
    LastingDuration,
    PurposeRef,
    Purposes,
    RetentionRef,
    Safeguard,
    Sha256,
    Words,
    distinct,
)
from schemas.terms import (
    Anchor,
    Case,
    Disclosure,
    Disposal,
    FieldName,
    LawfulBasis,
    SubsidiaryKind,
    TransferBasis,
)


class Entry(BaseModel):
    """What every entry shares: closed and unchangeable."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Figure(Entry):
    """Where a figure comes from. ``default``: the policy is silent and the figure is ours to defend. Source: R13."""

    source: Words
    default: bool = False


class Period(Figure):
    """A stated length of time."""

    period: LastingDuration

    @property
    def length(self) -> relativedelta:
        """The period in civil units."""
        return parse_duration(self.period)


class Number(Figure):
    """A stated number."""

    value: Annotated[int, Field(ge=1, le=1000)]


class RetentionRule(Figure):
    """How long a purpose may be served: ``active`` from the anchor event, then ``archive`` from there, then disposal.

    ``active: P0D`` means until the anchor event, which must then be one that ends something. ``archive: none`` (None
    here) goes from active straight to disposal. Source: R13.
    """

    anchor: Anchor
    active: Duration
    archive: DurationOrNone
    then: Disposal

    @field_validator("active")
    @classmethod
    def _no_length_only_after_an_end(cls, active: str, info: ValidationInfo) -> str:
        ends = (Anchor.CONTRACT_ENDED, Anchor.APPLICATION_DECIDED, Anchor.WITHDRAWN, None)
        if not parse_duration(active) and info.data.get("anchor") not in ends:
            raise ValueError("a period of no length, counted from an event that ends nothing")
        return active


class PurposeRule(Entry):
    """A purpose in words. ``prospecting``: an unsubscribe or an objection to prospecting ends it (Art. 21(2), R20)."""

    label: Words
    prospecting: bool = False


class PurposeUse(Entry):
    """On which basis and for how long one case serves one purpose."""

    basis: LawfulBasis
    retention: RetentionRef


class FieldList(Entry):
    """The closed list of fields of a case."""

    required: tuple[FieldName, ...]
    optional: tuple[FieldName, ...] = ()

    @field_validator("required")
    @classmethod
    def _names_the_person(cls, required: tuple[FieldName, ...]) -> tuple[FieldName, ...]:
        if FieldName.EMAIL not in required:
            raise ValueError("must hold email: a person is known by it and by nothing else")
        distinct(required)
        return required

    @field_validator("optional")
    @classmethod
    def _once(cls, optional: tuple[FieldName, ...], info: ValidationInfo) -> tuple[FieldName, ...]:
        distinct((*info.data.get("required", ()), *optional))
        return optional


class CaseRule(Entry):
    """One case for collection: its fields and its purposes. Source: R1, R2, R3."""

    label: Words
    fields: FieldList
    purposes: Annotated[Mapping[PurposeRef, PurposeUse], Field(min_length=1)]

    @property
    def accepts(self) -> frozenset[FieldName]:
        """Every field the case may hold; any other is refused."""
        return frozenset(self.fields.required) | frozenset(self.fields.optional)


class CookieRule(Entry):
    """A cookie purpose: whether it needs consent, and how long a yes and a no hold before asking again. Source: R15."""

    label: Words
    needs_consent: bool
    accepted: Period
    refused: Period


class VisitUse(PurposeUse):
    """A purpose that visits serve, and the cookie purpose whose consent it needs. Source: R4, R5, R6.

    ``case``: visits are used about a person while a record of this case lives that names their device;
    without one they are used about nobody.
    """

    cookie: CookieRef
    case: CaseRef | None = None


class Visits(Entry):
    """Automatic data: kept only where the device's consent to ``covered_by`` held at that moment. Source: R4."""

    covered_by: CookieRef
    purposes: Annotated[Mapping[PurposeRef, VisitUse], Field(min_length=1)]


class Newsletter(Entry):
    """Subscription: with ``double_opt_in`` it waits for the mailed link, at most ``pending``."""

    double_opt_in: bool
    pending: Period


class Read(Entry):
    """A purpose a department may read for: in every case that serves it, or only in the named ones."""

    purpose: PurposeRef
    cases: Annotated[tuple[CaseRef, ...], Field(min_length=1), AfterValidator(distinct)] | None = None

    @field_validator("cases")
    @classmethod
    def _cases_serve_the_purpose(cls, cases: tuple[Case, ...] | None, info: ValidationInfo) -> tuple[Case, ...] | None:
        purpose, served = info.data.get("purpose"), Declared.of(info).served
        idle = [case for case in cases or () if purpose and purpose not in served.get(case, ())]
        if idle:
            raise ValueError(f"{purpose} is no purpose of {', '.join(idle)}")
        return cases


class DepartmentRule(Entry):
    """What a department may read. ``own_scope``: only what is assigned to the reader (R9, line managers)."""

    label: Words
    own_scope: bool = False
    reads: Annotated[tuple[Read, ...], Field(min_length=1)]


class Recipient(Entry):
    """A category of recipient and the condition on which it is given data. Source: GDPR Art. 30(1)(d); R10, R11."""

    label: Words
    condition: Disclosure


class Transfer(Entry):
    """What a border crossing rests on. ``expires_on`` is the last day of it: a date of the law, or the date by which
    the assessment behind it must have been made again. Nothing that lets data cross is without one. Source: R10, P8.
    """

    basis: TransferBasis
    reference: Words | None = None
    expires_on: date | None = Field(default=None, validate_default=True)

    @field_validator("expires_on")
    @classmethod
    def _is_live(cls, expires_on: date | None, info: ValidationInfo) -> date | None:
        basis = info.data.get("basis")
        if basis in (TransferBasis.NOT_NEEDED, TransferBasis.SUSPENDED, None):
            return expires_on
        if expires_on is None:
            raise ValueError("missing: a transfer basis needs a last day")
        judged_for = Declared.of(info).on
        if judged_for is not None and expires_on < judged_for:
            raise ValueError(f"expired on {expires_on}: renew the basis, or state it as suspended")
        return expires_on

    def live(self, on: date) -> bool:
        """Whether personal data may cross on that day."""
        if self.basis is TransferBasis.NOT_NEEDED:
            return True
        return self.basis is not TransferBasis.SUSPENDED and self.expires_on is not None and on <= self.expires_on


class Party(Entry):
    """A company that holds or processes data for the group, and where. ``store_region``: the country of its servers."""

    name: Words
    country: CountryCode
    store_region: CountryCode
    purposes: Purposes
    transfer: Transfer

    @field_validator("transfer")
    @classmethod
    def _fits_the_border(cls, transfer: Transfer, info: ValidationInfo) -> Transfer:
        places = [info.data[place] for place in ("country", "store_region") if place in info.data]
        outside = [place for place in places if place not in EEA]
        if outside and transfer.basis is TransferBasis.NOT_NEEDED:
            raise ValueError(f"{outside[0]} is outside the EEA: a transfer basis is needed")
        return transfer


class Subsidiary(Party):
    """A company of the group with its own store; gets its own queue, named after its code. Source: R10, R25, R28."""

    kind: SubsidiaryKind


Domain = Annotated[str, Field(pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)+$", max_length=253)]


class Contract(Entry):
    """The contract a processor works under. Source: R9; GDPR Art. 28(3)."""

    signed_on: date
    confidentiality: Safeguard
    security: Safeguard


class Processor(Party):
    """A subcontractor: processes on instruction, under a contract with both safeguards. Source: R9.

    ``opendsr``: the domain under which it is asked for erasure and access by that protocol, where it is.
    """

    service: Words
    contract: Contract
    opendsr: Domain | None = None


class Controller(Entry):
    """Who decides why and how. ``store_region`` must be in the European Union. Source: R10, R22."""

    name: Words
    country: CountryCode
    store_region: EUCountryCode
    email: Words
    postal_address: Words


class Notice(Entry):
    """What was shown, in one language: its SHA-256 (of the UTF-8 text), and the text where it is short. Source: R16."""

    sha256: Sha256
    text: Words | None = None

    @field_validator("text")
    @classmethod
    def _is_what_was_hashed(cls, text: str | None, info: ValidationInfo) -> str | None:
        expected = info.data.get("sha256")
        if text is not None and expected and hashlib.sha256(text.encode()).hexdigest() != expected:
            raise ValueError("is not the text of this sha256")
        return text


class PolicyVersion(Entry):
    """A version of the policy: from when it holds, and its notices by language."""

    effective_on: date
    notices: Annotated[Mapping[LanguageCode, Notice], Field(min_length=1)]


class Policy(Entry):
    """Every version ever shown; consents refer to them for as long as their proof is kept. Source: R16."""

    versions: Annotated[Mapping[Words, PolicyVersion], Field(min_length=1)]
    current: Words

    @field_validator("current")
    @classmethod
    def _exists(cls, current: str, info: ValidationInfo) -> str:
        if "versions" in info.data and current not in info.data["versions"]:
            raise ValueError("is no version listed under policy.versions")
        return current
