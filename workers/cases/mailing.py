"""The outbox: letters stand sealed in MongoDB until a mail server has taken them, under one Message-ID each.

A mail is sent at least once; sent twice after a crash, it bears the same Message-ID. Content goes with the sending.
Source: P1; design § 5; messaging-standards § 8.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import structlog

from schemas.errors import Temporary
from workers.cases.desk import Desk, Docket
from workers.correspondence.compose import Letterhead, compose, read_mail
from workers.correspondence.facts import Letter
from workers.correspondence.mailer import Mailer, MailRefused
from workers.correspondence.words import Language
from workers.stores.keys import DataKey
from workers.stores.mongo import Document

log = structlog.get_logger("greffier.cases")

_AGAIN_AFTER: Final = tuple(timedelta(seconds=s) for s in (10, 60, 300, 1800, 7200, 21600))
_GIVEN_UP_AFTER: Final = 40
"""Tries, over about nine days: by then every due date has been warned about."""


async def put_letter(desk: Docket, case: Document, key: DataKey, letter: Letter, head: Letterhead) -> None:
    """Write a letter into the outbox; one of each kind and case, however often this is called."""
    await desk.cases.put_mail(written(case, key, letter, head, desk.services.clock()))


async def post_letter(
    desk: Desk, case: Document, key: DataKey, letter: Letter, head: Letterhead, *, at: datetime | None = None
) -> None:
    """The same, and have it sent at once, or ``at`` a moment."""
    now = desk.services.clock()
    mail = written(case, key, letter, head, now)
    await desk.cases.put_mail({**mail, "send_at": at or now})
    if at is None or at <= now:
        await desk.wake_mail(mail["_id"])


def mail_id(case: Document, letter: Letter) -> str:
    """A mail's identity: one of each kind and case."""
    return f"{case['_id']}/{letter.kind}-{letter.part}"


def written(case: Document, key: DataKey, letter: Letter, head: Letterhead, now: datetime) -> Document:
    """A letter as the outbox keeps it, due at once."""
    name = mail_id(case, letter)
    message = compose(letter, Language(case["language"]), head, now)
    return {
        "_id": name,
        "case": case["_id"],
        "kind": letter.kind,
        "message_id": message["Message-ID"],
        "send_at": now,
        "tries": 0,
        "sealed": key.seal(f"mails/{name}", message.as_bytes()),
    }


async def send(desk: Docket, mailer: Mailer, mail: Document) -> None:
    """Send one mail that was handed to us; what fails for now comes round again, what fails for good is noted."""
    key = await desk.case_key(mail["case"])
    if key is None:
        await desk.cases.mail_done(mail["_id"], "case_ended", desk.services.clock())
        return
    raw = key.open(f"mails/{mail['_id']}", bytes(mail["sealed"]))
    message = read_mail(raw)
    try:
        await mailer.send(message)
    except Temporary as error:
        await _later(desk, mail, getattr(error, "code", type(error).__name__))
        return
    except MailRefused as refused:
        log.error("mail refused for good", mail=mail["_id"], code=refused.code)
        await desk.cases.mail_done(mail["_id"], f"failed: {refused.code}", desk.services.clock())
    else:
        await desk.cases.mail_done(mail["_id"], "sent", desk.services.clock())
    await desk.wake_case(mail["case"])


async def _later(desk: Docket, mail: Document, code: str) -> None:
    tries = mail["tries"] + 1
    if tries >= _GIVEN_UP_AFTER:
        log.error("mail given up", mail=mail["_id"], code=code)
        await desk.cases.mail_done(mail["_id"], f"failed: {code}", desk.services.clock())
        return
    delay = _AGAIN_AFTER[min(tries, len(_AGAIN_AFTER)) - 1]
    await desk.cases.mail_later(mail["_id"], desk.services.clock() + delay)
