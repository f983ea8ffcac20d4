"""People who ask for their rights while things break: at the door and by letter. And the mail server they read from.

Whoever asks at the door repeats until it says 202, reads his mail and uses the link. Staff enter what comes by letter.
One in eight asks twice. What was accepted is written down here, outside the system.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, Final

import aiohttp
from aiosmtpd.smtp import SMTP, Envelope, Session

from schemas.calendar import civil_day
from schemas.errors import Temporary
from schemas.terms import Right
from tests.chaos.group import Group, Person
from tests.chaos.load import CRM, LATER, contacts
from tests.waiting import until
from workers.cases.entering import record
from workers.cases.staff import open_docket
from workers.correspondence.mailer import MailSettings
from workers.local import HOST
from workers.services import Trust
from workers.settings import ControllerSettings

BY: Final = "dpo.sample"
AGAIN_S: Final = 0.2
_LINK: Final = re.compile(r"/confirm\?token=(\S+)")
_AT_ONCE: Final = 100


class Mailbox:
    """Every letter that was handed over, by Message-ID, as often as it was."""

    def __init__(self) -> None:
        self.letters: dict[str, list[EmailMessage]] = defaultdict(list)
        self._of_case: dict[str, dict[str, EmailMessage]] = defaultdict(dict)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content
        letter = message_from_bytes(content if isinstance(content, bytes) else b"", policy=policy.default)
        name = str(letter["Message-ID"])
        self.letters[name].append(letter)
        self._of_case[name.strip("<").partition(".")[0]][name] = letter
        return "250 OK"

    def of(self, reference: str, kind: str = "") -> list[EmailMessage]:
        """Letters of a kind about a case, each once."""
        found = self._of_case.get(reference, {})
        return [letter for name, letter in found.items() if name.startswith(f"<{reference}.{kind}")]

    async def link(self, reference: str) -> str | None:
        """The token of the link that was mailed, once it was."""
        for letter in self.of(reference, "confirmation"):
            if found := _LINK.search(letter.get_content()):
                return found[1]
        return None


@asynccontextmanager
async def mail_server(mailbox: Mailbox) -> AsyncIterator[int]:
    """A real SMTP server in this event loop; its port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(mailbox, loop=loop, enable_SMTPUTF8=True), HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@dataclass
class Asked:
    """What somebody asked, and the references that were given for it: several where it was asked again.

    ``silent``: the office that said nothing until the answer had left.
    """

    person: Person
    references: list[str] = field(default_factory=list)
    silent: str | None = None


class Asking:
    """``rate``: requests a second."""

    def __init__(self, group: Group, mailbox: Mailbox, seed: int, rate: float) -> None:
        self._group = group
        self._mailbox = mailbox
        self._chance = random.Random(seed)
        self._rate = rate
        self.asked: list[Asked] = []
        self.again = 0

    async def known_to_the_controller(self, session: aiohttp.ClientSession, everybody: Sequence[Person]) -> None:
        """A CRM publishes each of them, and the controller keeps it."""
        for begin in range(0, len(everybody), _AT_ONCE):
            some = [(f"contact-{one.number}", one.email) for one in everybody[begin : begin + _AT_ONCE]]
            publication = contacts(some)
            headers = {**publication.headers, **self._group.key_header}
            async with session.post(publication.path, data=publication.body, headers=headers) as answer:
                assert answer.status == 202, await answer.text()
        with self._group.mongo() as reader:
            kept = reader["greffier_active"]["submissions"]
            await until(lambda: kept.count_documents({}) == len(everybody), 60, what="contacts kept")

    async def all_of(self, session: aiohttp.ClientSession, asking: Sequence[Person]) -> None:
        """Everybody asks, at the rate, and does what it takes until he has a case."""
        running = []
        for person in asking:
            running.append(asyncio.create_task(self._ask(session, person)))
            await asyncio.sleep(self._chance.expovariate(self._rate))  # people do not come all at once
        await asyncio.gather(*running)

    async def _ask(self, session: aiohttp.ClientSession, person: Person) -> None:
        asked = Asked(person)
        self.asked.append(asked)
        way = self._at_the_door if person.number % 2 else self._by_letter
        asked.references.append(await way(session, person))
        if person.number % 8 == 0:
            self.again += 1
            asked.references.append(await self._by_letter(session, person))

    async def _at_the_door(self, session: aiohttp.ClientSession, person: Person) -> str:
        body = {"right": str(person.right), "email": person.email, "language": "en"}
        reference = (await self._posted(session, "/rights", body))["reference"]
        if person.right is not Right.OBJECTION:
            token = await repeated(lambda: self._mailbox.link(reference))
            await self._posted(session, f"/rights/{reference}/confirm", {"token": token})
        return str(reference)

    async def _posted(self, session: aiohttp.ClientSession, path: str, body: dict[str, str]) -> dict[str, Any]:
        headers = {"Idempotency-Key": f'"{self._chance.getrandbits(64):x}"', "Content-Type": "application/json"}

        async def post() -> dict[str, Any] | None:
            async with session.post(path, data=json.dumps(body), headers=headers) as answer:
                if answer.status in LATER:
                    return None
                assert answer.status == 202, await answer.text()
                return dict(await answer.json())

        return dict(await repeated(post, aiohttp.ClientError, TimeoutError, ConnectionError))

    async def _by_letter(self, _: aiohttp.ClientSession, person: Person) -> str:
        """Staff enter it, and again when a store was away: they cannot tell how far it came."""
        said: dict[str, Any] = {"right": str(person.right), "email": person.email, "confirmed": "yes"}
        said |= {"language": "fr", "channel": "letter"}
        async with self._docket() as docket:
            today = civil_day(self._group.clock.now())
            return str(await repeated(lambda: record(docket, said, today, BY), Temporary))

    def _docket(self) -> Any:
        keys = self._group.data / "keys" / "controller"
        settings = ControllerSettings(mongo_url=self._group.mongod.url, keys=keys, register_file=self._group.register)
        mail = MailSettings(mail_from="rights@example.com", public_url=f"http://{HOST}", smtp_starttls=False)
        return open_docket(settings, Trust.read(settings), mail, self._group.clock.now)


async def repeated(act: Callable[[], Awaitable[Any]], *forgiven: type[Exception]) -> Any:
    """What an act gives in the end; None and the forgiven mean: not now."""
    while True:
        try:
            given = await act()
        except forgiven:
            given = None
        if given is not None:
            return given
        await asyncio.sleep(AGAIN_S)  # a client's own pause between two tries


def contact_key(person: Person) -> str:
    """The key under which the controller keeps what the CRM told of somebody."""
    return f"{CRM} contact-{person.number}"
