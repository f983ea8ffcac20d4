"""Fictional people whose every word is a canary: long, unlike anything else, with an accent where names have one."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import Any, Final

POLICY: Final = {"policy_version": "1"}
_number = count(1)


@dataclass(frozen=True)
class Canary:
    """One person. Every field but the number must be found nowhere in clear."""

    number: str
    last_name: str
    first_name: str
    email: str
    phone: str
    street: str
    city: str
    letter: str
    cv: str

    @property
    def words(self) -> tuple[str, ...]:
        """What to look for; the phone in the two ways in which it is written."""
        national = self.phone.removeprefix("+33")
        typed = (self.last_name, self.first_name, self.email, self.phone, national, self.street, self.city)
        return (*typed, self.letter, self.cv)

    @property
    def contact_form(self) -> dict[str, Any]:
        address = {"street": self.street, "postal_code": "75002", "city": self.city, "country": "FR"}
        return {**self.named, "phone": self.phone, "postal_address": address, **POLICY}

    @property
    def named(self) -> dict[str, Any]:
        return {"last_name": self.last_name, "first_name": self.first_name, "email": self.email}

    @property
    def crm_contact(self) -> dict[str, Any]:
        return {**self.named, "source": "trade fair", "collected_at": "2026-03-02"}


def canary() -> Canary:
    """Somebody new; the number stands in the middle of each word, where no spelling cuts it off."""
    number = f"{next(_number):03d}"
    return Canary(
        number=number,
        last_name=f"Papillon{number}ère",
        first_name=f"Zéphyr{number}ette",
        email=f"zephyrette.{number}.papillonere@example.org",
        phone=f"+33199{number}421",
        street=f"Canarybird-{number}-Terrasse",
        city=f"Kanarien{number}stadt",
        letter=f"Hochachtungsvoll-{number}-Bewerberin",
        cv=f"Lebenslauf-{number}-Kanarienvogel",
    )
