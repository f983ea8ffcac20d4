"""Sample traffic: fictional people at example.com, each event as the door would have made it.

Every event passes through the door's own intake, so what the benchmarks publish is in normal form and of the size and
mix of real traffic: random ids as browsers make them, one choice per device, two visitors in five refusing.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from producers.intake import Intake
from schemas.envelope import Event
from schemas.register import load_register
from schemas.terms import Case

_FIRST = ("Camille", "Noor", "Jonas", "Inès", "Mateo", "Wren", "Søren", "Yuki", "Ada", "Farid")
_LAST = ("Exemple", "Sample", "Muster", "Ejemplo", "Ukázka", "Esempio", "Voorbeeld", "Prøve")
_REFUSING = 0.4


class Samples:
    """An endless supply of events. ``seed``: the same one gives the same people, choices and sizes, never ids."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._register = load_register()
        self._intake = Intake(self._register)

    def consents(self, count: int) -> Iterator[Event]:
        """Choices about cookies, a device each."""
        return (self._intake.cookie(self.consent(), None).event for _ in range(count))

    def submissions(self, count: int) -> Iterator[Event]:
        """Contact forms, a person each."""
        for _ in range(count):
            taken = self._intake.form(
                Case.CONTACT, self.contact(), {}, event_id=str(uuid.uuid4()), received_at=datetime.now(UTC)
            )
            yield taken.event

    def consent(self) -> dict[str, Any]:
        """The body of one choice as a browser posts it."""
        agrees = self._random.random() >= _REFUSING
        policy = self._register.policy
        notice = policy.versions[policy.current].notices["fr"]
        moment = datetime.now(UTC) - timedelta(milliseconds=self._random.randrange(2_000))
        return {
            "id": str(uuid.uuid4()),
            "device_id": str(uuid.uuid4()),
            "at": moment.isoformat(timespec="milliseconds"),
            "choices": {
                "language": True,
                "analytics": agrees,
                "personalisation": agrees and self._random.random() < 0.5,
            },
            "policy_version": policy.current,
            "notice_sha256": notice.sha256,
            "language": "fr",
        }

    def contact(self) -> dict[str, Any]:
        """The body of one contact form."""
        first, last = self._random.choice(_FIRST), self._random.choice(_LAST)
        return {
            "last_name": last,
            "first_name": first,
            "email": f"{uuid.uuid4().hex}@example.com",
            "phone": f"+3319900{self._random.randrange(10_000):04}",
            "postal_address": {
                "street": f"{self._random.randrange(1, 200)} rue de l’Exemple",
                "postal_code": "75002",
                "city": "Paris",
                "country": "FR",
            },
            "policy_version": self._register.policy.current,
        }
