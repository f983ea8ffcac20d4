"""After a restore of the controller's databases: what **evidence** knows to have been given up goes again.

A backup brings back people and, worse, the keys that had been destroyed. Before anybody reads, each restored key and
record is held against the tombstones and the cases, which are not restored; holds that were set since stand first.
What was over in the meantime by its date, or by a "no", goes with the sweep, as it would have.
Source: R11, R26; P5; design § 4; reliability § 7 (8) "restore = replay tombstones before the first read".
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any, Final

from schemas.subject import ReferenceUse
from workers.actors.batches import ERASED
from workers.rules.erasure import Verdict, judge
from workers.services import Services
from workers.stores.keys import ACTIVE, ARCHIVE, Hold, KeyHeld, key_id
from workers.stores.mongo import Document
from workers.stores.restoring import Restoring
from workers.stores.tombstones import of_address, of_event, of_person

_PAGE: Final = 500


@dataclass
class Replayed:
    """What a replay found and did. ``held``: people whom a legal hold keeps; ``keys``: destroyed again, of any kind."""

    people: int = 0
    records: int = 0
    letters: int = 0
    keys: int = 0
    held: int = 0
    deleted: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "deleted": dict(self.deleted)}


async def replay(services: Services) -> Replayed:
    """Give up again what had been; repeating it changes nothing. To be run before any reader or worker starts.

    Raises :class:`schemas.errors.StoreUnavailable`: then it is to be run again.
    """
    restoring, replayed = Restoring(services.databases), Replayed()
    await _hold_again(services, restoring)
    async for keys in _pages(restoring.living_keys, lambda key: key):
        await _keys(services, restoring, keys, replayed)
    async for records in _pages(restoring.submissions, lambda one: str(one["_id"])):
        await _records(services, records, replayed)
    async for letters in _pages(restoring.letters, lambda one: str(one["_id"])):
        await _letters(services, letters, replayed)
    return replayed


async def _pages(
    read: Callable[[str, int], Awaitable[list[Any]]], name: Callable[[Any], str]
) -> AsyncIterator[list[Any]]:
    after = ""
    while page := await read(after, _PAGE):
        yield page
        after = name(page[-1])


async def _hold_again(services: Services, restoring: Restoring) -> None:
    """First of all: a hold that is younger than the backup keeps what would be destroyed below."""
    for case in await restoring.held():
        hold = case["hold"]
        until = date.fromisoformat(hold["until"]) if hold.get("until") else None
        await services.keys.hold(hold["keys"], Hold(case["_id"], hold["ground"], until))


async def _keys(services: Services, restoring: Restoring, keys: Sequence[str], replayed: Replayed) -> None:
    owners: defaultdict[str, set[str]] = defaultdict(set)
    for key in keys:
        owner, _, key_class = key.rpartition("/")
        owners[key_class].add(owner)
    for key_class, names in owners.items():
        over = await restoring.ended(key_class, names)
        await services.keys.destroy(key_id(owner, key_class) for owner in over)
        replayed.keys += len(over)
    await _people(services, owners[ACTIVE], replayed)
    await _archived(services, owners, replayed)


async def _people(services: Services, persons: Iterable[str], replayed: Replayed) -> None:
    for person in await _erased(services, persons):
        try:
            gone = await services.forgetting.complete(person)
        except KeyHeld:
            replayed.held += 1
            continue
        replayed.people += 1
        replayed.keys += 1
        replayed.deleted.update(gone.deleted if gone is not None else {})


async def _archived(services: Services, owners: Mapping[str, set[str]], replayed: Replayed) -> None:
    """Keys of the archive open what still stands there; those of nothing are destroyed, or never to be minted."""
    erased = await _erased(services, owners[ACTIVE] | owners[ARCHIVE])
    kept = {one["person"] for one in await services.archive.of_persons(erased, "person")}
    idle = [person for person in erased if person not in kept]
    held = await services.keys.destroy_all(key_id(person, ARCHIVE) for person in idle)
    replayed.keys += len(owners[ARCHIVE].intersection(idle)) - len(held)


async def _erased(services: Services, persons: Iterable[str]) -> list[str]:
    wanted = sorted(persons)
    await services.tombstones.drop_proposed(map(of_person, wanted))  # by whoever the restore interrupted
    stones = await services.tombstones.look(map(of_person, wanted))
    return [person for person in wanted if of_person(person) in stones]


async def _records(services: Services, records: Sequence[Document], replayed: Replayed) -> None:
    """Records that went by themselves, of people who are there still; those of erased people went with them."""
    stones = await services.tombstones.look(
        stone for one in records for stone in (of_event(one["_id"]), of_person(one["person"]))
    )
    doomed: defaultdict[str, list[str]] = defaultdict(list)
    for one in records:
        if of_event(one["_id"]) in stones and of_person(one["person"]) not in stones:
            doomed[one["person"]].append(one["_id"])
    if doomed:
        gone = await services.forgetting.forget_events(doomed)
        replayed.records += gone.deleted["submissions"]
        replayed.deleted.update(gone.deleted)


async def _letters(services: Services, letters: Sequence[Document], replayed: Replayed) -> None:
    """Letters about an address that was erased after they came. Who waits for staff for that very reason stays."""
    now, overtaken = services.clock(), []
    for one in letters:
        content = await services.parked.content(one["_id"], now)
        if content is None or one["reason"] == ERASED:
            continue
        stone = _stone_of(services, content)
        erased_at = (await services.tombstones.look([stone])).get(stone) if stone else None
        if judge(one["received"], erased_at, skew=services.skew, own_act=True) is Verdict.REFUSE:
            overtaken.append(one["_id"])
    replayed.letters += await services.parked.erase(overtaken)


def _stone_of(services: Services, content: bytes) -> str | None:
    try:
        data = json.loads(content)
    except ValueError:
        return None
    email = data.get("email") if isinstance(data, dict) else None
    if not isinstance(email, str):
        return None
    return of_address(services.trust.references.of_email(ReferenceUse.TOMBSTONE, email))
