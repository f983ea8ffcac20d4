"""The dry run of an office's mapping against its live store, and of a disposal there: it changes nothing.

Source: R25, R28; design § 5.5.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from schemas.calendar import civil_day
from schemas.errors import Fault
from schemas.register import Register, load_register
from schemas.terms import Right
from workers.stores.subsidiaries.adapter import DisposingAdapter, Period, StoreAdapter, StoreRefuses, Subject, Terms
from workers.stores.subsidiaries.decisions import normal_form
from workers.stores.subsidiaries.mapping import load_mapping
from workers.subsidiary import opened


@dataclass(frozen=True, slots=True)
class Checked:
    """What a mapping would do. ``example``: right → counts for one person of the store; empty where it holds nobody.

    ``without_retention``: collections of which nothing ever goes because its time is over; ``over``: what would go of
    the others today, where a register says for how long it may be held.
    """

    faults: list[Fault]
    example: dict[str, list[dict[str, Any]]]
    without_retention: list[str]
    over: list[dict[str, Any]] | None = None

    def as_json(self) -> dict[str, Any]:
        faults = [{"path": fault.path, "problem": fault.problem} for fault in self.faults]
        told = {"faults": faults, "example": self.example, "without_retention": self.without_retention}
        return told if self.over is None else told | {"over": self.over}


def check_mapping(mapping_path: Path, register_path: Path | None = None) -> Checked:
    """A mapping against its live store: every fault, and what would be done for the first person found there.

    ``register_path``: the group's register, to count what is over by it today.
    Changes nothing and names nobody. Raises :class:`schemas.errors.ConfigurationError` and
    :class:`schemas.errors.StoreUnavailable`.
    """
    mapping = load_mapping(mapping_path)
    register = load_register(register_path) if register_path is not None else None

    async def run() -> Checked:
        async with opened(mapping) as store:
            faults = await store.check()
            if faults:
                return Checked(faults, {}, mapping.without_retention())
            over = await _over(store, register) if register is not None else None
            return Checked(faults, await _example(store), mapping.without_retention(), over)

    return asyncio.run(run())


async def _over(store: StoreAdapter, register: Register) -> list[dict[str, Any]]:
    if not isinstance(store, DisposingAdapter):
        return [{"refused": "not-supported"}]
    periods = {name: Period(rule.active, rule.archive) for name, rule in register.retention.items()}
    try:
        tallies = await store.plan_disposal(Terms(civil_day(datetime.now(UTC)), periods))
    except StoreRefuses as error:
        return [{"refused": error.reason}]
    return [tally.as_outcome() for tally in tallies]


async def _example(store: StoreAdapter) -> dict[str, list[dict[str, Any]]]:
    address = await _somebody(store)
    if address is None:
        return {}
    subject = Subject((address,), datetime.now(UTC))
    return {right.value: await _planned(store, right, subject) for right in Right}


async def _somebody(store: StoreAdapter) -> str | None:
    async with aclosing(store.identifiers()) as pages:
        async for page in pages:
            for address in filter(None, map(normal_form, page)):
                return address
    return None


async def _planned(store: StoreAdapter, right: Right, subject: Subject) -> list[dict[str, Any]]:
    try:
        return [tally.as_outcome() for tally in await store.plan(right, subject)]
    except StoreRefuses as error:
        return [{"refused": error.reason}]
