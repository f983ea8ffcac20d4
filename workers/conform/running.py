"""One run from a description to a report: keys, journal and store in a fresh folder, the trials one after the other."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from schemas.errors import InvalidMessage
from schemas.register import load_register
from workers.cases.disposals import periods_of
from workers.conform.bench import Bench
from workers.conform.bout import Bout
from workers.conform.carriers import ByFile, Carrier, Command, InProcess, Unanswered
from workers.conform.description import Description
from workers.conform.group import CODE, Group
from workers.conform.over_http import OverHttp
from workers.conform.report import Report, Trial, report_on
from workers.conform.trials import TRIALS
from workers.stores.subsidiaries import open_store
from workers.stores.subsidiaries.adapter import StoreAdapter
from workers.stores.subsidiaries.mapping import load_mapping, read_url
from workers.subsidiary_settings import SubsidiarySettings


async def conform(
    description: Description, only: Collection[str] = (), done: Callable[[Trial], None] = lambda _: None
) -> Report:
    """Run the trials, all or only these; ``done``: told of each as it ends.

    Raises :class:`schemas.errors.ConfigurationError` where the description or the bench must be mended.
    """
    trials = []
    with tempfile.TemporaryDirectory(prefix="greffier-conform-") as folder:
        async with bout_for(description, Path(folder)) as bout:
            for name, run in TRIALS.items():
                if only and name not in only:
                    continue
                trial = Trial(name)
                began = time.monotonic()
                try:
                    await run(bout, trial)
                except Unanswered as fault:
                    trial.check(False, str(fault))
                except InvalidMessage as fault:
                    trial.check(False, f"a receipt no controller would believe: {fault.code.replace('_', ' ')}")
                _look_what_it_prints(trial, Path(folder) / "log")
                trial.seconds = round(time.monotonic() - began, 1)
                trials.append(trial)
                done(trial)
    return report_on(description, trials)


def _look_what_it_prints(trial: Trial, log: Path) -> None:
    """What a program of the office's prints ends up in logs, which are kept and read: it may name nobody."""
    if log.exists():
        trial.check(b"@example." not in log.read_bytes(), "what it prints names people")


@asynccontextmanager
async def bout_for(description: Description, folder: Path) -> AsyncIterator[Bout]:
    """All that a run needs, in a folder of its own: ``store``, ``beside/journal.jsonl``, keys, and a ``log``."""
    group, periods = Group(folder / "keys"), periods_of(load_register(description.register))
    store, journal = folder / "store", folder / "beside" / "journal.jsonl"
    journal.parent.mkdir()
    given = {"CODE": CODE, "STORE": str(store), "ORDERS": str(folder / "orders.json")}
    given["RECEIPTS"] = str(folder / "receipts.json")
    values = description.command(tuple(description.environment.values()), given)
    own = dict(zip(description.environment, values, strict=True))
    environment = {**own, "GREFFIER_KEYS": str(group.office), "GREFFIER_JOURNAL": str(journal)}
    bench = Bench(description.command(description.bench, given), description.folder, {**os.environ, **own})
    async with bench, _carrier(description, given, environment, group, folder) as carrier:
        try:
            yield Bout(group, carrier, bench, description.many, description.without, periods)
        finally:
            await carrier.close()


@asynccontextmanager
async def _carrier(
    description: Description, given: dict[str, str], environment: dict[str, str], group: Group, folder: Path
) -> AsyncIterator[Carrier]:
    journal = Path(environment["GREFFIER_JOURNAL"])
    if description.over in ("mapping", "python"):
        settings = SubsidiarySettings(keys=group.office, journal=journal)
        yield InProcess(settings, _adapter(description, given["STORE"], environment))
        return
    words, again = description.command(tuple(description.by), given), description.command(description.replay, given)
    command = Command(description.folder, environment, folder / "log")
    if description.over == "file":
        yield ByFile(command, words, again, folder, journal)
        return
    http = OverHttp(command, words, again, group.counter)
    async with http.listening() as listening:
        environment["GREFFIER_COUNTER_URL"] = f"http://127.0.0.1:{listening.port}"
        command.add(environment)
        yield http


def _adapter(description: Description, store: str, environment: dict[str, str]) -> Callable[[], StoreAdapter]:
    if description.over == "python":
        return description.opened_by(store)
    mapping = load_mapping(description.folder / str(description.by))
    named = mapping.store.url_env
    url = environment[named] if named in environment else read_url(mapping.store)
    return lambda: open_store(mapping, url)
