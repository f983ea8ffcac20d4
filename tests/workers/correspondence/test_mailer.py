"""Mails to a real SMTP server on this machine: delivered, or told apart by whether waiting helps."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, message_from_string, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from schemas.errors import ConfigurationError, Temporary
from tests.workers.correspondence.letters import HEAD, NOW, answer, confirmation
from workers.correspondence.compose import compose, read_mail
from workers.correspondence.mailer import MailRefused, MailSettings, MailUnavailable, SmtpMailer, read_mail_settings
from workers.correspondence.words import Language

ADDRESS = "Testine.Sample@example.org"


class Box:
    """What the server was given; ``replies``: what it says to a command instead of yes."""

    def __init__(self, **replies: str) -> None:
        self.replies = replies
        self.received: list[Envelope] = []
        self.stuck: asyncio.Event | None = None

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Any
    ) -> str:
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return self.replies.get("mail", "250 OK")

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Any
    ) -> str:
        if "rcpt" in self.replies:
            return self.replies["rcpt"]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.stuck:
            await self.stuck.wait()
        self.received.append(envelope)
        return self.replies.get("data", "250 OK")

    def mails(self) -> list[EmailMessage]:
        texts = (bytes(one.content or b"").decode() for one in self.received)  # type: ignore[arg-type]
        return [message_from_string(text, policy=policy.default) for text in texts]


@asynccontextmanager
async def serving(box: Box, **options: Any) -> AsyncIterator[int]:
    """An SMTP server in this event loop; its port."""
    loop = asyncio.get_running_loop()
    options.setdefault("enable_SMTPUTF8", True)
    server = await loop.create_server(
        lambda: SMTP(box, loop=loop, hostname="mx.example.org", **options), "127.0.0.1", 0
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def settings(port: int, **more: Any) -> MailSettings:
    given = {"smtp_port": port, "smtp_starttls": False, "mail_from": HEAD.sender, "smtp_timeout_ms": 5_000}
    return MailSettings(**{**given, "public_url": "https://rights.example.org", **more})


def mail(**changed: Any) -> EmailMessage:
    return compose(answer(**changed), Language.FR, HEAD, NOW)


async def test_a_mail_arrives_as_it_was_written() -> None:
    box, sent = Box(), mail()
    async with serving(box) as port:
        await SmtpMailer(settings(port)).send(sent)
    received = box.mails()[0]
    assert (box.received[0].mail_from, box.received[0].rcpt_tos) == (HEAD.sender, [ADDRESS])
    assert received["Message-ID"] == sent["Message-ID"]
    assert received.get_content().replace("\r\n", "\n") == sent.get_content()


@pytest.mark.parametrize("to", [ADDRESS, "zoë@exämple.org"])
@pytest.mark.parametrize(
    "name", ["Zoë Ångström", "Ann\r\nBcc: x@example.com", "=?utf-8?q?=0D=0ABcc:_x@example.com?=", None]
)
async def test_a_mail_that_was_stored_arrives_as_it_was_written(to: str, name: str | None) -> None:
    """An outbox keeps bytes and reads them again before they go."""
    box, sent = Box(), mail(to=to, name=name)
    async with serving(box) as port:
        await SmtpMailer(settings(port)).send(read_mail(sent.as_bytes()))
    received = box.mails()[0]
    assert box.received[0].rcpt_tos == [sent["To"].addresses[0].addr_spec]
    assert sorted(received.keys()) == sorted(sent.keys())
    assert received["Message-ID"] == sent["Message-ID"]
    assert received["To"].addresses[0].display_name == sent["To"].addresses[0].display_name
    assert received.get_content().replace("\r\n", "\n") == sent.get_content()


async def test_an_address_that_was_read_wrongly_is_refused_not_raised() -> None:
    """As the standard library reads an address beyond ASCII from bytes."""
    damaged = message_from_bytes(mail(to="zoë@example.org").as_bytes(), _class=EmailMessage, policy=policy.SMTPUTF8)
    async with serving(Box()) as port:
        with pytest.raises(MailRefused):
            await SmtpMailer(settings(port)).send(damaged)


async def test_a_mail_sent_twice_is_one_mail_by_its_id() -> None:
    box = Box()
    async with serving(box) as port:
        mailer = SmtpMailer(settings(port))
        await mailer.send(mail())
        await mailer.send(compose(answer(), Language.FR, HEAD, NOW + timedelta(hours=1)))
    assert len({one["Message-ID"] for one in box.mails()}) == 1 < len(box.mails())


async def test_the_confirmation_is_byte_for_byte_the_same_for_two_people() -> None:
    """But for the address itself."""
    box = Box()
    async with serving(box) as port:
        for to in ("a@example.org", "b@example.org"):
            await SmtpMailer(settings(port)).send(compose(confirmation(to=to), Language.EN, HEAD, NOW))
    one, other = (bytes(envelope.content) for envelope in box.received)  # type: ignore[arg-type]
    assert one.replace(b"a@example.org", b"b@example.org") == other


@pytest.mark.parametrize(
    "name", ["Ann\r\nBcc: x@example.com", "Ann\r\n.\r\nMAIL FROM:<x@example.com>", "=?utf-8?q?=0D=0A?="]
)
async def test_no_name_reaches_the_server_as_a_command_or_header(name: str) -> None:
    box = Box()
    async with serving(box) as port:
        await SmtpMailer(settings(port)).send(mail(name=name))
    assert len(box.received) == 1
    assert box.received[0].rcpt_tos == [ADDRESS]
    assert "Bcc" not in box.mails()[0]


async def test_an_address_beyond_ascii_goes_where_the_server_speaks_it() -> None:
    box = Box()
    async with serving(box) as port:
        await SmtpMailer(settings(port)).send(mail(to="zoë@exämple.org"))
    assert box.received[0].rcpt_tos == ["zoë@xn--exmple-cua.org"]
    assert "SMTPUTF8" in [option.upper() for option in box.received[0].mail_options]


async def test_an_address_beyond_ascii_is_refused_clearly_where_it_does_not() -> None:
    box = Box()
    async with serving(box, enable_SMTPUTF8=False) as port:
        with pytest.raises(MailRefused) as refused:
            await SmtpMailer(settings(port)).send(mail(to="zoë@exämple.org"))
        assert refused.value.code == "address_not_supported"
        await SmtpMailer(settings(port)).send(mail(to="zoe@exämple.org"))
    assert box.received[0].rcpt_tos == ["zoe@xn--exmple-cua.org"]


REFUSALS = [
    ({"rcpt": "550 no such box"}, MailRefused, "recipient_refused", 550),
    ({"rcpt": "450 busy"}, MailUnavailable, "recipient_refused", 450),
    ({"data": "554 not wanted"}, MailRefused, "content_refused", 554),
    ({"data": "451 later"}, MailUnavailable, "content_refused", 451),
    ({"mail": "550 not from you"}, MailUnavailable, "session_refused", 550),
    ({"mail": "421 closing"}, MailUnavailable, "session_refused", 421),
]


@pytest.mark.parametrize(("replies", "error", "code", "reply"), REFUSALS)
async def test_a_refusal_says_whether_waiting_helps(
    replies: dict[str, str], error: type[MailRefused | MailUnavailable], code: str, reply: int
) -> None:
    async with serving(Box(**replies)) as port:
        with pytest.raises(error) as refused:
            await SmtpMailer(settings(port)).send(mail())
    assert (refused.value.code, refused.value.reply) == (code, reply)


async def refused_by(mailer: SmtpMailer) -> MailUnavailable:
    with pytest.raises(MailUnavailable) as refused:
        await mailer.send(mail())
    return refused.value


async def test_a_server_that_is_away_costs_the_letter_nothing() -> None:
    async with serving(Box()) as port:
        pass
    failure = await refused_by(SmtpMailer(settings(port)))
    assert failure.code == "server_unreachable"
    assert isinstance(failure, Temporary)


async def test_a_server_that_never_answers_is_left_in_time() -> None:
    box = Box()
    box.stuck = asyncio.Event()
    async with serving(box) as port:
        failure = await refused_by(SmtpMailer(settings(port, smtp_timeout_ms=200)))
        box.stuck.set()
    assert failure.code == "server_too_slow"


async def raw_server(speak: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]) -> asyncio.Server:
    return await asyncio.start_server(speak, "127.0.0.1", 0)


async def test_a_server_that_hangs_up_costs_the_letter_nothing() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await raw_server(hang_up) as server:
        failure = await refused_by(SmtpMailer(settings(server.sockets[0].getsockname()[1])))
    assert failure.code == "server_unreachable"


async def test_a_server_that_turns_us_away_costs_the_letter_nothing() -> None:
    async def turn_away(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"554 not today\r\n")
        await writer.drain()
        writer.close()

    async with await raw_server(turn_away) as server:
        failure = await refused_by(SmtpMailer(settings(server.sockets[0].getsockname()[1])))
    assert (failure.code, failure.reply) == ("server_turned_away", 554)


@pytest.mark.parametrize("replies", [{"rcpt": f"550 {ADDRESS} unknown"}, {"mail": f"550 {HEAD.sender}"}])
async def test_no_address_stands_in_an_error_or_a_log(
    replies: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """The server's reply quotes one, as servers do."""
    caplog.set_level(logging.DEBUG)
    async with serving(Box(**replies)) as port:
        with pytest.raises((MailRefused, MailUnavailable)) as failure:
            await SmtpMailer(settings(port)).send(mail())
    assert failure.value.__suppress_context__
    assert "@" not in f"{failure.value!r} {failure.value}"
    ours = [record for record in caplog.records if record.name != "mail.log"]  # that is the server's
    assert not [record for record in ours if "@" in record.getMessage()]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate of this machine that only those who are given it believe."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return folder / "cert.pem", context


