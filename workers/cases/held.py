"""What keeps somebody's data from going, and how a receipt tells it: ground, last day, and how much is left.

What a hold keeps is noted with the task that asked for it, so that the end of the hold finds the task.
Source: R11; GDPR Art. 17(3), 18(2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final

from schemas.subject import ReferenceUse, clean_email
from schemas.terms import Right
from workers.cases.desk import Docket
from workers.cases.weighing import persons_of
from workers.services import Services
from workers.stores.keys import ACTIVE, ARCHIVE, key_id
from workers.stores.mongo import Document
from workers.stores.tombstones import of_address

HOLD_GROUND: Final = "legal hold, GDPR Art. 17(3)(e)"


async def active_keys(services: Services, emails: Iterable[str]) -> list[str]:
    """The keys under which the data of whoever has these addresses is in use."""
    return [key_id(person, ACTIVE) for person in await persons_of(services, emails)]


async def all_keys(services: Services, emails: Sequence[str]) -> list[str]:
    """Those, the keys of what is archived, and of what another hold keeps from an erasure: a hold is on all of them."""
    persons = await persons_of(services, emails)
    refs = [services.trust.references.of_email(ReferenceUse.TOMBSTONE, clean_email(email)) for email in emails]
    erased = [key_id(person, ACTIVE) for person in await services.tombstones.named(map(of_address, refs))]
    keys = [key_id(person, use) for person in persons for use in (ACTIVE, ARCHIVE)]
    return list(dict.fromkeys([*keys, *sorted(await services.keys.held(erased))]))


async def hold_on(services: Services, email: str) -> dict[str, str]:
    """Ground and last day of the hold that keeps a person's data, as a receipt tells them."""
    holds = await services.keys.holds(await active_keys(services, [email]))
    if not holds:
        return {"ground": HOLD_GROUND}  # lifted this very moment: what was kept is what the receipt says
    return told(holds[0].ground, holds[0].until)


async def keeps(docket: Docket, task: Document, emails: Iterable[str]) -> bool:
    """Whether a hold keeps what these addresses' owners have in use; then it is noted with the task.

    One that was lifted this very moment, perhaps before the task could be found by it, keeps nothing.
    """
    keys = await active_keys(docket.services, emails)
    if not await docket.services.keys.held(keys):
        return False
    await note_held(docket, task, keys)
    return bool(await docket.services.keys.held(keys))


async def note_held(docket: Docket, task: Document, keys: Sequence[str]) -> None:
    """Note which keys keep something of a task."""
    while not await docket.cases.change_task(task, {"held": list(keys)}):
        task = (await docket.cases.tasks([task["_id"]]))[task["_id"]]


async def is_restricted(docket: Docket, tasks: Iterable[Document]) -> bool:
    """Whether a restriction that was not lifted yet keeps something of these tasks.

    Asked of the restrictions' cases: each forgets its hold once every task that this kept was reopened.
    """
    keys = [key for task in tasks for key in task.get("held", ())]
    return bool(keys) and await docket.cases.holding(keys, Right.RESTRICTION)


def told(ground: str, until: date | None) -> dict[str, str]:
    """Ground and last day, as a receipt tells them."""
    return {"ground": ground} if until is None else {"ground": ground, "until": until.isoformat()}


def partly(one: dict[str, Any], left: int, why: Mapping[str, str]) -> dict[str, Any]:
    """What became of a collection of which some is left, or nothing."""
    return {**one, "erased": one["matched"] - left, **({"retained": left, **why} if left else {})}
