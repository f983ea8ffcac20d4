"""What is to be tried: a YAML file beside the adapter. The certificate is bound to the files it names.

Words of a command may hold ``$CODE``, ``$STORE`` (a path in a fresh folder), ``$ORDERS``, ``$RECEIPTS``, ``$PYTHON``;
they run in the description's folder. Source: R28; docs/subsidiary.md "Conformance".
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any, Final

import rfc8785

from schemas.errors import ConfigurationError, Fault, InvalidMessage
from schemas.fields import VERSION, pattern
from schemas.register import SHIPPED
from schemas.register_reading import read_mapping
from schemas.shapes import Shape
from workers.stores.subsidiaries.adapter import StoreAdapter

_CARRIERS: Final = ("mapping", "python", "http", "file")
_MEMBERS: Final = {"adapter", "files", "over", "bench", "replay", "environment", "many", "without", "register"}
_NEEDS_REPLAY: Final = ("http", "file")
MANY: Final = 2_000
OPTIONAL: Final = ("rectification", "restriction", "portability", "withdrawal", "wish", "disposal", "canary")
"""What an office may say that it does not do: it is graded then on refusing it by the registered name."""

_ADAPTER: Final = Shape("adapter", required={"name": pattern(r"^[a-z][a-z0-9-]{1,62}$", 63), "version": VERSION})


@dataclass(frozen=True, slots=True)
class Description:
    """``over``: one of ``mapping``, ``python``, ``http``, ``file``; ``by``: its file, place or command.

    ``many``: rows of the person who has many; ``without``: of :data:`OPTIONAL`; ``register``: whose periods a disposal
    is asked by.
    """

    folder: Path
    name: str
    version: str
    files: tuple[str, ...]
    over: str
    by: str | tuple[str, ...]
    bench: tuple[str, ...]
    replay: tuple[str, ...]
    environment: Mapping[str, str]
    many: int
    without: tuple[str, ...]
    register: Path

    def fingerprint(self) -> str:
        """SHA-256 over name, version, carrier and every file: what a certificate is good for, and nothing else."""
        content = {name: hashlib.sha256((self.folder / name).read_bytes()).hexdigest() for name in self.files}
        by = self.by if isinstance(self.by, str) else list(self.by)
        whole: dict[str, Any] = {"name": self.name, "version": self.version, "over": {self.over: by}, "files": content}
        if self.without:
            whole["without"] = sorted(self.without)
        return hashlib.sha256(rfc8785.dumps(whole)).hexdigest()

    def command(self, words: tuple[str, ...], given: Mapping[str, str]) -> list[str]:
        """A command with its places filled in."""
        return [Template(word).safe_substitute(given, PYTHON=sys.executable) for word in words]

    def opened_by(self, store: str) -> Callable[[], StoreAdapter]:
        """What makes the adapter of ``over: {python: file.py:function}``. Raises :class:`ConfigurationError`."""
        place, _, function = str(self.by).rpartition(":")
        path = (self.folder / place).resolve()
        spec = importlib.util.spec_from_file_location(f"conform_{path.stem}", path)
        if spec is None or spec.loader is None or not path.is_file():
            raise _wrong("over.python", "names no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        made: Callable[[str], StoreAdapter] = getattr(module, function)
        return lambda: made(store)


def read_description(path: Path) -> Description:
    """Raises :class:`ConfigurationError` naming what must be mended."""
    raw, faults = read_mapping(path)
    if faults:
        raise ConfigurationError(f"description {path}", *faults)
    unknown = sorted(set(raw) - _MEMBERS)
    if unknown:
        raise _wrong(unknown[0], "is not known here")
    try:
        adapter = _ADAPTER.check(raw.get("adapter"))
    except InvalidMessage:
        raise _wrong("adapter", "needs a name (a-z, 0-9, -) and a version") from None
    over = raw.get("over")
    if not isinstance(over, dict) or len(over) != 1 or next(iter(over)) not in _CARRIERS:
        raise _wrong("over", f"is one of {', '.join(_CARRIERS)}")
    [(carrier, by)] = over.items()
    words = carrier in ("http", "file")
    replay = _words(raw, "replay") if carrier in _NEEDS_REPLAY else ()
    files = _words(raw, "files")
    missing = [name for name in files if not (path.parent / name).is_file()]
    if missing:
        raise _wrong("files", f"{missing[0]} is no file")
    many = str(raw.get("many", MANY))
    if not many.isdigit() or int(many) < 2:
        raise _wrong("many", "is a number of rows")
    without = _words(raw, "without") if "without" in raw else ()
    if set(without) - set(OPTIONAL):
        raise _wrong("without", f"is of {', '.join(OPTIONAL)}")
    return Description(
        folder=path.parent,
        name=adapter["name"],
        version=adapter["version"],
        files=files,
        over=carrier,
        by=_words(over, carrier) if words else str(by),
        bench=_words(raw, "bench"),
        replay=replay,
        environment=dict(raw.get("environment") or {}),
        many=int(many),
        without=without,
        register=path.parent / raw["register"] if "register" in raw else SHIPPED,
    )


def _words(raw: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found = raw.get(name)
    if not isinstance(found, list) or not found or not all(isinstance(one, str) for one in found):
        raise _wrong(name, "is a list of words")
    return tuple(found)


def _wrong(path: str, problem: str) -> ConfigurationError:
    return ConfigurationError("description", Fault(path, problem))
