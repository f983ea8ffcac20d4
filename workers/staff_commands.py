"""Commands for staff and ops that ask the stores directly: ``status`` and ``parked``. Source: R29."""

from __future__ import annotations

import asyncio
import getpass
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from schemas.errors import StoreUnavailable
from schemas.terms import Department, Purpose

if TYPE_CHECKING:
    from workers.services import Services
    from workers.status import RetentionState, Status
    from workers.stores.aggregates import Counted
    from workers.stores.cases import Withdrawn

R = TypeVar("R")
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document, for programs.")]

consents_app = typer.Typer(help="Choices about cookies, counted; never whose they are.", no_args_is_help=True)
parked_app = typer.Typer(help="Letters that could not be accepted and were not lost.", no_args_is_help=True)


def with_services(ask: Callable[[Services], Awaitable[R]]) -> R:
    """Ask the stores of this installation; one that is away is a sentence and exit code 1."""
    from workers.services import Trust, open_services
    from workers.settings import read_controller_settings

    async def run() -> R:
        settings = read_controller_settings()
        services = open_services(settings, Trust.read(settings))
        try:
            return await ask(services)
        finally:
            await services.close()

    try:
        return asyncio.run(run())
    except StoreUnavailable as error:
        fail(f"a store does not answer ({error})")


def fail(sentence: str) -> NoReturn:
    """Say what is wrong and end with exit code 1."""
    print(f"greffier: {sentence}", file=sys.stderr)
    raise typer.Exit(1)


def status(as_json: AsJson = False) -> None:
    """Queues, dead and parked letters, doors' numbers, chores. Exit code 1 while there is an alarm."""
    from workers.status import look_around

    found = with_services(lambda services: look_around(services, services.uploads.client))
    if as_json:
        typer.echo(json.dumps(found.as_json()))
    else:
        _print_status(found)
    if found.alarms:
        raise typer.Exit(1)


def audience(
    purpose: Annotated[Purpose, typer.Argument(help="what they would be written to for")],
    by: Annotated[
        str, typer.Option("--by", default_factory=getpass.getuser, show_default="this account", help="The read's name.")
    ],
    subsidiary: Annotated[
        str | None, typer.Option("--subsidiary", help="for whose use; the group's own when absent")
    ] = None,
    department: Annotated[Department, typer.Option("--department", help="who reads")] = Department.MARKETING_SALES,
    processes: Annotated[
        int, typer.Option("--processes", min=0, help="read side by side; 0: as many as there are processors")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Who may be written to, now, for one purpose: an address a line; who is left out is counted by reason."""
    from schemas.interpreter import collect_seldom
    from workers.audience import NoTransferBasis
    from workers.audience_shared import ReaderDied, Wanted, in_parts
    from workers.gate import Reader, ReadRefused
    from workers.one_click import read_links
    from workers.settings import read_controller_settings

    settings = read_controller_settings()

    async def run(services: Services) -> Counter[str]:
        if subsidiary is not None and subsidiary not in services.trust.register.subsidiaries:
            raise typer.BadParameter(f"the register has no subsidiary {subsidiary}")
        if as_json and read_links(settings, services.trust.references) is None:
            print("greffier: GREFFIER_PUBLIC_URL is not set: rows bear no one-click headers", file=sys.stderr)
        left_out: Counter[str] = Counter()
        collect_seldom()
        wanted = Wanted(settings, Reader(by, department), purpose, subsidiary, as_json)
        async for part in in_parts(services, wanted, processes):
            for line in part.lines:
                typer.echo(line)
            left_out.update(part.left_out)
            left_out["members"] += len(part.lines)
        return left_out

    try:
        counted = with_services(run)
    except (ReadRefused, NoTransferBasis) as error:
        fail(f"refused: {error}")
    except ReaderDied as error:
        fail(str(error))
    print(json.dumps(counted), file=sys.stderr)


def aggregates(
    by: Annotated[
        str, typer.Option("--by", default_factory=getpass.getuser, show_default="this account", help="The read's name.")
    ],
    first: Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="first day")] = None,
    last: Annotated[datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="last day")] = None,
    department: Annotated[Department, typer.Option("--department", help="who reads")] = Department.MARKETING_SALES,
    as_json: AsJson = False,
) -> None:
    """Visits by day, page, country and language, no count of fewer devices than the register's smallest group."""
    from workers.aggregates import read_counts
    from workers.gate import Reader, ReadRefused

    span = first.date() if first else date.min, last.date() if last else date.max
    try:
        counted = with_services(lambda services: read_counts(services, Reader(by, department), *span))
    except ReadRefused as error:
        fail(f"refused: {error}")
    if as_json:
        typer.echo(json.dumps([one.as_json() for one in counted], ensure_ascii=False))
    else:
        _print_counts(counted)


def doctor(as_json: AsJson = False) -> None:
    """Check servers' settings, clocks, keys and register against what the promises rest on. Exit code 1 if unfit."""
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    from workers.doctor import examine

    findings = with_services(examine)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings]))
    else:
        table = Table("check", "fit", "seen")
        for finding in findings:
            table.add_row(finding.check, "yes" if finding.fit else "NO", finding.seen)
        Console().print(table)
    if not all(finding.fit for finding in findings):
        raise typer.Exit(1)


