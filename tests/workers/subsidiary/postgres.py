"""A PostgreSQL server from the distribution's package."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.workers.subsidiary.distro import HOST, USER, DistroServer


def find(name: str) -> str:
    """A program of the newest PostgreSQL that is installed; Debian keeps them off the PATH."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    found = str(places[-1]) if places else shutil.which(name)
    assert found, f"{name} is missing: apt-get install postgresql"
    return found


class PostgresServer(DistroServer):
    name = "PostgreSQL"

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@{HOST}:{self.port}/postgres"

    def make_data(self) -> list[str]:
        return [find("initdb"), "-D", str(self.data), "-U", USER, "-A", "trust", "-N", "-E", "UTF8", "--locale=C"]

    def serve(self) -> list[str]:
        return [
            *(find("postgres"), "-D", str(self.data), "-p", str(self.port), "-h", HOST),
            *("-k", str(self.folder), "-c", "fsync=off", "-c", "max_connections=40"),
        ]

    def is_ready(self) -> list[str]:
        return [find("pg_isready"), "-q", "-h", HOST, "-p", str(self.port)]
