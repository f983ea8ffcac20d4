"""The compose file and the image say only what the code knows; no container engine is needed to see it.

What the two servers are told is shown to real ones.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from fnmatch import fnmatch
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
import typer
import yaml
from pydantic_settings import BaseSettings
from typer.core import TyperGroup
from typer.main import get_command

from producers.settings import ClockSettings, DoorSettings
from schemas.acl import OPERATOR, acl_file, redis_users
from schemas.commands import GROUP
from schemas.keyfiles import write_json
from schemas.keyring import generate_keys
from schemas.register import load_register
from schemas.routes import QUEUES
from tests.waiting import until_blocking
from workers.correspondence.mailer import MailSettings
from workers.counter.settings import CounterSettings
from workers.desk.settings import DeskSettings
from workers.local import find_mongod, find_valkey
from workers.processes import Process, free_port
from workers.settings import ControllerSettings
from workers.stores.replica import SET_NAME

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "greffier"}
WORKERS = {name: service for name, service in OURS.items() if name.startswith("worker-")}
SERVERS = ("valkey", "mongo")

EACH_OF_OURS = pytest.mark.parametrize("name", OURS)
EACH = pytest.mark.parametrize("name", SERVICES)


CASES_ONLY = {
    *("party.private.json", "subsidiaries.public.json", "tokens.private.json", "ledger.private.json"),
    "packages.json",
}
"""Keys that sign orders, tokens and heads, or seal packages: for the worker that handles cases, and for no other; but
the desk too makes the one-click links of an audience."""

WITH_PORTS = {"door": "GREFFIER_DOOR_PORT", "desk": "GREFFIER_DESK_PORT", "counter": "GREFFIER_COUNTER_PORT"}
WRITES_TO_PEOPLE = ("worker-rights", "desk")


def settings_of(name: str) -> type[BaseSettings]:
    return {"door": DoorSettings, "clock": ClockSettings, "desk": DeskSettings, "counter": CounterSettings}.get(
        name, ControllerSettings
    )


def variables_read_by(name: str) -> set[str]:
    return variables_of(settings_of(name)) | (variables_of(MailSettings) if name in WRITES_TO_PEOPLE else set())


def environment_of(service: dict[str, Any]) -> dict[str, str]:
    """As the container gets it: the image's variables, then the service's, an unset ``${NAME:-default}`` replaced."""
    filled = {name: re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value) for name, value in service["environment"].items()}
    return {**image_environment(), **filled}


def image_environment() -> dict[str, str]:
    block = re.search(r"^ENV ((?:.*\\\n)*.*)", dockerfile(), flags=re.MULTILINE)
    assert block
    return dict(pair.split("=", 1) for pair in block[1].replace("\\\n", " ").split())


def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()


def root_command() -> Any:
    app = typer.Typer()
    for entry_point in entry_points(group=GROUP):
        entry_point.load()(app)
    return get_command(app)


def unknown_to_the_command(argv: list[str]) -> list[str]:
    """The words of a command line that ``greffier`` does not know; empty when it would run."""
    command, words = root_command(), list(argv)
    while words and isinstance(command, TyperGroup):
        if words[0] not in command.commands:
            return words
        command = command.commands[words.pop(0)]
    options = {option for parameter in command.params for option in parameter.opts}
    return [word for word in words if word.startswith("-") and word.partition("=")[0] not in options]


@EACH_OF_OURS
def test_every_command_is_one_that_greffier_has(name: str) -> None:
    assert unknown_to_the_command(OURS[name]["command"]) == []


def test_a_command_that_greffier_lacks_is_noticed() -> None:
    assert unknown_to_the_command(["dor"]) == ["dor"]
    assert unknown_to_the_command(["door", "--no-such-option"]) == ["--no-such-option"]
    assert unknown_to_the_command(["controller", "--queues=consent"]) == []


def variables_of(settings: type[BaseSettings]) -> set[str]:
    """Every environment variable that a settings class reads."""
    found: set[str] = set()
    for name, field in settings.model_fields.items():
        alias = field.validation_alias
        choices = getattr(alias, "choices", [alias] if alias else [f"GREFFIER_{name.upper()}"])
        found.update(str(choice) for choice in choices)
    return found


@EACH_OF_OURS
def test_every_variable_is_one_that_the_process_reads(name: str) -> None:
    assert set(OURS[name]["environment"]) <= variables_read_by(name)


def test_every_variable_of_the_image_is_read_by_some_process() -> None:
    ours = {variable for variable in image_environment() if variable.startswith("GREFFIER_")}
    assert ours
    assert ours <= variables_of(DoorSettings) | variables_of(ControllerSettings)


@pytest.mark.parametrize(
    ("title", "settings"),
    [
        ("Door", DoorSettings),
        ("Clock", ClockSettings),
        ("Controller worker", ControllerSettings),
        ("Mail", MailSettings),
    ],
)
def test_the_documented_settings_are_those_that_are_read(title: str, settings: type[BaseSettings]) -> None:
    page = (ROOT / "docs" / "operate.md").read_text()
    table = page.partition(f"### {title}\n")[2].partition("\n\nA ")[0].partition("\n### ")[0]
    named = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall("`(.*?)`", row)}
    assert named == variables_of(settings)


def test_a_variable_that_nobody_reads_is_noticed() -> None:
    assert "GREFFIER_TREADS" not in variables_of(ControllerSettings)
    assert {"GREFFIER_THREADS", "GREFFIER_REDIS_URL", "REDIS_URL"} <= variables_of(ControllerSettings)


@EACH_OF_OURS
def test_every_value_is_accepted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [variable for variable in os.environ if variable.startswith("GREFFIER_")]:
        monkeypatch.delenv(variable)
    for variable, value in environment_of(OURS[name]).items():
        if variable.startswith("GREFFIER_"):
            monkeypatch.setenv(variable, value)
    if name in WRITES_TO_PEOPLE:
        assert MailSettings().smtp_starttls  # type: ignore[call-arg]
    settings = settings_of(name)()
    assert str(settings.model_dump()["keys"]) == "/run/secrets"


def test_each_queue_has_a_worker_of_its_own_that_can_be_scaled() -> None:
    assert sorted(worker["environment"]["GREFFIER_QUEUES"] for worker in WORKERS.values()) == sorted(QUEUES)
    for worker in WORKERS.values():
        assert "ports" not in worker, "a published port can be bound once only"
        assert "container_name" not in worker


@pytest.mark.parametrize("name", ["door", "clock"])
def test_who_publishes_has_no_way_to_the_database(name: str) -> None:
    service = SERVICES[name]
    assert not set(service["networks"]) & set(SERVICES["mongo"]["networks"])
    assert not [variable for variable in service["environment"] if "MONGO" in variable]


def test_a_clock_has_one_that_stands_by() -> None:
    assert SERVICES["clock"]["deploy"] == {"replicas": 2}


@EACH_OF_OURS
def test_the_health_check_asks_the_port_the_process_listens_on(name: str) -> None:
    first, *argv = OURS[name]["healthcheck"]["test"]
    assert (first, argv[:2]) == ("CMD", ["python", "-c"])
    assert health_url(argv[2]) == expected_health_url(environment_of(OURS[name]), name)


def health_url(code: str) -> str:
    compile(code, "<health check>", "exec")
    found = re.search(r"http://[^']+", code)
    assert found
    return found[0]


def expected_health_url(environment: dict[str, str], name: str) -> str:
    port = environment[WITH_PORTS.get(name, "GREFFIER_METRICS_PORT")]
    return f"http://127.0.0.1:{port}/livez"


@EACH_OF_OURS
def test_every_key_file_is_a_secret_and_no_other_is_given(name: str, tmp_path: Path) -> None:
    """What `greffier keys generate secrets` makes is what is mounted, each file to the kind that may hold it."""
    generate_keys(tmp_path / "secrets")
    kind = {"door": "door", "clock": "door", "counter": "counter"}.get(name, "controller")
    made = {file.name: str(file.relative_to(tmp_path)) for file in (tmp_path / "secrets" / kind).iterdir()}
    if kind == "controller" and name != "worker-rights":
        mails = {"tokens.private.json"} if name == "desk" else set()
        made = {file: path for file, path in made.items() if file not in CASES_ONLY - mails}
    if name == "clock":
        made = {file: made[file] for file in ("transit.public.json", "publisher.private.json")}
    if name == "desk":
        made["desk-accounts.json"] = "secrets/desk-accounts.json"
    mounted = {secret["target"]: COMPOSE["secrets"][secret["source"]]["file"] for secret in OURS[name]["secrets"]}
    assert mounted == made


def test_no_secret_is_declared_in_vain() -> None:
    used = {secret["source"] for service in SERVICES.values() for secret in service.get("secrets", ())}
    assert used == set(COMPOSE["secrets"])


@EACH
def test_every_service_is_confined_and_has_time_to_end(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["stop_grace_period"].removesuffix("s")) >= 40
    assert service["healthcheck"]["test"]
    assert set(service["networks"]) <= set(COMPOSE["networks"])
    if name in OURS:
        assert service["cap_drop"] == ["ALL"]
        assert not service["user"].startswith(("0", "root"))


def test_only_what_listens_for_people_is_published_and_each_on_its_own_side() -> None:
    """On this machine alone: proxies stand in front. The desk shares no network with what is public."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == set(WITH_PORTS)
    for name, [port] in published.items():
        assert port.startswith("127.0.0.1:")
        assert port.endswith(f":{OURS[name]['environment'][WITH_PORTS[name]]}")
    assert set(OURS["desk"]["networks"]) & set(OURS["counter"]["networks"]) == {"store"}
    assert "carriage" not in OURS["counter"]["networks"]
    assert COMPOSE["networks"]["carriage"]["internal"]
    assert COMPOSE["networks"]["store"]["internal"]


