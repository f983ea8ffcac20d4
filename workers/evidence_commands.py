"""``greffier evidence``: hand out the proof of a case, check it anywhere, keep signed heads elsewhere.

``verify`` opens no connection and reads no setting: it works on any machine that has this package.
Source: R30; P12; design § 6.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from schemas.errors import InvalidMessage, StoreUnavailable

if TYPE_CHECKING:
    from schemas.ledger_keys import LedgerKeys
    from workers.evidence.findings import Report
    from workers.evidence.keeping import Keeper
    from workers.evidence.trusted import Trusted
    from workers.services import Services

R = TypeVar("R")
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document, for programs.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file, not to standard output.")]

_TRIES = 3
"""A receipt that comes in while a file is made is in the ledger and not in the file: then it is made again."""

evidence_app = typer.Typer(
    help="Proof of what was done, for who must not have to trust this system.", no_args_is_help=True
)


def _fail(sentence: str) -> NoReturn:
    print(f"greffier: {sentence}", file=sys.stderr)
    raise typer.Exit(1)


def _with_ledger(ask: Callable[[Services, Keeper, LedgerKeys], Awaitable[R]]) -> R:
    from schemas.ledger_keys import read_ledger_keys
    from workers.evidence.keeping import Keeper
    from workers.services import Trust, open_services
    from workers.settings import read_controller_settings
    from workers.stores.heads import Heads
    from workers.stores.ledger import Ledger

    async def run() -> R:
        settings = read_controller_settings()
        keys = read_ledger_keys(settings.keys)
        services = open_services(settings, Trust.read(settings))
        try:
            ledger = Ledger(services.databases)
            heads = Heads(services.databases, ledger, keys, services.clock)
            return await ask(services, Keeper(ledger, heads, services.clock), keys)
        finally:
            await services.close()

    try:
        return asyncio.run(run())
    except StoreUnavailable as error:
        _fail(f"evidence is not available ({error})")


def _write(output: Path | None, content: bytes) -> None:
    if output is None:
        sys.stdout.buffer.write(content)
    else:
        output.write_bytes(content)


@evidence_app.command()
def export(
    reference: Annotated[str, typer.Argument(help="The case's reference.")],
    output: Output = None,
) -> None:
    """Write the proof of a case into one file. Exit code 1 when the file does not hold; it is written all the same."""
    from schemas.party_keys import read_party, read_subsidiaries
    from workers.evidence.bundle import to_bytes
    from workers.evidence.export import Exporter, NothingNoted
    from workers.evidence.findings import Report
    from workers.evidence.trusted import Trusted
    from workers.evidence.verify import verify
    from workers.evidence.wording import fault_sentence
    from workers.settings import read_controller_settings

    async def run(services: Services, keeper: Keeper, keys: LedgerKeys) -> tuple[bytes, Report]:
        from workers.cases_facts import facts_of

        folder = read_controller_settings().keys
        party, peers = read_party(folder), read_subsidiaries(folder)
        exporter, own = Exporter(keeper, keys, services.clock), Trusted(tuple(keys.verifying.values()), log=keys.log)
        raw, report = b"", Report()
        for _ in range(_TRIES):
            facts = await facts_of(services, party, peers, reference)
            if facts is None:
                _fail("there is no such case")
            raw = to_bytes(await exporter.export(facts))
            report = verify(raw, own)
            if report.sound:
                break
        return raw, report

    try:
        raw, report = _with_ledger(run)
    except NothingNoted as error:
        _fail(str(error))
    _write(output, raw)
    for fault in report.faults:
        print(f"greffier: {fault_sentence(fault)}", file=sys.stderr)
    if not report.sound:
        raise typer.Exit(1)


@evidence_app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="What `evidence export` wrote.", exists=True, dir_okay=False)],
    key: Annotated[Path | None, typer.Option(help="The ledger's public keys (`evidence keys`), got elsewhere.")] = None,
    fingerprint: Annotated[list[str] | None, typer.Option(help="Fingerprint of a trusted ledger key.")] = None,
    head: Annotated[Path | None, typer.Option(help="For a file of heads: an older one, which it must contain.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check a case's file, or a file of heads: offline, with public keys only. Exit code 1 when it does not hold."""
    from workers.evidence.head_file import is_heads_file
    from workers.evidence.verify import verify as check

    raw, trusted = file.read_bytes(), _trusted(key, fingerprint or [])
    if is_heads_file(raw):
        _verify_heads(raw, trusted, head)
        return
    report = check(raw, trusted)
    if as_json:
        typer.echo(json.dumps(_as_json(report)))
    else:
        _print_report(report)
    if not report.sound:
        raise typer.Exit(1)


def _verify_heads(raw: bytes, trusted: Trusted, older: Path | None) -> None:
    from workers.evidence.head_file import check_heads, read_heads

    try:
        found = check_heads(raw, trusted, read_heads(older.read_bytes()) if older else ())
    except InvalidMessage as error:
        _fail(f"these heads do NOT hold: {error}")
    print(f"{len(found)} heads hold: each was signed, and each is the beginning of the next")
    if not trusted.given:
        print("no key was given to compare with: this proves nothing about who signed them")


