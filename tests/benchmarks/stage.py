"""Where a benchmark runs: the system as ``greffier up`` starts it, in a temporary folder on a real disk.

Embedded servers with the settings of production (``appendfsync always``; majority and journal), one door, one
controller worker; independent clients to publish and to look.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import psutil
import redis
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.read_concern import ReadConcern

from producers.publisher import Letterbox
from schemas.envelope import Event
from schemas.keyring import read_sealer
from schemas.routes import NAMESPACE
from workers.local import EmbeddedMongo
from workers.up import System

LOOK_S: Final = 0.01
MIB: Final = 1 << 20
MAX_DEPTH: Final = 1_000_000
ROOMY_CACHE_GB: Final = "1.5"


class Stage:
    """The running system and the clients that drive and watch it."""

    def __init__(self, system: System, data: Path) -> None:
        self._system = system
        facts = system.facts()
        self.door_url: str = facts["door"]
        self.door_port = system.port
        self.counter_url: str = facts["counter"]
        self.mongo_url: str = facts["mongo"]
        self.redis_url: str = facts["redis"]
        self.mailbox = Path(facts["mail"])
        self.offices = {code: (office, system.store_url(office)) for code, office in system.offices.items()}
        self.pids: dict[str, int] = facts["pids"]
        self.redis = redis.Redis.from_url(self.redis_url)
        self.mongo: MongoClient[dict[str, Any]] = MongoClient(self.mongo_url, tz_aware=True)
        self.letterbox = Letterbox(self.redis_url, read_sealer(data / "keys" / "door"), queue_limit=MAX_DEPTH)

    def database(self, name: str) -> Database[dict[str, Any]]:
        """``active``, ``archive``, ``evidence`` or ``keys``."""
        return self.mongo[f"greffier_{name}"]

    def rss_mib(self, name: str = "controller") -> float:
        """Resident memory of one process."""
        return round(psutil.Process(self.pids[name]).memory_info().rss / MIB, 1)

    @contextmanager
    def controller_paused(self) -> Iterator[None]:
        """The worker holds still, connections open: what is published meanwhile waits for it."""
        os.kill(self.pids["controller"], signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pids["controller"], signal.SIGCONT)

    def depth(self, queue: str) -> int:
        """Messages of a queue that are not acknowledged."""
        return int(self.redis.hlen(f"{NAMESPACE}:{queue}.msgs"))  # type: ignore[arg-type]

    def post(self, queue: str, events: Sequence[Event], per_message: int) -> None:
        """Publish as the door does."""
        for start in range(0, len(events), per_message):
            self.letterbox.post(queue, events[start : start + per_message])

    def wait_for(self, done: Callable[[], bool], timeout_s: float, what: str, every_s: float = LOOK_S) -> None:
        """Look until it is so, every so often: a look takes time from what is measured. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not within {timeout_s:.0f} s")
            time.sleep(every_s)

    def wait_persisted(self, queue: str, collection: str, total: int, timeout_s: float = 300) -> None:
        """Return when the queue is acknowledged to the last message and ``total`` documents stand."""
        stored = self.database("active")[collection]
        self.wait_for(
            lambda: stored.estimated_document_count() >= total and not self.depth(queue),
            timeout_s,
            f"{total} in {collection}",
        )

    def check_durable(self, collection: str, total: int) -> None:
        """A majority must have exactly these. Raises AssertionError."""
        durable = self.database("active").get_collection(collection, read_concern=ReadConcern("majority"))
        found = durable.count_documents({})
        assert found == total, f"{collection}: {found} documents of {total}"

    def close(self) -> None:
        self.letterbox.close()
        self.redis.close()
        self.mongo.close()


@contextmanager
def running_system(*, whole: bool = False, register: Callable[[Path], Path] | None = None) -> Iterator[Stage]:
    """The system, ready, gone afterwards with its folder.

    ``whole``: exactly as ``greffier up`` starts it, the sample subsidiaries included. Else without them, and with a
    MongoDB whose cache is not a laptop's: at 0.25 GB it soon writes pages out instead of answering.
    ``register``: makes another register than the shipped one for the data folder it is given, before the start.
    """
    with tempfile.TemporaryDirectory(prefix="greffier-bench-") as folder, ExitStack() as kept:
        kept.enter_context(_operators_servers_ignored())
        if not whole:
            os.environ["MONGO_URL"] = kept.enter_context(_roomy_mongo(Path(folder))).url
        if register is not None:
            os.environ["GREFFIER_REGISTER"] = str(register(Path(folder)))
        system = System(Path(folder), port=0, offices=whole)
        kept.callback(system.stop)
        system.start()
        stage = Stage(system, Path(folder))
        kept.callback(stage.close)
        yield stage


@contextmanager
def _roomy_mongo(folder: Path) -> Iterator[EmbeddedMongo]:
    server = EmbeddedMongo(folder, cache_gb=ROOMY_CACHE_GB).start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def _operators_servers_ignored() -> Iterator[None]:
    """A benchmark counts whole collections: it never runs on servers that hold anything else."""
    given = {name: os.environ.pop(name, None) for name in ("REDIS_URL", "MONGO_URL", "GREFFIER_REGISTER")}
    try:
        yield
    finally:
        for name, value in given.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def chunks(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    """Pieces of at most ``size``."""
    return (items[start : start + size] for start in range(0, len(items), size))
