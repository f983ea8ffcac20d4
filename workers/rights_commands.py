"""``greffier rights``: what the desk does, typed. Source: R22, R23, R30; design § 6.

Exit codes: 0 done; 1 the case does not allow it, or a store is away; 2 a setting or an option is wrong.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from schemas.errors import InvalidBody, InvalidMessage, StoreUnavailable
from schemas.terms import Channel, Right

if TYPE_CHECKING:
    from workers.cases.desk import Docket

R = TypeVar("R")

rights_app = typer.Typer(help="Requests of data subjects: enter, look, decide.", no_args_is_help=True)

Reference = Annotated[str, typer.Argument(help="the case's reference, such as R-4F7K-9Q2M-X3TN")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document, for programs.")]
By = Annotated[
    str,
    typer.Option("--by", default_factory=getpass.getuser, show_default="this account", help="Who decides: evidence."),
]
Text = Annotated[str, typer.Option("--text", help="What the person is told, in your own words.")]


@rights_app.command()
def record(  # noqa: PLR0913, PLR0917 - each is an option
    right: Annotated[Right, typer.Argument(help="what is asked")],
    email: Annotated[str, typer.Option("--email", help="the person's address")],
    channel: Annotated[Channel, typer.Option("--channel", help="email or letter")],
    received: Annotated[datetime, typer.Option("--received", formats=["%Y-%m-%d"], help="the true day of receipt")],
    by: By,
    language: Annotated[str, typer.Option("--language", help="in which to write: fr or en")] = "fr",
    details: Annotated[str | None, typer.Option("--details", help="what else the person said")] = None,
    confirmed: Annotated[
        bool, typer.Option("--confirmed", help="The address was proved by other means; no link is mailed.")
    ] = False,
    also: Annotated[
        list[str] | None, typer.Option("--also", help="a further address of this person, proved too; may be repeated")
    ] = None,
    ground: Annotated[str | None, typer.Option("--ground", help="child: an erasure of data given as a child.")] = None,
    corrections: Annotated[
        Path | None,
        typer.Option("--corrections", help="of a rectification: a JSON file, as at the door; - reads standard input"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Enter a request that came by e-mail or letter; prints its case's reference."""
    from workers.cases.entering import record as enter

    said: dict[str, Any] = {"right": right.value, "email": email, "channel": channel.value, "language": language}
    said |= {"confirmed": "yes"} if confirmed else {}
    said |= {"also": also} if also else {}
    said |= {"corrections": _read_json(corrections)} if corrections is not None else {}
    said |= {name: value for name, value in (("details", details), ("ground", ground)) if value is not None}
    reference = _with_docket(lambda docket: enter(docket, said, received.date(), by))
    typer.echo(json.dumps({"reference": reference}) if as_json else reference)


@rights_app.command("list")
def list_cases(
    which: Annotated[str, typer.Option("--filter", help="open, overdue, due-soon or all")] = "open",
    after: Annotated[str | None, typer.Option("--after", help="what the page before gave as next")] = None,
    as_json: AsJson = False,
) -> None:
    """List cases, the nearest due date first."""
    from rich.console import Console
    from rich.table import Table

    from workers.cases.showing import Filter, listed

    if which not in tuple(Filter):
        raise typer.BadParameter(f"--filter is one of {', '.join(Filter)}")
    found = _with_docket(lambda docket: listed(docket, Filter(which), after))
    if as_json:
        typer.echo(json.dumps(found))
        return
    columns = ("reference", "right", "answer", "proof", "received_on", "due_on", "standing")
    table = Table(*columns)
    for case in found["cases"]:
        table.add_row(*(str(case[name] or "") for name in columns))
    Console().print(table)
    if found["next"]:
        print(f"more: --after {found['next']}")


@rights_app.command()
def show(reference: Reference, as_json: AsJson = False) -> None:
    """Show a case: its clocks, its dates, each store's answer. Never who it is about."""
    _show(_with_docket(_whole(reference)), as_json)


@rights_app.command()
def extend(
    reference: Reference,
    reason: Annotated[str, typer.Option("--reason", help="volume, hard-retrieval, redaction or number-of-requests")],
    text: Text,
    by: By,
    as_json: AsJson = False,
) -> None:
    """Take two months more; the person is told now. Only within the first month (Art. 12(3))."""
    from workers.cases import deciding
    from workers.correspondence.facts import ExtensionReason

    known = _one_of("--reason", reason, tuple(ExtensionReason))
    _decide(reference, lambda docket: deciding.extend(docket, reference, ExtensionReason(known), text, by), as_json)


@rights_app.command()
def refuse(
    reference: Reference,
    ground: Annotated[str, typer.Option("--ground", help="such as manifestly_unfounded, excessive, cannot_identify")],
    text: Text,
    by: By,
    as_json: AsJson = False,
) -> None:
    """Refuse the whole request; the person is told why, and where to complain. Only within the first month."""
    from workers.cases import deciding
    from workers.rules.decisions import Refusal

    known = _one_of("--ground", ground, tuple(Refusal))
    _decide(reference, lambda docket: deciding.refuse(docket, reference, Refusal(known), text, by), as_json)


@rights_app.command()
def hold(
    reference: Reference,
    ground: Annotated[str, typer.Option("--ground", help="legal ground, as a receipt quotes it; no personal data")],
    until: Annotated[datetime, typer.Option("--until", formats=["%Y-%m-%d"], help="when it is looked at again")],
    by: By,
    as_json: AsJson = False,
) -> None:
    """Keep this person's data from erasure until the hold is lifted (Art. 17(3))."""
    from workers.cases import deciding

    _decide(reference, lambda docket: deciding.hold(docket, reference, ground, until.date(), by), as_json)