@EACH_OF_OURS
def test_every_server_it_needs_is_named_and_healthy_first(name: str) -> None:
    environment = environment_of(OURS[name])
    ours = ("GREFFIER_REDIS_URL", "GREFFIER_MONGO_URL")
    hosts = {urlsplit(value).hostname for variable, value in environment.items() if variable in ours}
    assert set(OURS[name]["depends_on"]) == hosts
    for needed, how in OURS[name]["depends_on"].items():
        assert how == {"condition": "service_healthy"}
        assert set(SERVICES[needed]["networks"]) & set(OURS[name]["networks"])


def test_valkey_takes_these_settings_and_keeps_what_it_accepted(fast_path: Path) -> None:
    """The command line of the compose file, with another folder and port, run by a real server.

    Source: reliability.md § 6.3.
    """
    port = free_port()
    _, *arguments = SERVICES["valkey"]["command"]
    arguments[arguments.index("--dir") + 1] = str(fast_path)
    arguments[arguments.index("--port") + 1] = str(port)
    users = fast_path / "users.acl"
    users.write_text(acl_file(redis_users(load_register()), {OPERATOR: "a password"}))
    arguments[arguments.index("--aclfile") + 1] = str(users)
    server = Process("valkey", [find_valkey(), *arguments], log=fast_path / "log")
    server.spawn()
    try:
        with redis.Redis(port=port) as health:
            until_blocking(lambda: answers(health))
        with redis.Redis(port=port, username=OPERATOR, password="a password") as client:
            expected = {
                "appendonly": "yes",
                "appendfsync": "always",
                "no-appendfsync-on-rewrite": "no",
                "maxmemory-policy": "noeviction",
                "maxmemory": str(1 << 30),
                "save": "",
            }
            assert {key: client.config_get(key)[key] for key in expected} == expected
            for gone in ("FLUSHALL", "FLUSHDB"):
                with pytest.raises(redis.ResponseError, match="unknown command"):
                    client.execute_command(gone)
    finally:
        server.kill9()


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@pytest.mark.parametrize("name", ["desk", "counter"])
def test_it_runs_with_what_the_compose_file_gives_it(
    name: str, mongo_url: str, mongo_prefix: str, tmp_path: Path
) -> None:
    """Command, variables, secrets and health check as they stand there, with another folder, port and server."""
    generate_keys(tmp_path / "secrets")
    write_json(tmp_path / "secrets" / "desk-accounts.json", {"accounts": []})
    mounted = tmp_path / "run-secrets"
    mounted.mkdir()
    for secret in OURS[name]["secrets"]:
        (mounted / secret["target"]).symlink_to(tmp_path / COMPOSE["secrets"][secret["source"]]["file"])
    port = str(free_port())
    moved = {"GREFFIER_MONGO_URL": mongo_url, "GREFFIER_MONGO_PREFIX": mongo_prefix, WITH_PORTS[name]: port}
    given = {key: value.replace("/run/secrets", str(mounted)) for key, value in environment_of(OURS[name]).items()}
    code = OURS[name]["healthcheck"]["test"][-1].replace(OURS[name]["environment"][WITH_PORTS[name]], port)
    process = Process(
        name, [sys.executable, "-m", "schemas", *OURS[name]["command"]], env=given | moved, log=tmp_path / "log"
    )
    process.spawn()
    try:
        until_blocking(lambda: health_check_ends_with(code, tmp_path) == 0, 30)
    finally:
        process.kill9()


