"""The register as people read it: tables in the order in which a data protection officer asks.

What is collected and why, for how long and who says so, who reads it, where it goes. Every figure the policy does not
give is marked ``default``.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from schemas.durations import in_words, parse_duration
from schemas.register import Register
from schemas.register_entries import Figure, Party, Transfer
from schemas.terms import TransferBasis


def print_register(register: Register, console: Console) -> None:
    """Print all of it to ``console`` (which should have ``markup=False``: the words are the file's own)."""
    _print_controller(register, console)
    for table in (
        _cases(register),
        _uses(register),
        _purposes(register),
        _retention(register),
        _cookies(register),
        _visits(register),
        _other_figures(register),
        _departments(register),
        _recipients(register),
        _parties("Processors", register.processors.items()),
        _parties("Subsidiaries", register.subsidiaries.items()),
    ):
        console.print()
        console.print(table)


def _print_controller(register: Register, console: Console) -> None:
    controller, policy = register.controller, register.policy
    console.print(f"{controller.name} ({controller.country}), data stored in {controller.store_region}")
    console.print(f"Requests: {controller.email} · {controller.postal_address}")
    versions = ", ".join(f"{name} since {version.effective_on}" for name, version in policy.versions.items())
    console.print(f"Policy: version {policy.current} is current; known: {versions}")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", show_lines=True)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _words(values: Iterable[str]) -> str:
    return ", ".join(values)


def _source(figure: Figure) -> str:
    return f"default: {figure.source}" if figure.default else figure.source


def _cases(register: Register) -> Table:
    table = _table("What is collected", "case", "in words", "comes by", "required", "optional")
    for case, rule in register.cases.items():
        required, optional = _words(rule.fields.required), _words(rule.fields.optional)
        table.add_row(case, rule.label, case.origin, required, optional)
    return table


def _uses(register: Register) -> Table:
    table = _table("Why", "case", "purpose", "on the basis of", "kept as")
    table.show_lines = False
    for case, rule in register.cases.items():
        table.add_section()
        for place, (purpose, use) in enumerate(rule.purposes.items()):
            table.add_row("" if place else case, purpose, use.basis, use.retention)
    return table


def _purposes(register: Register) -> Table:
    table = _table("Purposes", "purpose", "in words", "ended by an objection to prospecting")
    for purpose, rule in register.purposes.items():
        table.add_row(purpose, rule.label, "yes" if rule.prospecting else "no")
    return table


def _retention(register: Register) -> Table:
    table = _table("For how long", "rule", "counted from", "active", "then archived", "then", "source")
    for name, rule in register.retention.items():
        active = in_words(rule.active) if parse_duration(rule.active) else "until then"
        archive = in_words(rule.archive) if rule.archive else "no"
        table.add_row(name, rule.anchor, active, archive, rule.then, _source(rule))
    return table


def _cookies(register: Register) -> Table:
    table = _table("Cookies", "purpose", "consent", "a yes holds", "a no holds", "sources")
    for purpose, rule in register.cookies.items():
        table.add_row(
            f"{purpose}\n{rule.label}",
            "needed" if rule.needs_consent else "exempt",
            in_words(rule.accepted.period),
            in_words(rule.refused.period),
            f"yes: {_source(rule.accepted)}\nno: {_source(rule.refused)}",
        )
    return table


def _visits(register: Register) -> Table:
    title = f"Visits, kept only under consent to {register.covers_visits}"
    table = _table(title, "purpose", "consent to", "basis", "kept as", "used about whoever has a live")
    for purpose, use in register.visits.purposes.items():
        table.add_row(purpose, use.cookie, use.basis, use.retention, use.case or "(nobody)")
    return table


def _other_figures(register: Register) -> Table:
    table = _table("Other figures", "what", "figure", "source")
    link = (
        "must be confirmed by a mailed link within" if register.newsletter.double_opt_in else "no link; pending ends in"
    )
    for what, period in (
        (f"newsletter subscription: {link}", register.newsletter.pending),
        ("a choice about cookies is to be renewed from, before its end", register.renewal),
        ("proof of a consent is kept for", register.consent_proof),
        ("a parked event is kept for", register.parked),
    ):
        table.add_row(what, in_words(period.period), _source(period))
    table.add_row("smallest group a count may describe", str(register.aggregates.value), _source(register.aggregates))
    look = register.second_look_after
    table.add_row("second look after the last receipt", f"{look.value} seconds", _source(look))
    table.add_row("youngest age, in years", str(register.children.value), _source(register.children))
    return table


def _departments(register: Register) -> Table:
    table = _table("Who reads", "department", "for", "in the cases")
    table.show_lines = False
    for rule in register.departments.values():
        table.add_section()
        scope = " (each reader within their own scope)" if rule.own_scope else ""
        for place, read in enumerate(rule.reads):
            cases = _words(read.cases) if read.cases else "all that serve it"
            table.add_row("" if place else f"{rule.label}{scope}", read.purpose, cases)
    return table


def _recipients(register: Register) -> Table:
    table = _table("Who may be given data", "recipient", "in words", "condition")
    for code, recipient in register.recipients.items():
        table.add_row(code, recipient.label, recipient.condition)
    return table


def _parties(title: str, parties: Iterable[tuple[str, Party]]) -> Table:
    table = _table(title, "code", "name", "country", "store in", "transfer basis", "purposes")
    for code, party in parties:
        basis, purposes = _basis(party.transfer), _words(party.purposes)
        table.add_row(code, party.name, party.country, party.store_region, basis, purposes)
    return table


def _basis(transfer: Transfer) -> str:
    if transfer.basis is TransferBasis.NOT_NEEDED:
        return "not needed (EEA)"
    if transfer.basis is TransferBasis.SUSPENDED:
        return "suspended: nothing crosses but orders that end processing"
    until = f"{transfer.basis} until {transfer.expires_on}"
    return f"{until}\n{transfer.reference}" if transfer.reference else until
