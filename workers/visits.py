"""Visits that may be used about a person: of the devices that their own records name, as consent stands at this moment.

Gate and audience read the visits with the records, and have them judged last of all: whatever was withdrawn, erased or
named by somebody else in between counts.
Source: R5, R15; P5, P10; decision 0008.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from schemas.fields import wire_moment
from schemas.terms import Purpose
from workers.rules.erasure import Verdict, judge
from workers.rules.joining import Apart, apart, usable
from workers.services import Services
from workers.stores.mongo import Document
from workers.stores.tombstones import of_device

AT_MOST: Final = 20
"""Visits of one device that are shown, the newest."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One page that was looked at. ``url``: without query and fragment."""

    url: str = field(repr=False)
    happened: datetime

    def as_json(self) -> dict[str, Any]:
        """As programs get it."""
        return {"url": self.url, "happened": wire_moment(self.happened)}


@dataclass(frozen=True, slots=True)
class Joined:
    """A device at this moment. ``apart``: why its visits are not used about anybody; then there are none."""

    apart: Apart | None
    visits: tuple[Visit, ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceVisits:
    """Visits for one purpose: first :meth:`read`, last :meth:`judged`. Of a purpose that takes none, nothing."""

    services: Services
    purpose: Purpose

    @property
    def wanted(self) -> bool:
        """Whether the purpose is served by visits about a person."""
        return self.services.trust.register.visit_use(self.purpose) is not None

    async def read(self, submissions: Iterable[Document]) -> Mapping[bytes, Sequence[Document]]:
        """The newest visits that are stored of each device that these records name.

        Raises :class:`schemas.errors.StoreUnavailable`.
        """
        return await self.services.consents.newest_visits(devices_of(submissions), AT_MOST) if self.wanted else {}

    async def judged(self, stored: Mapping[bytes, Sequence[Document]]) -> dict[bytes, Joined]:
        """What of them may be used now, device by device. Raises :class:`schemas.errors.StoreUnavailable`."""
        if not stored:
            return {}
        stones = {of_device(device): device for device in stored}
        choices, owners, erased = await asyncio.gather(
            self.services.consents.choices(stored),
            self.services.submissions.owners_of(stored),
            self.services.tombstones.look(stones),
        )
        register, now = self.services.trust.register, self.services.clock()
        cookie = register.visits.purposes[self.purpose].cookie
        joined: dict[bytes, Joined] = {}
        for stone, device in stones.items():
            said, erased_at = choices.get(device, []), erased.get(stone)
            why = apart(said, owners.get(device, ()), cookie, now, register)
            shown = [
                Visit(one["url"], one["happened"])
                for one in stored[device]
                if why is None
                and usable(said, self.purpose, one["happened"], now, register)
                and judge(one["happened"], erased_at, skew=self.services.skew, own_act=True) is Verdict.KEEP
            ]
            joined[device] = Joined(why, tuple(shown))
        return joined


def devices_of(submissions: Iterable[Document]) -> list[bytes]:
    """The devices that these records name."""
    return list(dict.fromkeys(bytes(one["device"]) for one in submissions if "device" in one))


def together(submissions: Iterable[Document], joined: Mapping[bytes, Joined]) -> Joined:
    """The devices of one person's records: the newest visits of those that are theirs, or why none of them is."""
    devices = [joined[device] for device in devices_of(submissions) if device in joined]
    theirs = [one for one in devices if one.apart is None]
    if not theirs:
        return Joined(devices[0].apart if devices else Apart.NO_DEVICE)
    visits = sorted((visit for one in theirs for visit in one.visits), key=lambda one: one.happened, reverse=True)
    return Joined(None, tuple(visits[:AT_MOST]))
