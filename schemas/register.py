"""The register: the one place that states cases, fields, purposes, bases, periods, readers, recipients and borders.

It is read once, by every process, at start, and drives validation, retention, routing, access and the printed record
of processing. A faulty register stops the process, naming every fault: `load_register` raises `ConfigurationError`.
What may be written stands in `schemas.register_entries`; what Sopexa wrote, in ``register.yaml`` beside this file.

Source: R1 to R16; GDPR Art. 30(1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Final

from dateutil.relativedelta import relativedelta
from pydantic import Field, ValidationError

from schemas.calendar import end_after
from schemas.durations import parse_duration
from schemas.errors import ConfigurationError, Fault
from schemas.register_checks import absences, declared_in, reported
from schemas.register_entries import (
    CaseRule,
    Controller,
    CookieRule,
    DepartmentRule,
    Entry,
    Newsletter,
    Number,
    Period,
    Policy,
    Processor,
    PurposeRule,
    PurposeUse,
    Recipient,
    RetentionRule,
    Subsidiary,
    Visits,
    VisitUse,
)
from schemas.register_reading import read_mapping
from schemas.register_values import Code
from schemas.terms import Anchor, Case, CookiePurpose, Department, LawfulBasis, Purpose, SubsidiaryKind

__all__ = ["SHIPPED", "CaseRule", "LinkRule", "Register", "Subsidiary", "load_register", "parse_register"]

SHIPPED: Final = Path(__file__).with_name("register.yaml")


@dataclass(frozen=True, slots=True)
class LinkRule:
    """What a purpose link is made from: one per purpose of a submission. ``archive`` starts where ``active`` ends."""

    purpose: Purpose
    basis: LawfulBasis
    anchor: Anchor
    active: relativedelta
    archive: relativedelta | None
    rule_id: str
    """The retention rule's name in the register; kept with the link, so that each date can be explained later."""


