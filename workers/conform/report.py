"""The graded report, and the certificate: a JWS that says what was tried, when, with which version, and how it ended.

It names the adapter by a digest over its very files: shown for another one, or for this one altered, it is refused.
Given for full marks only. Source: P7, P12; design § 6.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any, Final

from uuid_utils import uuid7

from schemas.errors import InvalidMessage
from schemas.fields import wire_moment
from schemas.jose import Keys, Signatory, sign, verify
from workers.conform.description import OPTIONAL, Description

CERTIFICATE: Final = "greffier-conformance+jwt"
_FOR: Final = "conformance"
_SERVED: Final = "rights served"
_ALWAYS: Final = ("access", "objection", "erasure")
"""What that trial shows."""
GOOD_FOR: Final = timedelta(days=400)
"""A year and some: adapters, stores and this program change."""


@dataclass
class Trial:
    """One thing tried. ``checks``: how many looks; ``faults``: what did not hold, quoting nothing of the store."""

    name: str
    checks: int = 0
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def check(self, holds: bool, fault: str) -> bool:
        """Count one look."""
        self.checks += 1
        if not holds and fault not in self.faults:
            self.faults.append(fault)
        return holds

    @property
    def held(self) -> bool:
        return self.checks > 0 and not self.faults


@dataclass
class Report:
    """What came of it. ``without``: the rights of which the description says that they are refused."""

    adapter: str
    version: str
    over: str
    fingerprint: str
    at: datetime
    trials: list[Trial]
    without: tuple[str, ...] = ()

    @property
    def marks(self) -> int:
        return sum(trial.held for trial in self.trials)

    @property
    def full(self) -> bool:
        return self.marks == len(self.trials) > 0

    @property
    def rights(self) -> dict[str, list[str]]:
        """Which rights were shown to be served, and which to be refused by their registered name."""
        held = {trial.name for trial in self.trials if trial.held}
        shown = [*(_ALWAYS if _SERVED in held else ()), *(name for name in OPTIONAL if name in held)]
        return {
            "shown": [name for name in shown if name not in self.without],
            "refused": [name for name in shown if name in self.without],
        }

    def as_json(self) -> dict[str, Any]:
        return {
            "adapter": {"name": self.adapter, "version": self.version, "over": self.over, "sha256": self.fingerprint},
            "greffier": version("greffier"),
            "at": wire_moment(self.at),
            "marks": self.marks,
            "of": len(self.trials),
            "full": self.full,
            "rights": self.rights,
            "trials": [{**asdict(trial), "held": trial.held} for trial in self.trials],
        }

    def certificate(self, keys: Keys) -> str:
        """Signed by whoever answers for the run. Raises ValueError without full marks."""
        if not self.full:
            raise ValueError("no certificate without full marks")
        told = self.as_json()
        passed = {"trials": [trial.name for trial in self.trials], "marks": self.marks, "rights": self.rights}
        claims = {"jti": str(uuid7()), "adapter": told["adapter"], "greffier": told["greffier"], **passed}
        return sign(keys, CERTIFICATE, claims, audience=_FOR, now=self.at, lifetime=GOOD_FOR)


def report_on(description: Description, trials: list[Trial]) -> Report:
    """Of a run that has just ended."""
    fingerprint = description.fingerprint()
    told = (description.name, description.version, description.over, fingerprint)
    return Report(*told, datetime.now(UTC), trials, description.without)


def check_certificate(token: str, signatory: Signatory, description: Description, now: datetime) -> dict[str, Any]:
    """What a certificate says, if it is that party's, in time, and of this very adapter.

    Raises :class:`InvalidMessage`: ``another_adapter``, or as :func:`schemas.jose.verify`.
    """
    claims = verify(token, signatory, CERTIFICATE, audience=_FOR, now=now)
    adapter = claims.get("adapter")
    if not isinstance(adapter, dict) or adapter.get("sha256") != description.fingerprint():
        raise InvalidMessage("another_adapter")
    return claims
