"""A request becomes a case; the mailed link confirms its address.

Known or unknown, the same happens: a case, a key, a mail to the address given. A second request of the same right by
the same address joins the open case, so that ten thousand of them are one.
Source: R20, R22, R23; design § 5.1–2; reliability § 8.7.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeGuard

import structlog

from schemas.calendar import PARIS
from schemas.corrections import patches_of
from schemas.fields import read_moment
from schemas.subject import ReferenceUse
from schemas.terms import Channel, Right, SuppressionGround
from workers.cases.desk import CASE, Docket, seal_json
from workers.rules.cases import Answer, ProofState
from workers.rules.deadlines import CaseDates, deadlines
from workers.stores.keys import key_id
from workers.stores.mongo import Document
from workers.suppressing import suppress

log = structlog.get_logger("greffier.cases")


async def open_case(desk: Docket, data: Mapping[str, Any], arrived_at: datetime, *, by: str | None = None) -> str:
    """Open the case of a request (see :data:`schemas.rights.REQUESTED`), or join the open one; the case's reference.

    ``arrived_at``: when the door had it; staff's ``received_at`` is earlier where they say so. ``by``: who of them.
    """
    received_at = min(read_moment(data["received_at"]), arrived_at) if "received_at" in data else arrived_at
    reference: str = data["reference"]
    right, email = Right(data["right"]), data["email"]
    # What an agent asked for is a case of its own: it must neither see nor end what the person asks for herself.
    whose = f"{data['peer']}:" if "peer" in data else ""
    # Two corrections are two things asked for: only the very same one joins.
    patches = patches_of(data.get("corrections", {}))
    what = f":{json.dumps(patches)}" if patches else ""
    joins = desk.services.trust.references.of(ReferenceUse.CASE, f"{whose}{right}:{email.lower()}{what}")
    if right is Right.OBJECTION:  # at once, and also where the case that it joins was served long ago (R20)
        await suppress(desk.services, addresses(data), SuppressionGround.OBJECTION, received_at)
    open_already = await desk.cases.joined(joins)
    if open_already is None:
        case = await _case(desk, data, reference, right, joins, received_at)
        entered = {"by": by} if by else {}
        # The entry before the effect: noted after it, a crash between the two would lose it for good.
        await desk.evidence.note(
            "request_received", reference, "opened", right=right, channel=data["channel"], **entered
        )
        if await desk.cases.open(case):
            await desk.wake_case(reference)
            return reference
        open_already = await desk.cases.joined(joins)
    if open_already not in (None, reference):
        await desk.services.keys.destroy([key_id(reference, CASE)])
        await desk.evidence.note("request_joined", str(open_already), reference, right=right)
        log.info("request joined an open case", case=open_already)
    return open_already or reference


def _wrote(data: Mapping[str, Any]) -> bool:
    """Whether the person wrote to us, and so is told that we have it; by every other way there is an answer at once."""
    return data.get("channel", Channel.WEBSITE) in (Channel.EMAIL, Channel.LETTER)


async def _case(
    desk: Docket, data: Mapping[str, Any], reference: str, right: Right, joins: bytes, received_at: datetime
) -> Document:
    keys = await desk.services.keys.ensure([key_id(reference, CASE)])
    person = {"emails": addresses(data), "details": data.get("details", "")}
    if "corrections" in data:
        person["patches"] = patches_of(data["corrections"])
    dates = deadlines(CaseDates(received_at), desk.services.clock())
    return {
        "_id": reference,
        "right": right.value,
        "channel": data.get("channel", Channel.WEBSITE),
        "language": data.get("language", "fr"),
        "received_at": received_at,
        "opened_at": desk.services.clock(),
        "received_on": received_at.astimezone(PARIS).date().isoformat(),
        "due_on": dates.due.isoformat(),
        "answer_by": dates.answer_by,
        "answer": Answer.RECEIVED.value,
        "proof": ProofState.NONE.value,
        "confirmed": data.get("confirmed") == "yes",
        "link_mailed": False,
        "link": secrets.token_hex(16),
        "status": secrets.token_hex(16),
        "wake_at": desk.services.clock(),
        "joins": joins,
        "sealed": seal_json(keys[key_id(reference, CASE)], f"cases/{reference}", person),
        **{name: data[name] for name in ("ground", "crowded", "peer") if name in data},
        **({"acknowledge": data["channel"]} if _wrote(data) else {}),
    }


def addresses(data: Mapping[str, Any]) -> list[str]:
    """Every address of a request, once; the first is the one that is written to."""
    return list(dict.fromkeys([data["email"], *data.get("also", ())]))


async def confirm(desk: Docket, data: Mapping[str, Any]) -> None:
    """The link of a case was used: once, for that case, while it waits for it. Anything else changes nothing."""
    reference = data["reference"]
    used = False
    while _waits_for(case := await desk.cases.get(reference), data["token"]):
        await desk.evidence.note("request_confirmed", reference, data["token"])
        await desk.cases.step(case, {"confirmed": True, "wake_at": desk.services.clock()}, "link")
        used = True
    if used:
        await desk.wake_case(reference)
    else:
        log.info("confirmation without effect", case=reference)


def _waits_for(case: Document | None, token: str) -> TypeGuard[Document]:
    return case is not None and case.get("link") == token and case["answer"] == Answer.RECEIVED
