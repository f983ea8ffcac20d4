"""The words of the register's entries: text, codes, countries, durations, and references from one entry to another.

A reference (to a purpose, a retention rule, a case) is checked while it is read, against the names that the same file
declares (`Declared`, handed in as the validation context); so a fault carries the path of the reference itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, ValidationInfo

from schemas.countries import COUNTRIES, EU
from schemas.durations import parse_duration
from schemas.terms import Case, CookiePurpose, Purpose


@dataclass(frozen=True, slots=True)
class Declared:
    """What a reference may point to: the keys each section of the file has, whether or not their entries are sound."""

    on: date | None
    """The day transfer bases are judged for: one that ended before it is a fault. ``None``: they are not judged."""
    names: Mapping[str, frozenset[str]]
    """Section → keys."""
    served: Mapping[str, frozenset[str]]
    """Case → purposes it lists."""

    @classmethod
    def of(cls, info: ValidationInfo) -> Self:
        """The context of this validation. Raises RuntimeError where there is none: unchecked references fail closed."""
        if not isinstance(info.context, cls):
            raise RuntimeError("a register is read by schemas.register.load_register or parse_register")
        return info.context


def _declared_in(section: str) -> Callable[[str, ValidationInfo], str]:
    def check(name: str, info: ValidationInfo) -> str:
        if name not in Declared.of(info).names[section]:
            raise ValueError(f"{name} is not declared under {section}")
        return name

    return check


def _country(code: str) -> str:
    if code not in COUNTRIES:
        raise ValueError("not an ISO 3166-1 alpha-2 country code")
    return code


def _in_the_eu(code: str) -> str:
    if code in COUNTRIES and code not in EU:
        raise ValueError(f"{code} is outside the European Union, where the controller stores personal data (R10)")
    return _country(code)


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds a character that cannot be printed")
    return text


def _true(value: bool) -> bool:
    if not value:
        raise ValueError("must be true: no one processes for the group without it (R9)")
    return value


def _duration(text: str) -> str:
    parse_duration(text)
    return text


def _lasting(text: str) -> str:
    if not parse_duration(text):
        raise ValueError("a period of no length")
    return text


def _none_in_words(value: object) -> object:
    return None if value == "none" else value


def distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    """``values``, unless one is written twice: then ValueError, with its name."""
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"written twice: {', '.join(twice)}")
    return values


Words = Annotated[str, StringConstraints(min_length=1, max_length=1000), AfterValidator(_printable)]
Code = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
"""Short name of an entry; part of queue and database names, hence the few letters."""
CountryCode = Annotated[str, AfterValidator(_country)]
EUCountryCode = Annotated[str, AfterValidator(_in_the_eu)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Duration = Annotated[str, AfterValidator(_duration)]
LastingDuration = Annotated[str, AfterValidator(_lasting)]
DurationOrNone = Annotated[LastingDuration | None, BeforeValidator(_none_in_words)]
LanguageCode = Annotated[str, StringConstraints(pattern=r"^[a-z]{2}$")]
PurposeRef = Annotated[Purpose, AfterValidator(_declared_in("purposes"))]
CaseRef = Annotated[Case, AfterValidator(_declared_in("cases"))]
CookieRef = Annotated[CookiePurpose, AfterValidator(_declared_in("cookies"))]
RetentionRef = Annotated[str, AfterValidator(_declared_in("retention"))]
Purposes = Annotated[tuple[PurposeRef, ...], Field(min_length=1), AfterValidator(distinct)]
Safeguard = Annotated[bool, AfterValidator(_true)]


def keys_of(raw: Any, *path: str) -> frozenset[str]:
    """The keys of a mapping inside unchecked data, wherever something else stands in its place: none."""
    for part in path:
        raw = raw.get(part) if isinstance(raw, dict) else None
    return frozenset(raw) if isinstance(raw, dict) else frozenset()
