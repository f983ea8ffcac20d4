"""Complaints about mail, as mailbox providers report them (RFC 5965): read from a file that anybody may have written.

The report says which kind it is; the mail complained about comes attached, whole or its head alone. Our own one-click
link in it says for certain whom it was sent to, also where the provider has blacked the address out.
Source: R20, R24; RFC 5965, 6522; messaging-standards § 7 "treat a complaint as an objection".
"""

from __future__ import annotations

from dataclasses import dataclass
from email.errors import MessageError
from email.message import Message
from email.parser import BytesParser
from typing import Final

from schemas.errors import InvalidMessage
from schemas.subject import clean_email

MAX_REPORT_BYTES: Final = 2 * 1024 * 1024
_MAX_BOUNDARIES: Final = 30
"""Parts within parts: the parser holds each line against every boundary it is inside of."""
_MAX_RECIPIENTS: Final = 100


@dataclass(frozen=True, slots=True)
class Complaint:
    """``links``: the ``List-Unsubscribe`` headers of the mail complained about; ``recipients``: normalised addresses
    that the report names as those it was sent to.
    """

    links: tuple[str, ...]
    recipients: tuple[str, ...]


def read_complaint(raw: bytes) -> Complaint:
    """A feedback report of the type ``abuse``.

    Raises :class:`InvalidMessage`: ``report_too_large``, ``not_a_report`` for what cannot be read as one,
    ``not_a_complaint`` for a report of another type.
    """
    if len(raw) > MAX_REPORT_BYTES:
        raise InvalidMessage("report_too_large")
    if raw.lower().count(b"boundary") > _MAX_BOUNDARIES:
        raise InvalidMessage("not_a_report")
    try:
        parts = list(BytesParser().parsebytes(raw).walk())
        fields = _fields(parts)
        mails = [mail for part in parts if (mail := _attached(part)) is not None]
        links = tuple(_text(link) for mail in mails for link in mail.get_all("List-Unsubscribe", ()))
        return Complaint(links, _recipients(fields))
    except (MessageError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        # The standard parser is meant to take anything; what it does with some of it is no concern of staff.
        raise InvalidMessage("not_a_report") from None


def _fields(parts: list[Message]) -> Message:
    """The report's own fields: of ``message/feedback-report``, which the parser takes for a mail without a body."""
    reports = [part.get_payload() for part in parts if part.get_content_type() == "message/feedback-report"]
    if len(reports) != 1 or parts[0].get_content_type() != "multipart/report":
        raise InvalidMessage("not_a_report")
    fields = _first(reports[0])
    if fields is None:
        raise InvalidMessage("not_a_report")
    kinds = [_text(kind).strip().lower() for kind in fields.get_all("Feedback-Type", ())]
    if kinds != ["abuse"]:
        raise InvalidMessage("not_a_complaint" if kinds else "not_a_report")
    return fields


def _attached(part: Message) -> Message | None:
    """The mail complained about, or its head alone."""
    if part.get_content_type() == "message/rfc822":
        return _first(part.get_payload())
    if part.get_content_type() == "text/rfc822-headers":
        head = part.get_payload(decode=True)
        return BytesParser().parsebytes(head, headersonly=True) if isinstance(head, bytes) else None
    return None


def _first(payload: object) -> Message | None:
    """What the parser found inside a part that holds a message."""
    found = payload[0] if isinstance(payload, list) and payload else None
    return found if isinstance(found, Message) else None


def _recipients(fields: Message) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for said in fields.get_all("Original-Rcpt-To", ())[:_MAX_RECIPIENTS]:
        try:
            found[clean_email(_text(said).strip().removeprefix("<").removesuffix(">"))] = None
        except InvalidMessage:  # blacked out, as many providers do
            continue
    return tuple(found)


def _text(value: object) -> str:
    """A header's value; one with raw bytes is an object that prints itself."""
    return str(value)
