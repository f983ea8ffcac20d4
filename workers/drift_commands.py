"""``greffier drift``: which fields look like identifiers and are in no mapping. Source: R12, R25."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import StoreUnavailable
from workers.staff_commands import AsJson, fail, with_services

if TYPE_CHECKING:
    from workers.drift import Looked


def drift(
    store: Annotated[str, typer.Argument(help="controller, or a subsidiary's code")] = "controller",
    mapping: Annotated[Path | None, typer.Option("--mapping", help="Of a subsidiary: its mapping file.")] = None,
    sample: Annotated[int, typer.Option("--sample", min=1, max=10_000, help="Rows of each collection.")] = 500,
    as_json: AsJson = False,
) -> None:
    """Sample a store for fields that look like identifiers and are not mapped; names them and quotes no value.

    Exit code 1 while there is one. With a subsidiary's mapping and a URL that may read, from the office or from here.
    """
    if (store == "controller") is not (mapping is None):
        raise typer.BadParameter("--mapping belongs to a subsidiary, and a subsidiary needs it")
    looked = _own(sample) if mapping is None else _office(store, mapping, sample)
    typer.echo(json.dumps(looked.as_json()) if as_json else _in_words(looked))
    if looked.drifts:
        raise typer.Exit(1)


def _own(sample: int) -> Looked:
    from workers.drift import look_at_own

    return with_services(lambda services: look_at_own(services.databases, sample))


def _office(code: str, path: Path, sample: int) -> Looked:
    from workers.drift import look_at_office
    from workers.stores.subsidiaries.adapter import StoreRefuses
    from workers.stores.subsidiaries.mapping import load_mapping, read_url

    mapping = load_mapping(path)
    try:
        return asyncio.run(look_at_office(code, mapping, read_url(mapping.store), sample))
    except StoreUnavailable as error:
        fail(f"the store does not answer ({error})")
    except StoreRefuses as error:
        fail(f"the store does not let itself be sampled ({error.reason})")


def _in_words(looked: Looked) -> str:
    lines = [
        f"{one.store}.{one.collection}: {one.field}: {', '.join(one.why)} ({one.seen} of {one.sampled} sampled)"
        for one in looked.drifts
    ]
    lines += [f"{name}: only its first rows, it has no key to draw by" for name in looked.first_rows]
    return "\n".join([*lines, f"{looked.collections} collections sampled, {len(looked.drifts)} field(s) in no mapping"])
