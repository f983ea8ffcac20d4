"""The register: the shipped one says what the policy says; a faulty one names every fault and stops the start."""

from __future__ import annotations

import copy
from datetime import date
from typing import Any

import pytest
from dateutil.relativedelta import relativedelta
from pydantic import ValidationError

from schemas import submissions
from schemas.errors import ConfigurationError
from schemas.register import SHIPPED, Register, load_register, parse_register
from schemas.register_reading import read_mapping
from schemas.terms import Anchor, Case, CookiePurpose, Department, LawfulBasis, Origin, Purpose, TransferBasis

TODAY = date(2026, 11, 22)

NAMED = {"last_name", "first_name", "email"}
CONTACT_AT_A_COMPANY = NAMED | {"position", "country", "language"}
SITE = {"provide-services", "sales-prospecting"}
SALES = {"sales-information", "event-invitations", "sales-prospecting"}

COLLECTED: list[tuple[str, Origin, set[str], set[str]]] = [
    ("contact", Origin.FORM, NAMED | {"phone", "postal_address"}, SITE),
    ("newsletter", Origin.FORM, {"email"}, SITE),
    ("white-paper", Origin.FORM, CONTACT_AT_A_COMPANY, SITE),
    ("job-application", Origin.FORM, NAMED | {"phone", "postal_address", "cv", "cover_letter"}, {"recruitment"}),
    ("client", Origin.CRM, CONTACT_AT_A_COMPANY, {"services-and-contract"} | SALES),
    ("service-provider", Origin.CRM, CONTACT_AT_A_COMPANY, {"services-and-contract"} | SALES),
    ("supplier", Origin.CRM, CONTACT_AT_A_COMPANY, {"services-and-contract"}),
    ("partner", Origin.CRM, CONTACT_AT_A_COMPANY, SALES),
    ("prospect", Origin.CRM, CONTACT_AT_A_COMPANY, SALES),
]
"""R1, R2 and R3, typed in a second time by hand."""


@pytest.fixture(scope="module")
def shipped() -> Register:
    return load_register(on=TODAY)


PLAIN, _ = read_mapping(SHIPPED)


def draft() -> dict[str, Any]:
    """The shipped register as plain data, free to be spoiled."""
    return copy.deepcopy(PLAIN)


