"""Children of one machine: started, kept alive, stopped, never left behind."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import sys
from pathlib import Path

import psutil

from tests.waiting import until_blocking
from workers.processes import Keeper, Process, free_port

WAITS = "import signal; print('up', flush=True); signal.pause()"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"


def python(code: str, tmp_path: Path, **env: str) -> Process:
    return Process("child", [sys.executable, "-c", code], log=tmp_path / "logs" / "child.log", env=env)


def spawned(code: str, tmp_path: Path, **env: str) -> Process:
    child = python(code, tmp_path, **env)
    child.spawn()
    until_blocking(lambda: "up" in child.last_words())
    return child


def test_a_child_writes_to_its_log_and_knows_its_environment_and_parent(tmp_path: Path) -> None:
    child = python(
        "import os; print(os.environ['WORD'], os.environ['GREFFIER_PARENT_PID'], os.getppid())", tmp_path, WORD="w"
    )
    child.spawn()
    until_blocking(lambda: not child.alive)
    pid = str(psutil.Process().pid)
    assert child.last_words().split() == ["w", pid, pid]
    assert child.exit_code == 0


def test_a_stopped_child_was_asked_first(tmp_path: Path) -> None:
    child = spawned(WAITS, tmp_path)
    child.stop()
    assert child.exit_code == -signal.SIGTERM
    assert not psutil.pid_exists(child.pid)


def test_a_child_is_asked_to_end_once(tmp_path: Path) -> None:
    """A worker takes a second SIGTERM for "drop everything"."""
    code = """if True:
        import signal
        term = {signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, term)
        print('up', flush=True)
        signal.sigwait(term)
        raise SystemExit(2 if signal.sigtimedwait(term, 0.3) else 1)"""
    child = spawned(code, tmp_path)
    child.terminate()
    child.stop()
    assert child.exit_code == 1


def test_a_child_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    child = spawned(DEAF, tmp_path)
    child.stop(grace=0.1)
    assert child.exit_code == -signal.SIGKILL


def test_stopping_what_never_ran_or_already_ended_is_harmless(tmp_path: Path) -> None:
    child = python("", tmp_path)
    child.stop()
    child.spawn()
    until_blocking(lambda: not child.alive)
    child.stop()
    child.kill9()
    assert child.exit_code == 0


def test_a_child_has_a_terminal_signal_group_of_its_own(tmp_path: Path) -> None:
    """Ctrl-C reaches the parent alone, which stops everything in order."""
    child = spawned(WAITS, tmp_path)
    try:
        assert os.getpgid(child.pid) != os.getpgid(0)
    finally:
        child.kill9()


def test_a_child_that_dies_is_restarted_and_the_others_are_left_alone(tmp_path: Path) -> None:
    one, two = spawned(WAITS, tmp_path / "one"), spawned(WAITS, tmp_path / "two")
    one.name, two.name = "one", "two"
    keeper = Keeper()
    keeper.keep(one, two)
    first, other = one.pid, two.pid
    assert keeper.look() == []
    one.kill9()
    assert until_blocking(keeper.look) == ["one"]
    assert keeper.pids() == {"one": one.pid, "two": other}
    assert one.pid != first
    for child in (one, two):
        child.kill9()


def test_a_child_that_dies_at_once_is_restarted_ever_more_slowly(tmp_path: Path) -> None:
    """A fault that no restart mends must not burn the machine."""
    now = 0.0
    child = python("raise SystemExit(1)", tmp_path)
    child.spawn()
    keeper = Keeper(clock=lambda: now)
    keeper.keep(child)
    started: list[float] = []
    while len(started) < 8:
        until_blocking(lambda: not child.alive)
        now += 0.05
        if keeper.look():
            started.append(now)
    child.stop()
    pauses = [round(later - earlier, 2) for earlier, later in itertools.pairwise(started)]
    assert all(later > earlier - 0.1 for earlier, later in itertools.pairwise(pauses))  # a look takes 0.05
    assert pauses[0] < 0.5
    assert Keeper.LONGEST_DELAY <= pauses[-1] <= Keeper.LONGEST_DELAY + 0.2


def test_a_free_port_is_free_and_lies_below_those_lent_to_connections() -> None:
    port = free_port()
    assert 20_000 <= port < 32_000
    with socket.socket() as server:
        server.bind(("127.0.0.1", port))


def test_a_port_is_given_once_for_what_it_is_chosen_for_may_not_be_up_yet() -> None:
    chosen = [free_port() for _ in range(500)]
    assert len(set(chosen)) == len(chosen)
