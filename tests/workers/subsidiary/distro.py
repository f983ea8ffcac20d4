"""A database server from a package of the distribution, for this test process alone, as an unprivileged user."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, ClassVar, Self

from tests.waiting import until_blocking
from workers.processes import free_port

USER = "nobody"
HOST = "127.0.0.1"


class DistroServer:
    """Data in a folder of its own; never on another port than it says."""

    name: ClassVar[str]

    def __init__(self) -> None:
        # Not below the session's folder: that one is closed to other users, and the server runs as one.
        self.folder = Path(tempfile.mkdtemp(prefix=f"greffier-{self.name.lower()}-"))
        self.data = self.folder / "data"
        self.port = free_port()
        self._server: subprocess.Popen[bytes] | None = None

    def make_data(self) -> list[str]:
        """The command that makes an empty server's data."""
        raise NotImplementedError

    def serve(self) -> list[str]:
        """The command that serves it."""
        raise NotImplementedError

    def is_ready(self) -> list[str]:
        """The command that tells whether it answers."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        # A server of MariaDB that starts removes the temporary tables of whoever has the same folder for them.
        own: dict[str, Any] = {"cwd": self.folder, "env": {**os.environ, "TMPDIR": str(self.folder)}}
        if os.geteuid() == 0:  # none of these servers runs as root
            user = pwd.getpwnam(USER)
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            own |= {"user": user.pw_uid, "group": user.pw_gid}
        subprocess.run(self.make_data(), check=True, stdout=subprocess.DEVNULL, **own)
        with (self.folder / "log").open("wb") as log:
            self._server = subprocess.Popen(self.serve(), stdout=log, stderr=log, **own)
        until_blocking(self._answers, 30, what=f"{self.name} answers")

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.terminate()
            self._server.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        assert self._server is not None
        assert self._server.poll() is None, (self.folder / "log").read_text()
        asked = subprocess.run(self.is_ready(), check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return asked.returncode == 0
