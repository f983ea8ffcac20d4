"""The worked clients before strange stores and strange orders: what they say of whom, and what they leave alone.

Source: R28; P2; docs/subsidiary.md "Without Python".
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workers.counter.clients import ADA, BOB, Desk, at_work, contact, desk, invoice

__all__ = ["desk"]


async def whoever_is_written_otherwise_is_found_or_said_not_to_be_known(desk: Desk) -> None:
    """Letters in two parts, a domain in its own letters: nothing-held would be wrong."""
    desk.fill(contact(1, " Ada@Mu\u0308ller.example "), contact(2, "E\u0301mile@example.com"), contact(3, BOB))
    served = ("refused", "not-supported") if desk.kind == "shell" else ("done", None)
    assert await desk.told(desk.entry("ada@xn--mller-kva.example")) == served
    assert await desk.told(desk.entry("\u00e9mile@example.com")) == served
    assert await desk.told(desk.entry(BOB)) == ("done", None)
    assert [row["id"] for row in desk.rows()] == ([1, 2] if desk.kind == "shell" else [])


@pytest.mark.parametrize("zone", ["America/New_York"])
async def test_moments_and_days_are_read_alike_in_every_zone(
    zone: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await _moments_and_days("node", zone, monkeypatch, tmp_path)


@pytest.mark.slow
async def test_and_in_shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    await _moments_and_days("shell", "Asia/Tokyo", monkeypatch, tmp_path)


async def _moments_and_days(kind: str, zone: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("TZ", zone)
    moments = {
        "2026-03-01T13:30:00+02:00": "goes",
        "2026-03-01T12:30:00+02:00": "goes",
        "2026-03-01T12:00:00Z": "goes",
        "soon": "goes",
        None: "goes",
        "2026-02-30T13:00:00Z": "goes",
        "2026-03-01T11:30:00-02:00": "stays",
        "2026-03-01 12:30": "stays",
        "2026-03-01T12:00:00.001Z": "stays",
    }
    days = {"2015-02-30": "stays", "2012-02-29": "goes", "2010-13-01": "stays", "0001-01-01": "stays", "x": "stays"}
    async with at_work(kind, folder) as desk:
        acts = [contact(n, ADA, asked_at=at) for n, at in enumerate(moments, 1)]
        desk.fill(*acts, contact(50, BOB), invoices=tuple(invoice(n, 50, day) for n, day in enumerate(days, 60)))
        asked = [desk.entry(ADA), desk.entry(BOB)]
        await desk.ask(*asked)
        left = [row["id"] for row in desk.rows()]
        assert left == [*(n for n, at in enumerate(moments, 1) if moments[at] == "stays"), 50]
        assert [row["issued_on"] for row in desk.rows("invoices")] == [day for day in days if days[day] == "stays"]


async def where_records_cannot_be_told_apart_nobody_is_served(desk: Desk) -> None:
    """One id twice, none at all, one invoice's number twice, numbers that JavaScript and jq take for one."""
    for contacts, invoices in (
        ([contact(1, ADA), contact(1, BOB)], []),
        ([contact(None, ADA)], [invoice(7, None, "2001-01-01")]),
        ([contact(1, ADA), contact(2, BOB)], [invoice(7, 1, "2001-01-01"), invoice(7, 2, "2001-01-01")]),
        ([contact(2**60 + 1, ADA), contact(2**60 + 2, BOB)], [invoice(7, 2**60 + 2, "2001-01-01")]),
    ):
        desk.fill(*contacts, invoices=tuple(invoices))
        before = desk.store.read_bytes()
        asked = [desk.entry(ADA), desk.entry(ADA, "access"), desk.entry(ADA, "restriction")]
        answers = await desk.ask(*asked)
        assert {answers.of(one)[0].get("reason") for one in asked} == {"schema-mismatch"}
        assert desk.store.read_bytes() == before


async def an_order_is_served_in_its_order(desk: Desk) -> None:
    desk.fill(contact(1, ADA))
    shown, gone = desk.entry(ADA, "access", task="C-9/trial"), desk.entry(ADA, task="C-10/trial")
    answers = await desk.ask(shown, gone)
    assert answers.copies["C-9/trial"][0] == 1
    assert answers.of(gone)[0]["collections"][0]["erased"] == 1


async def what_says_more_than_is_known_is_not_understood(desk: Desk) -> None:
    desk.fill(contact(1, ADA), contact(2, BOB))
    canary = "canary.aaaaaaaa@example.org"
    strange = [
        desk.entry(ADA) | {"only": ["invoices"]},
        desk.entry(ADA) | {"person": {"emails": [5]}},
        desk.entry(ADA) | {"person": {"emails": [ADA], "but_not": [1]}},
        desk.entry(ADA) | {"received_at": "yesterday"},
        desk.bout.group.plant(f"{BOB}\n{canary}"),
        desk.bout.group.plant(f"{canary}\n"),
    ]
    good = desk.entry(BOB)
    answers = await desk.ask(*strange, good)
    assert [answers.of(one)[0].get("reason") for one in strange] == ["not-understood"] * len(strange)
    assert answers.of(good)[0]["outcome"] == "done"
    assert desk.rows() == [contact(1, ADA)]


async def of_several_addresses_each_keeps_the_mark_that_another_task_needs(desk: Desk) -> None:
    desk.fill(contact(1, ADA), contact(2, BOB))
    both = desk.entry(ADA, "restriction", person={"emails": [ADA, BOB]})
    other = desk.entry(BOB, "restriction")
    await desk.ask(both, other)
    lifting = both | {"ask": "lift", "attempt": 2}
    [answer] = (await desk.ask(lifting)).of(lifting)
    assert answer["collections"] == [{"name": "contacts", "matched": 2}]
    assert [row["restricted"] for row in desk.rows()] == [False, True]
    await desk.ask(other | {"ask": "lift", "attempt": 2})
    assert [row["restricted"] for row in desk.rows()] == [False, False]


async def test_strange_stores_and_strange_orders(desk: Desk) -> None:
    """One client through all of them."""
    for case in (
        whoever_is_written_otherwise_is_found_or_said_not_to_be_known,
        where_records_cannot_be_told_apart_nobody_is_served,
        an_order_is_served_in_its_order,
        what_says_more_than_is_known_is_not_understood,
        of_several_addresses_each_keeps_the_mark_that_another_task_needs,
    ):
        await case(desk)
