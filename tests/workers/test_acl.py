"""What a subsidiary's Redis user may do, tried on a real server: every command there is, on keys of every namespace.

Source: R25, R28; design § 3; reliability § 8.4 (E13).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from redis.asyncio import Redis as AsyncRedis
from redis.backoff import NoBackoff
from redis.retry import Retry
from typer.testing import CliRunner

from producers.clock import Lease, Timekeeper
from producers.publisher import FileContent, Letterbox, connect
from schemas.acl import (
    CLOCK,
    CONTROLLER,
    COUNTER,
    DESK,
    DOOR,
    OPERATOR,
    RedisUser,
    acl_file,
    redis_users,
    subsidiary_user,
)
from schemas.errors import StoreUnavailable
from schemas.keyring import generate_keys, read_sealer
from schemas.orders import ORDER_QUEUE, RECEIPT_QUEUE, order_namespace, receipt_namespace
from schemas.register_commands import register_app
from schemas.routes import CLOCK_LEASE, NEWSLETTER, NOT_YET_CHOSEN, NOT_YET_NO, RETENTION, RIGHTS, SUBMISSIONS
from schemas.terms import Case, SubsidiaryKind
from schemas.ticks import SCHEDULE
from tests.factories import REGISTER, form, someone
from tests.waiting import until, until_blocking
from tests.workers.subsidiary.conftest import all_parties, parties, sqlite_kit
from tests.workers.subsidiary.controller import CODE, ControllerSide, entry
from tests.workers.subsidiary.kits import URL_VARIABLE, SqliteKit, write_mapping
from tests.workers.subsidiary.test_serving import fill
from workers.arrivals import stored_so_far
from workers.broker import Hooks, Tuning, build_broker
from workers.broker.scripts import load_scripts
from workers.cases.posting import Posting, message_id
from workers.counter.offices import Line
from workers.local import HOST, find_valkey
from workers.processes import Process, free_port

__all__ = ["all_parties", "parties", "sqlite_kit"]

ROOT = Path(__file__).parents[2]
USERS = redis_users(REGISTER)
PASSWORDS = {user.name: f"password-of-{user.name}" for user in USERS}
OWN = subsidiary_user(CODE)
NOBODY = Hooks(on_poison=lambda _: None, on_dead=lambda _: None)

KEYS = (
    *(f"to.{CODE}", f"to.{CODE}:orders", f"to.{CODE}:orders.msgs", f"to.{CODE}:wake"),
    *(f"from.{CODE}", f"from.{CODE}:receipts", f"from.{CODE}:receipts.msgs", f"from.{CODE}:wake"),
    *("to.us", "to.us:orders", "to.us:wake", "from.us", "from.us:receipts", "from.us:wake"),
    *("dramatiq", "dramatiq:submissions", "dramatiq:wake", "greffier:file:1", "greffier:claim:1", "x"),
)
ALWAYS = {"auth", "hello", "ping", "quit", "reset", "client|setinfo", "unsubscribe"}
"""Nothing of another's can be reached by these; the server lets anybody end what he subscribed to."""
READ_AND_TAKE = {
    *("evalsha", "zadd", "hset", "hget", "hdel", "hmget", "hexists", "hlen"),
    *("rpush", "lpop", "sadd", "srem", "smembers", "smismember"),
}
REFUSALS = ("NOPERM", "command not allowed")
"""EXEC is refused inside an EXECABORT; DEBUG and MODULE by the server's own settings, before any user is looked at."""
PUT = {"zadd", "hset", "rpush"}


def may_desk(command: str, key: str) -> bool:
    """What the desk's user may: see which messages wait that may bring a "no", and hold its own connection."""
    if command == "hkeys":
        return key in {name for queue in (*NOT_YET_NO, *NOT_YET_CHOSEN) for name in queue}
    return command in ALWAYS - {"unsubscribe"} | {"multi", "exec"}


