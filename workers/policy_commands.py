"""``greffier policy``: versions of the policy, and who was told of them. Source: R16.

Exit codes: 0 done; 1 refused, or a store is away; 2 a setting or an option is wrong.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from schemas.errors import InvalidMessage
from schemas.terms import Department, Means
from workers.rights_commands import By
from workers.staff_commands import AsJson, fail, with_services

if TYPE_CHECKING:
    from workers.services import Services

R = TypeVar("R")

policy_app = typer.Typer(help="Versions of the policy, and who was told of them.", no_args_is_help=True)

Version = Annotated[str, typer.Argument(help="as the register names it under policy.versions")]


@policy_app.command()
def publish(version: Version, by: By) -> None:
    """Publish a version that the register has: from then on its text stays as it is. May be repeated."""
    from workers import policy

    fresh = _run(lambda services: policy.publish(services, version, by))
    print(f"version {version}: {'published' if fresh else 'was published before, nothing is changed'}")


@policy_app.command()
def told(
    version: Version,
    means: Annotated[Means, typer.Option("--means", help="by what means people were told")],
    by: By,
    persons: Annotated[
        typer.FileText | None,
        typer.Option("--persons", help="ids of those it was sent to, one a line; - reads standard input"),
    ] = None,
) -> None:
    """Record that people were told of a version: on the website everybody, else those of a list."""
    from workers import policy

    listed = [line.strip() for line in persons if line.strip()] if persons else []
    count = _run(lambda services: policy.tell(services, version, means, by, listed))
    print("recorded: on the website, for everybody" if means is Means.WEBSITE else f"recorded: {count} people")


@policy_app.command("to-tell")
def to_tell(
    version: Version,
    by: By,
    department: Annotated[Department, typer.Option("--department", help="who reads")] = Department.MARKETING_SALES,
    as_json: AsJson = False,
) -> None:
    """Who must still be told of a version, as far as the department may read them: an address a line."""
    from workers import policy
    from workers.gate import Reader

    async def run(services: Services) -> int:
        rows = 0
        async for member in policy.to_tell(services, Reader(by, department), version):
            typer.echo(json.dumps(member.as_json(), ensure_ascii=False) if as_json else member.email)
            rows += 1
        return rows

    print(json.dumps({"rows": _run(run)}), file=sys.stderr)


@policy_app.command()
def status(as_json: AsJson = False) -> None:
    """How the current version stands: who holds it from their own records, who was told, who must be told."""
    from workers import policy

    state = _run(policy.look_at_policy)
    if as_json:
        typer.echo(json.dumps(asdict(state)))
        return
    print(f"version {state.current}, effective on {state.effective_on}, published {state.published_at or 'never'}")
    print(f"on the website: {state.website_since or 'not told'}; by message: {dict(state.told) or 'nobody'}")
    print(f"held: {state.held} people, by the version of their latest record: {dict(state.under)}")
    print(f"still to be told: {state.to_tell}")


def _run(ask: Callable[[Services], Awaitable[R]]) -> R:
    from workers.policy import PolicyRefused

    try:
        return with_services(ask)
    except PolicyRefused as error:
        fail(f"refused: {error}")
    except InvalidMessage as error:
        fail(f"refused: {error.code} {error.pointer}")
