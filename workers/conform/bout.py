"""What a trial works with: the controller's side, the way to what is tried, the scratch store, people of its own.

Source: R25, R28; design § 6.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from schemas.fields import wire_moment
from schemas.terms import Right
from workers.conform.bench import Bench, Person, Standing
from workers.conform.carriers import Carrier, Unanswered
from workers.conform.group import Answers, Entry, Group
from workers.conform.report import Trial
from workers.rules.receipts import look_agrees


@dataclass
class Bout:
    """One run. ``without``: what the description says is not served; ``periods``: the group's, by retention rule."""

    group: Group
    carrier: Carrier
    bench: Bench
    many: int
    without: Collection[str] = ()
    periods: Sequence[Mapping[str, str]] = ()
    _numbers: Any = None

    def __post_init__(self) -> None:
        self._numbers = count(1)

    def somebody(self) -> str:
        """An address that nobody had before."""
        return f"person-{next(self._numbers)}@example.com"

    def canary(self) -> str:
        """An address of the fictional kind that can be planted."""
        return f"canary.{secrets.token_hex(8)}@example.org"

    def serves(self, right: str) -> bool:
        """Whether the description leaves it in."""
        return right not in self.without

    async def person(self, rows: int = 3, *, kept: bool = False, over: bool = False) -> tuple[str, Standing]:
        """Somebody with records, and what stands of them."""
        email = self.somebody()
        [standing] = await self.bench.fill(Person(email, rows, kept, over))
        return email, standing

    async def standing(self, email: str) -> Standing:
        [found] = await self.bench.count(email)
        return found

    def no(self, email: str, at: datetime) -> Entry:
        """A "no" to being written to, said then."""
        return self.group.entry(email, "objection", received_at=wire_moment(at))

    async def send(self, *entries: Any, **changes: Any) -> Answers:
        return self.group.read(await self.carrier.deliver(self.group.order(*entries, **changes)))

    async def ask(self, trial: Trial, entry: Entry) -> Entry:
        """One entry's answer. Raises :class:`Unanswered` where there is not exactly one."""
        return self.only(trial, await self.send(entry), entry)

    async def ask_all(self, trial: Trial, emails: Sequence[str]) -> list[Entry]:
        """Erasures of several people in one order; their answers."""
        asked = [self.group.entry(email) for email in emails]
        answers = await self.send(*asked)
        return [self.only(trial, answers, entry) for entry in asked]

    async def looked_at(self, trial: Trial, asked: Entry, answer: Entry) -> None:
        """Ask what stands now, and hold it against what was answered."""
        look = await self.ask(trial, {**asked, "ask": "look"})
        agrees = look_agrees(Right(asked["right"]), answer, look)
        trial.check(agrees, f"{asked['right']}: the second statement contradicts the first")

    def only(self, trial: Trial, answers: Answers, entry: Entry) -> Entry:
        found = answers.of(entry)
        if not trial.check(len(found) == 1, "an entry has not exactly one answer"):
            raise Unanswered("an entry has not exactly one answer")
        return found[0]


def an_hour_ago() -> Callable[[int], datetime]:
    """Moments of the past hour, by their minute."""
    began = datetime.now(UTC) - timedelta(hours=1)
    return lambda minute: began + timedelta(minutes=minute)


def counted(answer: Entry, what: str) -> int:
    """A count of a receipt's entry, over all collections."""
    return sum(one.get(what, 0) for one in answer["collections"])


def gone(answer: Entry) -> int:
    """Rows that a receipt's entry says are erased or anonymised."""
    return counted(answer, "erased") + counted(answer, "anonymised")
