"""What staff may do with parked letters: find them, try them again, drop them with a reason.

Nothing here shows what a letter says; reading personal data is the gate's business.
Source: R29; design § 3 "Parked".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from schemas.envelope import Event
from schemas.errors import GreffierError, InvalidMessage
from schemas.fields import wire_moment
from schemas.routes import CONSENT, NEWSLETTER, NEWSLETTER_UNSUBSCRIBED, PREFERENCE_CHANGED, SUBMISSIONS
from workers.actors.batches import ERASED, Arrived, read_event
from workers.actors.consent import keep_consents
from workers.actors.newsletter import keep_newsletter
from workers.actors.preferences import addressee_of
from workers.actors.submissions import keep_submissions
from workers.actors.work import Keep
from workers.services import Services
from workers.stores.mongo import Document

_KEEPS: Final[Mapping[str, Keep]] = {
    SUBMISSIONS: keep_submissions,
    NEWSLETTER: keep_newsletter,
    CONSENT: keep_consents(None),
}


class NotPossible(GreffierError):
    """What was asked cannot be done with this letter; the text says why."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """``kept``: the event stands in its store now, and the letter is gone. Otherwise the letter stays: ``reason``."""

    letter: str
    kept: bool
    reason: str


async def find_letters(services: Services, *, reason: str | None = None, limit: int = 1000) -> list[Document]:
    """Letters without their content, the latest first."""
    return await services.parked.find({"reason": reason} if reason else None, limit=limit)


async def replay(services: Services, letter: str) -> Replayed:
    """Run a parked event through its actor again, as received then. Repeating it changes nothing.

    Raises :class:`NotPossible` for an unknown letter, one that is no event of ours, and one about an erased person,
    whom only an express admission brings back.
    """
    found = await _one(services, letter)
    if found["reason"] == ERASED:
        raise NotPossible("it is about an erased person: staff admit such a record with a ground, nobody replays it")
    content = await services.parked.content(letter, services.clock())
    if content is None or not found["event"]:
        raise NotPossible("it is no event that could be read; drop it, or mend its sender and publish again")
    source, _, event_id = found["event"].partition(" ")
    event = Event(event_id, source, found["type"], wire_moment(found["received"]), content)
    try:
        arrived = read_event(services, found["queue"], 0, event)
    except InvalidMessage as fault:
        return Replayed(letter, False, fault.code)
    await _KEEPS[found["queue"]](services, [arrived])
    if not await _stands(services, arrived):
        return Replayed(letter, False, "not_kept")
    if found["reason"] == "same_id_other_body":
        return Replayed(letter, False, found["reason"])  # what stands is the other body
    await services.parked.erase([letter])
    return Replayed(letter, True, "kept")


async def _stands(services: Services, arrived: Arrived) -> bool:
    """Whether an event that was just run through its actor is in its store."""
    if arrived.event.type not in (NEWSLETTER_UNSUBSCRIBED, PREFERENCE_CHANGED):
        return arrived.key in await services.kept([arrived.key])
    try:  # it leaves entries of the suppression list and no event: it stands if it could be opened
        addressee_of(services, arrived)
    except InvalidMessage:
        return False
    return True


async def drop(services: Services, letter: str, why: str) -> None:
    """Erase a letter and note that somebody decided so. ``why``: words of staff, without personal data."""
    found = await _one(services, letter)
    await services.bookkeeping.dropped(letter, found["event"], why, services.clock())
    await services.parked.erase([letter])


async def _one(services: Services, letter: str) -> dict[str, Any]:
    found = await services.parked.find({"_id": letter})
    if not found:
        raise NotPossible("there is no such letter")
    return found[0]
