"""Civil durations: the part of ISO 8601 in which retention periods are written (``P3Y``, ``P13M``, ``P2W``, ``P7D``).

Only whole years, months, weeks and days. Hours have no place in a period that ends with a civil day, and thirteen
months are not 390 days. How a duration is counted from a date stands in ``schemas/calendar.py``.
"""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache

from dateutil.relativedelta import relativedelta

_CIVIL = re.compile(r"P(?=[0-9])(?:([0-9]{1,5})Y)?(?:([0-9]{1,5})M)?(?:([0-9]{1,5})W)?(?:([0-9]{1,5})D)?", re.ASCII)
_START, _LIMIT = date(2000, 1, 1), date(2100, 1, 1)


@lru_cache(maxsize=1024)
def parse_duration(text: str) -> relativedelta:
    """``text`` as a relativedelta of civil years, months, weeks and days.

    Raises ValueError for any other notation, for times of day, and for more than a hundred years: beyond them no
    period is meant, and date arithmetic would overflow years after the mistake was made.
    """
    match = _CIVIL.fullmatch(text)
    if match is None:
        raise ValueError("not a civil ISO 8601 duration such as P3Y, P13M, P2W or P7D")
    years, months, weeks, days = (int(number or 0) for number in match.groups())
    duration = relativedelta(years=years, months=months, weeks=weeks, days=days)
    try:
        within = _START + duration <= _LIMIT
    except (OverflowError, ValueError):
        within = False
    if not within:
        raise ValueError("longer than a hundred years")
    return duration


def in_words(text: str) -> str:
    """``P1Y6M`` as ``1 year 6 months``, for people. Raises ValueError as parse_duration does."""
    parse_duration(text)
    units = {"Y": "year", "M": "month", "W": "week", "D": "day"}
    counts = [(int(number), units[unit]) for number, unit in re.findall(r"([0-9]+)([YMWD])", text)]
    return " ".join(f"{count} {unit}{'' if count == 1 else 's'}" for count, unit in counts)
