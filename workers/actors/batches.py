"""From a message to events that can be worked on; what cannot be is parked by itself, its neighbours go on.

Source: P2, P3; design § 3 "A message carries a batch".
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from schemas.envelope import Batch, Event
from schemas.errors import InvalidMessage
from schemas.fields import read_moment
from schemas.routes import Route
from schemas.subject import ReferenceUse
from workers.rules.erasure import Verdict, judge, latest
from workers.services import Services
from workers.stores.parked import Letter
from workers.stores.tombstones import of_address, of_event


class Arrived(NamedTuple):
    """One event of an opened batch. ``digest``: tells its body from another under the same id; times are aware UTC.

    ``position``: its place in the batch. ``key``: the event's. ``happened``: what order is judged by.
    """

    position: int
    key: str
    event: Event
    route: Route
    data: dict[str, Any]
    digest: bytes
    received: datetime
    happened: datetime

    @property
    def files(self) -> tuple[str, ...]:
        """Ids of the uploaded files that came along."""
        return _files(self.data)


async def open_batch(
    services: Services, queue: str, wire: object, only: Collection[int] | None = None
) -> tuple[Batch | None, list[Arrived]]:
    """The batch and those of its events that can be worked on. ``only``: positions; all when ``None``.

    A batch that cannot be opened is parked whole; an event whose type or body is not of this queue is parked alone.
    Raises :class:`schemas.errors.StoreUnavailable`.
    """
    try:
        batch = services.trust.opener.open(wire)
    except InvalidMessage as fault:
        raw = json.dumps(wire, default=repr).encode()
        await park(services, [Letter(fault.code, queue, raw, services.clock(), pointer=fault.pointer)])
        return None, []
    arrived: dict[str, Arrived] = {}
    letters: list[Letter] = []
    for position, event in enumerate(batch.events):
        if only is not None and position not in only:
            continue
        try:
            read = read_event(services, queue, position, event)
            if arrived.setdefault(read.key, read).digest != read.digest:
                raise InvalidMessage("same_id_other_body")
        except InvalidMessage as fault:
            letters.append(_letter(services, queue, event, fault))
    await park(services, letters)
    return batch, list(arrived.values())


def read_event(services: Services, queue: str, position: int, event: Event) -> Arrived:
    """One opened event as its queue's actor needs it.

    Raises :class:`InvalidMessage` ``unknown_type``, ``not_a_moment``, or those of its shape.
    """
    route = services.trust.routes.get(event.type)
    if route is None or route.queue != queue:
        raise InvalidMessage("unknown_type")
    data = route.shape.read(event.body)
    try:
        received, happened = read_moment(event.recordedtime), read_moment(event.happened)
    except ValueError:
        raise InvalidMessage("not_a_moment") from None
    digest = services.trust.references.digest(event.body)
    return Arrived(position, event.key, event, route, data, digest, received, happened)


def _letter(services: Services, queue: str, event: Event, fault: InvalidMessage) -> Letter:
    try:
        data = json.loads(event.body)
    except (ValueError, RecursionError):
        data = None
    try:
        received = read_moment(event.recordedtime)
    except ValueError:
        received = services.clock()
    return Letter(
        reason=fault.code,
        queue=queue,
        content=event.body,
        received=received,
        event=event.key,
        type=event.type,
        pointer=fault.pointer,
        **_whom(services, event.key, data),
    )


def letter_of(services: Services, arrived: Arrived, reason: str) -> Letter:
    """An event that could be read and is parked all the same."""
    return Letter(
        reason=reason,
        queue=arrived.route.queue,
        content=arrived.event.body,
        received=arrived.received,
        event=arrived.key,
        type=arrived.event.type,
        **_whom(services, arrived.key, arrived.data),
    )


def _files(data: Mapping[str, Any]) -> tuple[str, ...]:
    values = (data.get("cv"), data.get("cover_letter"))
    ids = [value.get("file") for value in values if isinstance(value, dict)]
    return tuple(file_id for file_id in ids if isinstance(file_id, str))


def _whom(services: Services, key: str, data: object) -> dict[str, Any]:
    """Whom a body speaks of, as keyed references, and what files it brought; nobody where it cannot be read."""
    email = data.get("email") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(email, str):
        return {"stones": [of_event(key)]}
    references = services.trust.references
    return {
        "files": _files(data),
        "refs": [references.of_email(ReferenceUse.PARKED, email)],
        "stones": [of_event(key), of_address(references.of_email(ReferenceUse.TOMBSTONE, email))],
    }


ERASED = "erased"
"""The reason of a letter about somebody who was erased: it waits for staff, who may admit it with a ground."""


SUPPRESSED = "suppressed"
"""Why an event was refused whose record would serve nothing that its person did not say no to."""


async def park(services: Services, letters: Sequence[Letter]) -> None:
    """Park, then look: a letter about somebody whose erasure overtook it does not stay.

    One that was received after the erasure, and waits for staff for that very reason, does.
    """
    if not letters:
        return
    now = services.clock()
    await services.parked.put(letters, now=now, until=now + services.trust.register.parked.length)
    stones = await services.tombstones.look(stone for letter in letters for stone in letter.stones)
    overtaken = [
        services.parked.id_of(letter)
        for letter in letters
        if judge(letter.received, latest(stones, letter.stones), skew=services.skew, own_act=True) is Verdict.REFUSE
    ]
    if overtaken:
        await services.parked.erase(overtaken)


async def refuse(services: Services, keys: Iterable[str], reason: str) -> None:
    """Note that events were refused for good: the same events never come again, and somebody can see why."""
    gone = list(keys)
    if gone:
        await services.tombstones.write(map(of_event, gone))
        await services.parked.erase_of(gone)
        await services.bookkeeping.refused(gone, reason, services.clock())
