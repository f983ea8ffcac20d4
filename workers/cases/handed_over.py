"""What external processors hand over for access, and each one's part of a case that waits for it.

A processor is no store: it has no key of ours and signs no receipt. But what it processes for us is the person's to see
(Art. 15), so its part is shaped as a store's: the answer waits for it to its date, names it, and promises further word
where it is silent. What it handed over lies sealed by the counter in **evidence** until it is opened here and kept
among the case's copies, under the case key; nobody but the person reads it, and nothing in it is interpreted.
Source: R17; rights-protocols § 4; P4, P6; GDPR Arts 15, 28(3)(e).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import structlog

from schemas.errors import InvalidMessage
from schemas.terms import Proof, Right, StoreOutcome
from workers.cases.copies import keep_copy
from workers.cases.desk import Desk
from workers.rules.cases import TaskState
from workers.stores.errands import BARRED, DONE, REFUSED, Errands
from workers.stores.mongo import Document

log = structlog.get_logger("greffier.cases")

HANDED_OVER: Final = "greffier.errand.handed-over"
"""The type of what the counter seals to the controller; it never lies in a queue."""
SOURCE: Final = "/outside"
_MEDIA_TYPES: Final = frozenset(
    {"application/json", "application/pdf", "application/zip", "text/csv", "text/plain", "application/xml"}
)
_UNKNOWN: Final = "application/octet-stream"


def described(content: bytes, content_type: str) -> bytes:
    """What is signed of what was handed over: its digest, and its media type where that is one of a few."""
    media_type = content_type.partition(";")[0].strip().lower()
    told = media_type if media_type in _MEDIA_TYPES else _UNKNOWN
    return json.dumps({"sha256": hashlib.sha256(content).hexdigest(), "media_type": told}).encode()


async def parts_of(desk: Desk, case: Document) -> list[Document]:
    """A case's processors, each as a task of its own; none where nothing was asked of one for a copy.

    ``copies``: of each file that it handed over, ``task`` and ``sha256`` (as kept) and ``media_type``.
    """
    if "errands" not in case or not Right(case["right"]).gives_a_copy:
        return []
    errands = Errands(desk.services.databases)
    for errand in await errands.handed_over(case["_id"]):
        await _keep(desk, errands, errand)
    by_processor = groupby(await errands.of_case(case["_id"]), itemgetter("processor"))
    return [_part(case, code, list(asked)) for code, asked in by_processor]


async def _keep(desk: Desk, errands: Errands, errand: Document) -> None:
    """Put what was handed over among the case's copies; what cannot be opened stays, and is seen."""
    try:
        kept, content = _opened(desk, errand)
    except InvalidMessage as fault:
        log.error("what a processor handed over cannot be opened", errand=errand["_id"], code=fault.code)
        await errands.change(errand, {"alarm": "unread"})
        return
    await keep_copy(desk, {"_id": errand["_id"], "case": errand["case"]}, content)
    await errands.change(errand, kept, "handed_over", "alarm")


def _opened(desk: Desk, errand: Mapping[str, Any]) -> tuple[dict[str, str], bytes]:
    """Raises :class:`InvalidMessage`."""
    opener, sealed = desk.services.trust.opener, errand["handed_over"]
    [event] = opener.open(sealed["letter"]).events
    content = opener.open_file(bytes(sealed["content"]), errand["_id"], HANDED_OVER)
    if (event.type, event.id) != (HANDED_OVER, errand["_id"]):
        raise InvalidMessage("other_letter")
    said = json.loads(event.body)
    if not _is_what_was_signed(said, content):
        raise InvalidMessage("other_content")
    return {"copy_sha256": hashlib.sha256(content).hexdigest(), "media_type": said["media_type"]}, content


def _is_what_was_signed(said: Mapping[str, str], content: bytes) -> bool:
    """A file is sealed to us, and by whom it does not say: the letter beside it is signed."""
    return said["sha256"] == hashlib.sha256(content).hexdigest()


def _part(case: Document, code: str, asked: Sequence[Mapping[str, Any]]) -> Document:
    copies = [
        {"task": one["_id"], "sha256": one["copy_sha256"], "media_type": one["media_type"]}
        for one in asked
        if "copy_sha256" in one
    ]
    part = {"_id": f"{case['_id']}/{code}", "case": case["_id"], "store": code, "right": case["right"]}
    state = _state(asked)
    part |= {"state": state.value, "attempt": 0}
    if state in (TaskState.WAITING, TaskState.BARRED):
        return part
    said: Document = {
        "outcome": _outcome(asked, copies).value,
        "proof": Proof.SIGNED.value,
        "entry": {"collections": []},
    }
    return part | said | {"copies": copies}


def _state(asked: Sequence[Mapping[str, Any]]) -> TaskState:
    """Refused is in doubt: a person decides."""
    states = {one["state"] for one in asked}
    if BARRED in states:
        return TaskState.BARRED
    if states - {DONE, REFUSED} or any("handed_over" in one for one in asked):
        return TaskState.WAITING
    return TaskState.DOUBTFUL if REFUSED in states else TaskState.PROVED


def _outcome(asked: Iterable[Mapping[str, Any]], copies: Sequence[Any]) -> StoreOutcome:
    """``accepted``: staff let it stand without what was asked for."""
    if any(one["state"] == REFUSED or one["reason"] == "accepted" for one in asked):
        return StoreOutcome.REFUSED
    return StoreOutcome.DONE if copies else StoreOutcome.NOTHING_HELD
