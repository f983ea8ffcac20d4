"""External processors that hold our people's data and speak OpenDSR: each is asked, beside the stores.

They hold no key of ours and sign no receipt, so they are no stores of a case. An erasure is answered without them; for
access the answer waits for what they hold (:mod:`workers.cases.handed_over`). No case is closed before each has said,
under its certificate, that it is done. Portability is asked of nobody: what a person provided was provided to us. Nor
is what the protocol has no word for; an objection ends here what processors are told to send.
The counter runs the errands: whoever holds data calls no stranger.
Source: rights-protocols § 4; P6, P8 ("erasure orders always go"); GDPR Arts 15, 19, 28.
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
from schemas.register_entries import Processor
from schemas.terms import Right
from workers.cases.desk import Desk, Docket
from workers.cases.serving import NO_TRANSFER_BASIS, may_cross
from workers.rules.opendsr_asked import errand_id
from workers.stores.errands import BARRED, DONE, Errands
from workers.stores.mongo import Document

ERRAND: Final = "greffier.errand"
"""The type of what is sealed to the counter; it never lies in a queue."""
_SOURCE: Final = "/cases"
_ASKED: Final = frozenset({Right.ACCESS, Right.ERASURE})


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
    register, now = desk.services.trust.register, desk.services.clock()
    asked = {code: one for code, one in register.processors.items() if one.opendsr}
    if case["right"] not in _ASKED or not asked or desk.errand_sealer is None:
        return False
    barred = [code for code, one in asked.items() if not may_cross(case, one.transfer, now)]
    for code in barred:
        await desk.evidence.note("processor_barred", case["_id"], code, processor=code)
    await Errands(desk.services.databases).open(
        [
            _not_asked(case, code, one, number) if code in barred else _errand(desk, case, code, one, number, email)
            for code, one in asked.items()
            for number, email in enumerate(person["emails"])
        ]
    )
    return True


def _named(case: Document, code: str, processor: Processor, number: int) -> Document:
    name = errand_id(case["_id"], f"{code}/{number}")
    told = {"processor": code, "domain": processor.opendsr, "right": case["right"]}
    return {"_id": name, "case": case["_id"], **told, "submitted_at": case["received_at"]}


def _not_asked(case: Document, code: str, processor: Processor, number: int) -> Document:
    return _named(case, code, processor, number) | {"state": BARRED, "reason": NO_TRANSFER_BASIS}


def _errand(desk: Desk, case: Document, code: str, processor: Processor, number: int, email: str) -> Document:
    now, named = desk.services.clock(), _named(case, code, processor, number)
    body = json.dumps({"email": email}).encode()
    event = Event(named["_id"], _SOURCE, ERRAND, wire_moment(now), body)
    if desk.errand_sealer is None:
        raise RuntimeError("errands are sealed, and there is no key")
    return named | {
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
        if errand["processor"] == processor and (errand["state"] not in (DONE, BARRED) or "handed_over" in errand):
            told = {"processor": processor, "status": "accepted", "ground": reason, "by": by}
            await docket.evidence.note("processor_answered", reference, f"{errand['_id']}/accepted/{reason}", **told)
            changes = {"state": DONE, "reason": "accepted", "answered_at": now}
            if await errands.change(errand, changes, "letter", "run_at", "alarm", "handed_over"):
                accepted = errand
    return accepted
