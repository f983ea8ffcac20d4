"""Controllers and offices that prove wrongly: ``python -m tests.chaos.unproved NAME WORDS``, in place of ``greffier``.

A run that does not catch them shows nothing. Each is the shipped process, at virtual time, but for one thing:

| name | what it does wrong |
| --- | --- |
| `closes-early` | a controller that closes a case once all have answered, without the second look |
| `keeps-later` | a controller that believes and acknowledges a receipt, and keeps it some seconds later |
| `forgets` | an office that does not know what it has done already, and answers anew |
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from typing import Final

from schemas import commands
from tests.chaos.moved import move
from workers.rules import cases as rules
from workers.rules.cases import TaskState
from workers.stores.cases import Cases
from workers.stores.mongo import Document
from workers.stores.subsidiaries.journal import Journal

LATER_S: Final = 20.0


def closes_early() -> None:
    vars(rules)["_is_proved"] = lambda task: task.state is not TaskState.WAITING


def keeps_later() -> None:
    keep = Cases.keep_receipt
    behind: set[asyncio.Task[bool]] = set()

    async def later(self: Cases, receipt: Document) -> bool:
        await asyncio.sleep(LATER_S)  # the fault itself
        return await keep(self, receipt)

    async def at_once(self: Cases, receipt: Document) -> bool:
        task = asyncio.create_task(later(self, receipt))
        behind.add(task)
        task.add_done_callback(behind.discard)
        return True

    Cases.keep_receipt = at_once  # type: ignore[method-assign]


def forgets() -> None:
    def nothing(self: Journal, task: str) -> None:
        return None

    Journal.done = nothing  # type: ignore[method-assign]
    Journal.begun = nothing  # type: ignore[method-assign]


VARIANTS: Final[Mapping[str, Callable[[], None]]] = {
    "closes-early": closes_early,
    "keeps-later": keeps_later,
    "forgets": forgets,
}


def command(name: str, *words: str) -> tuple[str, ...]:
    """What to run in place of the shipped process."""
    return "-m", "tests.chaos.unproved", name, *words


if __name__ == "__main__":
    _, variant, *words = sys.argv
    move(words[0])
    VARIANTS[variant]()
    sys.argv[1:] = words
    commands.main()
