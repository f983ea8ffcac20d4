"""How a case stands that another organisation's system asked for: in our words, which each protocol puts into its own.

Nothing here depends on whether the person is known: whoever asks sees the same states at the same times for an address
that nobody has. Source: rights-protocols § 1, § 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from schemas.errors import GreffierError
from workers.rules.decisions import Refusal

_SECOND = timedelta(seconds=1)


class Fault(GreffierError):
    """A call that is refused. ``status``: of HTTP; ``message``: a sentence of ours; ``body``: the protocol's error."""

    def __init__(self, status: int, message: str, body: Mapping[str, Any]) -> None:
        self.status = status
        self.message = message
        self.body = body
        super().__init__(message)


class Stage(StrEnum):
    """Where a request is. ``lapsed``: the person never used the mailed link; ``revoked``: who asked took it back."""

    RECEIVED = "received"
    IDENTITY_PENDING = "identity_pending"
    ACCEPTED = "accepted"
    ANSWERED = "answered"
    REFUSED = "refused"
    LAPSED = "lapsed"
    REVOKED = "revoked"

    @property
    def final(self) -> bool:
        """Whether it stays so."""
        return self in (Stage.ANSWERED, Stage.REFUSED, Stage.LAPSED, Stage.REVOKED)


@dataclass(frozen=True, slots=True)
class Standing:
    """``answer_by``: the first instant at which an answer is late. ``results_until``: where a package waits, its end.

    ``word_follows``: the answer left and named stores that were silent; it is not whole before their word has followed.
    """

    stage: Stage
    received_at: datetime
    answer_by: datetime
    extended: bool = False
    refusal: Refusal | None = None
    word_follows: bool = False
    results_until: datetime | None = None

    @property
    def expected(self) -> datetime:
        """The legal due date as an instant: the last second of its day, where the controller is."""
        return self.answer_by - _SECOND

    @property
    def done(self) -> bool:
        """Whether nothing more is to be told."""
        return self.stage.final and not self.word_follows
