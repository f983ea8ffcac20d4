"""``greffier subsidiary``: the worker of one company of the group, on its own store. Source: R25, R28."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from schemas.errors import InvalidMessage, StoreUnavailable

if TYPE_CHECKING:
    from workers.journal_replay import Replayed
    from workers.mapping_check import Checked

Code = Annotated[str, typer.Argument(help="the subsidiary's code in the register")]
MappingFile = Annotated[Path, typer.Option("--mapping", help="where a person stands in this office's store")]


def subsidiary(  # noqa: PLR0913, PLR0917 - each is an option
    code: Code,
    mapping: MappingFile,
    replay: Annotated[
        bool, typer.Option("--replay", help="After a restore: apply the journal again, then end.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Hold the mapping against the live store, then end.")] = False,
    register: Annotated[
        Path | None, typer.Option("--register", help="With --check: the group's register, to count what is over by it.")
    ] = None,
    order: Annotated[
        Path | None, typer.Option("--order", help="By hand: answer this file of orders on the store, then end.")
    ] = None,
    answer: Annotated[
        Path | None, typer.Option("--answer", help="With --order: where the receipts go; beside it when absent.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --replay or --check: one JSON document.")] = False,
) -> None:
    """Serve the orders of one subsidiary on its own store until SIGTERM. Reference: docs/subsidiary.md.

    Exit code 1: a check found faults, a replay left somebody to a person, or the store does not answer.
    """
    if sum((replay, check, order is not None)) > 1:
        raise typer.BadParameter("one of --replay, --check and --order")
    if answer is not None and order is None:
        raise typer.BadParameter("--answer belongs to --order")
    if register is not None and not check:
        raise typer.BadParameter("--register belongs to --check")
    if order is not None:
        _answer(code, mapping, order, answer or order.with_name(f"{order.name}.receipts"))
        return
    if not replay and not check:
        from workers.subsidiary import run_subsidiary

        raise typer.Exit(run_subsidiary(code, mapping))
    try:
        sound = _replay(code, mapping, as_json) if replay else _check(mapping, register, as_json)
    except StoreUnavailable as error:
        _fail(f"the store does not answer ({error})")
    if not sound:
        raise typer.Exit(1)


def _answer(code: str, mapping: Path, order: Path, answer: Path) -> None:
    from workers.by_hand import answer_file

    try:
        found = answer_file(code, mapping, order, answer)
    except StoreUnavailable as error:
        _fail(f"the store does not answer ({error}); what was done stays done, run it again")
    except OSError as error:
        _fail(f"the file cannot be used ({error.strerror})")
    except InvalidMessage as fault:
        _fail(f"nothing was done: {fault.code.replace('_', ' ')}")
    print(f"{found.orders} order(s) read")
    if found.receipts:
        print(f"{found.receipts} receipt(s) in {', '.join(map(str, found.files))}: take that back to the group")
    for reason in found.refused:
        print(f"refused: {reason.replace('_', ' ')}", file=sys.stderr)
    if found.refused:
        raise typer.Exit(1)


def _replay(code: str, mapping: Path, as_json: bool) -> bool:
    from workers.journal_replay import replay_journal

    replayed = replay_journal(code, mapping)
    print(json.dumps(replayed.as_json()) if as_json else _replay_in_words(replayed))
    return not replayed.refused


def _replay_in_words(found: Replayed) -> str:
    lines = [
        f"{found.looked_at} identifiers held against the journal; {found.people} of people who had been served",
        f"erased {found.erased}, anonymised {found.anonymised}, restricted {found.restricted}, kept {found.retained}",
    ]
    lines += [f"left to a person: {count} ({reason})" for reason, count in sorted(found.refused.items())]
    return "\n".join(lines)


def _check(mapping: Path, register: Path | None, as_json: bool) -> bool:
    from workers.mapping_check import check_mapping

    checked = check_mapping(mapping, register)
    print(json.dumps(checked.as_json()) if as_json else _check_in_words(checked))
    return not checked.faults


def _check_in_words(checked: Checked) -> str:
    if checked.faults:
        return "\n".join(["the mapping does not fit the store:", *(f"  {fault}" for fault in checked.faults)])
    lines = ["the mapping fits the store"]
    if checked.without_retention:
        lines.append(
            f"nothing goes when its time is over, no retention is stated: {', '.join(checked.without_retention)}"
        )
    if checked.over is not None:
        lines.append("by that register there would go today, for its time is over:")
        lines += [f"  {json.dumps(outcome)}" for outcome in checked.over]
    if not checked.example:
        lines.append("nobody in it yet to show an example for")
    for right, outcomes in checked.example.items():
        lines.append(f"{right} for the first person found would come to:")
        lines += [f"  {json.dumps(outcome)}" for outcome in outcomes]
    return "\n".join(lines)


def _fail(sentence: str) -> NoReturn:
    print(f"greffier: {sentence}", file=sys.stderr)
    raise typer.Exit(1)
