"""``greffier restore-drill``: that a backup brings nobody back, tried and kept as evidence. Source: R26, R30."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import StoreUnavailable
from workers.staff_commands import AsJson, fail, with_services

if TYPE_CHECKING:
    from workers.drill import Drilled


def restore_drill(
    store: Annotated[str, typer.Argument(help="controller, or a subsidiary's code")] = "controller",
    mapping: Annotated[Path | None, typer.Option("--mapping", help="Of a subsidiary: its mapping file.")] = None,
    people: Annotated[int, typer.Option("--people", min=1, max=1000, help="How many are erased for a try.")] = 25,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Of a subsidiary: where its signed statement goes.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Back up, erase, restore, replay, count what came back: nobody. Nothing real is touched. Exit code 1 if not so.

    The controller tries it with fictional people in databases of the drill's own, and notes it in the ledger; a
    subsidiary on a copy of its store, and signs what came of it.
    """
    if (store == "controller") is not (mapping is None):
        raise typer.BadParameter("--mapping belongs to a subsidiary, and a subsidiary needs it")
    with _ended_in_order():
        drilled = _controller(people) if mapping is None else _office(store, mapping, people, out)
    typer.echo(json.dumps(drilled.as_json()) if as_json else _in_words(drilled))
    if not drilled.passed:
        raise typer.Exit(1)


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Whoever ends the process ends it as Ctrl-C does: the drill is broken off, and its copies go before it is over.

    In the background a shell has Ctrl-C ignored, and asyncio leaves that so: nothing would end the drill then.
    """

    def break_off(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, break_off)
    if before[signal.SIGHUP] is not signal.SIG_IGN:  # whoever set that wants it to go on
        signal.signal(signal.SIGHUP, break_off)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _controller(people: int) -> Drilled:
    from workers.drill import drill_controller
    from workers.settings import read_controller_settings

    return with_services(lambda services: drill_controller(services, read_controller_settings(), people))


def _office(code: str, mapping: Path, people: int, out: Path | None) -> Drilled:
    from workers.office_drill import drill_office

    try:
        drilled, statement = drill_office(code, mapping, people)
    except StoreUnavailable as error:
        fail(f"the store does not answer ({error})")
    if out is not None:
        out.write_text(json.dumps(statement, indent=2) + "\n", "utf-8")
    return drilled


def _in_words(drilled: Drilled) -> str:
    lines = [
        f"{drilled.store}: {drilled.people} people erased; the backup brought {drilled.back} back",
        f"after the replay: {drilled.left} there",
    ]
    if drilled.without:
        lines.append(f"not in the copy, and not tried: {'; '.join(drilled.without)}")
    if not drilled.people:
        lines.append("nobody could be erased for a try: the drill has shown nothing")
    return "\n".join(lines)
