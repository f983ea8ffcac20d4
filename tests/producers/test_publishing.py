"""The publisher for Python, plain and async, and ``greffier publish``: the same shapes, batches and promise."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import producers
from producers import Publisher, SyncPublisher, Upload
from producers.commands import register_commands
from producers.publishing import SOURCE
from producers.settings import DoorSettings, read_door_settings
from schemas.errors import ConfigurationError, QueueUnavailable
from schemas.routes import file_key
from tests.producers.conftest import Letters
from tests.producers.files import PDF
from tests.producers.samples import APPLICATION, CLIENT, CONTACT, cloud, consent
from workers.local import EmbeddedValkey

AT = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.fixture
def settings_now(settings: DoorSettings, redis_url: str) -> DoorSettings:
    """The settings, with the queues emptied."""
    return settings.model_copy(update={"redis_url": DoorSettings(redis_url=redis_url).redis_url})


def test_each_kind_is_published_and_answered(settings_now: DoorSettings, letters: Letters) -> None:
    with SyncPublisher.from_settings(settings_now) as publisher:
        outcomes = [
            publisher.publish_submission("contact", CONTACT, event_id="f-1"),
            publisher.publish_submission(
                "job-application", {**APPLICATION, "cv": Upload("cv.pdf", PDF)}, event_id="f-2"
            ),
            publisher.publish_contact("client", CLIENT, event_id="c-1"),
            publisher.publish_consent(consent("k-1")),
            publisher.publish_newsletter_confirmed("f-0", AT, event_id="n-1"),
        ]
    assert [(found.id, found.accepted) for found in outcomes] == [
        (name, True) for name in ("f-1", "f-2", "c-1", "k-1", "n-1")
    ]
    assert {event.key for event in letters.events()} == {
        "/forms/contact f-1",
        "/forms/job-application f-2",
        f"{SOURCE} c-1",
        "/cookies k-1",
        f"{SOURCE} n-1",
    }
    assert letters.client.exists(file_key("f-2.cv")) == 1
    assert [batch.seq for batch in letters.batches()] != []


async def test_the_async_publisher_does_the_same(settings_now: DoorSettings, letters: Letters) -> None:
    async with Publisher.from_settings(settings_now) as publisher:
        outcomes = [
            await publisher.publish_submission("contact", CONTACT, event_id="f-1"),
            await publisher.publish_contact("client", CLIENT, event_id="c-1"),
            await publisher.publish_consent(consent("k-1")),
            await publisher.publish_newsletter_confirmed("f-0", AT, event_id="n-1"),
            *await publisher.publish_contacts("client", [CLIENT, CLIENT], source="/crm"),
            *await publisher.publish_events([cloud("e-1")]),
        ]
    assert all(found.accepted for found in outcomes)
    assert len(letters.events()) == len({event.key for event in letters.events()}) == 7


def bad(number: int) -> dict[str, Any]:
    return {**CLIENT, "email": "none"} if number == 700 else CLIENT


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_an_iterable_is_cut_into_batches_and_one_bad_event_harms_no_other(
    settings_now: DoorSettings, letters: Letters, kind: str
) -> None:
    contacts = (bad(number) for number in range(1_101))
    if kind == "plain":
        with SyncPublisher.from_settings(settings_now) as plain:
            outcomes = plain.publish_contacts("client", contacts, source="/crm")
    else:
        async with Publisher.from_settings(settings_now) as publisher:
            outcomes = await publisher.publish_contacts("client", contacts, source="/crm")
    assert [number for number, found in enumerate(outcomes) if not found.accepted] == [700]
    assert [problem.pointer for problem in outcomes[700].problems] == ["/data/email"]
    batches = letters.batches("submissions")
    assert sum(len(batch.events) for batch in batches) == 1_100
    assert len(batches) <= 4
    assert [batch.seq for batch in batches] == list(range(1, len(batches) + 1))


def test_refusals_name_what_is_wrong(settings_now: DoorSettings, letters: Letters) -> None:
    with SyncPublisher.from_settings(settings_now) as publisher:
        refused = {
            "child": publisher.publish_submission("contact", {**CONTACT, "first_name": "J'ai dix ans"}),
            "file": publisher.publish_submission("job-application", {**APPLICATION, "cv": Upload("x", b"MZ\0")}),
            "reserved": publisher.publish_events([cloud(source="/cookies")])[0],
            "type": publisher.publish_events([cloud(type="greffier.nothing")])[0],
            "form": publisher.publish_events([cloud(type="greffier.form.job-application")])[0],
            "visit": publisher.publish_events([cloud(type="greffier.cookie.visit")])[0],
            "id": publisher.publish_submission("contact", CONTACT, event_id="jane@example.com"),
            "shape": publisher.publish_events(["text"])[0],  # type: ignore[list-item]
        }
    codes = {name: found.problems[0].code for name, found in refused.items()}
    assert codes == {
        "child": "under_age",
        "file": "file_type",
        "reserved": "reserved_source",
        "type": "unknown_type",
        "form": "unknown_type",
        "visit": "unknown_type",
        "id": "string_pattern_mismatch",
        "shape": "model_type",
    }
    assert letters.messages() == []


def test_a_case_that_there_is_not_is_the_programs_own_fault(settings_now: DoorSettings) -> None:
    with SyncPublisher.from_settings(settings_now) as publisher:
        with pytest.raises(ValueError, match="one of contact, newsletter"):
            publisher.publish_submission("client", CLIENT)
        with pytest.raises(ValueError, match="one of client"):
            publisher.publish_contact("contact", CONTACT)


def test_a_publisher_cannot_start_on_a_redis_that_promises_nothing(
    settings: DoorSettings, own_valkey: EmbeddedValkey
) -> None:
    own = settings.model_copy(update={"redis_url": DoorSettings(redis_url=own_valkey.url).redis_url})
    with SyncPublisher.from_settings(own) as publisher:
        own_valkey.kill9()
        with pytest.raises(QueueUnavailable):
            publisher.publish_consent(consent())
    with pytest.raises(QueueUnavailable), SyncPublisher.from_settings(own):
        pass


def test_single_calls_need_no_publisher(settings_now: DoorSettings, letters: Letters) -> None:
    assert producers.publish_contact("client", CLIENT, settings=settings_now).accepted
    assert producers.publish_submission("contact", CONTACT, settings=settings_now).accepted
    assert producers.publish_consent(consent(), settings=settings_now).accepted
    assert producers.publish_newsletter_confirmed("f-1", AT, settings=settings_now).accepted
    assert producers.publish_events([cloud()], settings=settings_now)[0].accepted
    assert len(letters.events()) == 5


def app() -> Any:
    made = typer.Typer()
    register_commands(made)
    return made


def test_a_file_of_events_is_published_by_command(
    settings_now: DoorSettings, letters: Letters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREFFIER_KEYS", str(settings_now.keys))
    monkeypatch.setenv("GREFFIER_REDIS_URL", settings_now.redis_url.get_secret_value())
    lines = [json.dumps(cloud(f"e-{number}")) for number in range(600)]
    lines[3:3] = ["", "{not json", json.dumps(cloud("bad", data={}))]
    file = tmp_path / "events.ndjson"
    file.write_text("\n".join(lines))

    ran = CliRunner().invoke(app(), ["publish", str(file), "--json"])

    outcome = json.loads(ran.stdout)
    assert (ran.exit_code, outcome["accepted"]) == (1, 600)
    assert [found["line"] for found in outcome["refused"]] == [5, 6]
    assert len(letters.events()) == 600
    again = CliRunner().invoke(app(), ["publish", "-"], input=json.dumps(cloud("e-0")))
    assert (again.exit_code, "1 accepted, 0 refused" in again.stdout) == (0, True)


def test_a_bad_setting_is_named_and_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREFFIER_DOOR_PORT", "secret-port")
    monkeypatch.setenv("GREFFIER_TRUSTED_PROXIES", "10.0.0.0/8, secret-network")
    monkeypatch.setenv("GREFFIER_QUEUE_LIMIT", "0")
    with pytest.raises(ConfigurationError) as refused:
        read_door_settings()
    assert {fault.path for fault in refused.value.faults} == {
        "GREFFIER_DOOR_PORT",
        "GREFFIER_TRUSTED_PROXIES",
        "GREFFIER_QUEUE_LIMIT",
    }
    assert "secret" not in str(refused.value)


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "REDIS_URL": "redis://redis:6379/0",
        "GREFFIER_ORIGINS": "https://www.example.com/, https://shop.example.com",
        "GREFFIER_TRUSTED_PROXIES": "10.0.0.0/8,fd00::/8",
        "GREFFIER_REGISTER": "/etc/greffier/register.yaml",
        "GREFFIER_METRICS_PORT": "9999",
    }.items():
        monkeypatch.setenv(name, value)
    found = read_door_settings()
    assert found.redis_url.get_secret_value() == "redis://redis:6379/0"
    assert found.origins == ("https://www.example.com", "https://shop.example.com")
    assert [str(network) for network in found.trusted_proxies] == ["10.0.0.0/8", "fd00::/8"]
    assert (str(found.register_file), found.metrics_port) == ("/etc/greffier/register.yaml", 9999)
    assert "redis:6379" not in repr(found)
    monkeypatch.setenv("GREFFIER_REDIS_URL", "redis://own:6379/0")
    assert read_door_settings().redis_url.get_secret_value() == "redis://own:6379/0"