def put(raw: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split("/")
    for parent in parents:
        raw = raw[parent]
    raw[last] = value


def drop(raw: dict[str, Any], path: str) -> None:
    *parents, last = path.split("/")
    for parent in parents:
        raw = raw[parent]
    del raw[last]


def faults_of(raw: dict[str, Any]) -> dict[str, str]:
    """Path → problem. One place may have several problems; the last one stands for them."""
    with pytest.raises(ConfigurationError) as caught:
        parse_register(raw, on=TODAY)
    return {fault.path: fault.problem for fault in caught.value.faults}


@pytest.mark.parametrize(("name", "origin", "fields", "purposes"), COLLECTED)
def test_each_case_collects_what_the_policy_lists(
    shipped: Register, name: str, origin: Origin, fields: set[str], purposes: set[str]
) -> None:
    case = Case(name)

    assert case.origin is origin
    assert shipped.case(case).accepts == fields
    assert {link.purpose for link in shipped.links_for(case)} == purposes


def test_no_case_is_left_out(shipped: Register) -> None:
    assert {name for name, *_ in COLLECTED} == set(Case) == set(shipped.cases)


def test_forms_and_contacts_are_told_apart_as_in_the_messages() -> None:
    assert {case for case in Case if case.origin is Origin.FORM} == set(submissions.FORM_CASES)
    assert {case for case in Case if case.origin is Origin.CRM} == set(submissions.CONTACT_CASES)


def test_periods_the_policy_does_not_give_are_marked_and_sourced(shipped: Register) -> None:
    assert all(rule.default and rule.source for rule in shipped.retention.values())
    assert shipped.cookies[CookiePurpose.ANALYTICS].accepted.default is False
    assert shipped.cookies[CookiePurpose.ANALYTICS].refused.default is True


def test_the_shipped_periods_are_those_of_the_guidance(shipped: Register) -> None:
    kept = {
        (case, link.purpose): (link.anchor, link.active, link.archive)
        for case in Case
        for link in shipped.links_for(case)
    }

    three_years = (Anchor.LAST_CONTACT, relativedelta(years=3), None)
    assert kept[Case.PROSPECT, Purpose.SALES_PROSPECTING] == three_years
    assert kept[Case.CONTACT, Purpose.PROVIDE_SERVICES] == three_years
    assert kept[Case.NEWSLETTER, Purpose.PROVIDE_SERVICES] == three_years
    assert kept[Case.JOB_APPLICATION, Purpose.RECRUITMENT] == (
        Anchor.APPLICATION_DECIDED,
        relativedelta(months=3),
        relativedelta(years=5),
    )
    assert kept[Case.SUPPLIER, Purpose.SERVICES_AND_CONTRACT] == (
        Anchor.CONTRACT_ENDED,
        relativedelta(),
        relativedelta(years=5),
    )


def test_a_yes_to_cookies_holds_thirteen_months_and_a_no_six(shipped: Register) -> None:
    for purpose in CookiePurpose:
        assert date(2026, 1, 31) + shipped.cookie_validity(purpose, accepted=True) == date(2027, 2, 28)
        assert date(2026, 1, 31) + shipped.cookie_validity(purpose, accepted=False) == date(2026, 7, 31)
    exempt = {purpose for purpose, rule in shipped.cookies.items() if not rule.needs_consent}
    assert exempt == {CookiePurpose.LANGUAGE}


def test_visits_rest_on_consent(shipped: Register) -> None:
    assert shipped.covers_visits is CookiePurpose.ANALYTICS
    assert {link.basis for link in shipped.visit_links()} == {LawfulBasis.CONSENT}
    assert {link.purpose for link in shipped.visit_links()} == {
        Purpose.AGGREGATE_STATISTICS,
        Purpose.PERSONALISE_NEWSLETTER,
        Purpose.DOWNLOAD_FOLLOW_UP,
    }


def test_an_unsubscribe_leaves_the_contract_and_the_application(shipped: Register) -> None:
    left = {case: {link.purpose for link in shipped.links_for(case)} - shipped.prospecting for case in Case}

    assert left[Case.CLIENT] == {Purpose.SERVICES_AND_CONTRACT}
    assert left[Case.JOB_APPLICATION] == {Purpose.RECRUITMENT}
    assert left[Case.PROSPECT] == left[Case.PARTNER] == set()


@pytest.mark.parametrize(
    ("department", "purpose", "case", "allowed"),
    [
        (Department.LINE_MANAGERS, Purpose.RECRUITMENT, Case.JOB_APPLICATION, True),
        (Department.LINE_MANAGERS, Purpose.SALES_PROSPECTING, Case.CONTACT, False),
        (Department.MARKETING_SALES, Purpose.SALES_PROSPECTING, Case.PROSPECT, True),
        (Department.MARKETING_SALES, Purpose.RECRUITMENT, Case.JOB_APPLICATION, False),
        (Department.MARKETING_SALES, Purpose.SERVICES_AND_CONTRACT, Case.CLIENT, True),
        (Department.MARKETING_SALES, Purpose.SERVICES_AND_CONTRACT, Case.SUPPLIER, False),
        (Department.MARKETING_SALES, Purpose.SALES_PROSPECTING, Case.SUPPLIER, False),
        (Department.MARKETING_SALES, Purpose.AGGREGATE_STATISTICS, None, True),
        (Department.MARKETING_SALES, Purpose.SERVICES_AND_CONTRACT, None, False),
        (Department.ADMINISTRATION, Purpose.SERVICES_AND_CONTRACT, Case.SUPPLIER, True),
        (Department.SUBCONTRACTORS, Purpose.RECRUITMENT, Case.JOB_APPLICATION, False),
    ],
)
def test_each_department_reads_within_its_attributions(
    shipped: Register, department: Department, purpose: Purpose, case: Case | None, allowed: bool
) -> None:
    assert shipped.may_read(department, purpose, case) is allowed


def test_a_transfer_basis_lives_to_its_last_day(shipped: Register) -> None:
    transfer = shipped.subsidiary("gb").transfer

    assert transfer.live(date(2031, 12, 27))
    assert not transfer.live(date(2031, 12, 28))
    assert shipped.subsidiary("no").transfer.live(date(2099, 1, 1))


def test_a_suspended_basis_is_sound_and_lets_nothing_cross() -> None:
    raw = draft()
    put(raw, "subsidiaries/us/transfer", {"basis": "suspended"})

    assert not parse_register(raw, on=TODAY).subsidiary("us").transfer.live(TODAY)


def test_a_dozen_subsidiaries_inside_and_outside(shipped: Register) -> None:
    bases = {entry.transfer.basis for entry in shipped.subsidiaries.values()}

    assert len(shipped.subsidiaries) == 12
    assert bases == set(TransferBasis) - {TransferBasis.SUSPENDED}


def test_the_sample_notice_is_known_by_version_and_hash(shipped: Register) -> None:
    digest = shipped.policy.versions["1"].notices["en"].sha256

    assert shipped.notice_known("1", digest)
    assert not shipped.notice_known("2", digest)
    assert not shipped.notice_known("1", "0" * 64)


def test_the_register_cannot_be_changed_or_read_unchecked(shipped: Register) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        shipped.newsletter.double_opt_in = False  # type: ignore[misc]
    with pytest.raises(RuntimeError, match="load_register"):
        Register.model_validate(draft())


def spoiled(where: str, value: Any, problem: str, path: str = "") -> tuple[str, Any, str, str]:
    """``value`` (None: nothing) stands at ``where``; the fault is reported there too, unless at another ``path``."""
    return where, value, path or where.replace("/", "."), problem


SPOILED = [
    spoiled("retention/application/active", None, "missing"),
    spoiled("retention/application/active", "", "missing"),
    spoiled("retention/application/active", "90 days", "not a civil ISO 8601 duration"),
    spoiled("retention/application/active", "PT72H", "not a civil ISO 8601 duration"),
    spoiled("retention/relation/active", "P0D", "from an event that ends nothing"),
    spoiled("retention/relation/active", "P500Y", "longer than a hundred years"),
    spoiled("retention/application/archive", None, "missing"),
    spoiled("retention/application/archive", "P0D", "no length"),
    spoiled("retention/application/anchor", "someday", "someday is not one of"),
    spoiled("retention/application/then", "keep", "keep is not one of delete"),
    spoiled("retention/application/source", None, "missing"),
    spoiled("retention", None, "missing"),
    spoiled("retention", [], "must be a mapping"),
    spoiled(
        "retention/relation", None, "relation is not declared", "cases.contact.purposes.provide-services.retention"
    ),
    spoiled("cases/client/purposes/spying", {}, "spying is not one of"),
    spoiled("purposes/recruitment", None, "missing"),
    spoiled("purposes/recruitment", None, "not declared under purposes", "cases.job-application.purposes.recruitment"),
    spoiled("cases/job-application/purposes", {}, "missing", "purposes.recruitment.retention"),
    spoiled("cases/job-application/purposes", {}, "needs at least one entry"),
    spoiled("cases/job-application/purposes/recruitment/basis", None, "missing"),
    spoiled("cases/newsletter/purposes/provide-services/basis", "habit", "habit is not"),
    spoiled("cases/newsletter", None, "missing"),
    spoiled(
        "cases/contact/fields/optional", ["birth_date"], "birth_date is not one of", "cases.contact.fields.optional.0"
    ),
    spoiled("cases/contact/fields/optional", ["email"], "written twice: email"),
    spoiled("cases/contact/fields/required", ["last_name"], "must hold email"),
    spoiled("cases/contact/fields/required", "email", "must be a list"),
    spoiled("cases/contact/colour", "red", "unknown field"),
    spoiled("surprise", {}, "unknown field"),
    spoiled("cookies/analytics/accepted", None, "missing"),
    spoiled("cookies/analytics/refused/period", "P0M", "no length"),
    spoiled("cookies/personalisation", None, "missing"),
    spoiled("cookies/advertising", {}, "advertising is not one of"),
    spoiled("visits/covered_by", "marketing", "marketing is not one of"),
    spoiled("visits/purposes/aggregate-statistics", None, "missing", "purposes.aggregate-statistics.retention"),
    spoiled("visits/purposes/aggregate-statistics/cookie", None, "missing"),
    spoiled("departments/it/reads", [{"purpose": "gossip"}], "gossip is not one of", "departments.it.reads.0.purpose"),
    spoiled(
        "departments/it/reads",
        [{"purpose": "recruitment", "cases": ["client"]}],
        "no purpose of client",
        "departments.it.reads.0.cases",
    ),
    spoiled("departments/it/reads", [], "needs at least one entry"),
    spoiled("departments/it", None, "missing"),
    spoiled("controller/store_region", "US", "outside the European Union"),
    spoiled("controller/store_region", "NO", "outside the European Union"),
    spoiled("controller/country", "France", "not an ISO 3166-1"),
    spoiled("processors/mailing/contract", None, "missing"),
    spoiled("processors/mailing/contract/security", "false", "must be true"),
    spoiled("processors/mailing/contract/confidentiality", None, "missing"),
    spoiled("processors/mailing/opendsr", "https://mailing.example", "should match pattern"),
    spoiled("processors/mailing/country", "US", "US is outside the EEA", "processors.mailing.transfer"),
    spoiled("subsidiaries/gb/transfer", None, "missing"),
    spoiled("subsidiaries/gb/transfer", {"basis": "not-needed"}, "GB is outside the EEA"),
    spoiled("subsidiaries/de/store_region", "US", "US is outside the EEA", "subsidiaries.de.transfer"),
    spoiled("subsidiaries/gb/transfer/basis", "handshake", "handshake is not one of"),
    spoiled("subsidiaries/gb/transfer/expires_on", None, "missing"),
    spoiled("subsidiaries/gb/transfer/expires_on", "2026-11-21", "expired on 2026-11-21"),
    spoiled("subsidiaries/gb/transfer/expires_on", "soon", "date"),
    spoiled("subsidiaries/gb/country", "UK", "not an ISO 3166-1"),
    spoiled("subsidiaries/gb/purposes", ["recruitment", "recruitment"], "written twice"),
    spoiled("subsidiaries/gb/kind", None, "missing"),
    spoiled("subsidiaries/G B", {}, "should match pattern"),
    spoiled("newsletter/double_opt_in", None, "missing"),
    spoiled("newsletter/double_opt_in", "perhaps", "boolean"),
    spoiled("newsletter/pending", None, "missing"),
    spoiled("parked", None, "missing"),
    spoiled("aggregates/value", "0", "greater than or equal to 1"),
    spoiled("children", "13", "must be a mapping"),
    spoiled("policy/current", "2", "no version listed"),
    spoiled("policy/versions/1/notices/en/text", "Other words.", "not the text of this sha256"),
    spoiled("policy/versions/1/notices/en/sha256", "abc", "should match pattern"),
    spoiled("recipients/group-companies/condition", "friendship", "friendship is not"),
    spoiled("recipients/group-companies/label", "\x1b[2J", "cannot be printed"),
]


@pytest.mark.parametrize(("where", "value", "path", "problem"), SPOILED)
def test_a_broken_register_names_the_fault(where: str, value: Any, path: str, problem: str) -> None:
    raw = draft()
    if value is None:
        drop(raw, where)
    else:
        put(raw, where, value)

    found = faults_of(raw)

    assert path in found
    assert problem in found[path]


def test_ten_faults_at_once_are_ten_names() -> None:
    raw = draft()
    drop(raw, "retention/application/active")
    drop(raw, "cases/supplier")
    put(raw, "cases/contact/colour", "red")
    put(raw, "cases/client/purposes/sales-information/retention", "forever")
    put(raw, "cookies/analytics/accepted/period", "13 months")
    put(raw, "departments/it/reads", [{"purpose": "gossip"}])
    put(raw, "controller/store_region", "US")
    put(raw, "processors/mailing/contract/security", "false")
    put(raw, "subsidiaries/gb/transfer/expires_on", "2020-01-31")
    drop(raw, "subsidiaries/us/transfer/basis")
    drop(raw, "newsletter/pending")
    put(raw, "policy/current", "9")

    assert set(faults_of(raw)) == {
        "retention.application.active",
        "cases.supplier",
        "cases.contact.colour",
        "cases.client.purposes.sales-information.retention",
        "cookies.analytics.accepted.period",
        "departments.it.reads.0.purpose",
        "controller.store_region",
        "processors.mailing.contract.security",
        "subsidiaries.gb.transfer.expires_on",
        "subsidiaries.us.transfer.basis",
        "newsletter.pending",
        "policy.current",
    }


def test_an_empty_mapping_misses_every_section() -> None:
    assert set(faults_of({})) == set(Register.model_fields)


@pytest.mark.parametrize("section", sorted(Register.model_fields))
@pytest.mark.parametrize("rubbish", ["", "text", [], [[]], {"": ""}, {"a": {"b": ["c"]}}])
def test_rubbish_in_a_section_is_a_fault_of_that_section(section: str, rubbish: Any) -> None:
    raw = draft()
    raw[section] = rubbish
    if rubbish == {"a": {"b": ["c"]}} and section in ("processors", "subsidiaries"):
        assert any(path.startswith(f"{section}.a.") for path in faults_of(raw))
        return

    assert any(path == section or path.startswith(f"{section}.") for path in faults_of(raw))


def test_a_basis_that_lapses_overnight_does_not_stop_a_start() -> None:
    """`register check` names it; a process starts all the same, and the border is closed."""
    raw = draft()
    put(raw, "subsidiaries/gb/transfer/expires_on", "2026-11-21")
    assert not parse_register(raw).subsidiary("gb").transfer.live(TODAY)