def may_counter(command: str, key: str) -> bool:
    """What the counter's user may: hear and ring the bell of an office over HTTP, leave and count its receipts."""
    over_http = REGISTER.served(SubsidiaryKind.HTTP)
    if command in ALWAYS:
        return True
    if command in ("publish", "subscribe"):
        bells = {f"to.{code}:wake" for code in over_http}
        return key in bells or (command == "publish" and key in {f"from.{code}:wake" for code in over_http})
    if key in {f"from.{code}" for code in over_http}:
        return command in PUT | {"evalsha", "hlen"}
    return any(key.startswith(f"from.{code}:") for code in over_http) and command in PUT | {"hlen"}


def may(command: str, key: str) -> bool:
    """What the design grants a subsidiary's user. ``key``: of a key or of a channel."""
    if command in ALWAYS:
        return True
    if command in ("publish", "subscribe"):
        return key == f"to.{CODE}:wake" or (command == "publish" and key == f"from.{CODE}:wake")
    if key == f"to.{CODE}" or key.startswith(f"to.{CODE}:"):
        return command in READ_AND_TAKE
    if key == f"from.{CODE}":
        return command in PUT | {"evalsha"}
    return key.startswith(f"from.{CODE}:") and command in PUT


class Server(Process):
    """A Valkey that reads an ACL file, as the compose file starts it."""

    def __init__(self, folder: Path, acl: str) -> None:
        self.port = free_port()
        self.file = folder / "users.acl"
        self.file.write_text(acl)
        settings = {"port": self.port, "bind": HOST, "dir": folder, "aclfile": self.file, "save": ""}
        settings |= {"appendonly": "yes", "appendfsync": "always", "maxmemory": "64mb"}
        words = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
        super().__init__("valkey", [find_valkey(), *words], log=folder / "valkey.log")

    def url(self, user: str) -> str:
        return f"redis://{user}:{PASSWORDS[user]}@{HOST}:{self.port}/0"

    def client(self, user: str) -> redis.Redis:
        return redis.Redis.from_url(self.url(user), protocol=2, retry=Retry(NoBackoff(), 0))

    def answers(self) -> bool:
        try:
            return bool(self.client(OPERATOR).ping())
        except redis.ConnectionError:
            return False


@contextmanager
def serving(folder: Path, *users: RedisUser) -> Iterator[Server]:
    server = Server(folder, acl_file(users or USERS, PASSWORDS))
    server.spawn()
    try:
        until_blocking(server.answers, 30, what="valkey")
        yield server
    finally:
        server.kill9()


@pytest.fixture
def server(fast_path: Path) -> Iterator[Server]:
    with serving(fast_path) as started:
        yield started


# ---------------------------------------------------------------------- every command on every key


def commands(operator: redis.Redis) -> dict[str, int]:
    """Every command and subcommand of this server, with the least number of words it takes."""
    found: dict[str, int] = {}
    connection = operator.connection_pool.get_connection()
    connection.send_command("COMMAND")  # type: ignore[no-untyped-call]
    for name, arity, *_, subcommands in connection.read_response():
        for one in subcommands or [(name, arity)]:
            found[one[0].decode()] = abs(one[1])
    operator.connection_pool.release(connection)
    return found


