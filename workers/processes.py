"""Child processes of one machine: started, watched, stopped, and never left behind.

Used by `workers.local` (embedded servers) and `workers.up` (the whole system on one machine). In production a
container platform does this work; nothing here runs there.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

# Asks the kernel to kill this process when its parent dies, then becomes the command. A separate process does it
# because code between fork and exec is unsafe once the parent has threads. The second look at the parent closes the
# gap in which it could have died before the kernel was asked.
_TIED_TO_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""

# Below the range from which Linux, macOS and Windows lend ports to outgoing connections: a port chosen here is still
# free when its server comes back after a kill.
_PORTS = range(20_000, 32_000)

_given: set[int] = set()
"""The ports that this process has chosen: one chosen for a child that is not up yet looks free."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment, and none that was returned before.

    Another process may take it before the caller does; whoever binds it must be ready to ask again.
    """
    for _ in range(200):
        port = random.choice(_PORTS)
        if port in _given:
            continue
        with socket.socket() as probe:
            if os.name == "posix":  # elsewhere this option would allow a port that is in use
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise OSError(f"no free port between {_PORTS.start} and {_PORTS.stop}")


def polling(deadline: float, every: float = 0.01) -> Iterator[None]:
    """Yield until `deadline` (of ``time.monotonic``), pausing `every` seconds in between; at least once."""
    while True:
        yield
        if time.monotonic() >= deadline:
            return
        time.sleep(every)


class Process:
    """One child process by command line, its output appended to a log file.

    On Linux the kernel kills it when the **thread** that started it ends, so start it from a thread that lives as
    long as the child is wanted: the main one.
    """

    def __init__(self, name: str, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.argv = list(argv)
        self.log = log
        self.env = dict(env or {})
        self._popen: subprocess.Popen[bytes] | None = None
        self._asked_to_end = False

    @property
    def pid(self) -> int:
        """Of the running child, or of the last one that ran."""
        if self._popen is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return None if self._popen is None else self._popen.poll()

    def spawn(self) -> None:
        """Start it and return at once."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._asked_to_end = False
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                self._tied_argv(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.env, "GREFFIER_PARENT_PID": str(os.getpid())},
                start_new_session=True,  # a Ctrl-C in the terminal reaches the parent only, which stops all in order
            )

    def _tied_argv(self) -> list[str]:
        if sys.platform != "linux":
            return self.argv
        return [sys.executable, "-I", "-S", "-c", _TIED_TO_PARENT, str(os.getpid()), *self.argv]

    def terminate(self) -> None:
        """Ask it to end, and return at once; once only, since our processes take a second time for "at once".

        A paused one is continued first: it could not hear otherwise.
        """
        if self.alive:
            self.resume()
            if not self._asked_to_end:
                self._signal(signal.SIGTERM)
                self._asked_to_end = True

    def stop(self, grace: float = 10.0) -> None:
        """Ask it to end, wait up to `grace` seconds, then kill it."""
        self.terminate()
        if self._popen is None:
            return
        try:
            self._popen.wait(grace)
        except subprocess.TimeoutExpired:
            self.kill9()

    def kill9(self) -> None:
        """End it as a power cut would: no warning, no clean-up."""
        self._signal(signal.SIGKILL)
        if self._popen is not None:
            self._popen.wait()

    def pause(self) -> None:
        """Freeze it: connections stay open, nothing answers from when this returns (on Linux; elsewhere, soon)."""
        self._signal(signal.SIGSTOP)
        if self.alive and hasattr(os, "waitid"):  # its threads stop one by one
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._popen is not None:
            self._popen.send_signal(number)  # does nothing to a process that was already waited for

    def last_words(self, lines: int = 5) -> str:
        """The end of its log, for a message that says why it did not start."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""


class Keeper:
    """Starts again whatever died, sooner the first time than the fifth.

    It has no thread: the owner calls `look` a few times a second.
    """

    FIRST_DELAY = 0.1
    LONGEST_DELAY = 5.0
    STEADY_AFTER = 30.0  # seconds alive after which an earlier death is forgotten

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: list[Process] = []
        self._delay: dict[str, float] = {}
        self._due: dict[str, float] = {}
        self._since: dict[str, float] = {}

    def keep(self, *processes: Process) -> None:
        """Watch processes that run."""
        for process in processes:
            self._kept.append(process)
            self._since[process.name] = self._clock()

    def pids(self) -> dict[str, int]:
        """The id of every child by its name."""
        return {process.name: process.pid for process in self._kept}

    def look(self) -> list[str]:
        """Start what died and whose delay has passed; the names of those started."""
        return [process.name for process in self._kept if self._revive(process)]

    def _revive(self, process: Process) -> bool:
        name, now = process.name, self._clock()
        if process.alive:
            if now - self._since[name] > self.STEADY_AFTER:
                self._delay.pop(name, None)
            return False
        if name not in self._due:
            delay = self._delay.get(name, self.FIRST_DELAY)
            self._delay[name] = min(delay * 2, self.LONGEST_DELAY)
            self._due[name] = now + delay
        if now < self._due[name]:
            return False
        del self._due[name]
        process.spawn()
        self._since[name] = self._clock()
        return True
