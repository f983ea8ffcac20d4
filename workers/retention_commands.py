"""``greffier retention`` and ``greffier archive``: what would go and what went; the one read of the archive.

Exit codes: 0 done; 1 the read is refused, or a store is away; 2 a setting or an option is wrong.
Source: R9, R13, R14; design § 6.
"""

from __future__ import annotations

import getpass
import json
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Final

import typer

from schemas.errors import InvalidMessage
from schemas.terms import Department
from workers.staff_commands import AsJson, fail, with_services

if TYPE_CHECKING:
    from workers.retention.evidence import Evidence
    from workers.retention.preview import Preview
    from workers.services import Services

retention_app = typer.Typer(help="Periods and what they end.", no_args_is_help=True)
archive_app = typer.Typer(help="What is out of use and kept as evidence.", no_args_is_help=True)

Day = Annotated[datetime | None, typer.Option("--at", formats=["%Y-%m-%d"], help="by the end of this day; none: now")]

_WHY: Final = {
    "not_an_email": "that is no e-mail address",
    "not_in_normal_form": "--reason is 1 to 120 plain letters, digits or ().,:/-, without a word about the person",
}


@retention_app.command("preview")
def preview_(at: Day = None, as_json: AsJson = False) -> None:
    """What would be moved, deleted and purged by then, what is held, and what stays open; changes nothing."""
    from schemas.calendar import PARIS
    from workers.retention.preview import preview

    async def run(services: Services) -> Preview:
        if at is None:
            return await preview(services, services.clock())
        return await preview(services, datetime.combine(at.date() + timedelta(days=1), time.min, PARIS))

    found = with_services(run)
    if as_json:
        typer.echo(json.dumps(found.as_json()))
    else:
        _print_preview(found)


def _print_preview(found: Preview) -> None:
    from rich.console import Console
    from rich.table import Table

    told = found.as_json()
    tables = []
    for name in ("going", "held"):
        table = Table("what", "case", "purpose", "rule", "records", title=f"{name.capitalize()} by {told['at']}")
        for line in told[name]:
            table.add_row(*(str(line[column]) for column in ("what", "case", "purpose", "rule", "records")))
        tables.append(table)
    waiting = Table("case", "purpose", "waits for", "records", title="Open")
    for line in told["open"]:
        waiting.add_row(*(str(line[column]) for column in ("case", "purpose", "waits_for", "records")))
    Console().print(*tables, waiting)
    print(f"visits: {found.visits}; proofs of consent: {found.proofs}")


@retention_app.command("done")
def done(
    since: Annotated[datetime | None, typer.Option("--since", formats=["%Y-%m-%d"], help="none: 30 days ago")] = None,
    as_json: AsJson = False,
) -> None:
    """What went day by day, counted by what was done, case, purpose and rule."""
    from rich.console import Console
    from rich.table import Table

    from schemas.calendar import civil_day

    async def run(services: Services) -> list[dict[str, object]]:
        first = since.date() if since else civil_day(services.clock()) - timedelta(days=30)
        return await services.disposals.by_day(first)

    lines = with_services(run)
    if as_json:
        typer.echo(json.dumps(lines))
        return
    table = Table("day", "what", "case", "purpose", "rule", "records")
    for line in lines:
        table.add_row(*(str(line[name]) for name in ("day", "what", "case", "purpose", "rule", "records")))
    Console().print(table)


@archive_app.command("read")
def read(
    email: Annotated[str, typer.Argument(help="whose records")],
    reason: Annotated[str, typer.Option("--reason", help="why; kept as evidence, without a word about the person")],
    department: Annotated[Department, typer.Option("--department", help="who reads")],
    by: Annotated[
        str, typer.Option("--by", default_factory=getpass.getuser, show_default="this account", help="The read's name.")
    ],
    as_json: AsJson = False,
) -> None:
    """What the archive keeps of one address, for a department that may read it. Recorded, with its reason."""
    from workers.gate import Reader, ReadRefused
    from workers.retention.evidence import read_archive

    async def run(services: Services) -> list[Evidence]:
        return await read_archive(services, Reader(by, department), email, reason)

    try:
        found = with_services(run)
    except ReadRefused as error:
        fail(f"refused: {error}")
    except InvalidMessage as error:
        fail(_WHY.get(error.code, error.code))
    for one in found:
        typer.echo(json.dumps(one.as_json(), ensure_ascii=False) if as_json else _line(one))


def _line(one: Evidence) -> str:
    kept = ", ".join(one.purposes)
    said = "; ".join(f"{name}: {value}" for name, value in one.data.items())
    return f"{one.case} of {one.received:%F}, kept until {one.last_day} for {kept}: {said}"
