"""The publisher for Python: what the door does, without HTTP in between.

For a website's or CRM's own backend that holds a publisher key and may reach Redis. Everything passes through the same
:class:`producers.intake.Intake`, is cut into batches and posted by the same letter box. Each event gets an
:class:`Outcome`: accepted (Redis has it on disk), or refused with its problems and no quoted value.
Source: R27; design § 6.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from producers.gather import Gatherer, in_batches
from producers.intake import FILE_FIELDS, Clock, Intake, Taken, checked_id, new_id, utc_now
from producers.publisher import Letterbox
from producers.settings import DoorSettings, read_door_settings
from producers.uploads import DETAILS, ExaminedFile, Upload, examine
from schemas.envelope import MAX_EVENTS, Event
from schemas.errors import InvalidBody, InvalidMessage, Problem
from schemas.fields import wire_moment
from schemas.keyring import read_sealer
from schemas.register import load_register
from schemas.routes import NEWSLETTER_CONFIRMED, contact_type
from schemas.submissions import CONTACT_CASES, FORM_CASES
from schemas.terms import Case

SOURCE = "/publisher"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one event. ``id``: as given, or made here; None when even that was unusable."""

    id: str | None
    problems: tuple[Problem, ...] = ()

    @property
    def accepted(self) -> bool:
        return not self.problems


