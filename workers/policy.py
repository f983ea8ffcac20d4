"""Versions of the policy: published once, unchanged ever after, and the record that people were told.

A version and its notices stand in the register; publishing it keeps their hashes, so that a text that is changed later
under an old version is found. Who must be told: everybody held whose records are all of before it. Telling on the
website reaches everybody from that day; a mail or a letter reaches those whom it was sent to.
Source: R16; GDPR Art. 12(1), 13, 14.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import rfc8785

from schemas.calendar import civil_day
from schemas.errors import Conflict, GreffierError
from schemas.fields import wire_moment
from schemas.register import Register
from schemas.terms import Case, Means, Purpose
from workers.audience import Audience
from workers.gate import Reader
from workers.members import Member
from workers.services import Services
from workers.stores.mongo import Document

NO_VERSION: Final = "none"
"""Under what people are counted who were shown no version with a record: contacts that the CRM brought."""
_PAGE: Final = 1_000


class PolicyRefused(GreffierError):
    """A version that cannot be published or told of, and why."""


@dataclass(frozen=True, slots=True)
class PolicyState:
    """How the current version stands. ``under``: the version of their latest record → how many people are held.

    ``told``: means → how many people a message told. ``to_tell``: how many people nobody has told yet.
    """

    current: str
    effective_on: str
    published_at: str | None
    website_since: str | None
    told: Mapping[str, int]
    held: int
    to_tell: int
    under: Mapping[str, int]
    published: Sequence[str]


async def publish(services: Services, version: str, by: str) -> bool:
    """Publish a version of the register; ``False`` where that was done before. May be repeated.

    Raises :class:`PolicyRefused` where the register has none of this name, or states another text, day or language
    for one that is published, and :class:`schemas.errors.InvalidMessage` for what is no account's name.
    """
    register, known = services.trust.register, await services.policies.all()
    if version not in register.policy.versions:
        raise PolicyRefused(f"the register has no version {version}")
    for published, kept in known.items():
        if published not in register.policy.versions:
            raise PolicyRefused(f"version {published} is published, and the register has it no more")
        if digest_of(register, published) != kept["digest"]:
            raise PolicyRefused(f"version {published} is published, and the register says something else of it")
    digest, shown = digest_of(register, version), register.policy.versions[version]
    effective_on = shown.effective_on.isoformat()
    details = {"version": version, "digest": digest, "effective_on": effective_on, "by": by}
    with suppress(Conflict):  # somebody else began it, and it broke off
        await services.notes.note("policy_published", None, f"{version}/{digest}", **details)
    return await services.policies.publish(
        {
            "_id": version,
            "digest": digest,
            "effective_on": effective_on,
            "notices": {language: notice.sha256 for language, notice in shown.notices.items()},
            "published_at": services.clock(),
            "by": by,
        }
    )


def digest_of(register: Register, version: str) -> str:
    """What makes a version that version: its day, its languages, and the hash of each notice."""
    shown = register.policy.versions[version]
    notices = {language: notice.sha256 for language, notice in shown.notices.items()}
    stated: dict[str, Any] = {"version": version, "effective_on": shown.effective_on.isoformat(), "notices": notices}
    return hashlib.sha256(rfc8785.dumps(stated)).hexdigest()


async def tell(services: Services, version: str, means: Means, by: str, persons: Iterable[str] = ()) -> int:
    """Record that people were told of a version: of how many for the first time. May be repeated.

    ``persons``: to whom a mail or a letter was sent, by id; on the website, nobody and everybody.
    Raises :class:`PolicyRefused` where the version is not published, or who was told is not said.
    """
    listed = sorted(set(persons))
    if version not in await services.policies.all():
        raise PolicyRefused(f"version {version} is not published")
    if (means is Means.WEBSITE) is bool(listed):
        raise PolicyRefused("a mail or a letter needs the list of whom it was sent to, and the website has none")
    now = services.clock()
    fact = hashlib.sha256("\n".join(listed).encode()).hexdigest() if listed else ""
    people = {"people": len(listed)} if listed else {}
    with suppress(Conflict):  # the same was told and recorded before, by somebody else
        details = {"version": version, "means": means.value, "by": by, **people}
        await services.notes.note("policy_told", None, f"{version}/{means}/{fact}", **details)
    told = await services.people.tell(listed, version, means.value, now) if listed else 0
    await services.policies.told(version, means.value, now)
    return told


async def look_at_policy(services: Services) -> PolicyState:
    """How the current version stands: a walk over everybody held."""
    register, known = services.trust.register, await services.policies.all()
    current = register.policy.current
    website = known.get(current, {}).get("told", {}).get(Means.WEBSITE)
    informed = _Informed.of(register, current, known)
    held, to_tell = 0, 0
    under, told = Counter[str](), Counter[str]()
    after = ""
    while page := await services.people.page(after, _PAGE):
        after, held = page[-1]["_id"], held + len(page)
        shown = await _shown(services, [person["_id"] for person in page])
        for person in page:
            under[shown.get(person["_id"], [NO_VERSION])[-1]] += 1
            told.update({one["means"] for one in person.get("told", ()) if one["version"] == current})
            to_tell += not informed.is_told(shown.get(person["_id"], ()), person.get("told", ()))
    published_at = known[current]["published_at"] if current in known else None
    return PolicyState(
        current=current,
        effective_on=register.policy.versions[current].effective_on.isoformat(),
        published_at=_said(published_at),
        website_since=_said(website),
        told=dict(told),
        held=held,
        to_tell=to_tell,
        under=dict(under),
        published=sorted(known),
    )


async def to_tell(services: Services, reader: Reader, version: str) -> AsyncIterator[Member]:
    """Who must still be told of a version, each once: as far as this reader may read them for anything, now.

    So it is read as everything is: for a purpose that is live, recorded, and nobody is in it who was erased.
    Raises :class:`PolicyRefused` where the version is not published.
    """
    known = await services.policies.all()
    if version not in known:
        raise PolicyRefused(f"version {version} is not published")
    informed, seen = _Informed.of(services.trust.register, version, known), set[str]()
    for purpose in _readable(services.trust.register, reader):
        async for page in Audience(services, reader, purpose).pages():
            persons = [member.person for member in page.members if member.person not in seen]
            seen.update(persons)
            shown, told = await _shown(services, persons), await services.people.told(persons)
            owed = {one for one in persons if not informed.is_told(shown.get(one, ()), told.get(one, ()))}
            for member in page.members:
                if member.person in owed:
                    yield member


async def untold(services: Services) -> str | None:
    """The current version, where it holds by now, is not the first, and nobody was told of it by any means."""
    register, known = services.trust.register, await services.policies.all()
    current = register.policy.current
    holds = register.policy.versions[current].effective_on <= civil_day(services.clock())
    return current if holds and known.keys() - {current} and not known.get(current, {}).get("told") else None


@dataclass(frozen=True, slots=True)
class _Informed:
    """What it takes to know of a version: it, or a later one. ``everybody``: it was told on the website."""

    versions: frozenset[str]
    everybody: bool

    @classmethod
    def of(cls, register: Register, version: str, known: Mapping[str, Document]) -> _Informed:
        begins = register.policy.versions[version].effective_on
        later = [name for name, shown in register.policy.versions.items() if shown.effective_on >= begins]
        website = any(Means.WEBSITE in known.get(name, {}).get("told", {}) for name in later)
        return cls(frozenset({version, *later}), website)

    def is_told(self, shown: Iterable[str], told: Iterable[Mapping[str, Any]]) -> bool:
        """Whether somebody knows who handed in records under these versions and was told of those."""
        if self.everybody or not self.versions.isdisjoint(shown):
            return True
        return not self.versions.isdisjoint(one["version"] for one in told)


async def _shown(services: Services, persons: Iterable[str]) -> dict[str, list[str]]:
    """Person → the versions that their records were handed in under, the latest last."""
    records = await services.submissions.of(persons, "policy_version", "received")
    shown: dict[str, list[str]] = {}
    for one in sorted(records, key=lambda one: one["received"]):
        if "policy_version" in one:
            shown.setdefault(one["person"], []).append(one["policy_version"])
    return shown


def _readable(register: Register, reader: Reader) -> list[Purpose]:
    return [purpose for purpose in Purpose if any(register.may_read(reader.department, purpose, case) for case in Case)]


def _said(moment: datetime | None) -> str | None:
    return wire_moment(moment) if moment else None
