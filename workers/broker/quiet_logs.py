"""Dramatiq's log lines without what they carry: no arguments, no exception texts, no tracebacks.

Dramatiq prints a failing message with all its arguments and a traceback at ERROR, and everything at DEBUG. Its loggers
get one handler here, which passes each line on under ``workers.broker.dramatiq`` with every value replaced unless it
is a number or a plain name.

Source: P4; `reliability.md` E22.
"""

from __future__ import annotations

import logging
import re

from dramatiq import Message
from dramatiq.broker import MessageProxy

_PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,64}")

passed_on = logging.getLogger("workers.broker.dramatiq")


class QuietHandler(logging.Handler):
    """Passes records on with safe values only."""

    def emit(self, record: logging.LogRecord) -> None:
        if not passed_on.isEnabledFor(record.levelno):
            return
        text = _text(record)
        quiet = logging.LogRecord(passed_on.name, record.levelno, record.pathname, record.lineno, text, None, None)
        quiet.thread, quiet.threadName = record.thread, record.threadName
        passed_on.handle(quiet)


def quiet_logs() -> None:
    """Install the handler; more than once does nothing more."""
    logger = logging.getLogger("dramatiq")
    logger.propagate = False
    if not any(isinstance(handler, QuietHandler) for handler in logger.handlers):
        logger.addHandler(QuietHandler())


def _text(record: logging.LogRecord) -> str:
    template = str(record.msg)
    args = record.args if isinstance(record.args, tuple) else ()
    try:
        text = template % tuple(_safe(arg) for arg in args)
    except (TypeError, ValueError):
        text = template
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    return f"{text} [{type(error).__name__}]" if error is not None else text


def _safe(value: object) -> object:
    if isinstance(value, int | float):
        return value
    if isinstance(value, Message | MessageProxy):
        return f"{_safe(value.actor_name)} {_safe(value.message_id)}"
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    return type(value).__name__
