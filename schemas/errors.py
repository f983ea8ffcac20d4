"""Everything that can go wrong, by what its reader should do next.

::

    GreffierError
    ├── ConfigurationError     mend the register, a setting or a key, then start again
    ├── Temporary              wait: nothing is wrong with the event itself
    │   ├── StoreUnavailable   MongoDB cannot promise now
    │   └── QueueUnavailable   Redis cannot promise now, or the queue is full
    └── InvalidMessage         no waiting helps: refuse at the door, park at the worker
        ├── InvalidBody        a body its shape refuses; every fault at once
        └── Conflict           the same event id came before with another body

No error carries a submitted value: a code, a JSON Pointer, a name from the register, nothing else.
Source: P4; ASVS 16.2.5.
"""

from __future__ import annotations

from dataclasses import dataclass


class GreffierError(Exception):
    """The root of the tree."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in a configuration: where it stands and what it is."""

    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


class ConfigurationError(GreffierError):
    """A register, a setting or a key that must be mended before anything starts; names every fault at once."""

    def __init__(self, subject: str, *faults: Fault) -> None:
        self.subject = subject
        self.faults = faults
        super().__init__("; ".join([f"{subject}: {len(faults)} fault(s)", *map(str, faults)]))


class Temporary(GreffierError):
    """Nothing is wrong with the event; try again later. Costs the event no retry."""


class StoreUnavailable(Temporary):
    """MongoDB does not answer or cannot promise durability now."""


class QueueUnavailable(Temporary):
    """Redis does not answer, is near its memory limit, or the queue is full. ``retry_after_s``: seconds to wait."""

    def __init__(self, code: str, retry_after_s: int = 5) -> None:
        self.code = code
        self.retry_after_s = retry_after_s
        super().__init__(code)


class InvalidMessage(GreffierError):
    """What came in cannot be accepted as it is. ``code``: a short reason; ``pointer``: a JSON Pointer to the place."""

    def __init__(self, code: str, pointer: str = "") -> None:
        self.code = code
        self.pointer = pointer
        super().__init__(f"{code} at {pointer}" if pointer else code)


class Conflict(InvalidMessage):
    """The same event id with another body: parked, never merged."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a submitted body. ``detail`` is fixed text of ours, never what was submitted."""

    code: str
    pointer: str
    detail: str


class InvalidBody(InvalidMessage):
    """A body that its shape refuses; ``problems`` holds every fault at once."""

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__(problems[0].code, problems[0].pointer)
