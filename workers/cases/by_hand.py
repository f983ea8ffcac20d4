"""Orders out of the controller as a file, and the file of receipts in again, for an office without a line.

Taken in, a receipt goes the way of any other: into the subsidiary's namespace, to be kept and applied by whichever
controller works off the inbox. It is looked at here only so that whoever typed the command hears what is wrong with it.
Source: R28; P7; design § 3 "Orders and receipts".
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from schemas.copies import check_part
from schemas.errors import InvalidMessage
from schemas.jose import Keys, Peer, verify
from schemas.orders import CONTROLLER, RECEIPT
from schemas.party_keys import read_party, read_subsidiaries
from workers.broker import Tuning
from workers.cases.receiving import opened, receipt_and_copies
from workers.office import ReceiptQueue


def take_receipts(redis_url: str, keys: Path, code: str, tokens: Sequence[str], now: datetime) -> int:
    """Hand receipts to the inbox; how many. All of them are looked at first: one that is not sound stops the file.

    Raises :class:`InvalidMessage`, :class:`schemas.errors.QueueUnavailable`, :class:`ConfigurationError`.
    """
    party, peer = read_party(keys), read_subsidiaries(keys).get(code)
    if peer is None:
        raise InvalidMessage("unknown_store")
    for token in tokens:
        _look(party, peer, token, now)
    queue = ReceiptQueue(redis_url, code, Tuning())
    try:
        for token in tokens:
            queue.post(token)
    finally:
        queue.close()
    return len(tokens)


def _look(party: Keys, peer: Peer, token: str, now: datetime) -> None:
    message = opened(party, token)
    if set(message) == {"part"}:
        check_part(message["part"])
    else:
        verify(receipt_and_copies(message)[0], peer, RECEIPT, audience=CONTROLLER, now=now)
