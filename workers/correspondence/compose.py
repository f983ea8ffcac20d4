"""Facts into a mail: one language, plain text, headers that no value can break out of.

A letter says nothing that its facts do not hold, so two people with the same facts get the same words. The Message-ID
comes from the case and the kind of letter: sent twice after a crash, a mail is one mail to whoever sorts by it (P1).
Source: R17 to R23; ASVS 1.3.11; RFC 3834 (automatic mail), 6531 (addresses beyond ASCII); messaging-standards § 8.
"""

from __future__ import annotations

import dataclasses
import re
import textwrap
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_string, policy
from email.headerregistry import Address
from email.message import EmailMessage
from functools import cache
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from schemas.errors import ConfigurationError, Fault
from schemas.register_entries import Controller
from schemas.subject import clean_email
from workers.correspondence.facts import Letter, NamedLetter
from workers.correspondence.words import Language, words

MAX_NAME_CHARS: Final = 120
LINE_CHARS: Final = 76


@dataclass(frozen=True, slots=True)
class Authority:
    """Where a person may complain. Source: GDPR Art. 12(4), 77."""

    name: str
    postal_address: str
    url: str


CNIL: Final = Authority(
    "Commission nationale de l'informatique et des libertés (CNIL)",
    "3 place de Fontenoy, TSA 80715, 75334 Paris Cedex 07, France",
    "https://www.cnil.fr/fr/plaintes",
)
_AUTHORITIES: Final = {"FR": CNIL}


@dataclass(frozen=True, slots=True)
class Letterhead:
    """Who writes. ``sender``: the address letters come from; ``contact``: the published one, where answers go."""

    company: str
    country: str
    postal_address: str
    contact: str
    sender: str
    authority: Authority


def letterhead(controller: Controller, sender: str) -> Letterhead:
    """The register's controller as a letterhead. Raises :class:`ConfigurationError` where no authority is known."""
    authority = _AUTHORITIES.get(controller.country)
    if authority is None:
        raise ConfigurationError("register", Fault("controller.country", "no supervisory authority is known for it"))
    return Letterhead(
        company=controller.name,
        country=controller.country,
        postal_address=controller.postal_address.removeprefix(f"{controller.name}, "),
        contact=controller.email,
        sender=sender,
        authority=authority,
    )


def compose(letter: Letter, language: Language, head: Letterhead, now: datetime) -> EmailMessage:
    """The mail that carries a letter. ``now``: aware, its ``Date``.

    Raises :class:`InvalidMessage` ``not_an_email`` for an address that names no single mailbox.
    """
    address = _address(letter)
    # An address beyond ASCII cannot be written in ASCII: the whole mail then asks for SMTPUTF8.
    mail = EmailMessage(policy=policy.SMTP if address.addr_spec.isascii() else policy.SMTPUTF8)
    text, subject = _written(letter, language, head)
    mail["From"] = Address(_in_header(head.company), addr_spec=head.sender)
    mail["To"] = address
    if head.contact != head.sender:
        mail["Reply-To"] = Address(addr_spec=head.contact)
    mail["Subject"] = _in_header(subject)
    mail["Date"] = now.astimezone(UTC)
    mail["Message-ID"] = message_id(letter, head.sender)
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    mail.set_content(text, charset="utf-8", cte="quoted-printable")
    mail["Content-Language"] = language.value
    return mail


def read_mail(stored: bytes) -> EmailMessage:
    """A composed mail from its bytes, as an outbox keeps them, fit to be sent.

    Read as text: the standard library's reader of bytes takes an address beyond ASCII for damage.
    """
    return message_from_string(stored.decode("utf-8"), _class=EmailMessage, policy=policy.SMTPUTF8)


def message_id(letter: Letter, sender: str) -> str:
    """The same for the same letter however often it is sent. Holds a case's reference, nothing of the person."""
    part = "" if letter.part == 1 else f".{letter.part}"
    return f"<{letter.reference}.{letter.kind}{part}@{sender.rpartition('@')[2]}>"


_BREAKS: Final = frozenset({"Cc", "Zl", "Zp"})
_INVISIBLE: Final = frozenset({"Cf", "Cs", "Co", "Cn"})
_JOINERS: Final = "\u200c\u200d"


def one_line(value: object) -> str:
    """A value as one line of visible text: no break, no control, nothing that turns the writing's direction."""
    shown = (
        " " if unicodedata.category(char) in _BREAKS else char
        for char in str(value)
        if char in _JOINERS or unicodedata.category(char) not in _INVISIBLE
    )
    return " ".join("".join(shown).split())


def _in_header(value: str) -> str:
    """One line for a header. An encoded word would be decoded on the way, line breaks in it too, and end the header."""
    return one_line(value).replace("=?", "= ?")


def _address(letter: Letter) -> Address:
    name = letter.name if isinstance(letter, NamedLetter) else None
    local, _, domain = clean_email(letter.to).rpartition("@")
    # By its parts: the standard library takes a whole address in ASCII only.
    return Address(_in_header(name or "")[:MAX_NAME_CHARS], username=local, domain=domain)


def _written(letter: Letter, language: Language, head: Letterhead) -> tuple[str, str]:
    """The text, and the subject that its template sets."""
    template = _environment().get_template(f"{language.value}/{letter.kind}.txt.jinja")
    facts = {field.name: getattr(letter, field.name) for field in dataclasses.fields(letter)}
    derived = {name: getattr(letter, name) for name in ("refuses", "silent") if hasattr(letter, name)}
    module = template.make_module({**facts, **derived, "head": head, "words": words(language)})
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(map(_folded, str(module).splitlines()))).strip() + "\n"
    subject: Any = module.subject  # type: ignore[attr-defined]
    return text, str(subject)


def _folded(line: str) -> str:
    """A paragraph, which templates write as one line, in lines that any reader shows; links stay whole."""
    if " " not in line.strip():
        return line
    indent = " " * (len(line) - len(line.lstrip(" -")))
    return textwrap.fill(line, LINE_CHARS, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


@cache
def _environment() -> Environment:
    # Plain text has nothing to escape: what could harm is a value that begins a line of its own, hence `one_line` on
    # every value that is put in.
    return Environment(
        loader=PackageLoader("workers.correspondence"),
        autoescape=False,  # noqa: S701
        undefined=StrictUndefined,
        finalize=one_line,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
