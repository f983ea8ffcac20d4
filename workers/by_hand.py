"""An office that answers by a file: the worker's own serving, on its own store and journal, without a line to anybody.

Repeating a file answers the same from the journal; what was killed in the middle is completed by the next call.
Source: R28; P2, P7; docs/subsidiary.md "By hand".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from schemas.by_hand import TokenFiles, read_tokens
from schemas.errors import InvalidMessage
from schemas.logs import configure_logs
from workers.actors.subsidiary import serve_order
from workers.office import Office, Outbox, RefusedLog, Trust
from workers.stores.subsidiaries import open_store
from workers.stores.subsidiaries.journal import Journal
from workers.stores.subsidiaries.mapping import load_mapping, read_url
from workers.subsidiary import OpenStore
from workers.subsidiary_settings import SubsidiarySettings, read_subsidiary_settings


@dataclass
class Answered:
    """What became of a file. ``files``: where the receipts are; ``refused``: a reason for each thing in it that is no
    order of the controller's to us.
    """

    orders: int = 0
    receipts: int = 0
    files: list[Path] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


class _ToldToo(RefusedLog):
    """Notes a refusal and tells it to whoever called."""

    def __init__(self, path: Path, told: list[str]) -> None:
        super().__init__(path)
        self._told = told

    def note(self, at: datetime, reason: str, digest: str) -> None:
        super().note(at, reason, digest)
        self._told.append(reason)


@asynccontextmanager
async def office_without_line(
    code: str, settings: SubsidiarySettings, open_adapter: OpenStore, outbox: Outbox, told: list[str]
) -> AsyncIterator[Office]:
    """The office at work over its own store and journal; what it sends goes to ``outbox``, refusals to ``told`` too.

    Raises :class:`schemas.errors.ConfigurationError`, as where a worker has the journal.
    """
    trust, path = Trust(settings.keys_of(code), code), settings.journal_of(code)
    journal = Journal(path, trust.journal_key)
    try:
        store = open_adapter()
        try:
            refused = _ToldToo(path.with_name(path.name + ".refused"), told)
            timeout_s = settings.entry_timeout_s
            yield Office(code, trust, store, journal, outbox, refused, lambda: datetime.now(UTC), timeout_s)
        finally:
            await store.close()
    finally:
        journal.close()


def answer_with(
    code: str, settings: SubsidiarySettings, open_adapter: OpenStore, orders: Path, receipts: Path
) -> Answered:
    """Serve a file of orders with any adapter, and write the file of receipts once all of it is done.

    Where one would be more than the group takes there are several, each written once it is full.

    Raises OSError, :class:`InvalidMessage`, :class:`schemas.errors.ConfigurationError` and StoreUnavailable.
    """
    named, tokens = read_tokens(orders, "orders")
    if named != code:
        raise InvalidMessage("for_another_subsidiary")
    found, files = Answered(orders=len(tokens)), TokenFiles(receipts, "receipts", code)

    async def serve() -> None:
        async with office_without_line(code, settings, open_adapter, files, found.refused) as office:
            for token in tokens:
                await serve_order(office, token)

    asyncio.run(serve())
    files.write()
    found.receipts, found.files = files.count, files.paths
    return found


def answer_file(code: str, mapping_path: Path, orders: Path, receipts: Path) -> Answered:
    """:func:`answer_with` on the store of a mapping."""
    settings = read_subsidiary_settings()
    configure_logs(settings.log_level)
    mapping = load_mapping(mapping_path)
    url = read_url(mapping.store)
    return answer_with(code, settings, lambda: open_store(mapping, url), orders, receipts)
