"""A MariaDB server from the distribution's package, for this test process alone, as an unprivileged user.

It is set up as carelessly as offices find theirs: lax about what is too long, a clock of its own, comparisons that
ignore letter case and accents.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import aiomysql

from tests.waiting import until_blocking
from workers.processes import free_port

USER = "nobody"
HOST = "127.0.0.1"
CARELESS = (
    *("--sql-mode=ANSI_QUOTES", "--default-time-zone=+05:45"),
    *("--character-set-server=utf8mb4", "--collation-server=utf8mb4_general_ci"),
)


def find(name: str) -> str:
    """A program of the server's; Debian keeps it where only root looks."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/bin"]))
    assert found, f"{name} is missing: apt-get install mariadb-server"
    return found


class MariaServer:
    """Data in a folder of its own; never on another port than it says."""

    def __init__(self) -> None:
        # Not below the session's folder: that one is closed to other users, and the server runs as one.
        self.folder = Path(tempfile.mkdtemp(prefix="greffier-mariadb-"))
        self.port = free_port()
        self._server: subprocess.Popen[bytes] | None = None

    def url(self, database: str, *, user: str = "root", scheme: str = "mysql") -> str:
        return f"{scheme}://{user}@{HOST}:{self.port}/{database}"

    async def connect(self) -> aiomysql.Connection:
        """As the server's owner, in UTC."""
        told = "SET SESSION time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO'"
        return await aiomysql.connect(host=HOST, port=self.port, user="root", autocommit=True, init_command=told)

    def __enter__(self) -> Self:
        data = self.folder / "data"
        identity: dict[str, int] = {}
        if os.geteuid() == 0:  # the server does not run as root
            user = pwd.getpwnam(USER)
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            identity = {"user": user.pw_uid, "group": user.pw_gid}
        install = [find("mariadb-install-db"), "--no-defaults", f"--datadir={data}", "--skip-test-db"]
        install += ["--auth-root-authentication-method=normal", "--skip-name-resolve"]
        subprocess.run(install, check=True, cwd=self.folder, stdout=subprocess.DEVNULL, **identity)
        serve = [
            *(find("mariadbd"), "--no-defaults", f"--datadir={data}", f"--port={self.port}", f"--bind-address={HOST}"),
            *(f"--socket={self.folder}/socket", f"--pid-file={self.folder}/pid", "--skip-name-resolve"),
            *("--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M", "--skip-log-bin", *CARELESS),
        ]
        with (self.folder / "log").open("wb") as log:
            self._server = subprocess.Popen(serve, cwd=self.folder, stdout=log, stderr=log, **identity)
        until_blocking(self._answers, 30, what="MariaDB answers")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.terminate()
        self._server.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        assert self._server is not None
        assert self._server.poll() is None, (self.folder / "log").read_text()
        ready = [find("mariadb-admin"), "--no-defaults", "-h", HOST, "-P", str(self.port), "-u", "root", "ping"]
        return subprocess.run(ready, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