def _print_counts(counted: Sequence[Counted]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("day", "page", "country", "language", "visits")
    for one in counted:
        for cell in one.cells:
            table.add_row(one.day.isoformat(), *map(escape, (cell.page, cell.country, cell.language)), str(cell.visits))
    Console().print(table)


@consents_app.command()
def due(as_json: AsJson = False) -> None:
    """Choices about cookies of which it was recorded that renewal is due, and what became of them, counted now."""
    from dataclasses import asdict

    from workers.renewals import look_at_renewals

    found = with_services(look_at_renewals)
    if as_json:
        typer.echo(json.dumps(asdict(found)))
        return
    print(f"to be made again: {found.due['ends']} near their end, {found.due['new_version']} of an older policy")
    print(f"made again since: {found.made_again}; ran out: {found.ran_out}")


def notices(as_json: AsJson = False) -> None:
    """Contacts whose person must soon be told where their data is from (Art. 14), and those that should have been."""
    from workers.notices import NoticeState, listed, look_at_notices

    async def run(services: Services) -> tuple[NoticeState, list[dict[str, str]]]:
        return await look_at_notices(services), await listed(services)

    state, found = with_services(run)
    if as_json:
        typer.echo(json.dumps({"due_soon": state.due_soon, "overdue": state.overdue, "contacts": found}))
        return
    for one in found:
        print(f"{one['due_on']}  {one['standing']}  {one['event']}")
    print(f"due soon: {state.due_soon}, overdue: {state.overdue}")


def _print_status(found: Status) -> None:
    from rich.console import Console
    from rich.table import Table

    queues = Table("queue", "waiting or in work", "delayed", "dead", title="Queues")
    for state in found.queues:
        queues.add_row(state.queue, str(state.messages), str(state.delayed), str(state.dead))
    doors = Table("door", "messages", "redelivered", "missing", title="Doors and publishers")
    for door in found.doors:
        doors.add_row(door["door"], str(door["highest"]), str(door["redelivered"]), str(door["missing"]))
    parked = Table("reason", "letters", title="Parked")
    for reason, count in sorted(found.parked.items()):
        parked.add_row(reason, str(count))
    chores = Table("chore", "last planned", "last done", "due next", title="Chores")
    for chore in found.chores:
        chores.add_row(chore.chore, chore.planned or "never", chore.done or "never", chore.next_due)
    owing = Table("subsidiary", "people", "since", "reasons", title='Receipts owed for a "no" or a wish')
    for one in found.owing:
        owing.add_row(one.store, str(one.people), one.since, ", ".join(one.reasons))
    unserved = Table("subsidiary", "people", "latest", "reasons", title="Wishes that no receipt will serve")
    for lost in found.unserved:
        unserved.add_row(lost.store, str(lost.people), lost.latest, ", ".join(lost.reasons))
    heads = ("subsidiary", "asked for", "deleted", "anonymised", "kept", "why", "silent since")
    disposals = Table(*heads, title="Disposals")
    for report in found.office_disposals:
        counts = map(str, (report.erased, report.anonymised, report.retained))
        why = f"refused: {report.reason}" if report.reason else ", ".join(report.grounds)
        disposals.add_row(report.store, report.on or "never", *counts, why, report.silent_since or "")
    canaries = Table("store", "begun", "came to", "rows", "access ms", "erasure ms", title="Canaries")
    for bird in found.canaries:
        times = ("" if took is None else str(took) for took in (bird.access_ms, bird.erasure_ms))
        canaries.add_row(bird.store, bird.began, bird.outcome or f"at {bird.step}", str(bird.planted), *times)
    Console().print(queues, doors, parked, chores, owing, unserved, disposals, canaries)
    for line in _measured(found):
        print(line)
    for alarm in found.alarms:
        print(f"ALARM: {alarm}")
    if not found.alarms:
        print("no alarm")


def _measured(found: Status) -> Iterator[str]:
    """What is counted, or timed, beside the tables."""
    if found.consents:
        yield f"cookie consents: {found.consents.renewal_due} due for renewal, {found.consents.expired} run out"
    if found.notices:
        yield f"notices to contacts (Art. 14): {found.notices.due_soon} due soon, {found.notices.overdue} overdue"
    if found.withdrawals:
        took = found.withdrawals
        yield f"cookie consents withdrawn in thirty days: {took.deleted}, their data deleted within {took.most_ms} ms"
    if found.consent_withdrawals:
        yield _withdrawn(found.consent_withdrawals)
    if found.retention:
        yield _retention(found.retention)


def _withdrawn(state: Withdrawn) -> str:
    took = f"last {state.last_ms} ms, longest {state.longest_ms} ms" if state.answered else "none yet"
    waiting = f"; {state.waiting} wait, since {state.waiting_since}" if state.waiting else ""
    return f"from a withdrawal of consent to the last store's receipt, in thirty days: {took}{waiting}"


def _retention(state: RetentionState) -> str:
    took = state.no_to_deletion
    said = f"last {took.last_s:.0f} s, longest {took.longest_s:.0f} s" if took else "none yet"
    swept = f"everybody looked at since {state.swept}" if state.swept else "not everybody looked at yet"
    return f"retention: {swept}; held {state.held}, open {state.open}, due {state.due}; from a no to deletion: {said}"


@parked_app.command("list")
def list_letters(
    reason: Annotated[str | None, typer.Option(help="Only letters parked for this reason.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the latest first.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List parked letters; never what they say."""
    from rich.console import Console
    from rich.table import Table

    from workers.letters import find_letters

    letters = with_services(lambda services: find_letters(services, reason=reason, limit=limit))
    if as_json:
        typer.echo(json.dumps(letters, default=str))
        return
    table = Table("letter", "reason", "type", "event", "parked at")
    for letter in letters:
        table.add_row(letter["_id"], letter["reason"], letter["type"], letter["event"], f"{letter['parked_at']:%F %T}")
    Console().print(table)


@parked_app.command()
def show(letter: Annotated[str, typer.Argument(help="The letter's id.")]) -> None:
    """Everything about one letter but what it says."""
    found = with_services(lambda services: services.parked.find({"_id": letter}))
    if not found:
        fail("there is no such letter")
    typer.echo(json.dumps(found[0], default=str, indent=2))


@parked_app.command("replay")
def replay_letters(
    letters: Annotated[list[str] | None, typer.Argument(help="Letters' ids.")] = None,
    reason: Annotated[str | None, typer.Option(help="Every letter parked for this reason.")] = None,
) -> None:
    """Try letters again, as received then. Exit code 1 if one stays parked."""
    from workers.letters import find_letters

    if bool(letters) == bool(reason):
        fail("name letters, or a reason with --reason")

    async def run(services: Services) -> bool:
        ids = letters or [found["_id"] for found in await find_letters(services, reason=reason)]
        outcomes = [await _replayed(services, letter) for letter in ids]
        return all(outcomes)

    if not with_services(run):
        raise typer.Exit(1)


async def _replayed(services: Services, letter: str) -> bool:
    from workers.letters import NotPossible, replay

    try:
        outcome = await replay(services, letter)
    except NotPossible as error:
        print(f"{letter}: {error}")
        return False
    print(f"{letter}: {'kept' if outcome.kept else f'stays parked, {outcome.reason}'}")
    return outcome.kept


@parked_app.command("drop")
def drop_letter(
    letter: Annotated[str, typer.Argument(help="The letter's id.")],
    why: Annotated[str, typer.Option("--reason", help="Why; kept for ever, so without personal data.")],
) -> None:
    """Erase a letter for good, with a reason."""
    from workers.letters import NotPossible, drop

    try:
        with_services(lambda services: drop(services, letter, why))
    except NotPossible as error:
        fail(str(error))
    print(f"{letter}: dropped")
