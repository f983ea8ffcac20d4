"""Counts of visits that describe no small group: a day's visits, parted so that each part is a crowd.

Published are the parts and nothing else: no total, no count of a part of a part. They overlap nowhere and leave nothing
out, so whatever is added to or taken from one another is again some of the parts, and nobody is found in a difference.
What would be too small a part goes into ``other``; where that is too small itself, the smallest of its neighbours goes
there too. Pure: visits in, cells out.
Source: R6.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

OTHER: Final = "other"
"""Whatever was too seldom to be named; on a page, or in a country, that is named: what else there was of it."""
UNKNOWN: Final = "unknown"
"""A language or a country that the visit does not say."""


class Kind(NamedTuple):
    """What visits are told apart by. ``page``: the address without query and fragment; it is named before the rest."""

    page: str
    country: str
    language: str


class Cell(NamedTuple):
    """One published count."""

    page: str
    country: str
    language: str
    visits: int


@dataclass(slots=True)
class Crowd:
    """Visits of one kind. ``devices``: the distinct ones, by whatever stands for them."""

    visits: int = 0
    devices: set[Hashable] = field(default_factory=set, repr=False)

    def add(self, other: Crowd) -> None:
        self.visits += other.visits
        self.devices |= other.devices


def kind_of(url: str, language: str | None) -> Kind:
    """What a visit is counted as.

    No address of a visitor is held that would tell a country, so the country is the one that the browser's language
    names (``fr-CA``: Canada), where it names one.
    """
    spoken, _, country = (language or UNKNOWN).partition("-")
    return Kind(url, country or UNKNOWN, spoken)


def publishable(crowds: Mapping[Kind, Crowd], least: int) -> list[Cell]:
    """The cells of one day, sorted; none where the whole day has fewer than ``least`` devices."""
    whole = _joined(crowds.values())
    return sorted(_parted(crowds, (), least)) if len(whole.devices) >= least else []


def _parted(crowds: Mapping[Kind, Crowd], named: tuple[str, ...], least: int) -> Iterable[Cell]:
    """Part by page, then each part by country, then by language. ``crowds`` together are large enough."""
    if len(named) == len(Kind._fields):
        yield Cell(*Kind(*named), _joined(crowds.values()).visits)
        return
    values: defaultdict[str, dict[Kind, Crowd]] = defaultdict(dict)
    for kind, crowd in crowds.items():
        values[kind[len(named)]][kind] = crowd
    for value, part in _large_enough(values, least).items():
        yield from _parted(part, (*named, value), least)


def _large_enough(values: Mapping[str, dict[Kind, Crowd]], least: int) -> dict[str, dict[Kind, Crowd]]:
    """The same, the small ones put together as ``other``, and so many of the next larger ones that it is a crowd."""
    whole = {value: _joined(part.values()) for value, part in values.items()}
    parts, other, together = dict(values), dict[Kind, Crowd](), Crowd()
    for value in sorted(values, key=lambda value: (len(whole[value].devices), value)):
        if len(whole[value].devices) >= least and (not other or len(together.devices) >= least):
            break
        other |= parts.pop(value)
        together.add(whole[value])
    return parts | {OTHER: other} if other else parts


def _joined(crowds: Iterable[Crowd]) -> Crowd:
    found = Crowd()
    for crowd in crowds:
        found.add(crowd)
    return found
