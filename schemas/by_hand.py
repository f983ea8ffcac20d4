"""Orders and receipts as files, for an office with one laptop and no line: the same sealed words, carried by hand.

=========== ====================================================== ================================================
file        holds                                                  made by
=========== ====================================================== ================================================
orders      ``{"orders": [token, …], "subsidiary": code}``         ``greffier orders export``, at the controller
receipts    ``{"receipts": [token, …], "subsidiary": code}``       ``greffier subsidiary CODE --order``
=========== ====================================================== ================================================

Each token is sealed to who reads it and signed by who made it, so a file that is lost shows nothing and one that is
altered is refused. A file may be carried, answered and taken in any number of times. What is too much for one file
goes on in a second, ``NAME.2``.
Source: R28; P2, P7.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from schemas.errors import InvalidMessage
from schemas.jose import MAX_TOKEN_BYTES
from schemas.strict_json import parse

Kind = Literal["orders", "receipts"]

MAX_TOKENS: Final = 1_000
MAX_FILE_BYTES: Final = 256 * 1024 * 1024
_FRAME: Final = 1_024
"""More than stands around the tokens."""


def write_tokens(path: Path, kind: Kind, code: str, tokens: Sequence[str]) -> None:
    """Write or replace a file, whole or not at all, readable by its owner alone."""
    beside = path.with_name(path.name + ".new")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump({kind: list(tokens), "subsidiary": code}, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


class TokenFiles:
    """Tokens on their way into as many files as they need, each of which :func:`read_tokens` takes.

    ``paths``: the files written so far; ``count``: the tokens put in.
    """

    def __init__(self, path: Path, kind: Kind, code: str) -> None:
        self.paths: list[Path] = []
        self.count = 0
        self._path, self._kind, self._code = path, kind, code
        self._tokens: list[str] = []
        self._size = 0

    def post(self, token: str) -> None:
        """Put one more in. A file that is full is written; raises OSError."""
        size = len(token) + len('"", ')
        if len(self._tokens) == MAX_TOKENS or self._size + size > MAX_FILE_BYTES - _FRAME:
            self.write()
        self._tokens.append(token)
        self._size += size
        self.count += 1

    def write(self) -> None:
        """Write what is left, if anything is."""
        if self._tokens:
            number = len(self.paths) + 1
            path = self._path if number == 1 else self._path.with_name(f"{self._path.name}.{number}")
            write_tokens(path, self._kind, self._code, self._tokens)
            self.paths.append(path)
            self._tokens, self._size = [], 0


def read_tokens(path: Path, kind: Kind) -> tuple[str, list[str]]:
    """The subsidiary that a file names, to be believed by the tokens' signatures alone, and its tokens.

    Raises OSError, and :class:`InvalidMessage` ``not_a_file_of_<kind>`` or as :func:`schemas.strict_json.parse`.
    """
    if path.stat().st_size > MAX_FILE_BYTES:
        raise InvalidMessage("too_large")
    found = parse(path.read_bytes())
    wanted = InvalidMessage(f"not_a_file_of_{kind}")
    if not isinstance(found, dict) or set(found) != {kind, "subsidiary"} or not isinstance(found["subsidiary"], str):
        raise wanted
    tokens = found[kind]
    if not isinstance(tokens, list) or not 0 < len(tokens) <= MAX_TOKENS:
        raise wanted
    if not all(isinstance(one, str) and 0 < len(one) <= MAX_TOKEN_BYTES for one in tokens):
        raise wanted
    return found["subsidiary"], tokens
