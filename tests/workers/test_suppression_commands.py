"""``greffier suppress`` as staff type it; complaints as providers write them, and as nobody should. R22, R24."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
import uuid_utils
from typer.testing import CliRunner, Result

from schemas.errors import InvalidMessage
from schemas.party_keys import read_token_key
from schemas.terms import Purpose
from tests.factories import Someone, someone
from tests.workers.bench import Bench
from workers.commands import register_commands
from workers.complaints import MAX_REPORT_BYTES, read_complaint
from workers.one_click import OneClickLinks

Staff = Callable[..., Awaitable[Result]]

REPORT = """\
From: <abusedesk@provider.example.org>
To: <abuse@example.com>
Subject: FW: Earn money
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="part"

--part
Content-Type: text/plain; charset="US-ASCII"

This is an email abuse report.
--part
Content-Type: message/feedback-report

Feedback-Type: {kind}
User-Agent: SomeGenerator/1.0
Version: 1
{fields}
--part
Content-Type: {attached}
Content-Disposition: inline

{mail}
--part--
"""
MAIL = """\
From: <news@example.com>
To: <redacted@provider.example.org>
Subject: News
{header}

Spam, spam.
"""


def report(fields: str = "", header: str = "X-None: 1", kind: str = "abuse", attached: str = "message/rfc822") -> bytes:
    mail = MAIL.format(header=header)
    return REPORT.format(kind=kind, fields=fields, attached=attached, mail=mail).encode()


@pytest.fixture
def staff(bench: Bench, keys: Path, mongo_url: str) -> Staff:
    app = typer.Typer()
    register_commands(app)
    told = {
        "GREFFIER_REDIS_URL": "redis://nowhere.example.org",
        "GREFFIER_MONGO_URL": mongo_url,
        "GREFFIER_MONGO_PREFIX": bench.prefix,
        "GREFFIER_KEYS": str(keys / "controller"),
    }

    async def typed(*words: str, said: bytes | None = None) -> Result:
        words = ("suppress", *words, "--by", "desk.sample")
        return await asyncio.to_thread(lambda: CliRunner().invoke(app, words, env=told, input=said))

    return typed


@pytest.fixture
def links(bench: Bench, keys: Path) -> OneClickLinks:
    return OneClickLinks(
        read_token_key(keys / "controller"), bench.services.trust.references, "https://www.example.com"
    )


def header(links: OneClickLinks, whom: Someone, *, folded: bool = False) -> str:
    made = links.headers(whom.email, None, datetime.now(UTC))["List-Unsubscribe"]
    return f"List-Unsubscribe: {made[:90]}\r\n {made[90:]}" if folded else f"List-Unsubscribe: {made}"


async def since(bench: Bench, whom: Someone) -> datetime | None:
    return (await bench.services.suppressions.of(whom.email)).get(Purpose.SALES_PROSPECTING)


async def test_a_call_is_entered_at_once_for_known_and_unknown(bench: Bench, staff: Staff) -> None:
    whom = someone()
    said = await staff(f" {whom.email.upper()} ", "--ground", "unsubscribe")
    assert (said.exit_code, whom.email in said.output.lower()) == (0, False), said.output
    assert await since(bench, whom) is not None
    (entry,) = bench.collection("ledger_pending", "evidence")
    assert entry["body"]["details"] == {"ground": "unsubscribe", "by": "desk.sample"}
    assert not [word for word in whom.canaries if word in repr(bench.dump())]


async def test_a_letter_counts_from_the_end_of_its_day(bench: Bench, staff: Staff) -> None:
    whom = someone()
    assert (await staff(whom.email, "--received", "2026-03-28")).exit_code == 0
    assert await since(bench, whom) == datetime(2026, 3, 28, 23, tzinfo=UTC) - timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("none",), 1, "no e-mail address"),
        (("a@example.com", "--received", "2999-01-01"), 1, "future"),
        (("a@example.com", "--ground", "boredom"), 2, "unsubscribe"),
        ((), 2, "--arf"),
        (("a@example.com", "--arf", "x"), 2, "--arf"),
        (("--arf", "/nowhere/at/all"), 1, "cannot be read"),
    ],
)
async def test_what_is_mistyped_is_said_and_enters_nothing(
    bench: Bench, staff: Staff, words: tuple[str, ...], code: int, sentence: str
) -> None:
    said = await staff(*words)
    assert (said.exit_code, sentence in said.output) == (code, True), said.output
    assert bench.collection("suppressions", "evidence") == bench.collection("ledger_pending", "evidence") == []


# ---------------------------------------------------------------------- complaints


@pytest.mark.parametrize("attached", ["message/rfc822", "text/rfc822-headers"])
@pytest.mark.parametrize("folded", [False, True])
async def test_our_own_link_says_whom_a_complaint_is_from(
    bench: Bench, staff: Staff, links: OneClickLinks, tmp_path: Path, attached: str, folded: bool
) -> None:
    """Before the address that the report names, which may be blacked out, or somebody else's."""
    whom, other = someone(), someone()
    file = tmp_path / "complaint.eml"
    fields = f"Original-Rcpt-To: <{other.email}>"
    file.write_bytes(report(fields, header(links, whom, folded=folded), attached=attached))
    said = await staff("--arf", str(file))
    assert said.exit_code == 0, said.output
    assert (await since(bench, whom) is not None, await since(bench, other)) == (True, None)
    (entry,) = bench.collection("ledger_pending", "evidence")
    assert entry["body"]["details"] == {"ground": "complaint", "by": "desk.sample"}


