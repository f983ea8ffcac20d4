"""A website and a CRM that publish while things break, and write down every 202 outside the system.

Each repeats under the same id until it is accepted, as `docs/` asks of any publisher: on 503, on 409 (the first try
still runs) and when the connection breaks. Nothing else is forgiven.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp

from schemas.envelope import event_key
from schemas.register import load_register
from schemas.routes import COOKIES_SOURCE, form_source
from schemas.terms import Case

REGISTER: Final = load_register()
NOTICE: Final = REGISTER.policy.versions["1"].notices["en"].sha256
CRM: Final = "https://crm.example.com"
BATCH: Final = "application/cloudevents-batch+json"
BOUNDARY: Final = "greffier-chaos"
CV: Final = b"Curriculum vitae of a specimen.\n" * 20
AT_ONCE: Final = 64
LATER: Final = frozenset({409, 503})
PATIENCE_S: Final = 1.0  # what Retry-After asks for is honoured up to here: a test has less time than a website
DEVICES: Final = 5
WAIT_AFTER_BREAK_S: Final = 0.1
GIVE_UP_S: Final = 90.0


@dataclass(frozen=True)
class Publication:
    """One request and what must stand once it is accepted. ``events``: their keys; a form's is in the answer.

    ``emails``: whose submissions they are, in order; ``file``: bytes of an uploaded CV.
    """

    path: str
    body: bytes
    headers: Mapping[str, str]
    collection: str
    events: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    case: str = ""
    file: int = 0


@dataclass(frozen=True)
class Accepted:
    """One line of the log of 202s."""

    at: float
    collection: str
    events: Sequence[str]
    emails: Sequence[str] = ()
    case: str = ""
    file: int = 0


class Log:
    """The publisher's own record of what was accepted: a file outside the system, one line a 202."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("w")
        self.count = 0

    def write(self, publication: Publication, events: Sequence[str]) -> None:
        """Note a 202."""
        accepted = Accepted(
            time.time(), publication.collection, events, publication.emails, publication.case, publication.file
        )
        self._file.write(json.dumps(asdict(accepted)) + "\n")
        self._file.flush()
        self.count += 1

    def read(self) -> list[Accepted]:
        """Everything that was accepted."""
        return [Accepted(**json.loads(line)) for line in self.path.read_text().splitlines()]

    def close(self) -> None:
        self._file.close()


@dataclass
class Load:
    """Publishes at ``rate`` requests a second, at most 64 at once, to any of ``doors``."""

    doors: Sequence[str]
    key: Mapping[str, str]
    log: Log
    seed: int
    rate: float = 100.0
    in_flight: dict[str, float] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    longest_wait_s: float = 0.0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._number = 0
        self._room = asyncio.Semaphore(AT_ONCE)
        self._stopping = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()

    async def prepare(self, session: aiohttp.ClientSession) -> None:
        """Consents of the devices whose visits follow."""
        await self.publish(session, cookies([consent(f"device-{n}", f"first-{n}") for n in range(DEVICES)]))

    async def run(self) -> None:
        """Until `stop`; then until every request that was begun is answered with 202."""
        timeout = aiohttp.ClientTimeout(total=15)
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=AT_ONCE)) as session:
            while not self._stopping.is_set():
                await self._room.acquire()
                task = asyncio.create_task(self._publish_in_room(session, self._next()))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
                await self._pace()
            await asyncio.gather(*self._running)

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopping.set()

    async def _pace(self) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), self._random.expovariate(self.rate))
        except TimeoutError:
            return

    async def _publish_in_room(self, session: aiohttp.ClientSession, publication: Publication) -> None:
        try:
            await self.publish(session, publication)
        finally:
            self._room.release()

    async def publish(self, session: aiohttp.ClientSession, publication: Publication) -> None:
        """Repeat under the same ids until accepted, and write that down."""
        began = time.monotonic()
        self.in_flight.update(dict.fromkeys(publication.events, began))
        try:
            events = await self._until_accepted(session, publication)
        finally:
            for key in publication.events:
                self.in_flight.pop(key, None)
        self.longest_wait_s = max(self.longest_wait_s, time.monotonic() - began)
        self.log.write(publication, events)

    async def _until_accepted(self, session: aiohttp.ClientSession, publication: Publication) -> Sequence[str]:
        deadline = time.monotonic() + GIVE_UP_S
        while time.monotonic() < deadline:
            try:
                accepted = await self._post(session, publication)
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
                self.answers[type(error).__name__] += 1
                await asyncio.sleep(WAIT_AFTER_BREAK_S)  # a client's own pause between two tries
            else:
                if accepted is not None:
                    return accepted
        raise AssertionError(f"{publication.path}: not accepted within {GIVE_UP_S:g} s")

    async def _post(self, session: aiohttp.ClientSession, publication: Publication) -> Sequence[str] | None:
        """The keys of what was accepted; None when it is to be tried again."""
        url = f"{self._random.choice(self.doors)}{publication.path}"
        headers = {**publication.headers, **(self.key if publication.path == "/events" else {})}
        async with session.post(url, data=publication.body, headers=headers) as answer:
            content = await answer.json(content_type=None)
            self.answers[str(answer.status)] += 1
            if answer.status in LATER:
                if "Retry-After" not in answer.headers:
                    self.unexpected.append(f"{answer.status} without Retry-After")
                await asyncio.sleep(min(PATIENCE_S, float(answer.headers.get("Retry-After", "1"))))
                return None
            if answer.status != 202 or content.get("refused"):
                self.unexpected.append(f"{publication.path}: {answer.status} {content}")
                raise AssertionError(self.unexpected[-1])
            if publication.events:
                return publication.events
            return (event_key(publication.path, content["id"]),)

    # ------------------------------------------------------------------ what is published

    def _next(self) -> Publication:
        self._number += 1
        number, name = self._number, f"s{self.seed}n{self._number}"
        roll = self._random.random()
        if roll < 0.25:
            return self._form(number, name)
        if roll < 0.65:
            return self._contacts(name)
        events = [
            consent(f"device-{name}-{n}", f"consent-{name}-{n}")
            if self._random.random() < 0.5
            else visit(f"device-{self._random.randrange(DEVICES)}", f"visit-{name}-{n}")
            for n in range(self._random.randint(1, 8))
        ]
        return cookies(events)

    def _form(self, number: int, name: str) -> Publication:
        email = self._somebody()
        fields = {"email": email, "policy_version": "1"}
        named = {**fields, "last_name": "Specimen"}
        kinds = (
            lambda: application(name, email),
            lambda: form(Case.CONTACT, name, named),
            lambda: form(Case.WHITE_PAPER, name, _work(named)),
            lambda: form(Case.NEWSLETTER, name, fields),
        )
        return kinds[number % len(kinds)]()

    def _contacts(self, name: str) -> Publication:
        emails = [self._somebody() for _ in range(self._random.randint(1, 12))]
        return contacts([(f"contact-{name}-{n}", email) for n, email in enumerate(emails)])

    def _somebody(self) -> str:
        """The same people come again and again, so that who is created is created by several at once."""
        return f"specimen-{self._random.randrange(200)}@example.org"


