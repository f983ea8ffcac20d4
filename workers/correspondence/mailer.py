"""A mail to the SMTP server: delivered, or why not and whether waiting helps.

=========================================== ==================================================================
what happened                               raised
=========================================== ==================================================================
4xx, no server, too slow, TLS broken        :class:`MailUnavailable`: the letter waits
our login or sender refused (5xx)           :class:`MailUnavailable` too: ops mend it, the letter is sound
address or content refused (5xx)            :class:`MailRefused`: staff write by another way
address needs SMTPUTF8, server has none     :class:`MailRefused` ``address_not_supported``
=========================================== ==================================================================

Sending is at least once: a server that dies after taking the mail has it, and gets it again under the same Message-ID.
Neither errors nor logs hold an address. Source: P1, P4; R22; RFC 5321 § 4.2.1; RFC 6531.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from pathlib import Path
from typing import Annotated, Final, Protocol

from aiosmtplib import SMTP
from aiosmtplib.errors import (
    SMTPConnectResponseError,
    SMTPDataError,
    SMTPException,
    SMTPNotSupported,
    SMTPRecipientsRefused,
    SMTPResponseException,
)
from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.errors import ConfigurationError, Fault, GreffierError, InvalidMessage, Temporary
from schemas.keyfiles import read_text
from schemas.subject import clean_email

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_PERMANENT: Final = 500
_GOODBYE_S: Final = 1.0


class MailUnavailable(Temporary):
    """The SMTP server cannot take the letter now. ``code``: a short reason; ``reply``: the server's code, if any."""

    def __init__(self, code: str, reply: int | None = None) -> None:
        self.code = code
        self.reply = reply
        super().__init__(code if reply is None else f"{code} ({reply})")


class MailRefused(GreffierError):
    """The letter will never be taken as it is. ``code``: a short reason; ``reply``: the server's code, if any."""

    def __init__(self, code: str, reply: int | None = None) -> None:
        self.code = code
        self.reply = reply
        super().__init__(code if reply is None else f"{code} ({reply})")


def _mailbox(text: str) -> str:
    try:
        address = clean_email(text)
    except InvalidMessage:
        raise ValueError("is not one plain e-mail address") from None
    if not address.isascii():
        raise ValueError("must be ASCII: every server must be able to answer it")
    return address


def https_url(url: str) -> str:
    """A setting's URL without a slash at its end. Raises ValueError for plain http to another machine."""
    if not url.startswith(("https://", "http://127.0.0.1", "http://localhost", "http://[::1]")):
        raise ValueError("must be https, or plain http on this machine alone")
    return url.rstrip("/")


class MailSettings(BaseSettings):
    """Where mails go and who they are from. Every variable bears the prefix ``GREFFIER_``."""

    model_config = SettingsConfigDict(
        env_prefix="GREFFIER_", frozen=True, extra="ignore", hide_input_in_errors=True, populate_by_name=True
    )

    smtp_host: str = "127.0.0.1"
    smtp_port: Annotated[int, Field(ge=1, le=65535)] = 587
    smtp_user: str | None = None
    smtp_password_file: Path | None = None
    """A file with the password: secrets are never values of the environment."""
    smtp_starttls: bool = True
    """Whether TLS is demanded before anything is said. Off only towards this machine."""
    smtp_ca_file: Path | None = None
    """The authority that signed the server's certificate, where it is not a public one."""
    smtp_timeout_ms: Annotated[int, Field(ge=100, le=300_000)] = 30_000
    """For one mail, from the connection to the server's yes."""
    mail_from: Annotated[str, AfterValidator(_mailbox)]
    """The address letters come from; its domain must be allowed to send through that server (SPF, DKIM)."""
    public_url: Annotated[str, AfterValidator(https_url)]
    """How people reach door and counter: what links in letters begin with."""
    counter_url: Annotated[str, AfterValidator(https_url)] | None = None
    """How people reach the counter, where no proxy leads ``/download`` and ``/status`` of the public URL to it."""

    @model_validator(mode="after")
    def _speaks_in_private(self) -> MailSettings:
        if not self.smtp_starttls and self.smtp_host not in _LOOPBACK:
            raise ValueError("GREFFIER_SMTP_STARTTLS may be off only towards this machine")
        if (self.smtp_user is None) is not (self.smtp_password_file is None):
            raise ValueError("GREFFIER_SMTP_USER and GREFFIER_SMTP_PASSWORD_FILE need each other")
        return self


