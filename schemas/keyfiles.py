"""Key files: written once with mode 0400, replaced whole, read with an error that names the file and quotes nothing.

Source: ASVS 13.3.1; crypto-and-evidence § 6.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from schemas.errors import ConfigurationError, Fault


@contextmanager
def naming(names: str) -> Iterator[None]:
    """Turn whatever a broken key file raises into one :class:`ConfigurationError` that names it."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigurationError("keys", Fault(names, "is not a readable key file")) from None


def read_text(path: Path) -> str:
    """The file's text. Raises :class:`ConfigurationError`."""
    try:
        return path.read_text("ascii").strip()
    except OSError as error:
        raise ConfigurationError("keys", Fault(path.name, error.strerror or "cannot be read")) from None


def read_json(path: Path) -> Any:
    """The file's JSON. Raises :class:`ConfigurationError`."""
    with naming(path.name):
        return json.loads(read_text(path))


def read_or_make(path: Path) -> str:
    """A password in a file of its own; made where there is none. Raises :class:`ConfigurationError`."""
    if not path.exists():
        write_text(path, secrets.token_urlsafe(32) + "\n")
    return read_text(path)


def write_json(path: Path, content: object) -> None:
    """Write or replace a file of mode 0400."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_text(path: Path, content: str) -> None:
    """Write or replace a file of mode 0400."""
    # Written beside and moved over: a process that reads while a key is added sees the old file or the new one.
    beside = path.with_name(path.name + ".new")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w") as file:
        file.write(content)
    beside.replace(path)