def _work(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "first_name": "Testine", "position": "Buyer", "country": "FR", "language": "fr"}


def form(case: Case, name: str, fields: Mapping[str, Any]) -> Publication:
    """A web form under its own Idempotency-Key."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": f'"{name}"'}
    collection, emails = "submissions", (fields["email"],)
    return Publication(
        form_source(case), json.dumps(fields).encode(), headers, collection, emails=emails, case=case.value
    )


def application(name: str, email: str) -> Publication:
    """A job application with its CV."""
    fields = {**_work({"last_name": "Specimen", "email": email}), "policy_version": "1"}
    parts = [_part(field, value.encode()) for field, value in fields.items() if field in _APPLICATION]
    body = b"".join([*parts, _part("cv", CV, "cv.txt"), f"--{BOUNDARY}--\r\n".encode()])
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Idempotency-Key": f'"{name}"'}
    case = Case.JOB_APPLICATION
    return Publication(form_source(case), body, headers, "submissions", emails=(email,), case=case.value, file=len(CV))


_APPLICATION: Final = ("last_name", "first_name", "email", "policy_version")


def _part(name: str, value: bytes, file_name: str = "") -> bytes:
    of_file = f'; filename="{file_name}"\r\nContent-Type: text/plain; charset=utf-8' if file_name else ""
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{of_file}\r\n\r\n'.encode() + value + b"\r\n"


def contacts(found: Sequence[tuple[str, str]], case: Case = Case.CLIENT) -> Publication:
    """A batch of CRM contacts: (event id, address) each."""
    events = [
        {
            "specversion": "1.0",
            "id": event_id,
            "source": CRM,
            "type": f"greffier.contact.{case}",
            "datacontenttype": "application/json",
            "data": {
                **_work({"last_name": "Specimen", "email": email}),
                "source": "trade fair",
                "collected_at": "2026-03-02",
            },
        }
        for event_id, email in found
    ]
    keys = tuple(event_key(CRM, event_id) for event_id, _ in found)
    emails = tuple(email for _, email in found)
    return Publication(
        "/events", json.dumps(events).encode(), {"Content-Type": BATCH}, "submissions", keys, emails, case.value
    )


def cookies(events: Sequence[Mapping[str, Any]]) -> Publication:
    """A beacon of consents and visits."""
    keys = tuple(event_key(COOKIES_SOURCE, event["id"]) for event in events)
    return Publication("/cookies", json.dumps(list(events)).encode(), {"Content-Type": "text/plain"}, "cookies", keys)


def consent(device: str, event_id: str) -> dict[str, Any]:
    """A device says yes to being measured."""
    return {
        "id": event_id,
        "device_id": device,
        "at": (datetime.now(UTC) - timedelta(hours=1)).isoformat(),
        "choices": {"language": True, "analytics": True, "personalisation": False},
        "policy_version": "1",
        "notice_sha256": NOTICE,
        "language": "en",
    }


def visit(device: str, event_id: str) -> dict[str, Any]:
    """A page visit of a device."""
    at = datetime.now(UTC).isoformat()
    return {"id": event_id, "device_id": device, "at": at, "url": "https://www.example.com/cheese?from=mail"}
