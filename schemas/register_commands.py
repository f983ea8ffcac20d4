"""``greffier register``: check a register before it is put in place, and print it for people.

Source: design § 6 "Register"; R13.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from schemas.register import Register

register_app = typer.Typer(help="Check and print the register.", no_args_is_help=True)

RegisterFile = Annotated[
    Path | None,
    typer.Argument(envvar="GREFFIER_REGISTER", help="a register; the shipped one if not given", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="for programs")]


@register_app.command()
def check(file: RegisterFile = None, as_json: AsJson = False) -> None:
    """List every fault with its path. Exit code 0: sound; 1: at least one fault."""
    register = _sound(file, as_json)
    if as_json:
        typer.echo(json.dumps({"sound": True, "faults": []}))
    else:
        typer.echo(summary(register))


@register_app.command()
def show(file: RegisterFile = None, as_json: AsJson = False) -> None:
    """Print the register as a person would read it. Exit code 1 if it has a fault."""
    register = _sound(file, as_json)
    if as_json:
        typer.echo(register.model_dump_json(indent=2))
        return
    from rich.console import Console  # every `greffier` command loads this module; most print no table

    from schemas.register_print import print_register

    print_register(register, Console(markup=False, highlight=False))


@register_app.command()
def acl(
    file: RegisterFile = None,
    password_file_dir: Annotated[
        Path | None,
        typer.Option(help="One file a user, named after it: its password. Missing ones are made, mode 0400."),
    ] = None,
) -> None:
    """Print the Redis ACL file that this register asks for. Without passwords every user is off.

    Only digests of passwords are printed. Exit code 1 if the register has a fault.
    """
    from schemas.acl import acl_file, redis_users
    from schemas.keyfiles import read_or_make

    users = redis_users(_sound(file, as_json=False))
    passwords = {}
    if password_file_dir is not None:
        password_file_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        passwords = {user.name: read_or_make(password_file_dir / user.name) for user in users}
    typer.echo(acl_file(users, passwords), nl=False)


def summary(register: Register) -> str:
    """A sound register in one line: how much it states, how much of that is a default, which border closes first."""
    defaults = sum(rule.default for rule in register.retention.values())
    ends = [(entry.transfer.expires_on, code) for code, entry in register.subsidiaries.items()]
    first = min(((day, code) for day, code in ends if day is not None), default=None)
    parts = [
        f"sound: {len(register.cases)} cases",
        f"{len(register.purposes)} purposes",
        f"{len(register.retention)} retention rules ({defaults} defaults to confirm)",
        f"{len(register.subsidiaries)} subsidiaries",
    ]
    if first is not None:
        parts.append(f"first transfer basis to end: {first[1]} on {first[0]}")
    return ", ".join(parts)


def _sound(file: Path | None, as_json: bool) -> Register:
    """The register, or its faults on standard output and exit code 1."""
    from schemas.calendar import PARIS  # as above
    from schemas.register import load_register

    try:
        return load_register(file, on=datetime.now(PARIS).date())
    except ConfigurationError as error:
        if as_json:
            faults = [{"path": fault.path, "problem": fault.problem} for fault in error.faults]
            typer.echo(json.dumps({"sound": False, "faults": faults}, ensure_ascii=False))
        else:
            for fault in error.faults:
                typer.echo(str(fault))
            typer.echo(f"{len(error.faults)} fault(s)", err=True)
        raise typer.Exit(1) from None
