"""P6, P7, P8 under fire: people ask, things are killed, it comes to rest, and plain clients ask whether all was proved.

``python -m tests.chaos.proved --cases 1000 --offices 10 --kills 36 --seed 7`` runs it by hand and prints a report; exit
code 0 only if it held. Settings are those of production but for the heartbeat, as in :mod:`tests.chaos.kept`, and the
settling time. What waits for a minute, an hour or a month waits for the virtual clock, which is moved to the next due
moment whenever nothing happens any more.
Source: P6, P7, P8; reliability § 9; issue 3 "Shown by".
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Final

import aiohttp

from schemas.terms import Right
from tests.chaos.asking import Asking, Mailbox, mail_server
from tests.chaos.checker import Reader
from tests.chaos.faults import Breaker, Fault, all_up, fault
from tests.chaos.group import Group, Person, people
from tests.chaos.kept import HEARTBEAT_MS
from tests.chaos.proof_checker import Proved, check
from tests.chaos.rows_checker import Tables, read_rows
from tests.installation import running
from tests.waiting import until
from workers.rules.cases import ANSWER_MARGIN

KILLS: Final = 6
LONG_KILLS: Final = 36
LONG_PACE: Final = 6.0
SINGLE: Final = ("office", "controller", "redis", "office", "mongo")
REST_S: Final = 1_200.0
LONGEST_S: Final = 3.0  # that a fault is reckoned to take
LOOK_S: Final = 0.1
STILL_S: Final = 2.5
"""Nothing happened for so long: what is to come waits for the clock."""
IN_VAIN: Final = 4
"""Moves of the clock after which nothing happened: what is still open then waits for a person."""
_SEEN: Final = ("attempts", "ledger", "ledger_pending", "receipts", "mails")
A_MINUTE: Final = timedelta(seconds=61)
ORDER_S: Final = 60.0
SILENCE_S: Final = 60.0
EVIDENCE: Final = "greffier_evidence"


def plan(seed: int, kills: int, pace: float = 1.0) -> list[Fault]:
    """So many kills, a third of them in pairs, and offices that are frozen over a repeated order.

    ``pace``: how many times as long the run waits in between, so that there are kills as long as there is work.
    """
    chance = random.Random(seed)
    pairs = max(1, round(kills / 6))
    kinds = ["reboot"] * pairs + [SINGLE[n % len(SINGLE)] for n in range(kills - 2 * pairs)]
    chance.shuffle(kinds)
    middle = len(kinds) // 2  # people go on asking: there are orders to be frozen over
    kinds[middle:middle] = ["frozen"] * max(1, pairs // 2)
    found = [fault(kind, chance) for kind in kinds]
    return [replace(one, wait_s=one.wait_s * pace) for one in found]


@dataclass(frozen=True)
class Report:
    """What a run did and saw."""

    seed: int
    proved: Proved
    kills: Mapping[str, int]
    moves: int
    asked_s: float
    rest_s: float

    @property
    def counts(self) -> bool:
        """Whether the run has tried what it is to show: orders came twice, and so did answers."""
        return self.proved.repeated > 0 and self.proved.absorbed > 0

    @property
    def held(self) -> bool:
        return not self.proved.faults

    def __str__(self) -> str:
        found = self.proved
        lines = [
            f"seed {self.seed}: {sum(self.kills.values())} kills {dict(self.kills)} in {self.asked_s:.1f} s",
            f"closed: {found.cases} cases over {found.stores} stores, {found.receipts} receipts verified",
            f"rows erased or anonymised: {found.effects}",
            f"letters: {found.letters}, handed over again: {found.letters_again}",
            f"orders repeated: {found.repeated}; answers absorbed that had come before: {found.absorbed}",
            f"at rest {self.rest_s:.1f} s after the last request; the clock was moved {self.moves} times",
            *(f"FAULT: {each}" for each in found.faults),
        ]
        return "\n".join(lines)


class Calm:
    """Waits for rest, and moves the clock on to the next due moment whenever nothing happens any more."""

    DUE: ClassVar[tuple[tuple[str, str], ...]] = (("tasks", "send_at"), ("mails", "send_at"), ("cases", "wake_at"))
    """Collection and the field that says when something of it is due."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._reader = group.mongo()
        self._seen: Any = None
        self._since = 0.0
        self._in_vain = 0
        self.moves = 0

    def close(self) -> None:
        self._reader.close()

    async def until_closed(self) -> None:
        """Every case; what does not close is found by name later."""
        cases = self._reader[EVIDENCE]["cases"]
        await self.until(lambda: not cases.count_documents({"proof": {"$ne": "closed"}}))

    async def until(self, done: Callable[[], bool]) -> None:
        """Or until nothing more is to come."""
        deadline = time.monotonic() + REST_S
        while not done() and time.monotonic() < deadline:
            if self.is_still() and not self.move_on():
                return
            await asyncio.sleep(LOOK_S)

    def is_still(self) -> bool:
        """Whether nothing has happened for a while."""
        evidence = self._reader[EVIDENCE]
        seen = [evidence[name].estimated_document_count() for name in _SEEN]
        seen.append(evidence["mails"].count_documents({"send_at": {"$exists": True}}))
        seen.append(evidence["cases"].count_documents({"proof": "closed"}))
        if seen != self._seen:
            self._seen, self._since, self._in_vain = seen, time.monotonic(), 0
        return time.monotonic() - self._since > STILL_S

    def move_on(self) -> bool:
        """To the next moment at which something is due; whether there is one, and moving was not in vain of late."""
        now = self._group.clock.now()
        due = [
            one[field]
            for name, field in self.DUE
            for one in self._reader[EVIDENCE][name].find({field: {"$gt": now}}).sort(field, 1).limit(1)
        ]
        if not due or self._in_vain == IN_VAIN:
            return False
        self._in_vain += 1
        self.move_to(min(due) + timedelta(seconds=1))
        return True

    def move_to(self, moment: datetime) -> None:
        self._group.clock.move_to(moment)
        self._since = time.monotonic()
        self.moves += 1


