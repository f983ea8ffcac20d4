"""Looks for words in everything a running system leaves behind: servers, disks, logs, metrics, processes.

Knows nothing of how the system works: it reads bytes. Source: P4; reliability I20.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, cast
from urllib.parse import quote, quote_plus

import aiohttp
import psutil
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from tests.installation import Installation
from tests.waiting import until

SHORTEST: Final = 8  # what is shorter may stand anywhere by chance


def spellings(word: str) -> set[bytes]:
    """A word as it may be written down: as it is, in either case, escaped by JSON or for a URL, in base64."""
    assert len(word) >= SHORTEST, word
    cases = {word, word.lower(), word.upper()}
    texts = cases | {json.dumps(text)[1:-1] for text in cases}
    texts |= {form(text, safe="") for text in cases for form in (quote, quote_plus)}
    return {text.encode() for text in texts} | {part for text in cases for part in in_base64(text.encode())}


def in_base64(raw: bytes) -> set[bytes]:
    """What `raw` looks like inside a longer text in base64, wherever it begins, in both alphabets."""
    found = set()
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw)
        whole = encoded[-(-before * 8 // 6) : len(encoded) - 4 if (before + len(raw)) % 3 else None]
        found |= {whole, whole.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


class Scanner:
    """``words``: what must be found nowhere."""

    def __init__(self, installation: Installation, words: Iterable[str]) -> None:
        self._installation = installation
        self._needles = {spelling: word for word in words for spelling in spellings(word)}

    async def places(self) -> list[str]:
        """``place: word`` of each find."""
        found = [*self._in(self._redis()), *self._in(self._documents()), *self._in(self._files())]
        found += self._in(self._processes())
        return found + list(self._in((await self._metrics()).items()))

    def in_answers(self, answers: Mapping[str, bytes]) -> list[str]:
        """The same for what the door answered."""
        return list(self._in(answers.items()))

    def _in(self, blobs: Iterable[tuple[str, bytes]]) -> Iterator[str]:
        for place, blob in blobs:
            for word in sorted({word for needle, word in self._needles.items() if needle in blob}):
                yield f"{place}: {word}"

    def _redis(self) -> Iterator[tuple[str, bytes]]:
        """Every key: its name, its value, and what a dump of it says."""
        with self._installation.redis() as server:
            for key in server.scan_iter():
                yield f"redis key {key!r}", key
                yield f"redis dump {key!r}", cast("bytes | None", server.dump(key)) or b""
                yield f"redis value {key!r}", self._value(server, key)

    @staticmethod
    def _value(server: Any, key: bytes) -> bytes:
        read: dict[bytes, Callable[[], Iterable[bytes | None]]] = {
            b"string": lambda: [server.get(key)],
            b"hash": lambda: [part for pair in server.hgetall(key).items() for part in pair],
            b"list": lambda: server.lrange(key, 0, -1),
            b"set": lambda: server.smembers(key),
            b"zset": lambda: server.zrange(key, 0, -1),
        }
        parts = read[server.type(key)]() if server.type(key) in read else []
        return b"\n".join(part for part in parts if part is not None)

    def _documents(self) -> Iterator[tuple[str, bytes]]:
        """Every document of every database, those of the server itself (its log of operations) included."""
        with MongoClient[RawBSONDocument](self._installation.mongod.url, document_class=RawBSONDocument) as client:
            for database in client.list_database_names():
                for collection in client[database].list_collection_names():
                    for document in client[database][collection].find():
                        yield f"mongo {database}.{collection}", bytes(document.raw)

    def _files(self) -> Iterator[tuple[str, bytes]]:
        """Logs, Redis's files, key files: all of the data folder but MongoDB's own, which hold what documents say."""
        for path in self._installation.data.rglob("*"):
            if path.is_file() and self._installation.mongod.data not in path.parents:
                yield f"file {path.relative_to(self._installation.data)}", path.read_bytes()

    def _processes(self) -> Iterator[tuple[str, bytes]]:
        for child in [*self._installation.children, *self._installation.servers]:
            process = psutil.Process(child.pid)
            yield f"command line of {child.name}", "\0".join(process.cmdline()).encode()
            variables = [f"{name}={value}" for name, value in process.environ().items()]
            yield f"environment of {child.name}", "\0".join(variables).encode()

    async def _metrics(self) -> dict[str, bytes]:
        found = {}
        async with aiohttp.ClientSession() as session:
            for child in self._installation.children:
                async with session.get(child.metrics_url) as answer:
                    assert answer.status == 200
                    found[f"metrics of {child.name}"] = await answer.read()
        return found


async def rewrite_append_only_file(installation: Installation) -> None:
    """Let Redis write its log anew, from what it holds: what was there before and is gone is no find."""
    with installation.redis() as server:
        server.bgrewriteaof()
        await until(lambda: not server.info("persistence")["aof_rewrite_in_progress"], 30, what="rewritten")
        assert server.info("persistence")["aof_last_bgrewrite_status"] == "ok"
