"""What a benchmark says: one JSON object per line, or a table; progress on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from statistics import median, quantiles
from typing import Any

Figures = dict[str, Any]


def say(text: str) -> None:
    """One line of progress."""
    print(text, file=sys.stderr, flush=True)


def show(figures: Figures, *, as_json: bool) -> None:
    """One benchmark's result."""
    if as_json:
        print(json.dumps(figures), flush=True)
        return
    width = max(map(len, figures))
    for name, value in figures.items():
        print(f"{name:<{width}}  {value:,}" if isinstance(value, (int, float)) else f"{name:<{width}}  {value}")
    print(flush=True)


def middle(values: Sequence[float]) -> float:
    """The median, to three figures after the point."""
    return round(median(values), 3)


def rate(values: Sequence[float]) -> int:
    """The median of rates, whole."""
    return round(median(values))


def percentile(values: Sequence[float], percent: int) -> float:
    """``percent`` from 1 to 99; needs at least two values."""
    return round(quantiles(values, n=100, method="inclusive")[percent - 1], 2)
