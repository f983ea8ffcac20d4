"""Second step of reading a register: every fault, with its path, in words an editor of the file understands.

The models report what is wrong where it is written; here stand the two checks on what is not written at all, and the
translation of the models' reports.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from schemas.errors import Fault
from schemas.register_reading import dotted, shown
from schemas.register_values import Declared, keys_of
from schemas.terms import Case, CookiePurpose, Department, Purpose

_COMPLETE: Final[dict[str, type[StrEnum]]] = {
    "purposes": Purpose,
    "cases": Case,
    "cookies": CookiePurpose,
    "departments": Department,
}
"""Sections that must say something about every word of the vocabulary: a case without a rule could not be refused."""

_REFERENCED: Final = ("purposes", "retention", "cases", "cookies")


def declared_in(raw: dict[str, Any], on: date | None) -> Declared:
    """The names the file declares, for the references in it."""
    return Declared(
        on=on,
        names={section: keys_of(raw, section) for section in _REFERENCED},
        served={case: keys_of(raw, "cases", case, "purposes") for case in keys_of(raw, "cases")},
    )


def absences(raw: dict[str, Any]) -> list[Fault]:
    """Words of the vocabulary that the file does not mention, and purposes that nothing gives a retention period."""
    faults = [
        Fault(f"{section}.{word}", "missing")
        for section, words in _COMPLETE.items()
        if isinstance(raw.get(section), dict)
        for word in words
        if word not in raw[section]
    ]
    used = keys_of(raw, "visits", "purposes").union(*declared_in(raw, date.min).served.values())
    faults += [
        Fault(f"purposes.{purpose}.retention", "missing: no case and no visit serves this purpose for a stated time")
        for purpose in Purpose
        if purpose in keys_of(raw, "purposes") and purpose not in used
    ]
    return faults


def reported(error: ValidationError) -> list[Fault]:
    """The models' reports as faults, in the order of the file's sections."""
    found = error.errors(include_url=False)
    return [_fault(details) for details in found if not _follows_from_another(details, found)]


def _follows_from_another(details: ErrorDetails, found: list[ErrorDetails]) -> bool:
    """A list whose only entry is faulty counts as empty, too: one mistake, one fault."""
    place = details["loc"]
    inside = (other for other in found if len(other["loc"]) > len(place) and other["loc"][: len(place)] == place)
    return details["type"] == "too_short" and any(inside)


def _fault(details: ErrorDetails) -> Fault:
    # Pydantic marks a bad key by a last part of its own; the key itself stands just before it.
    path = tuple(str(part) for part in details["loc"] if part != "[key]")
    return Fault(dotted(path), _problem(details))


def _problem(details: ErrorDetails) -> str:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    if kind == "missing" or value == "":
        return "missing"
    if kind == "extra_forbidden":
        return "unknown field"
    if kind == "enum":
        return f"{shown(str(value))} is not one of {str(context['expected']).replace(chr(39), '')}"
    if kind == "value_error":
        return shown_problem(str(context["error"]))
    if kind in ("model_type", "mapping_type", "dict_type"):
        return "must be a mapping"
    if kind in ("tuple_type", "list_type"):
        return "must be a list"
    if kind == "too_short":
        return "needs at least one entry"
    return details["msg"].removeprefix("Input ").removeprefix("String ")


def shown_problem(text: str) -> str:
    """A problem that may quote the file: control characters escaped."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
