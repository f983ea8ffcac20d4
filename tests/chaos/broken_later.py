"""The later rights as they must not be served; see :mod:`tests.chaos.broken_rights`. Source: R14, R18; P5, P6."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import pytest
from pymongo import UpdateOne

from schemas.terms import Right
from tests.chaos.broken_rights import Variant
from workers.cases import consent, engine, rectifying, restricting
from workers.gate import Asked
from workers.rules.corrections import Judged, Patch, Verdict
from workers.rules.objections import Noes
from workers.stores.cases import Cases
from workers.stores.mongo import Document
from workers.stores.subsidiaries.mapping import Mapping as OfficeMapping
from workers.stores.subsidiaries.rectifying import RectificationWalk
from workers.stores.suppression import Suppressions
from workers.stores.tombstones import Tombstones


def correction_overwrites(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Patch.judge

    def never_in_conflict(self: Patch, stored: object) -> Verdict:
        verdict = judge(self, stored)
        return Verdict.APPLIES if verdict is Verdict.CONFLICTS else verdict

    monkeypatch.setattr(Patch, "judge", never_in_conflict)


def correction_without_comparing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read is written back whole, whatever became of it meanwhile."""

    async def put_back(services: Any, one: Any) -> None:
        data = dict(one.data) | {patch.name: patch.to for patch in one.judged.sets}
        body = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
        sealed = one.key.seal(f"submissions/{one.document['_id']}", body)
        whole = {**one.document, "sealed": sealed}
        await services.submissions._submissions.replace_one({"_id": whole["_id"]}, whole, upsert=True)

    monkeypatch.setattr(rectifying, "_correct", put_back)


def correction_said_and_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store tells of what it judged, before and after, and writes nothing."""
    judge = RectificationWalk._judge

    def held_already(self: RectificationWalk, columns: Mapping[str, str], row: Any) -> Judged:
        found = judge(self, columns, row)
        return Judged(found.verdicts, ())

    monkeypatch.setattr(RectificationWalk, "_judge", held_already)


def restricted_and_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = Asked.ended

    def of_a_no_alone(self: Asked, link: Document, no: Noes, *, lent: bool = False) -> bool:
        return ended(self, link, {what: at for what, at in no.items() if what is not Right.RESTRICTION}, lent=lent)

    monkeypatch.setattr(Asked, "ended", of_a_no_alone)


def archive_reads_what_is_restricted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Suppressions, email: str) -> Noes:
        return {}

    monkeypatch.setattr(Suppressions, "of", nothing)


def restriction_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def not_held(*_: object) -> None:
        return None

    monkeypatch.setattr(restricting, "_hold", not_held)


def one_lifting_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    async def end_all(self: Suppressions, email: str, case: str) -> None:
        ended: Document = {"$unset": {"restricted": ""}}
        refs = self._references.suppression(email)
        await self._gathered.write(*(UpdateOne({"_id": ref}, ended) for ref in refs))

    monkeypatch.setattr(Suppressions, "lift", end_all)


def lifting_takes_anothers_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    """An office takes the mark away that another restriction needs."""
    monkeypatch.setattr("workers.stores.subsidiaries.journal.Journal.is_restricted_by_another", lambda *_: False)


def each_worker_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes second signs what he saw himself."""

    async def as_asked(self: Cases, order: Document) -> Document:
        await self._gathered_orders.insert_new([order])
        return order

    monkeypatch.setattr(Cases, "keep_order", as_asked)


def closed_on_what_is_restricted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def is_nothing(*_: object) -> bool:
        return False

    monkeypatch.setattr(engine, "is_restricted", is_nothing)


def lifting_reopens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def leave_it(*_: object) -> None:
        return None

    monkeypatch.setattr(restricting, "reopen_what_was_held", leave_it)


def later_restriction_misses_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds whom it finds by the address, and not who was to be erased and is held by another."""

    async def nobody(*_: object) -> list[str]:
        return []

    monkeypatch.setattr(Tombstones, "named", nobody)


def withdrawal_forgets_our_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consent, "_goes", lambda *_: False)


def withdrawal_leaves_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OfficeMapping, "resting_on_consent", lambda _: frozenset())


_LAST: Final = {"lasting": 1.0, "onlooker": 1.0}
"""Nothing but the later rights, and whoever reads meanwhile."""
_TWICE: Final = _LAST | {"restricts_again": 1.0}
_BACK: Final = dict.fromkeys(("second", "fresh", "contact", "restricts", "restricts_again"), 1.0)
"""Erased twice, back in between, and restricted twice."""

FEW: Final = (Variant("a correction overwrites", correction_overwrites, _LAST | {"crossing": 1.0}, "silently"),)
MORE: Final = (
    Variant("restricted and written to", restricted_and_written_to, _LAST, "restricted by"),
    Variant("a withdrawal leaves their rows", withdrawal_leaves_their_rows, _LAST, "holds what was withdrawn"),
    Variant("a correction is said and not made", correction_said_and_not_made, _LAST, "silently"),
    Variant("the archive tells", archive_reads_what_is_restricted, _LAST, "the archive answers"),
    Variant("a restriction holds nothing", restriction_holds_nothing, {"restricts": 1.0}, "was taken away"),
    Variant("one lifting ends all", one_lifting_ends_all, _TWICE, "-REST"),
    Variant("a lifting takes another's mark", lifting_takes_anothers_mark, _TWICE, "-REST"),
    Variant("closed on what is restricted", closed_on_what_is_restricted, _LAST, "what a restriction kept"),
    Variant("a lifting reopens nothing", lifting_reopens_nothing, _LAST, "what a restriction kept"),
    Variant("a later one misses what is kept", later_restriction_misses_what_is_kept, _BACK, "was taken away"),
    Variant("a withdrawal forgets our records", withdrawal_forgets_our_records, _LAST, "its subscription stands"),
)
