"""Answers become signed receipts, sealed to the controller, as many messages as their size asks for.

A receipt is kept for years, so it holds no personal data; the access copies travel beside it, or in parts before it.
Source: P6, P7; design § 3 "Orders and receipts".
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import rfc8785
from uuid_utils import uuid7

from schemas.copies import INLINE_BYTES, cut
from schemas.jose import seal, sign
from schemas.orders import CONTROLLER, RECEIPT, RECEIPT_LIFETIME
from workers.office import Office

_MESSAGE_BYTES: Final = INLINE_BYTES + 256 * 1024
"""Of signed entries and copies together in one message: sealed it stays below what a queue's reader takes, 2 MiB."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One entry of a receipt, and for access the copy's canonical bytes."""

    entry: dict[str, Any]
    copy: bytes | None = field(default=None, repr=False)


async def send_answers(office: Office, order: str, answers: Sequence[Answer]) -> None:
    """Sign and send. On return Redis has all of it. ``order``: the ``jti`` that is answered.

    Raises :class:`schemas.errors.QueueUnavailable`: some may have gone; the next delivery sends all again.
    """
    for answer in answers:
        if answer.copy is not None and len(answer.copy) > INLINE_BYTES:
            for part in cut(answer.entry["task"], answer.copy):
                await _post(office, json.dumps({"part": part}).encode())
    for together in _by_size(answers):
        await _post(office, _message(office, order, together))


def _by_size(answers: Sequence[Answer]) -> Iterator[list[Answer]]:
    batch: list[Answer] = []
    size = 0
    for answer in answers:
        # What is signed is in base64; written plainly it is no shorter than in its canonical form, and sooner.
        own = len(json.dumps(answer.entry)) * 4 // 3 + len(_inline(answer) or b"")
        if batch and size + own > _MESSAGE_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(answer)
        size += own
    if batch:
        yield batch


def _inline(answer: Answer) -> bytes | None:
    return answer.copy if answer.copy is not None and len(answer.copy) <= INLINE_BYTES else None


def _message(office: Office, order: str, answers: Sequence[Answer]) -> bytes:
    claims = {"jti": str(uuid7()), "order": order, "entries": [answer.entry for answer in answers]}
    receipt = sign(
        office.trust.keys, RECEIPT, claims, audience=CONTROLLER, now=office.clock(), lifetime=RECEIPT_LIFETIME
    )
    copies = {answer.entry["task"]: copy for answer in answers if (copy := _inline(answer)) is not None}
    # The copies go in as the very bytes that were hashed.
    inside = b",".join(rfc8785.dumps(task) + b":" + copy for task, copy in copies.items())
    return b'{"copies":{' + inside + b'},"receipt":' + rfc8785.dumps(receipt) + b"}"


async def _post(office: Office, message: bytes) -> None:
    token = await asyncio.to_thread(seal, message, office.trust.controller)
    await asyncio.to_thread(office.outbox.post, token)