async def test_else_the_address_it_was_sent_to(bench: Bench, staff: Staff, links: OneClickLinks) -> None:
    whom, second = someone(), someone()
    forged = "List-Unsubscribe: <https://www.example.com/unsubscribe/eyJhbGciOiJub25lIn0.e30.>"
    fields = f"Original-Rcpt-To: <{whom.email}>\nOriginal-Rcpt-To: {second.email}\nOriginal-Rcpt-To: <redacted>"
    said = await staff("--arf", "-", said=report(fields, forged))
    assert said.exit_code == 0, said.output
    assert await since(bench, whom) is not None
    assert await since(bench, second) is not None


_INNER = b"--b\nContent-Type: multipart/mixed; boundary=b\n\n"
NESTED = b"Content-Type: multipart/report; boundary=b\n\n" + _INNER * 3_000


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "not_a_report"),
        (b"\0\xff" * 1_000, "not_a_report"),
        (MAIL.format(header="X: 1").encode(), "not_a_report"),
        (report(kind="not-spam"), "not_a_complaint"),
        (report(kind="abuse\nFeedback-Type: fraud"), "not_a_complaint"),
        (report().replace(b"Feedback-Type", b"Feedback"), "not_a_report"),
        (report().replace(b"multipart/report", b"multipart/mixed"), "not_a_report"),
        (report().replace(b"--part--", b"").replace(b"message/feedback-report", b"text/plain"), "not_a_report"),
        (NESTED, "not_a_report"),
        (b"Content-Type: message/rfc822\n\n" * 60_000, "not_a_report"),
        (b"x" * (MAX_REPORT_BYTES + 1), "report_too_large"),
    ],
    ids=[
        "empty",
        "bytes",
        "a mail",
        "other type",
        "two types",
        "no type",
        "no report",
        "no part",
        "nested",
        "mails in mails",
        "huge",
    ],
)
def test_a_hostile_report_is_told_and_no_more(raw: bytes, code: str) -> None:
    with pytest.raises(InvalidMessage) as refused:
        read_complaint(raw)
    assert refused.value.code == code


async def test_a_complaint_that_names_nobody_is_told_and_enters_nothing(bench: Bench, staff: Staff) -> None:
    said = await staff("--arf", "-", said=report("Original-Rcpt-To: <redacted>"))
    assert (said.exit_code, "names no address" in said.output) == (1, True), said.output
    assert bench.collection("suppressions", "evidence") == []


async def test_headers_of_two_mails_to_one_person_have_nothing_in_common(links: OneClickLinks) -> None:
    whom, now = someone(), datetime.now(UTC)
    one, other = (links.headers(whom.email, str(uuid_utils.uuid7()), now) for _ in range(2))
    assert set(one) == {"List-Unsubscribe", "List-Unsubscribe-Post"}
    assert one["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    parts = [made["List-Unsubscribe"].split(".") for made in (one, other)]
    assert parts[0][-2:] != parts[1][-2:]
    assert not [word for word in whom.canaries if word in str(one)]
