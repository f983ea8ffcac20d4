"""``greffier door``, ``greffier clock`` and ``greffier publish``.

Source: design § 6 "Commands".
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def register_commands(app: typer.Typer) -> None:
    """Add this package's commands to the root."""
    app.command()(door)
    app.command()(clock)
    app.command()(publish)


def door() -> None:
    """Serve the door until SIGTERM; settings come from GREFFIER_* variables."""
    import asyncio

    from producers.door.app import Door
    from producers.settings import read_door_settings
    from schemas.logs import configure_logs
    from schemas.staying import stay_open

    settings = read_door_settings()
    configure_logs(settings.log_level)
    asyncio.run(stay_open(Door(settings)))


def clock() -> None:
    """Say what is due, when it is due, until SIGTERM; of several clocks one leads. Settings: GREFFIER_* variables."""
    import asyncio

    from producers.clock import Clock
    from producers.settings import ClockSettings, read_settings
    from schemas.logs import configure_logs
    from schemas.staying import stay_open

    settings = read_settings(ClockSettings)
    configure_logs(settings.log_level)
    asyncio.run(stay_open(Clock(settings)))


def publish(
    file: Annotated[str, typer.Argument(help="NDJSON of CloudEvents, one a line; - for standard input")],
    as_json: Annotated[bool, typer.Option("--json", help="the outcome as one JSON object")] = False,
) -> None:
    """Publish CloudEvents straight into Redis, as the door does; exit code 1 when any was refused."""
    from producers.bulk import publish_lines
    from producers.settings import read_door_settings

    settings = read_door_settings()
    if file == "-":
        outcome = publish_lines(settings, sys.stdin.buffer, quiet=as_json)
    else:
        with Path(file).open("rb") as lines:
            outcome = publish_lines(settings, lines, quiet=as_json)
    print(outcome.as_json() if as_json else outcome.as_text())
    raise typer.Exit(1 if outcome.refused else 0)