@rights_app.command()
def lift(reference: Reference, by: By, as_json: AsJson = False) -> None:
    """End the hold; an erasure that waited for it is done now. A restriction ends when the person has been told."""
    from workers.cases import deciding

    _decide(reference, lambda docket: deciding.lift(docket, reference, by), as_json)


@rights_app.command()
def identity(
    reference: Reference,
    by: By,
    ask: Annotated[str | None, typer.Option("--ask", help="Ask for proof: why there is a reasonable doubt.")] = None,
    proved: Annotated[bool, typer.Option("--proved", help="It came and was looked at; no copy is kept.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask for proof of identity, or note that it came. The clock stands still in between."""
    from workers.cases import deciding

    if (ask is None) is not proved:
        raise typer.BadParameter("--ask with why, or --proved")
    if ask is not None:
        _decide(reference, lambda docket: deciding.ask_identity(docket, reference, ask, by), as_json)
    else:
        _decide(reference, lambda docket: deciding.identity_proved(docket, reference, by), as_json)


@rights_app.command()
def decide(
    reference: Reference,
    store: Annotated[str, typer.Option("--store", help="the store whose answers contradict each other")],
    decision: Annotated[str, typer.Option("--decision", help="again: ask it anew; accept: what it said stands")],
    reason: Annotated[str, typer.Option("--reason", help="why; stays as evidence, so no personal data")],
    by: By,
    as_json: AsJson = False,
) -> None:
    """Settle a doubt about one store's answer."""
    from workers.cases import deciding

    known = _one_of("--decision", decision, ("again", "accept"))
    _decide(reference, lambda docket: deciding.settle(docket, reference, store, known, reason, by), as_json)


# ---------------------------------------------------------------------- what all of it shares


def _read_json(file: Path) -> Any:
    try:
        return json.loads(sys.stdin.read() if str(file) == "-" else file.read_text("utf-8"))
    except (OSError, ValueError):
        raise typer.BadParameter("--corrections names no readable JSON") from None


def _decide(reference: str, decision: Callable[[Docket], Awaitable[Any]], as_json: bool) -> None:
    async def run(docket: Docket) -> dict[str, Any]:
        await decision(docket)
        return await _whole(reference)(docket)

    _show(_with_docket(run), as_json)


def _whole(reference: str) -> Callable[[Docket], Awaitable[dict[str, Any]]]:
    async def run(docket: Docket) -> dict[str, Any]:
        from workers.cases.showing import whole

        return await whole(docket, reference)

    return run


def _with_docket(ask: Callable[[Docket], Awaitable[R]]) -> R:
    from workers.cases.deciding import CannotDecide
    from workers.cases.staff import open_docket
    from workers.correspondence.mailer import read_mail_settings
    from workers.services import Trust
    from workers.settings import read_controller_settings

    settings, mail = read_controller_settings(), read_mail_settings()

    async def run() -> R:
        async with open_docket(settings, Trust.read(settings), mail) as docket:
            return await ask(docket)

    try:
        return asyncio.run(run())
    except CannotDecide as error:
        _fail(str(error))
    except InvalidBody as error:
        _fail("; ".join(f"{found.pointer or '/'}: {found.detail}" for found in error.problems))
    except InvalidMessage as error:
        _fail(f"{error.pointer or '/'}: {error.code}")
    except StoreUnavailable as error:
        _fail(f"a store does not answer ({error})")


def _fail(sentence: str) -> NoReturn:
    print(f"greffier: {sentence}", file=sys.stderr)
    raise typer.Exit(1)


def _one_of(option: str, word: str, known: tuple[str, ...]) -> str:
    if word not in known:
        raise typer.BadParameter(f"{option} is one of {', '.join(known)}")
    return word


def _show(case: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(case))
        return
    from rich.console import Console
    from rich.table import Table

    dates = case["deadlines"]
    print(f"{case['reference']}  {case['right']}, by {case['channel']}, received on {case['received_on']}")
    print(f"answer {case['answer']}, due on {case['due_on']} ({case['standing'] or 'final'}); proof {case['proof']}")
    print(f"extension or refusal to be told by {dates['notice_by']}; paused {dates['paused_days']} day(s)")
    if case["hold"]:
        until = f" until {case['hold']['until']}" if case["hold"]["until"] else ""
        print(f"held{until}: {case['hold']['ground']}")
    if "withdrawal" in case:
        print(_withdrawal(case["withdrawal"]))
    table = Table("store", "country", "state", "outcome", "proof", "answered", "due", "standing", "why")
    for store in case["stores"]:
        names = ("store", "country", "state", "outcome", "proof", "answered_at", "answer_due", "standing")
        table.add_row(*(str(store[name] or "") for name in names), str(store["reason"] or store["unseen"] or ""))
    Console().print(table)
    for mail in case["mails"]:
        print(f"mail {mail['kind']}: {mail['outcome']}")


def _withdrawal(told: dict[str, Any]) -> str:
    if told["took_ms"] is not None:
        return f"consent withdrawn at {told['since']}; the last receipt came after {told['took_ms']} ms"
    return f"consent withdrawn at {told['since']}; {told['waiting']} store(s) silent for {told['so_far_ms']} ms"
