"""The parts of an access package that the register knows: recipients by name, safeguards, and what each use means.

Source: R10, R17; GDPR Art. 15(1)(a), (c), (d), (g), 15(2); C-154/21 (recipients are named).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta

from schemas.calendar import PARIS
from schemas.register import Register
from schemas.register_entries import Party, Processor, Transfer
from schemas.terms import Anchor, Case, LawfulBasis, Purpose, TransferBasis
from workers.correspondence.words import Language, words
from workers.package.content import Collected, Processing, RecipientNamed
from workers.package.labels import labels

OPEN_UNTIL = "open until "
"""How a copy of our own store says that a period has not begun: followed by the anchor it waits for."""


def safeguard(transfer: Transfer, language: Language) -> str | None:
    """What a border crossing rests on, in words with its reference; None where none is needed."""
    if transfer.basis is TransferBasis.NOT_NEEDED:
        return None
    told = labels(language).transfers[transfer.basis]
    return f"{told}, {transfer.reference}" if transfer.reference else told


def recipients(register: Register, purposes: Collection[Purpose], language: Language) -> tuple[RecipientNamed, ...]:
    """Every company that serves one of these purposes, named: subsidiaries first, then processors."""
    parties: list[Party] = [*register.subsidiaries.values(), *register.processors.values()]
    found = []
    for party in parties:
        shared = tuple(purpose for purpose in party.purposes if purpose in purposes)
        if shared:
            role = party.service if isinstance(party, Processor) else labels(language).group_company
            found.append(RecipientNamed(party.name, role, party.country, shared, safeguard(party.transfer, language)))
    return tuple(found)


def processings(own: Iterable[Collected], language: Language) -> tuple[Processing, ...]:
    """The uses of our own records, each once, from the access copy of our own store.

    Its records hold ``case``, ``purposes`` (``purpose``, ``lawful_basis``, ``until``) and, from the CRM, ``source``.
    """
    return tuple(dict.fromkeys(_each(own, language)))


def _each(own: Iterable[Collected], language: Language) -> Iterator[Processing]:
    for collected in own:
        for record in collected.records:
            for use in record.get("purposes", ()):
                yield Processing(
                    purpose=Purpose(use["purpose"]),
                    basis=LawfulBasis(use["lawful_basis"]),
                    occasion=labels(language).occasions[Case(record["case"])],
                    until=_until(use["until"], language),
                    source=record.get("source"),
                )


def _until(until: str, language: Language) -> str:
    """The last day, or the event that a period still waits for."""
    if until.startswith(OPEN_UNTIL):
        return labels(language).anchors[Anchor(until.removeprefix(OPEN_UNTIL))]
    # A period ends with the first instant of the day after its last one.
    last = (datetime.fromisoformat(until) - timedelta(seconds=1)).astimezone(PARIS).date()
    return labels(language).until_last_day.format(day=words(language).day(last))