class Register(Entry):
    """A sound register. Looks up in constant time; raises KeyError only for a subsidiary that does not exist."""

    controller: Controller
    policy: Policy
    purposes: Mapping[Purpose, PurposeRule]
    retention: Annotated[Mapping[Code, RetentionRule], Field(min_length=1)]
    cases: Mapping[Case, CaseRule]
    cookies: Mapping[CookiePurpose, CookieRule]
    visits: Visits
    newsletter: Newsletter
    renewal: Period
    """How long before a choice about cookies ends its renewal is due. Source: R15."""
    consent_proof: Period
    parked: Period
    aggregates: Number
    second_look_after: Number
    """Seconds from the last receipt to the second look: the longest time anything may still be in flight (P6)."""
    children: Number
    departments: Mapping[Department, DepartmentRule]
    recipients: Annotated[Mapping[Code, Recipient], Field(min_length=1)]
    processors: Mapping[Code, Processor]
    subsidiaries: Mapping[Code, Subsidiary]

    def case(self, case: Case) -> CaseRule:
        """Fields and purposes of a case."""
        return self.cases[case]

    def links_for(self, case: Case) -> tuple[LinkRule, ...]:
        """The purpose links a submission of this case gets, in the register's order. Source: R3, R13."""
        return self._links[case]

    @cached_property
    def archive_periods(self) -> Mapping[tuple[Case, Purpose], relativedelta]:
        """Case and purpose → how long the archive keeps it after it ended, for those of which it does. Source: R13."""
        return {
            (case, rule.purpose): rule.archive
            for case, rules in self._links.items()
            for rule in rules
            if rule.archive is not None
        }

    def visit_links(self) -> tuple[LinkRule, ...]:
        """The purpose links a visit gets, as far as the device's consent covers each. Source: R4, R5, R6."""
        return self._visit_links

    def rule_of(self, case: str, purpose: str) -> LinkRule | None:
        """What a record of this case gets for this purpose; ``None`` where it does not serve it, or no longer."""
        return self._rules.get((case, purpose))

    def visit_use(self, purpose: Purpose) -> VisitUse | None:
        """How visits serve this purpose about a person; ``None`` where they do not. Source: R5."""
        use = self.visits.purposes.get(purpose)
        return use if use is not None and use.case is not None else None

    def may_read(self, department: Department, purpose: Purpose, case: Case | None = None) -> bool:
        """Whether the department's attributions include reading data of this case for this purpose.

        Without a case (visits) only a reading right that is not narrowed to cases counts. A purpose that visits serve
        about a person is read in the case whose records name their device. Says nothing about consent, dates or
        objections: the gate looks at those. Source: R5, R8, R9.
        """
        return (department, purpose, case) in self._readable

    def may_read_agreed(self, department: Department, purpose: Purpose, case: Case) -> bool:
        """Whether the department may read data of this case for a purpose that its person expressly agreed to.

        The purpose must be one of its attributions, and not narrowed to other cases. Source: R8, R9.
        """
        reads = (read for read in self.departments[department].reads if read.purpose is purpose)
        return any(read.cases is None or case in read.cases for read in reads)

    def cookie_validity(self, purpose: str, accepted: bool) -> relativedelta:
        """How long a choice holds before the visitor is asked again, in civil units. Source: R15.

        ``purpose``: a :class:`CookiePurpose`, or its word. Raises KeyError for any other.
        """
        return self._cookie_validity[purpose, accepted]

    @cached_property
    def cookie_ends(self) -> Callable[[date], Mapping[tuple[str, bool], datetime]]:
        """Civil day → (cookie purpose, accepted or not) → the instant from which a choice of that day holds no more."""
        validity = self._cookie_validity.items()

        @lru_cache(maxsize=64)
        def ends(first: date) -> Mapping[tuple[str, bool], datetime]:
            return {choice: end_after(first, period) for choice, period in validity}

        return ends

    @cached_property
    def older_versions(self) -> frozenset[str]:
        """The versions of the policy before the current one: a choice made under one is to be made again. R15, R16."""
        versions, current = self.policy.versions, self.policy.current
        begins = versions[current].effective_on
        return frozenset(name for name, shown in versions.items() if name != current and shown.effective_on < begins)

    @property
    def covers_visits(self) -> CookiePurpose:
        """The cookie purpose without which no visit is kept. Source: R4."""
        return self.visits.covered_by

    @cached_property
    def prospecting(self) -> frozenset[Purpose]:
        """The purposes that an unsubscribe or an objection to prospecting ends. Source: R20, R24."""
        return frozenset(purpose for purpose, rule in self.purposes.items() if rule.prospecting)

    def served(self, kind: SubsidiaryKind) -> tuple[str, ...]:
        """The codes of the subsidiaries that take their orders this way. Source: R28."""
        return tuple(code for code, one in self.subsidiaries.items() if one.kind is kind)

    @cached_property
    def newsletter_ends(self) -> frozenset[Purpose]:
        """The purposes a "no" to one of which ends a newsletter subscription as a whole: the prospecting it serves.

        Any prospecting, where the register gives it none. Source: R21, R24.
        """
        served = frozenset(rule.purpose for rule in self.links_for(Case.NEWSLETTER))
        return served & self.prospecting or self.prospecting

    @cached_property
    def used_in_subsidiaries(self) -> frozenset[Purpose]:
        """What some subsidiary may use data for."""
        return frozenset(purpose for one in self.subsidiaries.values() for purpose in one.purposes)

    def subsidiary(self, code: str) -> Subsidiary:
        """A subsidiary by its code. Raises KeyError where there is none."""
        return self.subsidiaries[code]

    def notice_known(self, version: str, sha256: str) -> bool:
        """Whether this notice was ever shown under this version; what is not known is kept and flagged. Source: R16."""
        return (version, sha256) in self._notices

    @cached_property
    def _cookie_validity(self) -> dict[tuple[str, bool], relativedelta]:
        accepted = {(str(purpose), True): rule.accepted.length for purpose, rule in self.cookies.items()}
        return accepted | {(str(purpose), False): rule.refused.length for purpose, rule in self.cookies.items()}

    @cached_property
    def _notices(self) -> frozenset[tuple[str, str]]:
        versions = self.policy.versions.items()
        return frozenset((version, notice.sha256) for version, shown in versions for notice in shown.notices.values())

    @cached_property
    def _links(self) -> dict[Case, tuple[LinkRule, ...]]:
        return {case: self._links_of(rule.purposes) for case, rule in self.cases.items()}

    @cached_property
    def _rules(self) -> dict[tuple[str, str], LinkRule]:
        return {(case, rule.purpose): rule for case, rules in self._links.items() for rule in rules}

    @cached_property
    def _visit_links(self) -> tuple[LinkRule, ...]:
        return self._links_of(self.visits.purposes)

    def _links_of(self, uses: Mapping[Purpose, PurposeUse]) -> tuple[LinkRule, ...]:
        return tuple(self._link(purpose, use) for purpose, use in uses.items())

    def _link(self, purpose: Purpose, use: PurposeUse) -> LinkRule:
        rule = self.retention[use.retention]
        return LinkRule(
            purpose=purpose,
            basis=use.basis,
            anchor=rule.anchor,
            active=parse_duration(rule.active),
            archive=parse_duration(rule.archive) if rule.archive else None,
            rule_id=use.retention,
        )

    @cached_property
    def _readable(self) -> frozenset[tuple[Department, Purpose, Case | None]]:
        readable: set[tuple[Department, Purpose, Case | None]] = set()
        for department, rule in self.departments.items():
            for read in rule.reads:
                use = self.visit_use(read.purpose)
                joined = use.case if use else None
                serving = [
                    case for case, entry in self.cases.items() if read.purpose in entry.purposes or case is joined
                ]
                reached = [*serving, None] if read.cases is None else read.cases
                readable.update((department, read.purpose, case) for case in reached)
        return frozenset(readable)


def load_register(path: Path | None = None, *, on: date | None = None) -> Register:
    """The register at ``path`` (default: the shipped one).

    ``on``: the day transfer bases are judged for; without it they are not, because a basis that lapses overnight must
    close its border (P8) and not stop intake or erasure at the next restart.
    Raises ConfigurationError with every fault and its path; never returns a register with one.
    """
    path = path or SHIPPED
    raw, faults = read_mapping(path)
    subject = f"register {path}"
    if faults and not raw:
        raise ConfigurationError(subject, *faults)
    return parse_register(raw, faults, on=on, subject=subject)


def parse_register(
    raw: dict[str, Any], faults: tuple[Fault, ...] = (), *, on: date | None = None, subject: str = "register"
) -> Register:
    """A register from data as `read_mapping` gives it; ``faults``: those found so far. Raises as load_register."""
    found = [*faults, *absences(raw)]
    try:
        register = Register.model_validate(raw, context=declared_in(raw, on))
    except ValidationError as error:
        found += reported(error)
    if found:
        raise ConfigurationError(subject, *found)
    return register