class _Words:
    """From the caller's words to taken events, one outcome each; shared by both publishers."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def submission(self, case: str, data: Mapping[str, Any], *, event_id: str | None = None) -> Taken:
        """Files are given as :class:`Upload` in their field."""
        given: dict[str, Any] = dict(data)
        files: dict[str, ExaminedFile] = {}
        problems: list[Problem] = []
        for field in FILE_FIELDS:
            if isinstance(given.get(field), Upload):
                try:
                    files[field] = examine(given.pop(field))
                except InvalidMessage as error:
                    problems.append(Problem(error.code, f"/{field}", DETAILS[error.code]))
        if problems:
            raise InvalidBody(*problems)
        own_id = checked_id(event_id) if event_id else new_id()
        return self._intake.form(
            _case(case, FORM_CASES), given, files, event_id=own_id, received_at=self._intake.clock()
        )

    def contact(self, case: str, data: Mapping[str, Any], *, event_id: str | None, source: str) -> Taken:
        kind = contact_type(_case(case, CONTACT_CASES))
        return self.event({"type": kind, "id": event_id or new_id(), "source": source, "data": data})

    def consent(self, data: Mapping[str, Any]) -> Taken:
        return self._intake.cookie({"id": new_id(), **data}, None)

    def confirmed(self, about: str, at: datetime, *, event_id: str | None = None) -> Taken:
        data = {"about": about, "at": wire_moment(at)}
        return self.event({"type": NEWSLETTER_CONFIRMED, "id": event_id or new_id(), "source": SOURCE, "data": data})

    def event(self, event: object) -> Taken:
        """A CloudEvent as a mapping."""
        if not isinstance(event, Mapping):
            raise InvalidBody(Problem("model_type", "", "must be an object"))
        names = ("id", "source", "type", "time")
        attributes = self._intake.attributes({name: event[name] for name in names if event.get(name) is not None})
        try:
            return self._intake.event(attributes, event.get("data"), event.get("traceparent"))
        except InvalidBody as error:
            problems = (Problem(found.code, f"/data{found.pointer}", found.detail) for found in error.problems)
            raise InvalidBody(*problems) from None


def _case(name: str, known: Sequence[Case]) -> Case:
    """Raises ValueError: the program names a case that there is not."""
    if name not in known:
        raise ValueError(f"the case must be one of {', '.join(known)}")
    return Case(name)


@dataclass(slots=True)
class _Sorted:
    """Outcomes in the order of what was given, and what is to be posted."""

    outcomes: list[Outcome]
    taken: list[Taken]


def _sort(items: Iterable[Any], take: Callable[[Any], Taken]) -> _Sorted:
    found = _Sorted([], [])
    for item in items:
        try:
            taken = take(item)
        except InvalidBody as error:
            found.outcomes.append(Outcome(None, tuple(error.problems)))
        else:
            found.outcomes.append(Outcome(taken.event.id))
            found.taken.append(taken)
    return found


def _pieces(items: Iterable[Any]) -> Iterable[list[Any]]:
    """So that an endless iterable is never held whole."""
    piece: list[Any] = []
    for item in items:
        piece.append(item)
        if len(piece) == MAX_EVENTS:
            yield piece
            piece = []
    if piece:
        yield piece


def _open(settings: DoorSettings, clock: Clock) -> tuple[_Words, Letterbox]:
    intake = Intake(load_register(settings.register_file), clock)
    letterbox = Letterbox(
        settings.redis_url.get_secret_value(), read_sealer(settings.keys), queue_limit=settings.queue_limit
    )
    return _Words(intake), letterbox


class SyncPublisher:
    """``with SyncPublisher.from_settings() as publisher:`` – blocking, for one thread.

    Every method raises :class:`QueueUnavailable` when Redis cannot promise: publish again under the same ids.
    """

    def __init__(self, words: _Words, letterbox: Letterbox) -> None:
        self._words = words
        self._letterbox = letterbox

    @classmethod
    def from_settings(cls, settings: DoorSettings | None = None, clock: Clock = utc_now) -> Self:
        """From ``settings``, or from the environment. Raises :class:`ConfigurationError`."""
        return cls(*_open(settings or read_door_settings(), clock))

    def __enter__(self) -> Self:
        self._letterbox.check()
        return self

    def __exit__(self, *_: object) -> None:
        self._letterbox.close()

    def publish_submission(self, case: str, data: Mapping[str, Any], *, event_id: str | None = None) -> Outcome:
        """A web form of ``case``; files as :class:`Upload` in their field."""
        found = _sort([data], lambda one: self._words.submission(case, one, event_id=event_id))
        for taken in found.taken:
            self._letterbox.post(taken.queue, (taken.event,), taken.files)
        return found.outcomes[0]

    def publish_contact(
        self, case: str, data: Mapping[str, Any], *, event_id: str | None = None, source: str = SOURCE
    ) -> Outcome:
        """A contact of the CRM; give ``event_id`` so that a repeat is the same event."""
        return self._all([data], lambda one: self._words.contact(case, one, event_id=event_id, source=source))[0]

    def publish_contacts(
        self, case: str, contacts: Iterable[Mapping[str, Any]], *, source: str = SOURCE
    ) -> list[Outcome]:
        """Many contacts of one case, in batches.

        They get ids here, so a repeat would be new events; :meth:`publish_events` takes ids of your own.
        """
        return self._all(contacts, lambda one: self._words.contact(case, one, event_id=None, source=source))

    def publish_consents(self, consents: Iterable[Mapping[str, Any]]) -> list[Outcome]:
        """Choices or visits as ``/cookies`` takes them; an id is made where none is given."""
        return self._all(consents, self._words.consent)

    def publish_consent(self, consent: Mapping[str, Any]) -> Outcome:
        """One of them."""
        return self.publish_consents([consent])[0]

    def publish_newsletter_confirmed(self, about: str, at: datetime, *, event_id: str | None = None) -> Outcome:
        """The mailed link of subscription ``about`` (its event's id) was used."""
        return self._all([about], lambda one: self._words.confirmed(one, at, event_id=event_id))[0]

    def publish_events(self, events: Iterable[Mapping[str, Any]]) -> list[Outcome]:
        """CloudEvents as mappings, of any type this installation knows but forms and cookies."""
        return self._all(events, self._words.event)

    def _all(self, items: Iterable[Any], take: Callable[[Any], Taken]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for piece in _pieces(items):
            found = _sort(piece, take)
            for queue, events in _by_queue(found.taken).items():
                for batch in in_batches(events):
                    self._letterbox.post(queue, batch)
            outcomes += found.outcomes
        return outcomes


def _by_queue(taken: Iterable[Taken]) -> dict[str, list[Event]]:
    queues: dict[str, list[Event]] = {}
    for one in taken:
        queues.setdefault(one.queue, []).append(one.event)
    return queues


class Publisher:
    """The same for a program with an event loop: ``async with Publisher.from_settings() as publisher:``."""

    def __init__(self, words: _Words, letterbox: Letterbox) -> None:
        self._words = words
        self._letterbox = letterbox

    @classmethod
    def from_settings(cls, settings: DoorSettings | None = None, clock: Clock = utc_now) -> Self:
        """From ``settings``, or from the environment. Raises :class:`ConfigurationError`."""
        return cls(*_open(settings or read_door_settings(), clock))

    async def __aenter__(self) -> Self:
        self._gatherer = Gatherer(self._letterbox)
        await self._gatherer.check()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._gatherer.close()

    async def publish_submission(self, case: str, data: Mapping[str, Any], *, event_id: str | None = None) -> Outcome:
        """See :meth:`SyncPublisher.publish_submission`."""

        def take(one: Mapping[str, Any]) -> Taken:
            return self._words.submission(case, one, event_id=event_id)

        found = await asyncio.to_thread(_sort, [data], take)  # looking into files takes a while
        for taken in found.taken:
            await self._gatherer.put(taken.queue, (taken.event,), taken.files)
        return found.outcomes[0]

    async def publish_contact(
        self, case: str, data: Mapping[str, Any], *, event_id: str | None = None, source: str = SOURCE
    ) -> Outcome:
        """See :meth:`SyncPublisher.publish_contact`."""
        found = await self._all([data], lambda one: self._words.contact(case, one, event_id=event_id, source=source))
        return found[0]

    async def publish_contacts(
        self, case: str, contacts: Iterable[Mapping[str, Any]], *, source: str = SOURCE
    ) -> list[Outcome]:
        """See :meth:`SyncPublisher.publish_contacts`."""
        return await self._all(contacts, lambda one: self._words.contact(case, one, event_id=None, source=source))

    async def publish_consents(self, consents: Iterable[Mapping[str, Any]]) -> list[Outcome]:
        """See :meth:`SyncPublisher.publish_consents`."""
        return await self._all(consents, self._words.consent)

    async def publish_consent(self, consent: Mapping[str, Any]) -> Outcome:
        """See :meth:`SyncPublisher.publish_consent`."""
        return (await self.publish_consents([consent]))[0]

    async def publish_newsletter_confirmed(self, about: str, at: datetime, *, event_id: str | None = None) -> Outcome:
        """See :meth:`SyncPublisher.publish_newsletter_confirmed`."""
        return (await self._all([about], lambda one: self._words.confirmed(one, at, event_id=event_id)))[0]

    async def publish_events(self, events: Iterable[Mapping[str, Any]]) -> list[Outcome]:
        """See :meth:`SyncPublisher.publish_events`."""
        return await self._all(events, self._words.event)

    async def _all(self, items: Iterable[Any], take: Callable[[Any], Taken]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for piece in _pieces(items):
            found = _sort(piece, take)
            await self._gatherer.put_all(found.taken)
            outcomes += found.outcomes
        return outcomes


def publish_submission(
    case: str, data: Mapping[str, Any], *, event_id: str | None = None, settings: DoorSettings | None = None
) -> Outcome:
    """One call of :meth:`SyncPublisher.publish_submission`."""
    with SyncPublisher.from_settings(settings) as publisher:
        return publisher.publish_submission(case, data, event_id=event_id)


def publish_contact(
    case: str,
    data: Mapping[str, Any],
    *,
    event_id: str | None = None,
    source: str = SOURCE,
    settings: DoorSettings | None = None,
) -> Outcome:
    """One call of :meth:`SyncPublisher.publish_contact`."""
    with SyncPublisher.from_settings(settings) as publisher:
        return publisher.publish_contact(case, data, event_id=event_id, source=source)


def publish_contacts(
    case: str, contacts: Iterable[Mapping[str, Any]], *, source: str = SOURCE, settings: DoorSettings | None = None
) -> list[Outcome]:
    """One call of :meth:`SyncPublisher.publish_contacts`."""
    with SyncPublisher.from_settings(settings) as publisher:
        return publisher.publish_contacts(case, contacts, source=source)


def publish_consent(consent: Mapping[str, Any], *, settings: DoorSettings | None = None) -> Outcome:
    """One call of :meth:`SyncPublisher.publish_consent`."""
    with SyncPublisher.from_settings(settings) as publisher:
        return publisher.publish_consent(consent)


def publish_consents(consents: Iterable[Mapping[str, Any]], *, settings: DoorSettings | None = None) -> list[Outcome]:
    """One call of :meth:`SyncPublisher.publish_consents`."""
    with SyncPublisher.from_settings(settings) as publisher:
        return publisher.publish_consents(consents)


def publish_newsletter_confirmed(
    about: str, at: datetime, *, event_id: str | None = None, settings: DoorSettings | None = None
) -> Outcome:
    """One call of :meth:`SyncPublisher.publish_newsletter_confirmed`."""
    with SyncPublisher.from_settings(settings) as publisher:
        return publisher.publish_newsletter_confirmed(about, at, event_id=event_id)


def publish_events(events: Iterable[Mapping[str, Any]], *, settings: DoorSettings | None = None) -> list[Outcome]:
    """One call of :meth:`SyncPublisher.publish_events`."""
    with SyncPublisher.from_settings(settings) as publisher:
        return publisher.publish_events(events)
