"""What the shipped code asks of MongoDB, written down, and explained by the server itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from motor.motor_asyncio import AsyncIOMotorDatabase
from pymongo import InsertOne, MongoClient

from workers.stores.mongo import Databases

_BY_FILTER = ("find", "find_one", "update_one", "delete_one", "delete_many", "find_one_and_update")


@dataclass(frozen=True)
class Asked:
    """One question: where, how, and by what filter."""

    database: str
    collection: str
    operation: str
    filter: Mapping[str, Any]

    @property
    def shape(self) -> str:
        """The same for questions that differ in their values only."""
        return json.dumps([self.collection, self.operation, _shape(self.filter)])

    def scans(self, reader: MongoClient[dict[str, Any]]) -> str | None:
        """The question, where the server would read the whole collection to answer it."""
        find = {"find": self.collection, "filter": dict(self.filter)}
        plan = reader[self.database].command("explain", find, verbosity="queryPlanner")["queryPlanner"]["winningPlan"]
        stages = json.dumps(plan, default=str)
        return f"{self.shape}: {stages}" if "COLLSCAN" in stages else None


def _shape(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _shape(inner) for key, inner in value.items()}
    return [_shape(value[0])] if isinstance(value, list) and value and isinstance(value[0], Mapping) else "?"


class _Collection:
    """Passes everything on, and notes each filter."""

    def __init__(self, real: Any, note: Callable[[str, Mapping[str, Any]], None]) -> None:
        self._real = real
        self._note = note

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if name == "bulk_write":

            def bulk(requests: list[Any], **options: Any) -> Any:
                for request in requests:
                    if not isinstance(request, InsertOne):
                        self._note("bulk_write", request._filter)
                return real(requests, **options)

            return bulk
        if name not in _BY_FILTER:
            return real

        def noted(filter: Mapping[str, Any], *args: Any, **options: Any) -> Any:  # noqa: A002
            self._note(name, filter)
            return real(filter, *args, **options)

        return noted


class _Database(AsyncIOMotorDatabase):  # type: ignore[type-arg]
    def __init__(self, real: Any, asked: list[Asked]) -> None:
        super().__init__(real.client, real.name, _delegate=real.delegate)
        self._asked = asked

    def __getitem__(self, name: str) -> Any:
        def note(operation: str, question: Mapping[str, Any]) -> None:
            self._asked.append(Asked(self.name, name, operation, question))

        return _Collection(super().__getitem__(name), note)


def recorded(databases: Databases, asked: list[Asked]) -> Databases:
    """The same databases, every question noted in ``asked``."""
    return Databases(
        *(_Database(real, asked) for real in (databases.active, databases.archive, databases.evidence, databases.keys))
    )
