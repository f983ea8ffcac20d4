"""A case as staff see it: clocks, dates and what they were reckoned from, each store's part. Never an identifier.

What the desk and the command line show is this and nothing else; no case key is opened for it.
Source: R23, R25, R30; design § 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from schemas.errors import InvalidBody, Problem
from schemas.fields import wire_moment
from schemas.orders import CONTROLLER
from schemas.register import Register
from workers.cases import errands
from workers.cases.dates import dates_of, reckoned
from workers.cases.deciding import get_case
from workers.cases.desk import Docket
from workers.rules.cases import TaskState
from workers.rules.deadlines import WARNING_DAYS, Deadline, standing, standing_of, store_deadline
from workers.stores.cases import OPEN_ANSWERS
from workers.stores.errands import Errands
from workers.stores.mongo import Document

PAGE: Final = 50


class Filter(StrEnum):
    """Which cases to list. ``open``: the answer or the proof is still owed."""

    ALL = "all"
    OPEN = "open"
    OVERDUE = "overdue"
    DUE_SOON = "due-soon"


async def listed(docket: Docket, which: Filter, after: str | None = None, limit: int = PAGE) -> dict[str, Any]:
    """One page of cases, the nearest due date first: ``cases``, and ``next``, which asks for the page after."""
    now = docket.services.clock()
    query = {"$and": [_wanted(which, now), _beyond(after)]}
    found = await docket.cases.find(query, limit=limit + 1)
    page = [summary(case, now) for case in found[:limit]]
    more = f"{found[limit - 1]['due_on']}~{found[limit - 1]['_id']}" if len(found) > limit else None
    return {"cases": page, "next": more}


def _wanted(which: Filter, now: datetime) -> dict[str, Any]:
    owed = {"answer": {"$in": list(OPEN_ANSWERS)}}
    # While proof of identity is awaited the clock stands still: the date kept is not the one that counts.
    running = {"answer": {"$in": [one for one in OPEN_ANSWERS if one != "identity_pending"]}}
    match which:
        case Filter.ALL:
            return {}
        case Filter.OPEN:
            return {"$or": [owed, {"answer": "answered", "proof": {"$ne": "closed"}}]}
        case Filter.OVERDUE:
            return {**running, "answer_by": {"$lte": now}}
        case Filter.DUE_SOON:
            return {**running, "answer_by": {"$gt": now, "$lte": now + timedelta(days=WARNING_DAYS)}}


def _beyond(after: str | None) -> dict[str, Any]:
    if after is None:
        return {}
    due_on, separator, reference = after.partition("~")
    if not separator:
        raise InvalidBody(Problem("unknown_page", "/after", "must be what the page before gave as next"))
    return {"$or": [{"due_on": {"$gt": due_on}}, {"due_on": due_on, "_id": {"$gt": reference}}]}


def summary(case: Document, now: datetime) -> dict[str, Any]:
    """One line about a case."""
    dates = reckoned(case, now)
    return {
        "reference": case["_id"],
        "right": case["right"],
        "channel": case["channel"],
        "answer": case["answer"],
        "proof": case["proof"],
        "received_on": case["received_on"],
        "due_on": dates.due.isoformat(),
        "standing": standing(dates_of(case), now).value if case["answer"] not in ("refused", "withdrawn") else None,
        "extended": case.get("extended", False),
        "held": "hold" in case,
    }


async def whole(docket: Docket, reference: str) -> dict[str, Any]:
    """Everything about a case. Raises :class:`workers.cases.deciding.CannotDecide` ``unknown_case``."""
    case, now = await get_case(docket, reference), docket.services.clock()
    tasks = await docket.cases.tasks_of(reference)
    receipts = await docket.cases.receipts_of(reference)
    mails = await docket.cases.mails_of(reference)
    asked = await Errands(docket.services.databases).of_case(reference)
    register = docket.services.trust.register
    return {
        **summary(case, now),
        **_told(case),
        **_measured(case, tasks, now),
        "deadlines": _deadlines(case, now),
        "stores": [_store(task, case, register, now) for task in tasks],
        "receipts": [{"sha256": one["_id"], "store": one["store"], "at": wire_moment(one["at"])} for one in receipts],
        "mails": [_mail(one) for one in mails],
        "processors": [errands.shown(one) for one in asked],
    }


_MOMENTS: Final[tuple[str, ...]] = (
    *("received_at", "opened_at", "answered_at", "refused_at", "lifting_at", "lifted_at", "closed_at"),
)
_CODES: Final[tuple[str, ...]] = ("ground", "reason", "extension", "refusal", "confirmed", "peer")


def _told(case: Document) -> dict[str, Any]:
    moments = {name: wire_moment(case[name]) for name in _MOMENTS if name in case}
    codes = {name: case[name] for name in _CODES if name in case}
    held = {name: case["hold"][name] for name in ("ground", "until")} if "hold" in case else None
    return {**moments, **codes, "hold": held}


def _measured(case: Document, tasks: list[Document], now: datetime) -> dict[str, Any]:
    """Of a withdrawal of consent: how long it took to the last receipt, or takes so far. Source: R14."""
    if "withdrawn_at" not in case:
        return {}
    waiting = sum(task["state"] == TaskState.WAITING for task in tasks)
    since: datetime = case["withdrawn_at"]
    so_far = int((now - since) / timedelta(milliseconds=1))
    told = {"since": wire_moment(since), "waiting": waiting, "took_ms": case.get("receipts_took_ms")}
    return {"withdrawal": told | ({"so_far_ms": so_far} if told["took_ms"] is None else {})}


def _deadlines(case: Document, now: datetime) -> dict[str, Any]:
    """Every date, with what it was reckoned from: a calendar may change, the reckoning must still be shown."""
    dates = reckoned(case, now)
    pauses = [
        {"asked_at": wire_moment(one["asked_at"]), "answered_at": _moment_or_none(one.get("answered_at"))}
        for one in case.get("pauses", ())
    ]
    return {
        "received_on": dates.received_on.isoformat(),
        "answer_by": wire_moment(dates.answer_by),
        "notice_by": dates.notice_by.isoformat(),
        "may_extend": case["answer"] in OPEN_ANSWERS and dates.may_extend(now),
        "first": _deadline(dates.first),
        "extended": _deadline(dates.extended),
        "paused_days": dates.paused_days,
        "pauses": pauses,
        "calendar": dates.calendar,
        "zone": dates.zone,
    }


def _deadline(one: Deadline) -> dict[str, Any]:
    rolled = [{"on": holiday.on.isoformat(), "name": holiday.name} for holiday in one.holidays]
    return {"raw": one.raw.isoformat(), "due": one.due.isoformat(), "holidays": rolled}


def _store(task: Document, case: Document, register: Register, now: datetime) -> dict[str, Any]:
    party = register.controller if task["store"] == CONTROLLER else register.subsidiaries.get(task["store"])
    answer_due = store_deadline(reckoned(case, now).due, date.fromisoformat(case["received_on"]))
    shown: dict[str, Any] = {
        "store": task["store"],
        "company": party.name if party else task["store"],
        "country": party.store_region if party else None,
        "state": task["state"],
        "attempts": task["attempt"],
        "answer_due": answer_due.isoformat(),
        "standing": _standing(task, answer_due, now),
        "answered_at": _moment_or_none(task.get("answered_at")),
    }
    shown |= {name: task.get(name) for name in ("outcome", "proof", "reason", "unseen", "receipt", "looked", "settled")}
    return shown | {"collections": task.get("entry", {}).get("collections", [])}


def _standing(task: Mapping[str, Any], due: date, now: datetime) -> str | None:
    """How a store keeps its time; nobody waits for one that nothing may be asked of."""
    if task["state"] == TaskState.BARRED:
        return None
    return standing_of(due, now, done_at=task.get("answered_at")).value


def _mail(mail: Document) -> dict[str, Any]:
    waiting = "send_at" in mail
    return {
        "kind": mail["kind"],
        "message_id": mail["message_id"],
        "outcome": "waiting" if waiting else mail.get("outcome"),
        "at": _moment_or_none(mail.get("at")),
        "tries": mail["tries"],
    }


def _moment_or_none(moment: datetime | None) -> str | None:
    return None if moment is None else wire_moment(moment)
