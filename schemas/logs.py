"""One log format for every process: JSON lines on standard error, ids and codes, nothing anybody submitted.

A library's line keeps its template and loses its arguments; an exception keeps its kind and the place it was raised,
because its text may quote a value (a driver's duplicate-key error does). Our own lines hold ids and codes only.
Source: P4; reliability § 8.8.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

_OURS: Final = ("greffier", "workers", "producers", "schemas")


def configure_logs(level: str = "INFO") -> None:
    """Set up logging for this process, once, at its start. ``level``: a logging level's name."""
    stamped: list[structlog.typing.Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[structlog.typing.Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.JSONRenderer(),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=[_bare, *stamped], processors=last))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    # A line that cannot be written (a full disk, a closed pipe) would else be printed with its arguments.
    logging.raiseExceptions = False
    structlog.configure(
        processors=[
            *stamped,
            structlog.contextvars.merge_contextvars,
            _kind_of_error_only,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _bare(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A line of the standard library's logging: a foreign one without its arguments, any without exception text."""
    record: logging.LogRecord = event["_record"]
    if record.name.partition(".")[0] not in _OURS:
        event["event"] = str(record.msg)
    event.pop("positional_args", None)
    event["exc_info"] = record.exc_info
    # The handler's formatter would otherwise append the traceback by itself.
    record.exc_info = record.exc_text = record.stack_info = None
    return _kind_of_error_only(_, __, event)


def _kind_of_error_only(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    found = event.pop("exc_info", None)
    if found is True:
        found = sys.exc_info()
    error = found[1] if isinstance(found, tuple) else found
    if isinstance(error, BaseException):
        event["error"] = type(error).__name__
        frames = traceback.extract_tb(error.__traceback__)
        if frames:
            event["raised_at"] = f"{frames[-1].name}:{frames[-1].lineno}"
    return event