@pytest.mark.parametrize("name", ["door", "clock", "desk", *WORKERS])
def test_each_process_is_its_own_user_of_redis(name: str) -> None:
    """The user is one that the ACL file has, and its password is not in the compose file."""
    url = urlsplit(OURS[name]["environment"]["GREFFIER_REDIS_URL"])
    assert url.username == ("controller" if name in WORKERS else name)
    assert url.username in {user.name for user in redis_users(load_register())}
    assert url.password == f"${{GREFFIER_{url.username.upper()}_REDIS_PASSWORD}}"


def test_mongod_takes_these_settings_and_the_health_check_forms_the_set(fast_path: Path) -> None:
    _, *arguments = SERVICES["mongo"]["command"]
    port = free_port()
    arguments[arguments.index("--port") + 1] = str(port)
    server = Process("mongod", [find_mongod(), *arguments, "--dbpath", str(fast_path)], log=fast_path / "log")
    server.spawn()
    try:
        until_blocking(lambda: "Waiting for connections" in server.log.read_text(), 30)
    finally:
        server.kill9()
    assert arguments[arguments.index("--replSet") + 1] == SET_NAME
    check = SERVICES["mongo"]["healthcheck"]["test"][-1]
    assert f'_id: "{SET_NAME}"' in check
    assert 'host: "mongo:27017"' in check
    for name in (*WORKERS, "desk", "counter"):
        assert environment_of(OURS[name])["GREFFIER_MONGO_URL"] == f"mongodb://mongo:27017/?replicaSet={SET_NAME}"


