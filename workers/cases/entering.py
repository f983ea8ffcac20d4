"""Entering a request that came by e-mail or by letter, with its true day of receipt.

The website's own requests come in through the door; these are the two other ways to the published addresses.
Source: R7 (ground ``child``), R22, R23.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, Final

from schemas.calendar import civil_day
from schemas.errors import InvalidBody, Problem
from schemas.fields import read_moment, wire_moment
from schemas.rights import REQUESTED, check_asked, new_reference
from schemas.terms import Channel, Right
from workers.cases.dates import kept, reckoned
from workers.cases.deciding import TRIES, CannotDecide, check_name, get_case
from workers.cases.desk import Docket, seal_json
from workers.cases.opening import addresses, open_case
from workers.rules.cases import Answer, ProofState
from workers.rules.deadlines import end_of_day
from workers.stores.cases import OPEN_ANSWERS
from workers.stores.mongo import Document

OLDEST: Final = timedelta(days=366)
"""How long ago a request entered now may have been received: beyond it a year was mistyped, or it is for a lawyer."""


async def record(docket: Docket, asked: Mapping[str, Any], received_on: date, by: str) -> str:
    """Enter a request that came by e-mail or letter; its case's reference, an open one's where it joins that.

    ``asked``: right, email, channel, and where given language, details, ``confirmed: "yes"`` (every address was proved
    by other means), ``also`` (further addresses of the person), ``ground: "child"``. ``received_on``: the true day of
    receipt. Raises :class:`InvalidBody`, and :class:`CannotDecide` for addresses that come after their case was served.
    """
    check_name(by)
    now = docket.services.clock()
    _check_entered(asked, received_on, civil_day(now))
    received_at = min(end_of_day(received_on) - timedelta(milliseconds=1), now)
    whole = {**asked, "reference": new_reference(), "received_at": wire_moment(received_at)}
    data = REQUESTED.clean(whole)
    check_asked(data)
    reference = await open_case(docket, data, now, by=by)
    confirmed = data.get("confirmed") == "yes"
    if confirmed:
        await docket.evidence.note("request_confirmed", reference, f"staff/{data['reference']}", by=by)
    if reference != data["reference"]:
        await _join(docket, reference, data, confirmed)
    return reference


def _check_entered(asked: Mapping[str, Any], received_on: date, today: date) -> None:
    problems = []
    if received_on > today:
        problems.append(Problem("in_the_future", "/received", "must be no later than today"))
    if received_on < today - OLDEST:
        problems.append(Problem("too_long_ago", "/received", f"must be no more than {OLDEST.days} days ago"))
    if asked.get("channel") not in (Channel.EMAIL, Channel.LETTER):
        problems.append(Problem("unknown_channel", "/channel", "must be email or letter: the website enters its own"))
    if "ground" in asked and asked.get("right") != Right.ERASURE:
        problems.append(Problem("ground_without_erasure", "/ground", "is the ground of an erasure"))
    if "also" in asked and asked.get("confirmed") != "yes":
        problems.append(Problem("not_proved", "/also", "needs every address to be proved: enter it with confirmed"))
    if problems:
        raise InvalidBody(*problems)


async def _join(docket: Docket, reference: str, data: Mapping[str, Any], confirmed: bool) -> None:
    """The same was asked before: it counts from the earlier of the two days, and is confirmed if one of them was."""
    received_at = read_moment(data["received_at"])
    entered = {"received_at": received_at, "received_on": civil_day(received_at).isoformat()}
    for _ in range(TRIES):
        case = await get_case(docket, reference)
        told = {"acknowledge": data["channel"], "wake_at": docket.services.clock()}
        changes: dict[str, Any] = {**told, **await _more_addresses(docket, case, data)}
        if received_at < case["received_at"]:
            changes |= entered | kept(reckoned({**case, **entered}, docket.services.clock()))
        if confirmed and case["answer"] == Answer.RECEIVED:
            changes["confirmed"] = True
        if case["answer"] not in OPEN_ANSWERS or await docket.cases.change(case, changes):
            return
    raise CannotDecide("changed_meanwhile")


async def _more_addresses(docket: Docket, case: Document, data: Mapping[str, Any]) -> dict[str, bytes]:
    """The case's identifiers with the addresses it did not know. Raises :class:`CannotDecide` once it was served."""
    key, person = await docket.case_key(case["_id"]), await docket.identifiers(case)
    if key is None or person is None or set(addresses(data)) <= set(person["emails"]):
        return {}
    if case["proof"] != ProofState.NONE:
        raise CannotDecide("served_without")
    merged = {**person, "emails": list(dict.fromkeys([*person["emails"], *addresses(data)]))}
    return {"sealed": seal_json(key, f"cases/{case['_id']}", merged)}
