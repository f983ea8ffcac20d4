"""A MongoDB that asks for names and passwords, to see what each of our processes' own user may do.

One server without a replica set: a user's rights are the same, and nothing here needs a transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from workers.local import HOST, ONE_LOOK, EmbeddedMongo

ADMIN = "admin"
PASSWORD = "only-in-tests"


class GuardedMongo(EmbeddedMongo):
    """``admin`` may do everything; who has no user may do nothing."""

    @property
    def url(self) -> str:
        return self.url_of(ADMIN)

    def url_of(self, user: str) -> str:
        """The URI of one user."""
        return f"mongodb://{user}:{PASSWORD}@{HOST}:{self.port}/"

    def command(self) -> list[str]:
        words = super().command()
        at = words.index("--replSet")
        return [*words[:at], *words[at + 4 :], "--auth"]

    def answers(self) -> bool:
        try:
            with MongoClient[dict[str, Any]](HOST, self.port, serverSelectionTimeoutMS=int(ONE_LOOK * 1000)) as client:
                client.admin.command("ping")
        except PyMongoError:
            return False
        return True

    def make_admin(self) -> None:
        """The first user: a fresh server lets whoever is on its own machine make it."""
        with MongoClient[dict[str, Any]](HOST, self.port) as client:
            client.admin.command("createUser", ADMIN, pwd=PASSWORD, roles=["root"])

    def make_user(self, name: str, *roles: Any) -> str:
        """A user with these roles; its URI."""
        with MongoClient[dict[str, Any]](self.url) as client:
            client.admin.command("createUser", name, pwd=PASSWORD, roles=list(roles))
        return self.url_of(name)


@contextmanager
def guarded_mongo(folder: Path) -> Iterator[GuardedMongo]:
    """A server with an administrator, gone at the end."""
    server = GuardedMongo(folder)
    server.start()
    try:
        server.make_admin()
        yield server
    finally:
        server.kill9()
