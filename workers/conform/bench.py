"""The scratch store, seen by a program of the office's own: one that lives as long as the run and speaks JSON lines.

It must not be the adapter: who is tried does not count for himself. What it is asked stands in
``docs/examples/conform/bench.py``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from schemas.errors import ConfigurationError, Fault

_LINE: Final = 16 * 1024 * 1024
_PATIENCE_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Person:
    """Whom to put in: about so many rows; ``kept``: some of them must stay, on a ground; ``over``: of long ago."""

    email: str
    rows: int = 3
    kept: bool = False
    over: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """Rows of one person that an erasure must remove, and must keep; whether an objection, or a restriction, stands.

    ``consents``: how much rests on consent; ``given``: records that hold what the person gave on consent or for a
    contract; ``fields``: what stands in those that can be corrected, by the group's names.
    """

    goes: int
    stays: int
    objected: bool = False
    restricted: bool = False
    consents: int = 0
    given: int = 0
    fields: Mapping[str, str | None] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Self:
        """As the program says it."""
        return cls(
            said["goes"],
            said["stays"],
            bool(said.get("objected")),
            bool(said.get("restricted")),
            said.get("consents", 0),
            said.get("given", 0),
            said.get("fields", {}),
        )

    @property
    def rows(self) -> int:
        return self.goes + self.stays


class Bench:
    """The running program. ``async with``: started and empty inside, ended after."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self._command = list(command)
        self._folder = folder
        self._environment = dict(environment)
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Bench:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._command, cwd=self._folder, env=self._environment, stdin=pipe, stdout=pipe, limit=_LINE
        )
        if (await self._ask(do="begin"))["rows"]:
            await self.__aexit__()
            raise ConfigurationError("bench", Fault("store", "is not empty: conform fills and empties a scratch store"))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            with suppress(BrokenPipeError, ConnectionResetError):
                await self._process.stdin.wait_closed()
            await self._process.wait()

    async def fill(self, *people: Person) -> list[Standing]:
        """Put people in; what stands of each."""
        found = (await self._ask(do="fill", people=[asdict(one) for one in people]))["made"]
        return [Standing.of(one) for one in found]

    async def count(self, *emails: str) -> list[Standing]:
        """What stands of each now."""
        found = (await self._ask(do="count", emails=list(emails)))["standing"]
        return [Standing.of(one) for one in found]

    async def save(self) -> None:
        """Take a backup."""
        await self._ask(do="save")

    async def load(self) -> None:
        """Restore it."""
        await self._ask(do="load")

    async def _ask(self, **asked: Any) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise RuntimeError("the bench was not started")
        try:
            process.stdin.write(json.dumps(asked).encode() + b"\n")
            await process.stdin.drain()
            line = await asyncio.wait_for(process.stdout.readline(), _PATIENCE_S)
            found: dict[str, Any] = json.loads(line)
        except (OSError, ValueError, TimeoutError):
            fault = Fault(str(asked["do"]), "the program ended, or did not answer with one JSON object")
            raise ConfigurationError("bench", fault) from None
        return found