class Trial:
    """One user's connection. What is refused leaves it as it was; after anything else a new one is taken."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._connection = client.connection_pool.get_connection()

    def lets(self, command: str, words: int, key: str) -> bool:
        """Whether the server lets this user do it; whether it makes sense is another matter."""
        name = command.split("|")
        arguments = ["0" * 40, "1", key] if command == "evalsha" else [key] * max(words - len(name), 0)
        try:
            self._connection.send_command(*name, *arguments)  # type: ignore[no-untyped-call]
            self._connection.read_response()
        except redis.RedisError as error:
            if any(refusal in str(error) for refusal in REFUSALS) or isinstance(
                error, redis.exceptions.NoPermissionError
            ):
                return False
        self._connection.disconnect()  # type: ignore[no-untyped-call]
        return True


def surprises(
    server: Server, keys: tuple[str, ...] = KEYS, user: str = OWN, granted_to: Callable[[str, str], bool] = may
) -> list[tuple[str, str, bool]]:
    """Where the server grants something else than the design; command, key, what the server did."""
    known = commands(server.client(OPERATOR))
    assert len(known) > 250
    trial = Trial(server.client(user))
    outcomes = [(command, key, trial.lets(command, words, key)) for command, words in known.items() for key in keys]
    return [(command, key, granted) for command, key, granted in outcomes if granted is not granted_to(command, key)]


def test_every_command_on_every_namespace_is_granted_or_refused_as_designed(server: Server) -> None:
    assert surprises(server) == []
    assert server.alive, "nobody could shut it down"


@pytest.mark.parametrize(
    ("good", "broken"),
    [(f"~to.{CODE}:*", "~to.*"), (f"%W~from.{CODE}:*", f"~from.{CODE}:* +hgetall"), ("+evalsha", "+evalsha +eval")],
)
def test_a_user_who_may_more_is_noticed(fast_path: Path, good: str, broken: str) -> None:
    others = [user for user in USERS if user.name != OWN]
    [own] = [user for user in USERS if user.name == OWN]
    with serving(fast_path, *others, replace(own, rules=own.rules.replace(good, broken))) as loose:
        assert surprises(loose, (f"to.{CODE}:orders", f"from.{CODE}:receipts", "to.us:orders"))


async def test_the_desk_sees_what_waits_as_its_user_and_may_do_no_more(server: Server) -> None:
    async with AsyncRedis.from_url(server.url(DESK)) as desk:
        await stored_so_far(desk, (*NOT_YET_NO, *NOT_YET_CHOSEN))
        with server.client(OPERATOR) as operator:
            assert operator.acl_log() == []
            operator.hset(f"dramatiq:{NEWSLETTER}.msgs", "a-no", "sealed")
        with pytest.raises(StoreUnavailable):
            await stored_so_far(desk, patience_s=0.05)
    keys = (f"dramatiq:{NEWSLETTER}.msgs", f"dramatiq:{RIGHTS}.DQ.msgs", f"dramatiq:{SUBMISSIONS}.msgs", *KEYS)
    assert surprises(server, keys, DESK, may_desk) == []


def test_a_desk_that_may_read_messages_is_noticed(fast_path: Path) -> None:
    others = [user for user in USERS if user.name != DESK]
    [desk] = [user for user in USERS if user.name == DESK]
    with serving(fast_path, *others, replace(desk, rules=desk.rules + " +hgetall")) as loose:
        assert surprises(loose, (f"dramatiq:{NEWSLETTER}.msgs",), DESK, may_desk)


async def test_the_counter_leaves_receipts_as_its_user_and_may_do_no_more(server: Server) -> None:
    load_scripts(server.client(CONTROLLER))
    line, posting = Line(server.url(COUNTER), "nl", Tuning()), Posting(server.url(CONTROLLER), fetched=["nl"])
    await asyncio.to_thread(line.receipts.post, "sealed")
    assert await asyncio.to_thread(line.receipts.waiting) == 1
    with server.client(OPERATOR) as operator:
        await until(lambda: operator.pubsub_numsub("to.nl:wake")[0][1], what="it listens")
        line.bell.clear()
        posting.post("nl", "order")
        await until(line.bell.is_set, what="the bell")
        await asyncio.to_thread(line.close)
        posting.close()
        assert operator.acl_log() == []
    keys = ("to.nl:orders", "to.nl:wake", "from.nl", "from.nl:receipts.msgs", "from.nl:wake", *KEYS)
    assert surprises(server, keys, COUNTER, may_counter) == []


def test_a_counter_that_may_read_receipts_is_noticed(fast_path: Path) -> None:
    others = [user for user in USERS if user.name != COUNTER]
    [counter] = [user for user in USERS if user.name == COUNTER]
    with serving(fast_path, *others, replace(counter, rules=f"{counter.rules} (~from.* +hget)")) as loose:
        assert surprises(loose, ("from.nl:receipts.msgs",), COUNTER, may_counter)


def test_nobody_but_the_operator_empties_or_sets_anything(server: Server) -> None:
    for user in (CONTROLLER, DOOR, CLOCK, DESK, COUNTER, OWN):
        with server.client(user) as client:
            for words in (("FLUSHALL",), ("CONFIG", "SET", "save", ""), ("ACL", "LIST"), ("EVAL", "return 1", "0")):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    client.execute_command(*words)
    with redis.Redis(port=server.port) as nobody:
        assert nobody.ping(), "a health check needs no password"
        with pytest.raises(redis.exceptions.NoPermissionError):
            nobody.get("x")


def test_without_a_password_a_user_is_off_and_none_stands_in_the_file(fast_path: Path) -> None:
    text = acl_file(USERS, {OPERATOR: PASSWORDS[OPERATOR]})
    assert PASSWORDS[OPERATOR] not in text
    assert [line.split()[2] for line in text.splitlines()] == ["on", "on", *["off"] * (len(USERS) - 1)]


def test_the_command_makes_passwords_once_and_prints_their_digests(tmp_path: Path) -> None:
    def printed() -> str:
        result = CliRunner().invoke(register_app, ["acl", "--password-file-dir", str(tmp_path / "redis")])
        assert result.exit_code == 0, result.output
        return result.stdout

    first = printed()
    files = {file.name: file for file in (tmp_path / "redis").iterdir()}
    assert set(files) == {user.name for user in USERS}
    assert all(file.stat().st_mode & 0o777 == 0o400 for file in files.values())
    assert not [name for name, file in files.items() if file.read_text().strip() in first]
    assert printed() == first


# ---------------------------------------------------------------------- everybody at work under his own user


def refused_to(operator: redis.Redis, user: str) -> set[str]:
    """What the server has refused to a user so far."""
    return {str(one["object"]) for one in operator.acl_log() if one["username"] == user}


async def test_the_subsidiarys_worker_runs_end_to_end_as_its_user(
    server: Server, sqlite_kit: SqliteKit, parties: Path, tmp_path: Path
) -> None:
    await fill(sqlite_kit)
    """It starts before anybody has had the script loaded, as after a restart of the server, and waits for that."""
    controller = ControllerSide(parties, server.url(CONTROLLER))
    worker = Process(
        "subsidiary",
        [sys.executable, "-m", "schemas", "subsidiary", CODE, "--mapping", str(write_mapping(sqlite_kit, tmp_path))],
        log=tmp_path / "worker.log",
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "GREFFIER_REDIS_URL": server.url(OWN),
            "GREFFIER_KEYS": str(parties / CODE),
            "GREFFIER_JOURNAL": str(tmp_path / "journal" / "journal.jsonl"),
            "GREFFIER_METRICS_PORT": str(free_port()),
            URL_VARIABLE: sqlite_kit.url,
        },
    )
    worker.spawn()
    try:
        asked = entry("anna@example.com")
        controller.send(controller.token(asked))
        with server.client(OPERATOR) as operator:
            await until(lambda: refused_to(operator, OWN), 30, what="the worker asks for its script")
            load_scripts(server.client(CONTROLLER))
            left = f"{receipt_namespace(CODE)}:{RECEIPT_QUEUE}.msgs"
            await until(lambda: operator.hlen(left) == 1, 30, what="the receipt")
            await until(lambda: controller.waiting() == 0, 10, what="the order acknowledged")
            assert refused_to(operator, OWN) == {"script|load"}, "nothing else that it tries is refused"
        assert await sqlite_kit.rows("leads") is not None
    finally:
        worker.kill9()
        controller.close()


def test_the_controller_looks_after_an_office_s_namespace(server: Server) -> None:
    """What the office's own user may not: give back, remove, withdraw."""
    load_scripts(server.client(CONTROLLER))
    posting = Posting(server.url(CONTROLLER), Tuning(heartbeat_ms=1))
    for token in ("one", "two", "three"):
        posting.post(CODE, token)
    office = build_broker(server.url(OWN), NOBODY, namespace=order_namespace(CODE), tuning=Tuning(heartbeat_ms=1))
    assert office.do_fetch(ORDER_QUEUE, 1)
    operator = server.client(OPERATOR)
    operator.zadd(f"to.{CODE}:orders.XQ", {"given-up": 1})
    operator.hset(f"to.{CODE}:orders.XQ.msgs", "given-up", "{}")
    until_blocking(lambda: posting.look_after(CODE) or len(posting.waiting(CODE)) == 3, what="given back")
    assert not operator.exists(f"to.{CODE}:orders.XQ", f"to.{CODE}:orders.XQ.msgs")
    assert posting.withdraw(CODE, [message_id("two"), message_id("four")]) == 1
    assert sorted(posting.waiting(CODE)) == sorted([message_id("one"), message_id("three")])
    assert operator.hlen(f"to.{CODE}:orders.msgs") == 2
    office.close()
    posting.close()


