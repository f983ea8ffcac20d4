"""Many events in one request: the good ones are taken, each bad one is named, and none harms its neighbour.

Source: P3; design § 6 ``POST /events``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from producers.door.problems import Refused, accepted, errors, problem
from producers.intake import Taken
from schemas.envelope import MAX_EVENTS
from schemas.errors import InvalidBody, InvalidMessage, Problem

_AN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:~+=-]{0,127}")


BREATH: Final = 32
"""Items after which other requests get their turn."""


@dataclass(slots=True)
class Sifted:
    """``new``: to be posted; ``repeated``: how many came twice, word for word; ``refused``: by index."""

    new: list[Taken] = field(default_factory=list)
    repeated: int = 0
    refused: list[tuple[int, str | None, Sequence[Problem]]] = field(default_factory=list)

    @property
    def accepted(self) -> int:
        return len(self.new) + self.repeated


class NotAllowed(InvalidMessage):
    """The publisher's key does not reach this event."""


async def sift(items: Sequence[Any], take: Callable[[Any], Taken]) -> Sifted:
    """Take what can be taken of 1 to 500 items. Raises :class:`Refused` for none or too many."""
    if not items:
        raise Refused(422, "empty_batch", "The batch holds no event.")
    if len(items) > MAX_EVENTS:
        raise Refused(413, "too_many_events", f"A batch holds at most {MAX_EVENTS} events.")
    sifted = Sifted()
    seen: dict[str, bytes] = {}
    for index, item in enumerate(items):
        if index % BREATH == BREATH - 1:  # a whole batch of addresses and phones takes a tenth of a second
            await asyncio.sleep(0)
        try:
            taken = take(item)
            if _is_new(taken, seen):
                sifted.new.append(taken)
            else:
                sifted.repeated += 1
        except InvalidBody as error:
            sifted.refused.append((index, _id(item), error.problems))
        except InvalidMessage as error:
            sifted.refused.append((index, _id(item), (Problem(error.code, error.pointer, "is not allowed"),)))
    return sifted


def _is_new(taken: Taken, seen: dict[str, bytes]) -> bool:
    """The same event twice is one event; another body under its id is refused, as everywhere."""
    body = taken.event.type.encode() + taken.event.body
    known = seen.setdefault(taken.event.key, body)
    if known is body:
        return True
    if known != body:
        raise InvalidBody(Problem("conflict", "/id", "came before in this batch with another content"))
    return False


def answer(sifted: Sifted) -> web.Response:
    """202 when at least one was accepted, else 422 (403 when a key's reach was all that was wrong)."""
    refused = [
        {"index": index, "id": event_id, "errors": errors(problems)} for index, event_id, problems in sifted.refused
    ]
    content = {"accepted": sifted.accepted, "refused": refused}
    if sifted.accepted:
        return accepted(content)
    codes = {found.code for _, _, problems in sifted.refused for found in problems}
    status, code = (403, "not_allowed") if codes == {"not_allowed"} else (422, "none_accepted")
    everything = [
        Problem(found.code, f"/{index}{found.pointer}", found.detail)
        for index, _, problems in sifted.refused
        for found in problems
    ]
    return problem(status, code, "None of the events was accepted.", problems=everything[:20], more=content)


def _id(item: Any) -> str | None:
    """The sender's own id, where it is one that may stand in an answer."""
    found = item.get("id") if isinstance(item, dict) else None
    return found if isinstance(found, str) and _AN_ID.fullmatch(found) else None
