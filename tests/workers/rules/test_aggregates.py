"""Published counts: each of a crowd, and none found by taking one from another, whatever was visited. R6."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from workers.rules import aggregates
from workers.rules.aggregates import OTHER, Cell, Crowd, Kind, kind_of, publishable


class Visit(NamedTuple):
    device: int
    page: str
    country: str
    language: str


VISITS = st.lists(
    st.builds(
        Visit,
        st.integers(0, 14),
        st.sampled_from(["/", "/cheese", "/wine", "/jobs/7"]),
        st.sampled_from(["FR", "CA", "unknown"]),
        st.sampled_from(["fr", "en", "unknown"]),
    ),
    max_size=80,
)
LEAST = st.integers(1, 6)

Publish = Callable[[Sequence[Visit], int], list[Cell]]


def crowds_of(visits: Iterable[Visit]) -> dict[Kind, Crowd]:
    crowds: defaultdict[Kind, Crowd] = defaultdict(Crowd)
    for device, *kind in visits:
        crowds[Kind(*kind)].add(Crowd(1, {device}))
    return crowds


def publish(visits: Sequence[Visit], least: int) -> list[Cell]:
    return publishable(crowds_of(visits), least)


ANY = "any"
"""In a cell of a broken variant: not told apart by this."""


def described(cell: Cell, cells: Sequence[Cell], visits: Sequence[Visit]) -> frozenset[int]:
    """Which visits a cell is the count of, by its words alone: ``other`` is what its neighbours do not name."""
    found = range(len(visits))
    for place in range(3):
        siblings = {one[place] for one in cells if one[:place] == cell[:place]}
        value = cell[place]
        told = {number: visits[number][place + 1] for number in found}
        found = [
            number
            for number in found
            if value in (ANY, told[number]) or (value == OTHER and told[number] not in siblings)
        ]
    return frozenset(found)


def safe(visits: Sequence[Visit], least: int, cells: Sequence[Cell]) -> None:
    """What somebody who has all published counts, and can subtract, learns of any group."""
    groups = {cell: described(cell, cells, visits) for cell in cells}
    for cell, group in groups.items():
        assert cell.visits == len(group), "a count is what it says"
        assert crowd(visits, group) >= least, "and of a crowd"
    for cell, group in groups.items():
        inside = [one for other, one in groups.items() if other != cell and one < group]
        for size in range(1, min(len(inside), 3) + 1):
            for some in [*combinations(inside, size), inside]:
                rest = group.difference(*some)
                assert not rest or crowd(visits, rest) >= least, "nor is a small group what is left of a larger one"


def crowd(visits: Sequence[Visit], group: Iterable[int]) -> int:
    return len({visits[number].device for number in group})


@given(VISITS, LEAST)
def test_no_cell_and_no_difference_of_cells_is_a_small_group(visits: list[Visit], least: int) -> None:
    safe(visits, least, publish(visits, least))


@given(VISITS, LEAST, st.randoms(use_true_random=False))
def test_the_order_of_visits_is_nothing(visits: list[Visit], least: int, random: Any) -> None:
    cells = publish(visits, least)
    random.shuffle(visits)
    assert publish(visits, least) == cells


@given(VISITS, LEAST)
def test_nothing_is_left_out_of_a_day_that_is_large_enough(visits: list[Visit], least: int) -> None:
    """So that no total, whoever knows it, tells more than the sum of what is published."""
    cells = publish(visits, least)
    expected = len(visits) if crowd(visits, range(len(visits))) >= least else 0
    assert sum(cell.visits for cell in cells) == expected


@given(VISITS, LEAST)
def test_a_page_that_is_large_enough_alone_is_named_unless_it_hides_others(visits: list[Visit], least: int) -> None:
    cells = publish(visits, least)
    sizes = {page: crowd(visits, [n for n, one in enumerate(visits) if one.page == page]) for _, page, *_ in visits}
    assume(all(size >= least for size in sizes.values()))
    assert {cell.page for cell in cells} == set(sizes)


def with_totals(visits: Sequence[Visit], least: int) -> list[Cell]:
    """What is often done: small cells are left out, and the totals of pages are shown beside the others."""
    kinds = {Kind(*one[1:]) for one in visits} | {Kind(one.page, ANY, ANY) for one in visits}
    cells = [Cell(*kind, 0) for kind in kinds]
    counted = [(cell, described(cell, cells, visits)) for cell in cells]
    return [cell._replace(visits=len(group)) for cell, group in counted if crowd(visits, group) >= least]


def by_visits(visits: Sequence[Visit], least: int) -> list[Cell]:
    """Visits are taken for devices."""
    return publishable(
        {kind: Crowd(one.visits, set(range(one.visits))) for kind, one in crowds_of(visits).items()}, least
    )


def with_a_small_rest(visits: Sequence[Visit], least: int) -> list[Cell]:
    """Small parts are put together, however small they are together."""

    def large_enough(values: dict[str, dict[Kind, Crowd]], least: int) -> dict[str, dict[Kind, Crowd]]:
        small = {value for value, part in values.items() if len(set[Any]().union(*_devices(part))) < least}
        parts = {value: part for value, part in values.items() if value not in small}
        other = {kind: one for value in small for kind, one in values[value].items()}
        return parts | {OTHER: other} if other else parts

    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(aggregates, "_large_enough", large_enough)
        return publish(visits, least)


def _devices(part: dict[Kind, Crowd]) -> list[set[Hashable]]:
    return [one.devices for one in part.values()]


FRENCH = [Visit(device, "/", "FR", "fr") for device in range(3)]


@pytest.mark.parametrize("broken", [with_totals, by_visits, with_a_small_rest])
def test_what_would_show_a_small_group_is_noticed(broken: Publish) -> None:
    """Broken on purpose: three of France, and one of Canada."""
    visits = [*FRENCH, Visit(3, "/", "CA", "fr"), Visit(3, "/", "CA", "fr"), Visit(3, "/", "CA", "fr")]
    safe(visits, 3, publish(visits, 3))
    with pytest.raises(AssertionError, match=r"crowd|small group"):
        safe(visits, 3, broken(visits, 3))


@pytest.mark.parametrize(
    ("language", "expected"),
    [("fr-CA", ("CA", "fr")), ("fr", ("unknown", "fr")), (None, ("unknown", "unknown")), ("gsw-CH", ("CH", "gsw"))],
)
def test_a_country_is_what_the_language_says_of_it(language: str | None, expected: tuple[str, str]) -> None:
    assert kind_of("https://www.example.com/", language)[1:] == expected