def test_health_checks_of_the_servers_ask_the_port_they_listen_on() -> None:
    for name, option in (("valkey", "-p"), ("mongo", "--port")):
        check, command = SERVICES[name]["healthcheck"]["test"], SERVICES[name]["command"]
        assert check[check.index(option) + 1] == command[command.index("--port") + 1]


def test_the_image_is_built_from_hashed_files_only() -> None:
    installs = re.findall(r"pip install (.*?)(?: \\$|$)", dockerfile(), flags=re.MULTILINE)
    assert installs
    for install in installs:
        assert "--require-hashes" in install or "--no-deps --no-build-isolation" in install


def test_everything_the_image_copies_is_there_and_let_in() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    let_in = [line[1:] for line in ignored if line.startswith("!")]
    assert "*" in ignored
    for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile(), flags=re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source
            assert any(fnmatch(source, pattern) for pattern in let_in), source


def test_the_image_runs_the_door_as_nobody_in_particular() -> None:
    text = dockerfile()
    assert re.search(r"^USER [1-9]\d+:[1-9]\d+$", text, flags=re.MULTILINE)
    entry, command = (re.search(rf"^{word} (\[.*\])$", text, flags=re.MULTILINE) for word in ("ENTRYPOINT", "CMD"))
    assert entry
    assert command
    assert json.loads(entry[1]) == ["greffier"]
    assert unknown_to_the_command(json.loads(command[1])) == []
    health = re.search(r"^\s+CMD (\[.*\])$", text, flags=re.MULTILINE)
    assert health
    assert health_url(json.loads(health[1])[2]) == "http://127.0.0.1:8080/livez"
    assert DoorSettings.model_fields["door_port"].default == 8080


def test_the_image_has_a_python_that_the_project_allows() -> None:
    versions = re.findall(r"^FROM python:3\.(\d+)-slim", dockerfile(), flags=re.MULTILINE)
    assert versions
    assert all(int(version) >= 11 for version in versions)


def test_a_health_check_in_our_image_really_runs(tmp_path: Path) -> None:
    """Against a port where nobody listens it says so by its exit code, which is all an engine looks at."""
    code = OURS["door"]["healthcheck"]["test"][-1].replace("8080", str(free_port()))
    assert health_check_ends_with(code, tmp_path) == 1


def health_check_ends_with(code: str, folder: Path) -> int:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=folder, check=False).returncode
