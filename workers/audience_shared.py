"""A whole audience read by several processes side by side, in the order of one.

Opening a million records is work for a processor, and one process uses one. Each of these takes the next stretch of
persons, reads it as :mod:`workers.audience` does (page by page, looked at last of all, recorded) and hands back text.
A reader that ends takes its processes along: they wait for its word, and it comes no more.
Source: R24, R29; design § 6 ``audience``, § 8 "audience read".
"""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import os
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Final

from schemas.errors import GreffierError
from schemas.interpreter import collect_seldom
from schemas.terms import Purpose
from workers.audience import Audience
from workers.gate import Reader
from workers.members import LeftOut, rows
from workers.one_click import read_links
from workers.services import Services, Trust, open_services
from workers.settings import ControllerSettings

STRETCH: Final = 20_000
"""Persons that one process reads before it hands over."""

_AHEAD: Final = 2
"""Stretches a process has been told of at most."""

Stretch = tuple[str, str]
"""After which person it begins, and its last one."""


class ReaderDied(GreffierError):
    """A process that read a part of the audience is gone: what it would have said is not known."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is read, by whom. ``settings``: where it stands; ``as_rows``: each member with all there is, as JSON."""

    settings: ControllerSettings
    reader: Reader
    purpose: Purpose
    subsidiary: str | None = None
    as_rows: bool = False

    def audience(self, services: Services) -> Audience:
        """What one process reads of it, or all."""
        return Audience(services, self.reader, self.purpose, self.subsidiary)


@dataclass(frozen=True, slots=True)
class Part:
    """What stands in one stretch: a line a member, and who was left out."""

    lines: list[str] = field(repr=False)
    left_out: Counter[LeftOut]


async def in_parts(
    services: Services, wanted: Wanted, processes: int = 0, stretch: int = STRETCH
) -> AsyncIterator[Part]:
    """All of it, by person. ``processes``: as many as there are processors when 0; none where one stretch is all.

    Raises like :meth:`workers.audience.Audience.page`, and :class:`ReaderDied`.
    """
    await wanted.audience(services).asked()
    begins, ends = await anext(stretches := services.people.stretches(stretch))
    if not ends:
        yield await _part(services, wanted, (begins, ends))
        return
    hands = [_Hand(wanted) for _ in range(processes or len(os.sched_getaffinity(0)))]
    try:
        hands[0].tell((begins, ends))
        under_way, free = deque(hands[:1]), cycle([*hands[1:], hands[0]])
        async for following in stretches:
            hand = next(free)
            hand.tell(following)
            under_way.append(hand)
            if len(under_way) == _AHEAD * len(hands):
                yield await under_way.popleft().told()
        while under_way:
            yield await under_way.popleft().told()
    finally:
        for hand in hands:
            hand.end()


class _Hand:
    """One process that reads. What it is told first it answers first."""

    def __init__(self, wanted: Wanted) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(target=_serve, args=(theirs, wanted), daemon=True)
        self._process.start()
        theirs.close()  # theirs alone from now on: when they are gone, ours says so

    def tell(self, stretch: Stretch) -> None:
        with _living():
            self._ours.send(stretch)

    async def told(self) -> Part:
        """Its next answer. Raises what it raised."""
        with _living():
            answer: Part | Exception = await asyncio.to_thread(self._ours.recv)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self) -> None:
        self._ours.close()
        self._process.terminate()
        self._process.join()


@contextmanager
def _living() -> Iterator[None]:
    """Raises :class:`ReaderDied` when whom we talk to has ended."""
    try:
        yield
    except (EOFError, OSError):
        raise ReaderDied("a process that reads the audience has ended") from None


def _serve(connection: Connection, wanted: Wanted) -> None:
    """Read stretch after stretch until nobody asks any more."""
    collect_seldom()
    gc.disable()  # what a page makes goes by itself, and to look for more took a thirtieth of the time
    with asyncio.Runner() as runner:
        services = runner.run(_opened(wanted.settings))
        while True:
            try:
                stretch: Stretch = connection.recv()
            except EOFError:
                return
            try:
                connection.send(runner.run(_part(services, wanted, stretch)))
            except GreffierError as error:
                connection.send(error)


async def _opened(settings: ControllerSettings) -> Services:
    return open_services(settings, Trust.read(settings))


async def _part(services: Services, wanted: Wanted, stretch: Stretch) -> Part:
    links = read_links(wanted.settings, services.trust.references) if wanted.as_rows else None
    lines: list[str] = []
    left_out: Counter[LeftOut] = Counter()
    async for page in wanted.audience(services).pages(*stretch):
        if wanted.as_rows:
            shown = rows(page.members, links, services.clock())
            lines += [json.dumps(row, ensure_ascii=False) for row in shown]
        else:
            lines += [member.email for member in page.members]
        left_out.update(page.left_out)
    return Part(lines, left_out)