def read_mail_settings() -> MailSettings:
    """From the environment. Raises :class:`ConfigurationError` naming each bad variable, never its value."""
    try:
        return MailSettings()
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        faults = (Fault("_".join(["GREFFIER", *map(str, one["loc"])]).upper(), one["msg"]) for one in found)
        raise ConfigurationError("settings", *faults) from None


class Mailer(Protocol):
    """What actors send through."""

    async def send(self, mail: EmailMessage) -> None:
        """Raises :class:`MailUnavailable` or :class:`MailRefused`."""


class SmtpMailer:
    """A connection for each mail: letters are few, and a kept connection is one more thing that breaks."""

    def __init__(self, settings: MailSettings) -> None:
        """Reads the password and the certificates. Raises :class:`ConfigurationError`."""
        self._settings = settings
        file = settings.smtp_password_file
        self._password = read_text(file) if file else None
        self._tls = _tls(settings.smtp_ca_file)

    async def send(self, mail: EmailMessage) -> None:
        """Hand a mail over; returns once the server has taken it."""
        server = self._client()
        try:
            with _told_apart():
                async with asyncio.timeout(self._settings.smtp_timeout_ms / 1000):
                    await server.connect()
                    await server.send_message(mail)
            with suppress(SMTPException, OSError):  # it has the mail; what goes wrong now is no failure
                await server.quit(timeout=_GOODBYE_S)
        finally:
            server.close()

    def _client(self) -> SMTP:
        demanded = self._settings.smtp_starttls
        return SMTP(
            hostname=self._settings.smtp_host,
            port=self._settings.smtp_port,
            username=self._settings.smtp_user,
            password=self._password,
            local_hostname=self._settings.mail_from.rpartition("@")[2],
            start_tls=demanded,  # True: demanded, never "if offered"
            tls_context=self._tls if demanded else None,
            timeout=self._settings.smtp_timeout_ms / 1000,
        )


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError):
        raise ConfigurationError("settings", Fault("GREFFIER_SMTP_CA_FILE", "cannot be read as certificates")) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


@contextmanager
def _told_apart() -> Iterator[None]:
    """Every way a delivery fails, as one of our two. ``from None``: the library's errors quote addresses."""
    try:
        yield
    except SMTPRecipientsRefused as refused:
        raise _by_code("recipient_refused", max(one.code for one in refused.recipients)) from None
    except SMTPDataError as refused:
        raise _by_code("content_refused", refused.code) from None
    except SMTPNotSupported as refused:
        if "SMTPUTF8" in refused.message:
            raise MailRefused("address_not_supported") from None
        raise MailUnavailable("not_supported_by_server") from None
    except SMTPConnectResponseError as refused:
        raise MailUnavailable("server_turned_away", refused.code) from None
    except SMTPResponseException as refused:
        # Greeting, login, sender: the fault is in the setting, not in the letter.
        raise MailUnavailable("session_refused", refused.code) from None
    except UnicodeError:
        raise MailRefused("address_not_supported") from None
    except TimeoutError:
        raise MailUnavailable("server_too_slow") from None
    except ssl.SSLError:
        raise MailUnavailable("tls_failed") from None
    except OSError:
        raise MailUnavailable("server_unreachable") from None
    except SMTPException:
        raise MailUnavailable("session_failed") from None  # no STARTTLS offered, for one


def _by_code(code: str, reply: int) -> MailUnavailable | MailRefused:
    return MailRefused(code, reply) if reply >= _PERMANENT else MailUnavailable(code, reply)
