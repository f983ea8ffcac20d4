"""Interleavings of store operations: whoever waits for a store waits for his turn first, and a seeded chooser gives it.

The code under test is the shipped one and so are the servers. Only the handles to the databases (and to Redis) are
wrapped (`stepping`): each operation stops before it is sent until its actor is chosen, and one operation is in flight
at a time. So a schedule, which is the list of who was chosen when, decides everything, and it can be played again.

An actor may die at a step: nothing of it runs any more, as after ``kill -9`` between two operations.
Source: P5; reliability § 7 rule 10 ("prove by enumerating interleavings, not by luck").
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import Context, ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

_SETTLING = 8
"""Turns of the event loop that code needs between two operations: it awaits nothing else, so a few are plenty."""

_PATIENCE = 20
"""How often so many turns are given when nobody comes: some code has long ways to go."""

_MAX_STEPS = 4_000


@dataclass
class Life:
    """One process of an actor. ``dies_at``: the number of the operation it does not live to send."""

    actor: str
    dies_at: int | None = None
    steps: int = 0
    dead: bool = False
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    """What it has in hand at this moment."""


@dataclass
class Turn:
    """An operation that waits to be sent."""

    life: Life
    what: str
    granted: asyncio.Future[None]
    ready: Callable[[], bool]

    @property
    def actor(self) -> str:
        return self.life.actor


class Chooser(Protocol):
    """Says whose turn it is."""

    def choose(self, turns: list[Turn]) -> Turn: ...


@dataclass
class Uniform:
    """Everybody is as likely as everybody else, at every step."""

    rng: random.Random

    def choose(self, turns: list[Turn]) -> Turn:
        return self.rng.choice(turns)


@dataclass
class Priorities:
    """The most urgent actor runs until, at a few random steps, it becomes the least urgent.

    Finds an order that needs `changes` + 1 constraints with a known probability, where uniform choice hardly ever lets
    one actor stand still for long. Source: Burckhardt et al., A Randomized Scheduler with Probabilistic Guarantees.
    """

    rng: random.Random
    changes: int
    length: int = 120
    _urgency: dict[str, float] = field(default_factory=dict)
    _step: int = 0

    def __post_init__(self) -> None:
        self._change_at = {self.rng.randrange(self.length) for _ in range(self.changes)}

    def choose(self, turns: list[Turn]) -> Turn:
        for turn in turns:
            self._urgency.setdefault(turn.actor, self.rng.random())
        chosen = max(turns, key=lambda turn: self._urgency[turn.actor])
        self._step += 1
        if self._step in self._change_at:
            self._urgency[chosen.actor] = min(self._urgency.values()) - 1
        return chosen


@dataclass
class Bounded:
    """Every schedule with at most `preemptions` switches away from an actor that could have gone on, one by one.

    ``in_turn``: whoever follows one that has ended, or waits, is the one who came first; else everybody in turn, which
    is as many schedules as there are orders.
    """

    preemptions: int
    in_turn: bool = False
    path: list[int] = field(default_factory=list)
    _widths: list[int] = field(default_factory=list)
    _left: int = 0
    _last: str = ""

    def choose(self, turns: list[Turn]) -> Turn:
        options = self._options(turns)
        depth = len(self._widths)
        if depth == len(self.path):
            self.path.append(0)
        self._widths.append(len(options))
        chosen = options[self.path[depth]]
        if self._last and chosen.actor != self._last and options[0].actor == self._last:
            self._left -= 1
        self._last = chosen.actor
        return chosen

    def _options(self, turns: list[Turn]) -> list[Turn]:
        first: dict[str, Turn] = {}
        for turn in turns:
            first.setdefault(turn.actor, turn)
        if self._last not in first:
            return list(first.values())[: 1 if self.in_turn else None]
        others = [turn for actor, turn in first.items() if actor != self._last] if self._left else []
        return [first[self._last], *others]

    def restart(self) -> Bounded | None:
        """The next schedule, or ``None`` after the last."""
        path = self.path[: len(self._widths)]
        while path and path[-1] + 1 >= self._widths[len(path) - 1]:
            path.pop()
        if self._widths and not path:
            return None
        if path:
            path[-1] += 1
        return Bounded(self.preemptions, self.in_turn, path, _left=self.preemptions)


def first_bounded(preemptions: int, *, in_turn: bool = False) -> Bounded | None:
    """The first of all schedules with at most that many preemptions."""
    return Bounded(preemptions, in_turn, _left=preemptions)


_life: ContextVar[Life | None] = ContextVar("life", default=None)


def _always() -> bool:
    return True


def _unheard(_: str) -> None:
    return None


def _nothing_helps() -> bool:
    return False


class Schedule:
    """One run of some actors, operation by operation. ``trace``: who did what, in order; ``watch`` hears each.

    ``stuck``: asked when nobody can go on; whether somebody can now.
    """

    def __init__(
        self, chooser: Chooser, watch: Callable[[str], None] = _unheard, stuck: Callable[[], bool] = _nothing_helps
    ) -> None:
        self._chooser = chooser
        self._watch = watch
        self._stuck = stuck
        self._waiting: list[Turn] = []
        self._in_flight: asyncio.Future[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.trace: list[str] = []

    async def run(self, **actors: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run the actors until all are done. An actor's own failure ends the run and is raised."""
        for name, actor in actors.items():
            self.spawn(name, actor)
        try:
            while await self._somebody_left():
                await self._grant_one()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def spawn(self, name: str, actor: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """One more actor from now on: a message that somebody has sent, for one. It is nobody's child."""
        self._tasks.append(asyncio.create_task(actor(), name=name, context=Context()))

    async def live(self, life: Life, body: Awaitable[None]) -> bool:
        """Let one process of an actor do something; ``False`` when it died on the way."""
        task = asyncio.create_task(_in_life(life, body))
        life.tasks.add(task)
        try:
            await task
        except asyncio.CancelledError:
            if not life.dead:
                task.cancel()
                raise
            return False
        except Exception:
            if not life.dead:
                raise
            return False  # nobody hears what a dead process complains of
        finally:
            life.tasks.discard(task)
        return True

    def kill(self, life: Life) -> None:
        """End a process from outside, whatever it has in hand."""
        if not life.dead:
            self.trace.append(f"{life.actor}: dies")
        life.dead = True
        for turn in self._waiting:
            if turn.life is life:
                turn.granted.cancel()
        for task in life.tasks:
            task.cancel()

    async def step(self, what: str, ready: Callable[[], bool] = _always) -> None:
        """Wait for a turn that is no operation, at the earliest when ``ready``."""
        async with self.operation(what, ready):
            pass

    @asynccontextmanager
    async def operation(self, what: str, ready: Callable[[], bool] = _always) -> AsyncIterator[None]:
        """What is done inside is one step. Outside of any actor it is done at once."""
        life = _life.get()
        if life is None:
            yield
            return
        if life.dead or life.steps == life.dies_at:
            self.kill(life)
            raise asyncio.CancelledError
        life.steps += 1
        turn = Turn(life, what, asyncio.get_running_loop().create_future(), ready)
        self._waiting.append(turn)
        try:
            await turn.granted
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            raise
        try:
            yield
        finally:
            if self._in_flight and not self._in_flight.done():
                self._in_flight.set_result(None)

    async def _grant_one(self) -> None:
        ready = [turn for turn in self._waiting if turn.ready()]
        if not ready and self._stuck():
            return
        if not ready or len(self.trace) > _MAX_STEPS:
            raise AssertionError(f"nobody can go on: {[(turn.actor, turn.what) for turn in self._waiting]}")
        turn = self._chooser.choose(ready)
        self._waiting.remove(turn)
        self.trace.append(f"{turn.actor}: {turn.what}")
        self._in_flight = asyncio.get_running_loop().create_future()
        turn.granted.set_result(None)
        await self._in_flight
        self._watch(turn.what)

    async def _somebody_left(self) -> bool:
        """Let everybody come to the next operation; ``False`` when all are done."""
        for _ in range(_PATIENCE):
            for _ in range(_SETTLING):
                await asyncio.sleep(0)
            for task in self._tasks:
                if task.done():
                    task.result()
            self._tasks = [task for task in self._tasks if not task.done()]
            if not self._tasks or any(turn.ready() for turn in self._waiting):
                break
        return bool(self._tasks)


async def _in_life(life: Life, body: Awaitable[None]) -> None:
    _life.set(life)
    await body
