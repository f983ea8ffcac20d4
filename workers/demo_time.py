"""The demo's third act: "no", and time. A newsletter is left by one click, a cookie consent is withdrawn; then the
clock of this act alone is moved, and what has run out by then is seen to leave.

The rest of the system keeps the true time: only the chores that this act runs itself, on the same stores and by the
same code as a worker, see the later moment. What is left is counted by plain clients.
Source: R13, R14, R15, R24; P9, P10; design § 6 "an unsubscribe, an expiry".
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp
from dateutil.relativedelta import relativedelta

from schemas.ticks import SCHEDULE
from workers.actors.chores import CHORES
from workers.demo_commands import greffier
from workers.demo_rows import Row, until
from workers.demo_traffic import NAMES, address, refusal
from workers.services import Services, Trust, open_services
from workers.settings import ControllerSettings
from workers.stores import samples
from workers.stores.witness import Witness
from workers.up import System

_PERSON: Final = 4
"""A prospect, whom two offices write to as well."""
_DEVICE: Final = 0
_SERVICES: Final = "provide-services"
_LIVING: Final = {"wrapped": {"$exists": True}}
_GROUP_PATIENCE_S: Final = 60.0
"""Within which a "no" holds in the whole group."""


@dataclass(frozen=True, slots=True)
class TimeAct:
    """One run against a running system with its offices."""

    system: System
    session: aiohttp.ClientSession
    witness: Witness

    async def run(self) -> list[Row]:
        """First what is said, then what time brings."""
        said = [await self._one_click(), await self._withdrawal()]
        async with self._services() as services:
            return [*said, await self._consents_run_out(services), await self._retention(services)]

    # ------------------------------------------------------------------ what is said

    async def _one_click(self) -> Row:
        row, email = Row("one click in a mail"), address(_PERSON)
        sales, people = self.system.store_url(self.system.offices["de"]), self.system.offices["us"].database
        first, last = NAMES[_PERSON]
        await asyncio.to_thread(samples.fill_sales, sales, first, last, email)
        await asyncio.to_thread(samples.fill_people, people, f"{first} {last}", email)
        link = (await self._audience()).get(email, "")
        row.note("may be written to, by a row that bears her link", bool(link))
        async with self.session.get(link) as page:
            row.note("link opened: a page, nothing changed", page.status == 200 and email in await self._audience())
        async with self.session.post(link, data={"List-Unsubscribe": "One-Click"}) as answer:
            row.note("link used", answer.status == 202)
        row.note("gone from the next audience", email not in await self._audience())
        took = await until(lambda: self._offices_write_to(email) == 0, _GROUP_PATIENCE_S)
        row.note(f"two offices stopped within {took:.1f} s", self._offices_write_to(email) == 0)
        return row

    async def _audience(self) -> dict[str, str]:
        """Who may be invited to events now: address → one-click link."""
        _, told = await greffier(self.system, "audience", "event-invitations", "--json", "--by", "demo")
        rows = [json.loads(line) for line in told.splitlines()]
        return {row["email"]: row["headers"]["List-Unsubscribe"].strip("<>") for row in rows}

    def _offices_write_to(self, email: str) -> int:
        office = self.system.offices["us"].database
        return samples.written_to(self.system.store_url(self.system.offices["de"]), office, email)

    async def _withdrawal(self) -> Row:
        row, before = Row("a cookie consent withdrawn"), self.witness.count("active", "visits", {})
        said = refusal(_DEVICE, datetime.now(UTC))
        content_type = {"Content-Type": said.content_type}
        async with self.session.post(said.path, data=said.body, headers=content_type) as answer:
            row.note("choice accepted", answer.status == 202)
        took = await until(lambda: self.witness.count("active", "visits", {}) < before)
        left = self.witness.count("active", "visits", {})
        row.note(f"{before - left} visit deleted after {took * 1000:.0f} ms, {left} of others left", before - left == 1)
        return row

    # ------------------------------------------------------------------ what time brings

    @asynccontextmanager
    async def _services(self) -> AsyncIterator[Services]:
        facts = self.system.facts()
        keys = self.system.data / "keys" / "controller"
        given: dict[str, Any] = {"redis_url": facts["redis"], "mongo_url": facts["mongo"]}
        settings = ControllerSettings(keys=keys, register_file=self.system.register, **given)
        services = open_services(settings, Trust.read(settings))
        try:
            yield services
        finally:
            await services.close()

    async def _at(self, services: Services, later: relativedelta) -> datetime:
        """Do every chore as it is due then; the moment."""
        moment = datetime.now(UTC).replace(microsecond=0) + later + timedelta(days=1)
        moved = replace(services, clock=lambda: moment)
        for chore in SCHEDULE:
            while (await CHORES[chore](moved)).more:
                pass
        return moment

    async def _consents_run_out(self, services: Services) -> Row:
        row, given = Row("thirteen months later"), self.witness.count("active", "consents", {})
        await self._at(services, relativedelta(months=13))
        noted = self.witness.count("evidence", "expired_consents", {})
        row.note(f"{noted} of {given} choices recorded as run out", noted == given > 0)
        row.note("no visit is left", self.witness.count("active", "visits", {}) == 0)
        return row

    async def _retention(self, services: Services) -> Row:
        row, held = Row("three years later, and eight"), self.witness.count("active", "submissions", {})
        day = (datetime.now(UTC) + relativedelta(years=3)).date().isoformat()
        _, told = await greffier(self.system, "retention", "preview", "--at", day, "--json")
        going = sum(line["purpose"] == _SERVICES for line in json.loads(told)["going"])
        row.note(f"foretold for {day}: {going} kinds of record", going > 0)
        await self._at(services, relativedelta(years=3))
        left, archived = (self.witness.count(place, "submissions", {}) for place in ("active", "archive"))
        row.note(f"{held - left} of {held} deleted for want of any word, {left} left", held > left == 0)
        row.note(f"{archived} ended contract in the archive", archived == 1)
        await self._at(services, relativedelta(years=8))
        archived, keys = self.witness.count("archive", "submissions", {}), self.witness.count("keys", "keys", _LIVING)
        row.note(f"purged: {archived} in the archive, {keys} keys live", archived == keys == 0)
        return row
