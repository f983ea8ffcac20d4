"""``greffier conform``: try an adapter, a client or a worker before a person depends on it. Source: R28; design § 6.

Exit codes: 0 full marks, or a certificate that holds; 1 anything less; 2 the description must be mended.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import InvalidMessage

if TYPE_CHECKING:
    from workers.conform.description import Description
    from workers.conform.report import Report, Trial


def conform(
    description: Annotated[Path, typer.Argument(help="what is tried: see docs/examples/conform")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document, for programs.")] = False,
    certificate: Annotated[
        Path | None, typer.Option("--certificate", help="with full marks: write a signed certificate here")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option("--keys", help="with --certificate: folder with the party.private.json that signs it")
    ] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="one trial by its name; may be repeated")] = None,
    verify: Annotated[Path | None, typer.Option("--verify", help="try nothing: check this certificate for it")] = None,
    by: Annotated[
        Path | None, typer.Option("--by", help="with --verify: subsidiaries.public.json or controller.public.json")
    ] = None,
) -> None:
    """Try what serves a subsidiary, on a scratch store; print a graded report."""
    from schemas.logs import configure_logs
    from workers.conform.description import read_description

    configure_logs("ERROR")  # refusals are what it asks for
    if (certificate is None) is not (keys is None) or (certificate is not None and only):
        raise typer.BadParameter("--certificate and --keys belong together, and to a run of every trial")
    if (verify is None) is not (by is None):
        raise typer.BadParameter("--verify and --by belong together")
    told = read_description(description)
    if verify is not None and by is not None:
        _verify(told, verify, by)
        return
    report = _run(told, only or (), as_json)
    if as_json:
        print(json.dumps(report.as_json()))
    if certificate is not None and keys is not None and report.full:
        _sign(report, certificate, keys)
    if not report.full:
        raise typer.Exit(1)


def _run(description: Description, only: list[str] | tuple[str, ...], as_json: bool) -> Report:
    from workers.conform.running import conform as run
    from workers.conform.trials import TRIALS

    unknown = [name for name in only if name not in TRIALS]
    if unknown:
        raise typer.BadParameter(f"--only is one of {', '.join(TRIALS)}")
    if as_json:
        return asyncio.run(run(description, only))
    print(f"{description.name} {description.version}, over {description.over}:")
    report = asyncio.run(run(description, only, _print))
    print(f"{report.marks} of {len(report.trials)} marks{': it does its part' if report.full else ''}")
    _print_rights(report.rights)
    return report


def _print(trial: Trial) -> None:
    print(f"  {'held  ' if trial.held else 'FAILED'}  {trial.name} ({trial.checks} checks, {trial.seconds} s)")
    for fault in trial.faults:
        print(f"            {fault}")


def _print_rights(rights: Mapping[str, Sequence[str]]) -> None:
    for what, names in (("served", rights["shown"]), ("refused by name", rights["refused"])):
        if names:
            print(f"{what}: {', '.join(names)}")


def _sign(report: Report, certificate: Path, keys: Path) -> None:
    from schemas.party_keys import read_party

    certificate.write_text(report.certificate(read_party(keys)) + "\n")
    print(f"certificate in {certificate}", file=sys.stderr)


def _verify(description: Description, certificate: Path, by: Path) -> None:
    from schemas.jose import key_id
    from schemas.party_keys import read_peers
    from workers.conform.report import check_certificate

    try:
        token = certificate.read_text("ascii").strip()
        kid = key_id(token)
        signatory = next((peer for peer in read_peers(by) if kid in peer.verifying), None)
        if signatory is None:
            raise InvalidMessage("unknown_key")
        claims = check_certificate(token, signatory, description, datetime.now(UTC))
    except (OSError, UnicodeDecodeError, InvalidMessage) as fault:
        print(f"greffier: not good for {description.name}: {getattr(fault, 'code', 'unreadable')}", file=sys.stderr)
        raise typer.Exit(1) from None
    issued = datetime.fromtimestamp(claims["iat"], UTC).date()
    told = f"{claims['marks']} marks on {issued}, greffier {claims['greffier']}"
    print(f"{description.name} {description.version}: {told}, signed by {signatory.party}")
    _print_rights(claims.get("rights") or {"shown": (), "refused": ()})
