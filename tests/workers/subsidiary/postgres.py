"""A PostgreSQL server from the distribution's package, for this test process alone, as an unprivileged user."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from tests.waiting import until_blocking
from workers.processes import free_port

USER = "nobody"
HOST = "127.0.0.1"


def find(name: str) -> str:
    """A program of the newest PostgreSQL that is installed; Debian keeps them off the PATH."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    found = str(places[-1]) if places else shutil.which(name)
    assert found, f"{name} is missing: apt-get install postgresql"
    return found


class PostgresServer:
    """Data in a folder of its own; never on another port than it says."""

    def __init__(self, _: Path) -> None:
        # Not below the session's folder: that one is closed to other users, and the server runs as one.
        self.folder = Path(tempfile.mkdtemp(prefix="greffier-postgres-"))
        self.port = free_port()
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@{HOST}:{self.port}/postgres"

    def __enter__(self) -> Self:
        data = self.folder / "data"
        identity: dict[str, int] = {}
        if os.geteuid() == 0:  # neither initdb nor the server runs as root
            user = pwd.getpwnam(USER)
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            identity = {"user": user.pw_uid, "group": user.pw_gid}
        init = [find("initdb"), "-D", str(data), "-U", USER, "-A", "trust", "-N", "-E", "UTF8", "--locale=C"]
        subprocess.run(init, check=True, cwd=self.folder, stdout=subprocess.DEVNULL, **identity)
        serve = [
            *(find("postgres"), "-D", str(data), "-p", str(self.port), "-h", HOST),
            *("-k", str(self.folder), "-c", "fsync=off", "-c", "max_connections=40"),
        ]
        with (self.folder / "log").open("wb") as log:
            self._server = subprocess.Popen(serve, cwd=self.folder, stdout=log, stderr=log, **identity)
        until_blocking(self._answers, 30, what="PostgreSQL answers")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.terminate()
        self._server.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        ready = [find("pg_isready"), "-q", "-h", HOST, "-p", str(self.port)]
        assert self._server is not None
        assert self._server.poll() is None, (self.folder / "log").read_text()
        return subprocess.run(ready, check=False).returncode == 0
