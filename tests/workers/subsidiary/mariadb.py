"""A MariaDB server from the distribution's package, set up as carelessly as offices find theirs.

It cuts what is too long, goes by a clock of its own, and compares without letter case and accents.
"""

from __future__ import annotations

import os
import shutil

import aiomysql

from tests.workers.subsidiary.distro import HOST, DistroServer

CARELESS = (
    *("--sql-mode=ANSI_QUOTES", "--default-time-zone=+05:45"),
    *("--character-set-server=utf8mb4", "--collation-server=utf8mb4_general_ci"),
)


def find(name: str) -> str:
    """A program of the server's; Debian keeps it where only root looks."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/bin"]))
    assert found, f"{name} is missing: apt-get install mariadb-server-core mariadb-client-core"
    return found


class MariaServer(DistroServer):
    name = "MariaDB"

    def url(self, database: str, *, user: str = "root", scheme: str = "mysql") -> str:
        return f"{scheme}://{user}@{HOST}:{self.port}/{database}"

    async def connect(self) -> aiomysql.Connection:
        """As the server's owner, in UTC."""
        told = "SET SESSION time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO'"
        return await aiomysql.connect(host=HOST, port=self.port, user="root", autocommit=True, init_command=told)

    def make_data(self) -> list[str]:
        return [
            *(find("mariadb-install-db"), "--no-defaults", f"--datadir={self.data}", "--skip-test-db"),
            *("--auth-root-authentication-method=normal", "--skip-name-resolve"),
        ]

    def serve(self) -> list[str]:
        return [
            *(find("mariadbd"), "--no-defaults", f"--datadir={self.data}", f"--port={self.port}"),
            *(f"--bind-address={HOST}", f"--socket={self.folder}/socket", f"--pid-file={self.folder}/pid"),
            *("--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M", *CARELESS),
        ]

    def is_ready(self) -> list[str]:
        return [find("mariadb"), "--no-defaults", "-h", HOST, "-P", str(self.port), "-u", "root", "-e", "SELECT 1"]
