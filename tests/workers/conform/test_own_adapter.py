"""The adapter of the examples before strange stores: whose rows they are, what is no date, what may not be guessed.

Source: R28; P2; docs/subsidiary.md "An adapter of your own".
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.workers.conform.liars import JsonOffice
from workers.stores.subsidiaries.adapter import StoreRefuses, Subject

ADA = "ada@example.com"
ASKED_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def office(folder: Path, *contacts: dict[str, Any], invoices: tuple[dict[str, Any], ...] = ()) -> JsonOffice:
    (folder / "store.json").write_text(json.dumps({"contacts": contacts, "invoices": invoices}))
    return JsonOffice(folder / "store.json")


def left(folder: Path) -> list[Any]:
    return [row["id"] for row in json.loads((folder / "store.json").read_text())["contacts"]]


def asked(email: str = ADA) -> Subject:
    return Subject((email,), ASKED_AT)


async def test_whoever_is_written_otherwise_is_found(tmp_path: Path) -> None:
    rows = [{"id": 1, "email": " Ada@Mu\u0308ller.example "}, {"id": 2, "email": "E\u0301mile@example.com"}, {"id": 3}]
    store = office(tmp_path, *rows)
    for email in ("ada@xn--mller-kva.example", "\u00e9mile@example.com"):
        assert [one.erased for one in await store.erase(asked(email))] == [1, 0]
    assert left(tmp_path) == [3], "a row without an address is nobody's, and no fault"


async def test_a_moment_without_a_zone_is_one_and_what_nobody_can_read_is_none(tmp_path: Path) -> None:
    stays = ["2026-03-01T11:30:00-02:00", "2026-03-01 12:30"]
    goes = ["2026-03-01T12:30:00+02:00", "soon", None, "2026-02-30T13:00:00Z"]
    store = office(tmp_path, *({"id": n, "email": ADA, "asked_at": at} for n, at in enumerate([*stays, *goes])))
    await store.erase(asked())
    assert left(tmp_path) == [0, 1]


@pytest.mark.parametrize(
    ("contacts", "invoices"),
    [
        ([{"id": 1, "email": ADA}, {"id": 1, "email": "bob@example.com"}], []),
        ([{"email": ADA}], [{"id": 7, "contact": None, "issued_on": "2001-01-01"}]),
        ([{"id": 1, "email": ADA}], [{"id": 7, "contact": n, "issued_on": "2001-01-01"} for n in (1, 2)]),
    ],
)
async def test_where_records_cannot_be_told_apart_nobody_is_served(
    contacts: list[dict[str, Any]], invoices: list[dict[str, Any]], tmp_path: Path
) -> None:
    store = office(tmp_path, *contacts, invoices=tuple(invoices))
    before = (tmp_path / "store.json").read_text()
    for act in (store.erase, store.restrict, store.rectify):
        with pytest.raises(StoreRefuses, match="schema-mismatch"):
            await act(asked())
    assert (tmp_path / "store.json").read_text() == before


async def test_the_file_is_whole_for_whom_it_was_and_alone(tmp_path: Path) -> None:
    """Half a letter in somebody else's row, which no UTF-8 can say; a write that a death cut short."""
    (tmp_path / "store.json.new").write_text(ADA)
    store = office(tmp_path, {"id": 1, "email": ADA}, {"id": 2, "email": "bob@example.com", "name": "\ud83d"})
    (tmp_path / "store.json").chmod(0o640)
    assert [path.name for path in tmp_path.iterdir()] == ["store.json"]
    await store.erase(asked())
    assert left(tmp_path) == [2]
    assert (tmp_path / "store.json").stat().st_mode & 0o777 == 0o640
