"""``greffier suppress``: a "no" to prospecting that did not come by the link: a call, a letter, a complaint.

Exit codes: 0 done; 1 the report cannot be used, or a store is away: nothing was entered, and it may be run again; 2 a
setting or an option is wrong. Source: R20, R22, R24; design § 6.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from schemas.errors import InvalidMessage
from schemas.terms import SuppressionGround
from workers.rights_commands import By
from workers.staff_commands import fail, with_services

_WHY: Final = {
    "not_an_email": "that is no e-mail address",
    "in_the_future": "--received is in the future",
    "not_in_normal_form": "--by is an account's name: letters, digits and ._:-",
    "report_too_large": "the report is too large to be one",
    "not_a_report": "that is no feedback report (RFC 5965)",
    "not_a_complaint": "the report is of another type than abuse: it is no complaint",
    "nobody_named": "the report has no one-click link of ours and names no address",
}


def suppress(
    by: By,
    email: Annotated[str | None, typer.Argument(help="the person's address; none where --arf says whom")] = None,
    ground: Annotated[
        SuppressionGround, typer.Option("--ground", help="what the person did")
    ] = SuppressionGround.OBJECTION,
    arf: Annotated[
        Path | None, typer.Option("--arf", help="a mailbox provider's complaint (RFC 5965); - reads standard input")
    ] = None,
    received: Annotated[
        datetime | None,
        typer.Option("--received", formats=["%Y-%m-%d"], help="the true day of receipt; none: now"),
    ] = None,
) -> None:
    """Write nobody of this address for prospecting any more: group-wide, at once, whether known or not."""
    if (email is None) is (arf is None):
        raise typer.BadParameter("needs an address, or --arf with a report")
    if ground is SuppressionGround.WITHDRAWAL:
        raise typer.BadParameter("a withdrawal of consent is a request of its own: greffier rights record withdrawal")
    try:
        if email is not None:
            _enter_address(email, ground, received, by)
        elif arf is not None:
            _enter_complaint(arf, received, by)
    except InvalidMessage as error:
        fail(_WHY.get(error.code, error.code))
    print("entered: no prospecting from now on, in the whole group")


def _enter_address(email: str, ground: SuppressionGround, received: datetime | None, by: str) -> None:
    from workers.objecting import enter_address

    with_services(lambda services: enter_address(services, email, ground, received and received.date(), by))


def _enter_complaint(arf: Path, received: datetime | None, by: str) -> None:
    from schemas.party_keys import read_token_key
    from workers.objecting import enter_complaint, read_report
    from workers.settings import read_controller_settings

    key = read_token_key(read_controller_settings().keys)
    try:
        complaint = read_report(arf)
    except OSError as error:
        fail(f"the report cannot be read ({error.strerror})")
    with_services(lambda services: enter_complaint(services, key, complaint, received and received.date(), by))
