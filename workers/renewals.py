"""Choices about cookies that are to be made again: near their end, or made under an older version of the policy.

Such a choice holds until its end all the same. That its renewal is due is recorded once, in **evidence**, for the site
to act on: it knows when its own cookie ends, and which version it shows. Nobody is due who has chosen again since.
Source: R15, R16; P9; consent-and-cookies § 2 "reask_on".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from schemas.consent import Choice
from workers.rules.consent import renewals_due_until, replaced
from workers.services import Services
from workers.stores.mongo import Document

_PAGE: Final = 1_000


class Why(StrEnum):
    """Why somebody is to be asked again."""

    ENDS = "ends"
    NEW_VERSION = "new_version"


@dataclass(frozen=True, slots=True)
class Renewals:
    """Devices' choices, counted now. ``due``: by :class:`Why`, not made again yet and not ended.

    ``made_again``, ``ran_out``: what became of the others of which that was recorded.
    """

    due: dict[str, int]
    made_again: int
    ran_out: int


async def note_renewals(services: Services, limit: int) -> tuple[int, bool]:
    """Record of each choice, once, that its renewal is due; of how many, and whether there may be more."""
    register, now = services.trust.register, services.clock()
    older = register.older_versions
    others = register.policy.versions.keys() - older
    found = await services.consents.unasked(renewals_due_until(now, register), older, others, limit=limit)
    waiting = await _not_made_again(services, found)
    due = [
        {
            "_id": one["_id"],
            "why": (Why.NEW_VERSION if one["policy_version"] in older else Why.ENDS).value,
            "ends": one["asks_again"],
            "noted_at": now,
        }
        for one in waiting
    ]
    await services.consents.note_renewals(due, [one["_id"] for one in found])
    return len(due), len(found) == limit


async def look_at_renewals(services: Services) -> Renewals:
    """What became of every choice whose renewal was recorded as due: a walk over the records."""
    now, counted, after = services.clock(), Counter[str](), ""
    while page := await services.consents.renewals(after, _PAGE):
        after = page[-1]["_id"]
        choices = await services.consents.by_key(one["_id"] for one in page)
        waiting = {one["_id"] for one in await _not_made_again(services, choices)}
        for one in page:
            if one["_id"] not in waiting:
                counted["made_again"] += 1
            else:
                counted["ran_out" if one["ends"] <= now else one["why"]] += 1
    return Renewals({why.value: counted[why] for why in Why}, counted["made_again"], counted["ran_out"])


async def _not_made_again(services: Services, choices: Sequence[Document]) -> list[Document]:
    """Those of these choices that are their device's last word about something."""
    said = await services.consents.choices(bytes(one["device"]) for one in choices)
    return [one for one in choices if not replaced(said[bytes(one["device"])], Choice(one["happened"], one["choices"]))]
