"""The commands of the way down: one line each in `register_commands`; a body is imported when it runs.

So `greffier --help` opens no driver and `greffier door` does not pay for MongoDB.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workers.conform_commands import conform
from workers.drift_commands import drift
from workers.drill_commands import restore_drill
from workers.evidence_commands import evidence_app
from workers.orders_commands import orders_app
from workers.policy_commands import policy_app
from workers.retention_commands import archive_app, retention_app
from workers.rights_commands import rights_app
from workers.staff_commands import aggregates, audience, consents_app, doctor, notices, parked_app, status
from workers.subsidiary_commands import subsidiary
from workers.suppression_commands import suppress


def register_commands(app: typer.Typer) -> None:
    """Add this package's commands to ``greffier`` (entry-point group ``greffier.commands``)."""
    app.command()(up)
    app.command()(demo)
    app.command()(controller)
    app.command()(desk)
    app.command()(counter)
    app.command()(subsidiary)
    app.command()(conform)
    app.command()(bench)
    app.command()(status)
    app.command()(doctor)
    app.command()(audience)
    app.command()(notices)
    app.command()(aggregates)
    app.command()(suppress)
    app.command()(restore_drill)
    app.command()(drift)
    app.add_typer(parked_app, name="parked")
    app.add_typer(consents_app, name="consents")
    app.add_typer(rights_app, name="rights")
    app.add_typer(orders_app, name="orders")
    app.add_typer(evidence_app, name="evidence")
    app.add_typer(retention_app, name="retention")
    app.add_typer(archive_app, name="archive")
    app.add_typer(policy_app, name="policy")


def up(
    data: Annotated[Path, typer.Option(help="Where servers, keys and logs live; made when absent.")] = Path("var"),
    ready_file: Annotated[Path | None, typer.Option(help="Written when everything answers: URLs, key, pids.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The door's port; 0 takes a free one.")] = 8080,
    workers: Annotated[int, typer.Option(min=1, help="How many controller processes.")] = 1,
) -> None:
    """Run the whole system on this machine, on embedded servers, until Ctrl-C. Not for production."""
    from workers.up import up as run

    run(data, ready_file=ready_file, port=port, controllers=workers)


def demo(
    data: Annotated[Path | None, typer.Option(help="Keep servers, keys and logs here; temporary when absent.")] = None,
) -> None:
    """Show the whole system at work on embedded servers; exit code 0 only if all of it held."""
    from workers.demo import run_demo

    raise typer.Exit(run_demo(data))


def controller(
    queues: Annotated[str | None, typer.Option(help="Comma list; all of GREFFIER_QUEUES when absent.")] = None,
    replay: Annotated[
        bool, typer.Option("--replay", help="After a restore, before anything starts: give up again, then end.")
    ] = False,
) -> None:
    """Work on queues until SIGTERM: persist what the door and the publishers accepted."""
    if replay:
        import json

        from workers.staff_commands import with_services
        from workers.tombstone_replay import replay as run_replay

        typer.echo(json.dumps(with_services(run_replay).as_json()))
        return
    from workers.main import run_controller

    raise typer.Exit(run_controller(queues))


def desk() -> None:
    """Serve the desk until SIGTERM: staff look at cases and decide. Internal. Settings: GREFFIER_* variables."""
    import asyncio

    from schemas.logs import configure_logs
    from schemas.staying import stay_open
    from workers.correspondence.mailer import read_mail_settings
    from workers.desk.app import open_desk
    from workers.desk.settings import DeskSettings
    from workers.settings import read_settings

    settings, mail = read_settings(DeskSettings), read_mail_settings()
    configure_logs(settings.log_level)
    asyncio.run(stay_open(open_desk(settings, mail)))


def counter() -> None:
    """Serve the counter until SIGTERM: status and download by mailed link. Settings: GREFFIER_* variables."""
    import asyncio

    from schemas.logs import configure_logs
    from schemas.staying import stay_open
    from workers.counter.app import open_counter
    from workers.counter.settings import CounterSettings
    from workers.settings import read_settings

    settings = read_settings(CounterSettings)
    configure_logs(settings.log_level)
    asyncio.run(stay_open(open_counter(settings)))


def bench(
    name: Annotated[
        str,
        typer.Argument(
            help="consents, submissions, door, latency, rights, audience, unsubscribe, retention, ledger, idle, all"
        ),
    ] = "all",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    n: Annotated[int | None, typer.Option(min=1, help="Events in a round; of latency and idle, seconds.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="How often ours and the comparison alternate.")] = None,
    people: Annotated[int | None, typer.Option(min=1, help="rights, audience, retention: how many are held.")] = None,
    long: Annotated[bool, typer.Option(help="consents, submissions: memory over a million events too.")] = False,
) -> None:
    """How fast, beside what the servers themselves can do in the same run. From a checkout only."""
    from workers.bench import run_bench

    chosen = {"--json": as_json, "--long": long}
    numbers = {"--n": n, "--rounds": rounds, "--people": people}
    options = [option for option, wanted in chosen.items() if wanted]
    options += [part for option, value in numbers.items() if value for part in (option, str(value))]
    raise typer.Exit(run_bench(name, options))