def _trusted(key: Path | None, fingerprints: list[str]) -> Trusted:
    from workers.evidence.trusted import Trusted

    if key is None:
        return Trusted(fingerprints=frozenset(fingerprints))
    try:
        return Trusted.from_file(key.read_bytes(), fingerprints)
    except (OSError, InvalidMessage):
        _fail(f"{key.name} is no file of ledger keys")


def _as_json(report: Report) -> dict[str, Any]:
    from dataclasses import asdict

    from workers.evidence.wording import fault_sentence

    return {
        "sound": report.sound,
        "faults": [{**asdict(fault), "sentence": fault_sentence(fault)} for fault in report.faults],
        "notes": report.notes,
        "case": report.case,
        "head": report.head,
        "ledger_keys": {key.kid: key.thumbprint for key in report.ledger_keys},
        "entries": [{name: entry[name] for name in ("seq", "number", "kind", "at")} for entry in report.entries],
        "stores": [asdict(story) for story in report.stores],
    }


def _print_report(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from workers.evidence.wording import rows, sentences

    console = Console()
    if report.stores:
        table = Table("company", "country", "asked", "answered", "answer", "proof", title="Stores")
        for row in rows(report.stores):
            table.add_row(*map(Text, row))
        console.print(table)
    for sentence in sentences(report):
        console.print(Text(sentence))


@evidence_app.command()
def reads(
    email: Annotated[str, typer.Argument(help="Whose data it is.")],
    as_json: AsJson = False,
) -> None:
    """Tell who has read what of one person's data, and for what; also after an erasure."""
    from workers.who_read import reads_about

    try:
        found = _with_ledger(lambda services, _, __: reads_about(services, email))
    except InvalidMessage:
        _fail("that is no e-mail address")
    if as_json:
        typer.echo(json.dumps(found))
        return
    for one in found:
        why = f"{one['purpose']} ({one['reason']})" if "reason" in one else one["purpose"]
        print(f"{one['at']}  {one['reader']} ({one['department']}): {why}, {one['outcome']}")
    print(f"reads: {len(found)}", file=sys.stderr)


@evidence_app.command()
def heads(
    output: Output = None,
    to: Annotated[str | None, typer.Option(help="Note in the ledger that they went there: a short code.")] = None,
) -> None:
    """Write every signed head, with the proof that each begins the next. Keep it off this machine."""
    from workers.evidence.head_file import heads_file

    async def run(_: Services, keeper: Keeper, keys: LedgerKeys) -> bytes:
        newest = await keeper.settle()
        if newest is None:
            _fail("the ledger is empty")
        found = await heads_file(keeper, keys)
        if to is not None:
            await keeper.note_sent(newest, to)
        return json.dumps(found, indent=1).encode() + b"\n"

    try:
        _write(output, _with_ledger(run))
    except InvalidMessage:
        _fail("--to takes a short code in small letters")


@evidence_app.command()
def keys(output: Output = None) -> None:
    """Write the ledger's public keys: what the controller publishes and a reader keeps."""
    from schemas.ledger_keys import read_ledger_keys
    from workers.settings import read_controller_settings

    public = read_ledger_keys(read_controller_settings().keys).public()
    _write(output, json.dumps(public, indent=1).encode() + b"\n")


@evidence_app.command("rotate-key")
def rotate_key() -> None:
    """Retire the key that signs the ledger and make another. Publish `evidence keys` again; restart the workers."""
    from schemas.ledger_keys import read_ledger_keys, rotated, write_ledger_keys
    from workers.services import utc_now
    from workers.settings import read_controller_settings

    folder = read_controller_settings().keys
    new = rotated(read_ledger_keys(folder), utc_now())
    write_ledger_keys(folder, new)
    print(f"{new.signing.kid} signs from now on")


@evidence_app.command()
def check(
    head: Annotated[Path | None, typer.Option(help="A file of heads kept elsewhere (`evidence heads`).")] = None,
    as_json: AsJson = False,
) -> None:
    """Recompute the whole ledger and compare it with every signed head. Exit code 1 when it is not what was signed."""
    from dataclasses import asdict

    from workers.evidence.head_file import read_heads

    try:
        known = read_heads(head.read_bytes()) if head else []
    except (OSError, InvalidMessage):
        _fail("that is no file of signed heads")
    found = _with_ledger(lambda _, keeper, __: keeper.heads.check(known))
    if as_json:
        typer.echo(json.dumps(asdict(found)))
    else:
        print(f"{found.size} entries, {found.heads} signed heads, the newest of {found.newest_head_at or 'never'}")
        print(f"{found.pending} entries wait for their place")
        for fault in found.faults:
            print(f"FAULT: {fault}")
    if found.faults:
        raise typer.Exit(1)
