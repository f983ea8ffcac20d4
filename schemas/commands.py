"""The ``greffier`` command. It knows no package but this one: each registers its own commands as an entry point.

So neither ``producers`` nor ``workers`` imports the other.
Source: design § 6 "Commands".
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

from schemas.errors import ConfigurationError
from schemas.interpreter import start_swiftly

GROUP = "greffier.commands"


def main() -> None:
    """Run ``greffier``; a configuration fault is one list of names on standard error and exit code 2, no traceback."""
    start_swiftly()
    app = typer.Typer(
        name="greffier",
        help="The clerk of a group's personal-data duties.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    for entry_point in sorted(entry_points(group=GROUP), key=lambda found: found.name):
        entry_point.load()(app)
    try:
        app()
    except ConfigurationError as error:
        print(f"greffier: {error.subject} cannot be used:", file=sys.stderr)
        for fault in error.faults:
            print(f"  {fault}", file=sys.stderr)
        sys.exit(2)


def register_commands(app: typer.Typer) -> None:
    """The commands about the register and the keys."""
    from schemas.register_commands import register_app

    app.add_typer(register_app, name="register")
    app.add_typer(keys_app, name="keys")


keys_app = typer.Typer(help="Make the keys of an installation.", no_args_is_help=True)


@keys_app.command()
def generate(folder: Annotated[Path, typer.Argument(help="an empty or new folder")]) -> None:
    """Make every key of one installation: FOLDER/door, FOLDER/controller (workers, desk) and FOLDER/counter."""
    from schemas.keyring import generate_keys

    try:
        generate_keys(folder)
    except FileExistsError:
        print(f"greffier: {folder} already holds keys; they are never overwritten", file=sys.stderr)
        raise typer.Exit(1) from None
    print(f"keys made in {folder / 'door'}, {folder / 'controller'} and {folder / 'counter'}")


@keys_app.command("packages")
def packages(folder: Annotated[Path, typer.Argument(help="what `keys generate` made")]) -> None:
    """Give access packages a key of their own, where they have none yet; the counter keeps no other."""
    from schemas.keyring import add_package_key

    try:
        add_package_key(folder)
    except FileExistsError:
        print(f"greffier: packages have their key in {folder} already", file=sys.stderr)
        raise typer.Exit(1) from None
    print(f"key made in {folder / 'controller'} and {folder / 'counter'}")


@keys_app.command("subsidiary")
def subsidiary(
    folder: Annotated[Path, typer.Argument(help="what `keys generate` made")],
    code: Annotated[str, typer.Argument(help="the subsidiary's code in the register")],
    out: Annotated[Path, typer.Option("-o", "--out", help="a new folder, to be handed to the office")],
) -> None:
    """Make a subsidiary's keys, and make it known to controller and counter; restart the workers of `rights`."""
    from schemas.party_keys import add_subsidiary

    try:
        add_subsidiary(folder / "controller", out, code)
    except FileExistsError:
        print(f"greffier: {out} is there already; keys are never overwritten", file=sys.stderr)
        raise typer.Exit(1) from None
    print(f"keys of {code} made in {out}: hand the folder over, and keep no copy")


@keys_app.command("outside")
def outside(folder: Annotated[Path, typer.Argument(help="what `keys generate` made")]) -> None:
    """Make the keys by which the counter hands on what other organisations' systems ask. Restart the workers then."""
    from schemas.keyring import add_outside

    try:
        print(f"keys made in {add_outside(folder)}; put outside.yaml beside them")
    except FileExistsError:
        print(f"greffier: {folder / 'outside'} is there already", file=sys.stderr)
        raise typer.Exit(1) from None


@keys_app.command("rotate-suppression")
def rotate_suppression(folder: Annotated[Path, typer.Argument(help="the controller's key folder")]) -> None:
    """Give the suppression list a new key, beside those it has. Then restart whoever reads that folder."""
    from schemas.keyring import rotate_suppression_key

    rotate_suppression_key(folder)
    print(f"a further key stands in {folder / 'lookup.key'}; copy the file wherever it is used, and restart")


@keys_app.command("api-key")
def api_key(
    folder: Annotated[Path, typer.Argument(help="the door's key folder")],
    types: Annotated[list[str], typer.Option("--type", help="pattern of event types it may publish")] = [  # noqa: B006
        "greffier.contact.*",
        "greffier.application.*",
    ],
    sources: Annotated[list[str], typer.Option("--source", help="pattern of sources it may name")] = ["*"],  # noqa: B006
) -> None:
    """Make a publisher's key: prints it once; the door keeps only its digest."""
    from schemas.keyring import add_api_key, new_api_key

    token, entry = new_api_key(tuple(types), tuple(sources))
    add_api_key(folder, entry)
    print(token)


@keys_app.command("revoke")
def revoke(
    folder: Annotated[Path, typer.Argument(help="the door's key folder")],
    key_id: Annotated[str, typer.Argument(help="the middle part of gk_<id>_<secret>")],
) -> None:
    """Revoke a publisher's key by its id."""
    from schemas.keyring import revoke_api_key

    if not revoke_api_key(folder, key_id):
        print(f"greffier: no key {key_id}", file=sys.stderr)
        raise typer.Exit(1)
    print(f"{key_id} is revoked")


@keys_app.command("desk-account")
def desk_account(
    file: Annotated[Path, typer.Argument(help="the desk's accounts; made where there is none")],
    name: Annotated[str, typer.Option("--name", help="who; it stands in evidence, so an account's name, no address")],
    department: Annotated[str, typer.Option("--department", help="as the register names it")],
    decides: Annotated[
        bool, typer.Option("--decides", help="may extend, refuse, hold and settle, not only look")
    ] = False,
) -> None:
    """Make an account of the desk: prints its token once; the file keeps only its digest."""
    from schemas.desk_accounts import add_account, new_account
    from schemas.errors import InvalidMessage
    from schemas.terms import Department

    try:
        token, account = new_account(name, Department(department), decides=decides)
    except (ValueError, InvalidMessage):
        print(f"greffier: needs a name of letters, digits and ._:- and one of {', '.join(Department)}", file=sys.stderr)
        raise typer.Exit(1) from None
    add_account(file, account)
    print(token)


@keys_app.command("revoke-desk-account")
def revoke_desk_account(
    file: Annotated[Path, typer.Argument(help="the desk's accounts")],
    account_id: Annotated[str, typer.Argument(help="the middle part of gd_<id>_<secret>")],
) -> None:
    """Revoke an account of the desk by its id."""
    from schemas.desk_accounts import revoke_account

    if not revoke_account(file, account_id):
        print(f"greffier: no account {account_id}", file=sys.stderr)
        raise typer.Exit(1)
    print(f"{account_id} is revoked")
