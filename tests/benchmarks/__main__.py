"""``python -m tests.benchmarks NAME [--json] [--n N]``; ``greffier bench`` runs this."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Final

from tests.benchmarks import audience, door, idle, latency, ledger, persisting, retention, rights, unsubscribe
from tests.benchmarks.report import Figures, say, show

BENCHES: Final[dict[str, tuple[Callable[..., Figures], dict[str, Any]]]] = {
    "consents": (persisting.consents, {"n": 40_000, "rounds": persisting.ROUNDS}),
    "submissions": (persisting.submissions, {"n": 3_000, "rounds": 5}),
    "door": (door.door, {"n": 5_000, "rounds": door.ROUNDS}),
    "latency": (latency.latency, {"n": 20}),
    "idle": (idle.idle, {"n": 20}),
    "rights": (rights.rights, {"n": 200, "rounds": rights.ROUNDS, "people": 1_000_000}),
    "audience": (audience.audience, {"people": 1_000_000, "rounds": audience.ROUNDS}),
    "unsubscribe": (unsubscribe.unsubscribe, {"n": 10_000}),
    "retention": (retention.retention, {"people": 20_000, "rounds": retention.ROUNDS}),
    "ledger": (ledger.ledger, {"n": 5_000, "rounds": ledger.ROUNDS}),
}
"""Name → what measures it, and how much of it by default."""


def main() -> None:
    """Run one benchmark, or all of them one after the other."""
    parser = argparse.ArgumentParser(prog="greffier bench", description="How fast, beside what the servers can do.")
    parser.add_argument("name", choices=[*BENCHES, "all"])
    parser.add_argument("--json", action="store_true", help="one JSON object a line, on standard output")
    parser.add_argument("--n", type=int, help="how many events (of latency and idle: how many seconds)")
    parser.add_argument("--rounds", type=int, help="how often ours and the comparison alternate")
    parser.add_argument("--people", type=int, help="rights, audience, retention: how many people are held")
    parser.add_argument("--long", action="store_true", help="consents, submissions: memory over a million events too")
    given = parser.parse_args()
    for name in BENCHES if given.name == "all" else (given.name,):
        measure, defaults = BENCHES[name]
        chosen = {option: value for option in defaults if (value := getattr(given, option, None))}
        if given.long and measure.__module__ == persisting.__name__:
            chosen["long"] = True
        say(f"{name} …")
        show(measure(**{**defaults, **chosen}), as_json=given.json)


if __name__ == "__main__":
    main()
