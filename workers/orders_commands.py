"""``greffier orders``: what a subsidiary without a line is asked, out as a file, and what it answers, in again.

Exit codes: 0 done; 1 nothing waits, the file is not to be believed, or a server is away; 2 a setting is wrong.
Source: R28; docs/subsidiary.md "By hand".
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from schemas.errors import InvalidMessage, QueueUnavailable
from workers.staff_commands import fail, with_services

orders_app = typer.Typer(help="Orders and receipts of an office without a line, as files.", no_args_is_help=True)


@orders_app.command()
def export(
    code: Annotated[str, typer.Argument(help="the subsidiary's code in the register")],
    out: Annotated[Path, typer.Option("-o", "--out", help="the file to carry to the office")],
) -> None:
    """Write what waits for a subsidiary into a file: sealed to it, so nobody else can read it. May be repeated."""
    from schemas.by_hand import TokenFiles
    from workers.stores.leases import Leases

    tokens = with_services(lambda services: Leases(services.databases).in_force(code))
    if not tokens:
        fail(f"nothing waits for {code}")
    files = TokenFiles(out, "orders", code)
    for token in tokens:
        files.post(token)
    files.write()
    print(f"{files.count} order(s) for {code} in {', '.join(map(str, files.paths))}; answer within seven days")


@orders_app.command()
def take(file: Annotated[Path, typer.Argument(help="what `greffier subsidiary CODE --order` wrote")]) -> None:
    """Take in the receipts that an office sent back. May be repeated: what is known already changes nothing."""
    from schemas.by_hand import read_tokens
    from workers.cases.by_hand import take_receipts
    from workers.settings import read_controller_settings

    settings = read_controller_settings()
    try:
        code, tokens = read_tokens(file, "receipts")
        taken = take_receipts(settings.redis_url.get_secret_value(), settings.keys, code, tokens, datetime.now(UTC))
    except OSError as error:
        fail(f"the file cannot be read ({error.strerror})")
    except InvalidMessage as fault:
        fail(f"nothing was taken in: {fault.code.replace('_', ' ')}")
    except QueueUnavailable:
        fail("Redis does not answer; nothing is lost, take the file in again")
    print(f"{taken} receipt(s) of {code} taken in; `greffier rights show` says what they changed")
