"""External processors that hold our people's data and speak OpenDSR: an erasure is asked of each, beside the stores.

They hold no key of ours and sign no receipt, so they are no stores of a case: its answer does not wait for them. But
the case is not closed before each has said, under its certificate, that it is done. An erasure is all that is asked:
what they hold for access is ours to know, and an objection ends here what they are told to send.
The counter runs the errands: whoever holds data calls no stranger.
Source: rights-protocols § 4; P6, P8 ("erasure orders always go"); GDPR Arts 19, 28.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import uuid_utils

from schemas.envelope import Event, Sealer
from schemas.errors import ConfigurationError, Fault
from schemas.fields import wire_moment
from schemas.keyring import ERRANDS, read_sealer
from schemas.register import Register
from schemas.terms import Right
from workers.cases.desk import Desk, Docket
from workers.rules.opendsr_asked import errand_id
from workers.stores.errands import DONE, Errands
from workers.stores.mongo import Document

ERRAND: Final = "greffier.errand"
"""The type of what is sealed to the counter; it never lies in a queue."""
_SOURCE: Final = "/cases"


def read_errand_sealer(keys: Path, register: Register) -> Sealer | None:
    """What seals errands, where the register has processors to ask. Raises :class:`ConfigurationError` without it."""
    if not any(processor.opendsr for processor in register.processors.values()):
        return None
    if not (keys / ERRANDS).is_dir():
        raise ConfigurationError(
            "keys", Fault(ERRANDS, "is missing: the register asks a processor; greffier keys outside")
        )
    return read_sealer(keys / ERRANDS)


async def open_errands(desk: Desk, case: Document, person: Mapping[str, Any]) -> bool:
    """Ask what this case asks of processors; once, however often it is called. Whether it asks anything of any.

    Each of the person's addresses is a request of its own: one request is about one.
    """
    register = desk.services.trust.register
    asked = {code: one.opendsr for code, one in register.processors.items() if one.opendsr}
    if case["right"] != Right.ERASURE or not asked or desk.errand_sealer is None:
        return False
    await Errands(desk.services.databases).open(
        [
            _errand(desk, case, code, domain, number, email)
            for code, domain in asked.items()
            for number, email in enumerate(person["emails"])
        ]
    )
    return True


def _errand(desk: Desk, case: Document, code: str, domain: str, number: int, email: str) -> Document:
    now = desk.services.clock()
    name = errand_id(case["_id"], f"{code}/{number}")
    body = json.dumps({"email": email}).encode()
    event = Event(name, _SOURCE, ERRAND, wire_moment(now), body)
    if desk.errand_sealer is None:
        raise RuntimeError("errands are sealed, and there is no key")
    return {
        "_id": name,
        "case": case["_id"],
        "processor": code,
        "domain": domain,
        "right": case["right"],
        "submitted_at": case["received_at"],
        "opened_at": now,
        "answer_by": case["answer_by"],
        "state": "waiting",
        "tries": 0,
        "run_at": now,
        "letter": desk.errand_sealer.seal(str(uuid_utils.uuid7()), "controller", 1, [event]),
    }


def shown(errand: Mapping[str, Any]) -> dict[str, Any]:
    """One errand as staff see it."""
    moments = {name: wire_moment(errand[name]) for name in ("opened_at", "taken_at", "answered_at") if name in errand}
    told = {name: errand.get(name) for name in ("processor", "domain", "state", "reason", "digest")}
    return {"errand": errand["_id"], **told, **moments}


async def accept(docket: Docket, reference: str, processor: str, reason: str, by: str) -> Document | None:
    """Let a processor's part of a case stand as done, by staff's word: it said so otherwise, or another way was found.

    ``None`` where nothing is open with it. The reason stays as evidence.
    """
    errands, now = Errands(docket.services.databases), docket.services.clock()
    accepted = None
    for errand in await errands.of_case(reference):
        if errand["processor"] == processor and errand["state"] != DONE:
            told = {"processor": processor, "status": "accepted", "ground": reason, "by": by}
            await docket.evidence.note("processor_answered", reference, f"{errand['_id']}/accepted/{reason}", **told)
            changes = {"state": DONE, "reason": "accepted", "answered_at": now}
            if await errands.change(errand, changes, "letter", "run_at", "alarm"):
                accepted = errand
    return accepted
