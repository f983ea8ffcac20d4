"""A plain client that looks at what really stands. Shares no code with the stores, so it can contradict them.

The demo reads its results back through it; it is no way to read personal data, which is the gate's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient


class Witness:
    """Counts and byte scans over the databases of one installation."""

    def __init__(self, url: str, prefix: str) -> None:
        self._client: MongoClient[RawBSONDocument] = MongoClient(
            url, document_class=RawBSONDocument, serverSelectionTimeoutMS=5000
        )
        self._prefix = prefix

    def count(self, database: str, collection: str, query: dict[str, Any]) -> int:
        """Documents that match, by the server's own count."""
        return self._client[f"{self._prefix}_{database}"][collection].count_documents(query)

    def values(self, database: str, collection: str, query: dict[str, Any], field: str) -> list[Any]:
        """One field of each document that matches."""
        found = self._client[f"{self._prefix}_{database}"][collection].find(query, {field: 1})
        return [document[field] for document in found if field in document]

    def documents(self, database: str, collection: str, query: dict[str, Any], *fields: str) -> list[dict[str, Any]]:
        """These fields of each document that matches, by ``_id``."""
        found = self._client[f"{self._prefix}_{database}"][collection].find(query, dict.fromkeys(fields, 1))
        return [{field: document[field] for field in fields if field in document} for document in found.sort("_id", 1)]

    def in_the_clear(self, needles: Iterable[str]) -> list[str]:
        """``database.collection`` of each document whose stored bytes hold one of the needles, in either spelling."""
        wanted = [spelling.encode() for needle in needles for spelling in {needle, needle.lower()}]
        return [place for place, raw in self._documents() if any(needle in raw for needle in wanted)]

    def _documents(self) -> Iterator[tuple[str, bytes]]:
        for name in self._client.list_database_names():
            if name.startswith(f"{self._prefix}_"):
                for collection in self._client[name].list_collection_names():
                    for document in self._client[name][collection].find():
                        yield f"{name}.{collection}", bytes(document.raw)

    def close(self) -> None:
        self._client.close()
