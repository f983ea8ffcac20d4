"""What is on its way in a schedule: each message is an actor of its own, and arrives when it is its turn.

So it is delayed and overtaken as the schedule has it; luck says whether it is lost or doubled. It stands for Redis and
for nothing else: what is carried, and who takes it, is shipped code. Once nobody disturbs, messages wait in a row.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any

from tests.chaos.stepping import Baton
from workers.services import utc_now


@dataclass(frozen=True)
class Message:
    """An order or a receipt between the parties, or an id in the controller's own queue."""

    kind: str
    what: tuple[str, ...]
    number: int

    @property
    def name(self) -> str:
        return f"{self.kind} {self.what[0]} #{self.number}"


@dataclass
class Luck:
    """What becomes of messages and of whoever works on them. Without `rng` all arrive once, and nobody dies.

    ``office_dies_at``: the operation that the first office does not live to send, whatever luck says.
    """

    rng: random.Random | None = None
    lost: float = 0.0
    doubled: float = 0.0
    dying: float = 0.0
    office_dies_at: int | None = None

    def copies(self) -> int:
        """How often one message arrives."""
        if self.rng is None:
            return 1
        drawn = self.rng.random()
        return 0 if drawn < self.lost else 2 if drawn < self.lost + self.doubled else 1

    def dies_at(self, most: int) -> int | None:
        """The operation that a process does not live to send."""
        return self.rng.randrange(most) if self.rng and self.rng.random() < self.dying else None


@dataclass
class Carrier:
    """``travel``: what a message does as an actor."""

    baton: Baton
    luck: Luck
    travel: Callable[[Message], Coroutine[Any, Any, None]]
    waiting: list[Message] = field(default_factory=list)
    sent: list[Message] = field(default_factory=list)
    under_way: int = 0
    _numbers: int = 0

    def send(self, kind: str, *what: str) -> None:
        self._numbers += 1
        message = Message(kind, what, self._numbers)
        self.sent.append(message)
        schedule = self.baton.schedule
        if schedule is None:
            self.waiting.append(message)
            return
        for _ in range(self.luck.copies()):
            self.under_way += 1
            schedule.spawn(message.name, lambda: self._carried(message))

    async def _carried(self, message: Message) -> None:
        try:
            await self.travel(message)
        finally:
            self.under_way -= 1

    def take(self) -> list[Message]:
        """All that waits, oldest first."""
        taken, self.waiting[:] = list(self.waiting), []
        return taken


class WorldClock:
    """Real time, and as much ahead of it as has been leapt over."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return utc_now() + self.ahead


class Postman:
    """Takes letters to people. That each arrives is his affair, not the schedule's."""

    def __init__(self, baton: Baton) -> None:
        self._baton = baton

    async def send(self, message: EmailMessage) -> None:
        async with self._baton.operation("hands over a letter"):
            return
