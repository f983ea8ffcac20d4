"""How an order reaches what is tried, and dies on its way: in this process, or as a file that a command answers.

Over HTTP: :mod:`workers.conform.over_http`.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol, cast

from schemas.by_hand import read_tokens, write_tokens
from schemas.errors import GreffierError, QueueUnavailable, StoreUnavailable, Temporary
from workers.actors.subsidiary import serve_order
from workers.by_hand import office_without_line
from workers.conform.dying import Death, Fate, Mortal
from workers.conform.group import CODE
from workers.journal_replay import replay
from workers.office import Office
from workers.stores.subsidiaries.adapter import StoreAdapter
from workers.subsidiary_settings import SubsidiarySettings

_TRIES: Final = 5
_TROUBLES: Final = 6
"""Calls of its store after which it goes away, one after the other, before it stays."""


class Unanswered(GreffierError):
    """What is tried did not do what it was told to, whatever was waited for: the reason, in words of ours."""


class Carrier(Protocol):
    """One way to what is tried."""

    async def deliver(self, order: str) -> list[str]:
        """Every sealed receipt it answers with; none where it refuses. Raises :class:`Unanswered`."""
        ...

    async def deliver_with_trouble(self, order: str) -> list[str]:
        """The same while its store goes away in the middle, where it can be made to, and then what carries receipts."""
        ...

    async def die_at(self, order: str, step: int) -> bool:
        """Deliver, and kill it at a step; ``False``: there is no such step any more, and it may have lived."""
        ...

    async def replay(self) -> None:
        """Have the journal held against a restored store."""
        ...

    async def close(self) -> None: ...


class _Tray:
    """An :class:`workers.office.Outbox` that keeps what is put into it."""

    def __init__(self) -> None:
        self.tokens: list[str] = []

    def post(self, token: str) -> None:
        self.tokens.append(token)


class InProcess:
    """Any adapter, under the worker's own serving; a step is each call of store, journal or outbox."""

    def __init__(self, settings: SubsidiarySettings, open_adapter: Callable[[], StoreAdapter]) -> None:
        self._settings = settings
        self._open_adapter = open_adapter
        self._tray = _Tray()
        self._open = AsyncExitStack()
        self._office: Office | None = None

    async def _at_work(self) -> Office:
        if self._office is None:
            office = office_without_line(CODE, self._settings, self._open_adapter, self._tray, [])
            self._office = await self._open.enter_async_context(office)
        return self._office

    async def deliver(self, order: str) -> list[str]:
        office = await self._at_work()
        for _ in range(_TRIES):
            self._tray.tokens.clear()
            with suppress(Temporary):
                await serve_order(office, order)
                return list(self._tray.tokens)
        raise Unanswered("its store does not answer")

    async def deliver_with_trouble(self, order: str) -> list[str]:
        office = await self._at_work()
        for step in range(_TROUBLES):
            store = Mortal(office.store, Fate(step, StoreUnavailable("away")))
            with suppress(Temporary):
                await serve_order(replace(office, store=cast(StoreAdapter, store)), order)
        with suppress(Temporary):
            await serve_order(replace(office, outbox=_Away()), order)
        return await self.deliver(order)

    async def die_at(self, order: str, step: int) -> bool:
        office, fate = await self._at_work(), Fate(step, Death())
        mortal = replace(
            office,
            store=cast(StoreAdapter, Mortal(office.store, fate)),
            journal=cast(Any, Mortal(office.journal, fate)),
            outbox=cast(Any, Mortal(self._tray, fate)),
        )
        try:
            await serve_order(mortal, order)
        except Death:
            return True
        finally:
            await self.close()  # a new process opens store and journal anew
        return False

    async def replay(self) -> None:
        office = await self._at_work()
        await replay(office.store, office.journal)

    async def close(self) -> None:
        self._office = None
        await self._open.aclose()


class _Away:
    def post(self, token: str) -> None:
        raise QueueUnavailable("receipts")


class Command:
    """Programs of the office's, each with its folder and environment."""

    def __init__(self, folder: Path, environment: Mapping[str, str], log: Path) -> None:
        self._folder = folder
        self._environment = {**os.environ, **environment}
        self._log = log

    def add(self, environment: Mapping[str, str]) -> None:
        """What is known only now."""
        self._environment.update(environment)

    async def start(self, words: Sequence[str]) -> asyncio.subprocess.Process:
        """Start it and return at once; what it says goes to the log."""
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *words,
                cwd=self._folder,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that what it starts itself ends with it
            )

    async def run(self, words: Sequence[str], patience_s: float = 120.0) -> int:
        """Run it to its end. Raises :class:`Unanswered` when it has none."""
        process = await self.start(words)
        try:
            return await asyncio.wait_for(process.wait(), patience_s)
        except TimeoutError:
            await end(process)
            raise Unanswered("its command does not end") from None

    async def replay(self, words: Sequence[str]) -> None:
        """Run it to its end. It may say by 1 that somebody is left to a person, as of a correction, which no journal
        holds; what came back is looked for all the same. Raises :class:`Unanswered`.
        """
        if await self.run(words) not in (0, 1):
            raise Unanswered("its replay failed")


def kill(process: asyncio.subprocess.Process) -> None:
    """End it and all it started, as a power cut would."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


async def end(process: asyncio.subprocess.Process) -> None:
    """The same, and wait until it is gone."""
    kill(process)
    await process.wait()


class ByFile:
    """A command that answers a file of orders with a file of receipts; killed as its journal grows, or at its end."""

    STEPS: Final = 5

    def __init__(
        self, command: Command, words: Sequence[str], again: Sequence[str], folder: Path, journal: Path
    ) -> None:
        """``words`` are killed and run; ``again``: the replay."""
        self._command = command
        self._words = words
        self._again = again
        self._journal = journal
        self.orders = folder / "orders.json"
        self.receipts = folder / "receipts.json"

    async def deliver(self, order: str) -> list[str]:
        self._put(order)
        await self._command.run(self._words)
        return read_tokens(self.receipts, "receipts")[1] if self.receipts.exists() else []

    async def deliver_with_trouble(self, order: str) -> list[str]:
        return await self.deliver(order)  # nothing carries its receipts but a hand

    async def die_at(self, order: str, step: int) -> bool:
        self._put(order)
        process = await self._command.start(self._words)
        seen, grown = self._size(), 0
        while process.returncode is None:
            await asyncio.sleep(0.001)
            if self._size() != seen:
                seen, grown = self._size(), grown + 1
            if step == 0 or grown >= step or (self.receipts.exists() and step == self.STEPS - 1):
                await end(process)
        return step < self.STEPS

    async def replay(self) -> None:
        await self._command.replay(self._again)

    async def close(self) -> None:
        """Nothing of it stays."""

    def _put(self, order: str) -> None:
        self.receipts.unlink(missing_ok=True)
        write_tokens(self.orders, "orders", CODE, [order])

    def _size(self) -> int:
        return self._journal.stat().st_size if self._journal.exists() else 0
