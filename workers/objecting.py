"""What staff enter on a person's behalf: a "no" that came by telephone or letter, or as a complaint about a mail.

Source: R20, R21, R22, R24; design § 4; messaging-standards § 7.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import uuid_utils
from joserfc.jwk import OKPKey

from schemas.calendar import civil_day
from schemas.errors import InvalidMessage
from schemas.subject import clean_email
from schemas.terms import SuppressionGround
from workers.complaints import MAX_REPORT_BYTES, Complaint, read_complaint
from workers.one_click import named_in
from workers.rules.deadlines import end_of_day
from workers.services import Services
from workers.slips import addresses_of
from workers.suppressing import Said, suppress_on_record


async def enter_address(
    services: Services, email: str, ground: SuppressionGround, received_on: date | None, by: str
) -> None:
    """Enter the "no" of whoever has this address, known or not. ``received_on``: the true day, ``None``: just now.

    Raises :class:`InvalidMessage`: ``not_an_email``, ``in_the_future``, ``not_in_normal_form`` for ``by``.
    """
    address = clean_email(email)
    await _enter(services, ground, services.trust.references.suppression(address), [address], received_on, by)


async def enter_complaint(
    services: Services, token_key: OKPKey, complaint: Complaint, received_on: date | None, by: str
) -> int:
    """Enter a complaint as an objection of whom our own links in the mail name, else of the addresses it was sent to.

    How many people it was about. Raises :class:`InvalidMessage` like :func:`enter_address`, and ``nobody_named``.
    """
    references = services.trust.references
    named = named_in(complaint.links, token_key, references, services.clock())
    if named:
        held = await addresses_of(services, (whom.person for whom in named if whom.person))
        emails, known = list(held.values()), [whom.reference for whom in named]
    else:
        emails = list(complaint.recipients)
        known = [reference for email in emails for reference in references.suppression(email)]
    if not known:
        raise InvalidMessage("nobody_named")
    await _enter(services, SuppressionGround.COMPLAINT, known, emails, received_on, by)
    return len(named or emails)


def read_report(file: Path) -> Complaint:
    """The complaint in a file, ``-`` for standard input. Raises OSError, and like :func:`read_complaint`."""
    if str(file) == "-":
        return read_complaint(sys.stdin.buffer.read(MAX_REPORT_BYTES + 1))
    with file.open("rb") as report:
        return read_complaint(report.read(MAX_REPORT_BYTES + 1))


async def _enter(
    services: Services,
    ground: SuppressionGround,
    references: Sequence[bytes],
    emails: Sequence[str],
    received_on: date | None,
    by: str,
) -> None:
    at = _said_at(received_on, services.clock())
    await suppress_on_record(services, ground, [Said(str(uuid_utils.uuid4()), references, at, emails)], by=by)


def _said_at(received_on: date | None, now: datetime) -> datetime:
    """When the person said it: of a day without an hour its end, so that it counts against all that day brought."""
    if received_on is None:
        return now
    if received_on > civil_day(now):
        raise InvalidMessage("in_the_future")
    return min(end_of_day(received_on) - timedelta(milliseconds=1), now)