def login(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    known = (data.login, data.password) == (b"greffier", b"correct horse")
    return AuthResult(success=known, handled=False)


async def test_a_mail_goes_over_tls_with_a_login(certificate: tuple[Path, ssl.SSLContext], tmp_path: Path) -> None:
    ca_file, context = certificate
    secret = tmp_path / "smtp.password"
    box = Box()
    tls = {"tls_context": context, "require_starttls": True, "authenticator": login, "auth_required": True}
    async with serving(box, **tls) as port:
        options = {"smtp_host": "localhost", "smtp_starttls": True, "smtp_ca_file": ca_file, "smtp_user": "greffier"}
        secret.write_text("correct horse\n")
        await SmtpMailer(settings(port, **options, smtp_password_file=secret)).send(mail())
        secret.write_text("wrong")
        failure = await refused_by(SmtpMailer(settings(port, **options, smtp_password_file=secret)))
        assert (failure.code, failure.reply) == ("session_refused", 535)
    assert len(box.received) == 1


async def test_a_server_with_a_strange_certificate_gets_nothing(certificate: tuple[Path, ssl.SSLContext]) -> None:
    box = Box()
    async with serving(box, tls_context=certificate[1]) as port:
        await refused_by(SmtpMailer(settings(port, smtp_host="localhost", smtp_starttls=True)))
    assert not box.received


async def test_a_server_without_tls_gets_nothing_when_tls_is_demanded() -> None:
    box = Box()
    async with serving(box) as port:
        failure = await refused_by(SmtpMailer(settings(port, smtp_starttls=True)))
    assert failure.code == "session_failed"
    assert not box.received


GOOD = {"GREFFIER_MAIL_FROM": "rights@example.org", "GREFFIER_PUBLIC_URL": "https://rights.example.org/"}


@contextmanager
def environment(monkeypatch: pytest.MonkeyPatch, **more: str) -> Iterator[None]:
    with monkeypatch.context() as patched:
        for name, value in {**GOOD, **more}.items():
            patched.setenv(name, value)
        yield


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with environment(monkeypatch, GREFFIER_SMTP_HOST="mx.example.org", GREFFIER_SMTP_PORT="2525"):
        found = read_mail_settings()
    assert (found.smtp_host, found.smtp_port, found.smtp_starttls) == ("mx.example.org", 2525, True)
    assert found.public_url == "https://rights.example.org"


@pytest.mark.parametrize(
    "bad",
    [
        {"GREFFIER_MAIL_FROM": "nobody, somebody@example.org"},
        {"GREFFIER_MAIL_FROM": "zoë@example.org"},
        {"GREFFIER_PUBLIC_URL": "http://rights.example.org"},
        {"GREFFIER_PUBLIC_URL": "javascript:alert(1)"},
        {"GREFFIER_SMTP_PORT": "0"},
        {"GREFFIER_SMTP_HOST": "mx.example.org", "GREFFIER_SMTP_STARTTLS": "false"},
        {"GREFFIER_SMTP_USER": "greffier"},
    ],
)
def test_a_bad_setting_is_named_and_not_quoted(monkeypatch: pytest.MonkeyPatch, bad: dict[str, str]) -> None:
    with environment(monkeypatch, **bad), pytest.raises(ConfigurationError) as refused:
        read_mail_settings()
    told = str(refused.value)
    assert "GREFFIER" in told
    assert not [value for value in bad.values() if len(value) > 5 and value in told]


def test_certificates_that_cannot_be_read_stop_the_start(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for file in ("ca.pem", "absent.pem"):
        with pytest.raises(ConfigurationError):
            SmtpMailer(settings(2525, smtp_ca_file=tmp_path / file))