class GroupBreaker(Breaker):
    """Knows of offices that freeze: the minute passes after which their orders are sent again, and they come back."""

    def __init__(self, group: Group, asking: Asking, seed: int) -> None:
        super().__init__(group, seed)
        self._group = group
        self._asking = asking

    async def _commit(self, what: Fault) -> None:
        if what.kind != "frozen":
            await super()._commit(what)
            return
        office = self._chance.choice(self._group.offices)
        code = office.name.removeprefix("office-")
        with self._group.mongo() as reader:
            office.pause()
            try:
                before = ordered_from(reader, code)
                await until(lambda: ordered_from(reader, code).total() > before.total(), ORDER_S, what="an order to it")
                with contextlib.suppress(AssertionError):  # an order that changes nothing will do
                    await until(lambda: self._would_erase(reader, code), what.down_s[0], what="an erasure")
                once = repeats(ordered_from(reader, code))
                self._group.clock.move_to(self._group.clock.now() + A_MINUTE)
                await until(lambda: repeats(ordered_from(reader, code)) > once, ORDER_S, what="the order again")
            finally:
                office.resume()

    def _would_erase(self, reader: Reader, code: str) -> bool:
        """Whether an office that has not answered yet was told to erase somebody whom it holds."""
        asked = [one for one in self._asking.asked if one.person.right is Right.ERASURE and code in one.person.rows]
        tasks = [f"{name}/{code}" for one in asked for name in one.references]
        ordered = {"_id": {"$in": tasks}, "state": "waiting", "attempt": {"$gt": 0}}
        return reader[EVIDENCE]["tasks"].find_one(ordered) is not None


def ordered_from(reader: Reader, code: str) -> Counter[tuple[str, str]]:
    """How often an office was asked for what: by task, and what of it (the second look is another thing)."""
    orders = reader[EVIDENCE]["attempts"].find({"store": code}, {"asked": 1})
    return Counter((task, ask) for order in orders for task, (_, ask) in order["asked"])


def repeats(ordered: Counter[tuple[str, str]]) -> int:
    """Orders for what had been ordered before."""
    return ordered.total() - len(ordered)