def test_door_and_controller_work_as_their_users(server: Server, tmp_path: Path) -> None:
    """After a restart of the server no script is loaded: both load what they need themselves."""
    generate_keys(tmp_path / "keys")
    letterbox = Letterbox(server.url(DOOR), read_sealer(tmp_path / "keys" / "door"), queue_limit=10)
    event = form(Case.CONTACT, someone())
    letterbox.check()
    letterbox.post(SUBMISSIONS, [event], [FileContent("file-1", event.key, b"%PDF-1.7")])
    assert letterbox.depths()[SUBMISSIONS] == 1
    letterbox.close()
    broker = build_broker(server.url(CONTROLLER), Hooks(on_poison=lambda _: None, on_dead=lambda _: None))
    broker.declare_queue(SUBMISSIONS)
    assert len(broker.do_fetch(SUBMISSIONS, 10)) == 1
    broker.hand_back()
    assert broker.give_back_the_dead() == 0
    assert broker.sweep_dead_letters() == 0
    broker.close()
    with server.client(OPERATOR) as operator:
        assert operator.acl_log() == []
        assert ORDER_QUEUE not in str(operator.keys("*"))


def test_a_clock_works_as_its_user_and_may_do_no_more(server: Server, tmp_path: Path) -> None:
    """After a restart of the server it loads what it needs itself; of the queues it reaches one, and reads none."""
    generate_keys(tmp_path / "keys")
    sealer, url = read_sealer(tmp_path / "keys" / "door"), server.url(CLOCK)
    client, letterbox = connect(url), Letterbox(url, sealer, queue_limit=len(SCHEDULE), queues=[RETENTION])
    clock = Timekeeper(letterbox, client, Lease(client, "clock-1", 60_000))
    letterbox.check()
    assert sorted(clock.turn()) == sorted(SCHEDULE)
    assert clock.turn() == []
    clock.give_back()
    with server.client(OPERATOR) as operator:
        assert operator.acl_log() == []
        assert operator.hlen(f"dramatiq:{RETENTION}.msgs") == len(SCHEDULE)
        assert not operator.exists(CLOCK_LEASE)
    refused = (
        ("GET", "greffier:claim:1"),
        ("SET", "greffier:file:1", "x"),
        ("HGETALL", f"dramatiq:{RETENTION}.msgs"),
        ("LPOP", f"dramatiq:{RETENTION}"),
        ("RPUSH", f"dramatiq:{SUBMISSIONS}", "x"),
        ("HSET", f"dramatiq:{SUBMISSIONS}.msgs", "x", "x"),
        ("RPUSH", f"to.{CODE}:orders", "x"),
        ("KEYS", "*"),
    )
    with server.client(CLOCK) as its_own:
        for words in refused:
            with pytest.raises(redis.exceptions.NoPermissionError):
                its_own.execute_command(*words)
    letterbox.close()
    client.close()
