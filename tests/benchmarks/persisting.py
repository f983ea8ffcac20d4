"""``consents`` and ``submissions``: from the queue to durable in MongoDB, by one worker process.

The worker holds still while batches of 500 are published through the door's own letter box; the clock runs from the
moment it may fetch until everything is acknowledged and stands. Each round measures that, then the driver alone on the
very documents that were stored, then the same actor with one event per message.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Final

from schemas.envelope import MAX_EVENTS, Event
from schemas.routes import CONSENT, SUBMISSIONS
from tests.benchmarks.raw import Document, Load, Place, as_loads, rates
from tests.benchmarks.report import Figures, middle, rate, say
from tests.benchmarks.samples import Samples
from tests.benchmarks.stage import Stage, chunks, running_system

ROUNDS: Final = 5
SINGLES: Final = 150
LONG_MARKS: Final = (100_000, 1_000_000)
_IN_FLIGHT: Final = 100
_POSTED_AT_ONCE: Final = 5_000


@dataclass(frozen=True, slots=True)
class Path:
    """One way through the system. ``stored``: the documents that these events, by key, led to."""

    bench: str
    queue: str
    collection: str
    events: Callable[[int], Iterator[Event]]
    stored: Callable[[Stage, Sequence[str]], list[Load]]


def consents(n: int, rounds: int, *, long: bool = False) -> Figures:
    """Cookie consents. ``n``: events in a round; ``long``: also memory over a million events."""
    return _measure(Path("consents", CONSENT, "consents", Samples().consents, _stored_consents), n, rounds, long)


def submissions(n: int, rounds: int, *, long: bool = False) -> Figures:
    """Contact forms: each leads to a person, a key, a submission and its purpose links."""
    path = Path("submissions", SUBMISSIONS, "submissions", Samples().submissions, _stored_submissions)
    return _measure(path, n, rounds, long)


def _measure(path: Path, n: int, rounds: int, long: bool) -> Figures:
    ours: list[float] = []
    raw: list[list[float]] = []
    singles: list[float] = []
    with running_system() as stage:
        bench = _Bench(stage, path)
        bench.persist(MAX_EVENTS, MAX_EVENTS)  # opens connections, loads what is loaded on first use
        for number in range(1, rounds + 1):
            events = bench.persist(n, MAX_EVENTS)
            ours.append(bench.last_rate)
            raw.append(rates(stage, path.stored(stage, [event.key for event in events]), n))
            bench.persist(min(SINGLES, n), 1)
            singles.append(bench.last_rate)
            _tell(f"{path.bench} round {number}", ours[-1], max(raw[-1]), singles[-1])
        best = max(zip(*raw, strict=True), key=median)  # of the medians: the better of each round would be its noise
        figures = {
            "bench": path.bench,
            "n": n,
            "rounds": rounds,
            "rate_per_s": rate(ours),
            "raw_per_s": rate(best),
            "ratio": middle([one / other for one, other in zip(ours, best, strict=True)]),
            "one_per_message_per_s": rate(singles),
            "times_one_per_message": round(rate(ours) / rate(singles), 1),
            "rss_mib": stage.rss_mib(),
        }
        return figures | (bench.memory() if long else {})


def _tell(what: str, ours: float, raw: float, singly: float) -> None:
    say(f"{what}: {ours:,.0f}/s, raw {raw:,.0f}/s, singly {singly:,.0f}/s")


class _Bench:
    """Publishes and waits, counting what must stand by now."""

    def __init__(self, stage: Stage, path: Path) -> None:
        self._stage = stage
        self._path = path
        self._total = 0
        self.last_rate = 0.0

    def persist(self, count: int, per_message: int) -> list[Event]:
        """Publish while the worker holds still, let it go, and time it."""
        stage, path = self._stage, self._path
        events = list(path.events(count))
        with stage.controller_paused():
            stage.post(path.queue, events, per_message)
            began = time.perf_counter()
        self._total += count
        stage.wait_persisted(path.queue, path.collection, self._total)
        self.last_rate = count / (time.perf_counter() - began)
        stage.check_durable(path.collection, self._total)
        return events

    def memory(self) -> Figures:
        """The worker's memory after a hundred thousand and after a million more events."""
        found: Figures = {}
        stage, path = self._stage, self._path
        events, before = path.events(LONG_MARKS[-1]), self._total
        for mark in LONG_MARKS:
            while self._total < before + mark:
                piece = list(islice(events, _POSTED_AT_ONCE))
                stage.post(path.queue, piece, MAX_EVENTS)
                self._total += len(piece)
                stage.wait_for(lambda: stage.depth(path.queue) < _IN_FLIGHT, 120, "room in the queue")
            stage.wait_persisted(path.queue, path.collection, self._total)
            found[f"rss_mib_at_{mark}"] = stage.rss_mib()
            say(f"{path.bench}: {found[f'rss_mib_at_{mark}']} MiB after {mark:,} events")
        return found


def _stored_consents(stage: Stage, keys: Sequence[str]) -> list[Load]:
    return as_loads(keys, {("active", "consents"): _by(stage, ("active", "consents"), "_id", keys)})


def _stored_submissions(stage: Stage, keys: Sequence[str]) -> list[Load]:
    submissions = _by(stage, ("active", "submissions"), "_id", keys)
    links = _by(stage, ("active", "links"), "submission", keys)
    person_of = {key: documents[0]["person"] for key, documents in submissions.items()}
    persons = _by(stage, ("active", "persons"), "_id", list(person_of.values()))
    data_keys = _by(stage, ("keys", "keys"), "_id", [f"{person}/active" for person in person_of.values()])
    return as_loads(
        keys,
        {
            ("active", "persons"): {key: persons[person] for key, person in person_of.items()},
            ("keys", "keys"): {key: data_keys[f"{person}/active"] for key, person in person_of.items()},
            ("active", "submissions"): submissions,
            ("active", "links"): links,
        },
    )


def _by(stage: Stage, place: Place, field: str, values: Sequence[str]) -> dict[str, list[Document]]:
    """The stored documents by one of their fields."""
    database, name = place
    found: dict[str, list[Document]] = {}
    for piece in chunks(values, MAX_EVENTS):
        for document in stage.database(database)[name].find({field: {"$in": list(piece)}}):
            found.setdefault(document[field], []).append(document)
    return found