@dataclass(frozen=True)
class Stage:
    """One run's things. ``before``: office → table → rows as they were before anybody asked."""

    group: Group
    mailbox: Mailbox
    session: aiohttp.ClientSession
    everybody: Sequence[Person]
    before: Mapping[str, Tables]
    calm: Calm
    asking: Asking
    seed: int

    async def play(self, faults: Sequence[Fault], cases: int) -> Report:
        """So many ask while things break; the rest ask while one office is silent; then all is checked."""
        asking_for = [person for person in self.everybody if person.right]
        breaker = GroupBreaker(self.group, self.asking, self.seed)
        began = time.monotonic()
        asking = asyncio.create_task(self.asking.all_of(self.session, asking_for[:cases]))
        await breaker.commit(faults)
        await all_up(self.group)
        await self.calm.until(asking.done)
        await asking
        asked_s = time.monotonic() - began
        await self.calm.until_closed()
        if asking_for[cases:]:
            await self._silence(asking_for[cases:])
            await self.calm.until_closed()
        rest_s = time.monotonic() - began - asked_s
        proved = await check(self.group, self.everybody, self.before, self.asking.asked, self.mailbox)
        kills = Counter(name.partition("-")[0] for name in breaker.committed)
        return Report(self.seed, proved, kills, self.calm.moves, asked_s, rest_s)

    async def _silence(self, some: Sequence[Person]) -> None:
        """An office says nothing until the answers have left by their date; then it is back."""
        office, code = self.group.offices[-1], self.group.codes[-1]
        office.pause()
        try:
            before = len(self.asking.asked)
            await self.asking.all_of(self.session, some)
            asked = self.asking.asked[before:]
            for one in asked:
                one.silent = code
            await self._answered_all_the_same(code, [one.references[0] for one in asked])
        finally:
            office.resume()

    async def _answered_all_the_same(self, code: str, references: Sequence[str]) -> None:
        with self.group.mongo() as reader:
            cases, tasks = reader[EVIDENCE]["cases"], reader[EVIDENCE]["tasks"]
            ours = {"case": {"$in": references}, "state": "waiting"}
            await until(
                lambda: tasks.count_documents({**ours, "store": code}) == len(references), SILENCE_S, what="all served"
            )
            await until(
                lambda: not tasks.count_documents({**ours, "store": {"$ne": code}}), SILENCE_S, what="the others heard"
            )
            latest = max(case["answer_by"] for case in cases.find({"_id": {"$in": references}}))
            self.calm.move_to(latest - ANSWER_MARGIN + timedelta(seconds=1))
            answered = {"_id": {"$in": references}, "answer": "answered"}
            await until(lambda: cases.count_documents(answered) == len(references), SILENCE_S, what="the answers")


async def run(
    data: Path, faults: Sequence[Fault], *, seed: int, cases: int, offices: int, silent: int = 4, **options: Any
) -> Report:
    """The whole story on an installation of its own. ``silent``: cases during which one office says nothing for weeks.

    ``options``: as :class:`Group`, for broken variants.
    """
    mailbox = Mailbox()
    env = {"GREFFIER_HEARTBEAT_MS": str(HEARTBEAT_MS), **options.pop("env", {})}
    lasting_s = sum(each.wait_s + min(LONGEST_S, sum(each.down_s) / 2) for each in faults) + 1
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(mail_server(mailbox))
        group = Group(data, offices=offices, smtp_port=port, env=env, **options)
        await stack.enter_async_context(running(group))
        stack.push_async_callback(group.empty)
        session = await stack.enter_async_context(aiohttp.ClientSession(group.doors[0].url))
        calm = Calm(group)
        stack.callback(calm.close)
        everybody = people(cases + silent, group.codes, seed)
        await group.fill(everybody)
        before = await read_rows(group)
        asking = Asking(group, mailbox, seed, rate=cases / lasting_s)
        await asking.known_to_the_controller(session, everybody)
        return await Stage(group, mailbox, session, everybody, before, calm, asking, seed).play(faults, cases)


async def play(cases: int, offices: int, kills: int, pace: float, seed: int, data: Path | None = None) -> Report:
    """One run; in a temporary folder unless told otherwise."""
    with tempfile.TemporaryDirectory(prefix="greffier-chaos-") as folder:
        return await run(
            data or Path(folder), plan(seed, kills, pace), seed=seed, cases=cases, offices=offices, controllers=2
        )


def main() -> int:
    """By hand; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1_000)
    parser.add_argument("--offices", type=int, default=10)
    parser.add_argument("--kills", type=int, default=LONG_KILLS)
    parser.add_argument("--pace", type=float, default=LONG_PACE)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--data", type=Path, help="keep servers, keys and logs here")
    asked = parser.parse_args()
    report = asyncio.run(play(asked.cases, asked.offices, asked.kills, asked.pace, asked.seed, asked.data))
    print(report)
    return 0 if report.held and report.counts else 1


if __name__ == "__main__":
    sys.exit(main())
