"""Dramatiq's log records without what they carry: no arguments, no exception texts, no tracebacks.

Dramatiq prints a failing message with all its arguments and a traceback at ERROR, and everything at DEBUG. Here its
records are emptied where they are made, so that no handler ever sees a value: each is replaced by its kind unless it
is a number, a plain name or the id of a message.

Source: P4; `reliability.md` E22.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import dramatiq
from dramatiq import Message
from dramatiq.broker import MessageProxy

_DRAMATIQ = str(Path(dramatiq.__file__).parent)
_PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class QuietRecords:
    """A log record factory in front of another one."""

    def __init__(self, make: Any) -> None:
        self._make = make

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record: logging.LogRecord = self._make(*args, **kwargs)
        if record.pathname.startswith(_DRAMATIQ):  # by where it is said: actors log under the name of our own modules
            _empty(record)
        return record


def quiet_logs() -> None:
    """Put the factory in place; more than once does nothing more."""
    make = logging.getLogRecordFactory()
    if not isinstance(make, QuietRecords):
        logging.setLogRecordFactory(QuietRecords(make))


def _empty(record: logging.LogRecord) -> None:
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    record.exc_info = record.exc_text = record.stack_info = None
    record.args = tuple(_safe(arg) for arg in record.args) if isinstance(record.args, tuple) else ()
    if error is not None:
        record.msg = f"{record.msg} [{type(error).__name__}]"


def _safe(value: object) -> object:
    if isinstance(value, int | float):
        return value
    if isinstance(value, Message | MessageProxy):
        return f"{_safe(value.actor_name)} {_safe(value.message_id)}"
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    return type(value).__name__
