"""``greffier status`` and ``greffier parked``, as staff type them, over real stores. Source: R29; P3, P5; I9."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
import uuid_utils
from dramatiq import Message
from typer.testing import CliRunner, Result

from schemas.newsletter import Addressee
from schemas.party_keys import read_token_key
from schemas.routes import NAMESPACE, QUEUES, SUBMISSIONS
from schemas.terms import Case
from tests import factories
from tests.factories import Someone
from tests.workers.bench import Bench
from tests.workers.retention.people import APPLICATION_OVER, applicant, sweep_all
from workers.actors.dead import park_dead
from workers.broker import DeadLetter
from workers.commands import register_commands
from workers.one_click import named_in
from workers.processes import free_port

Staff = Callable[..., Awaitable[Result]]

MESSAGES = f"{NAMESPACE}:{SUBMISSIONS}.msgs"
DEAD = f"{NAMESPACE}:{SUBMISSIONS}.XQ.msgs"


@pytest.fixture
def staff(bench: Bench, keys: Path, mongo_url: str, redis_url: str) -> Staff:
    app = typer.Typer()
    register_commands(app)
    told = {
        "GREFFIER_REDIS_URL": redis_url,
        "GREFFIER_MONGO_URL": mongo_url,
        "GREFFIER_MONGO_PREFIX": bench.prefix,
        "GREFFIER_KEYS": str(keys / "controller"),
        "COLUMNS": "250",
    }

    async def typed(*words: str, **env: str) -> Result:
        return await asyncio.to_thread(lambda: CliRunner().invoke(app, list(words), env={**told, **env}))

    return typed


async def arrive(bench: Bench, *numbers: int) -> None:
    """A door's messages with these numbers are worked on."""
    for number in numbers:
        event = factories.form(Case.CONTACT, factories.someone())
        await bench.deliver(bench.sealer.seal(str(uuid_utils.uuid7()), "door-of-a-test", number, [event]))


async def give_up(bench: Bench, wire: dict[str, Any]) -> None:
    """A message failed to the last, and is parked."""
    message: Message[Any] = Message(SUBMISSIONS, SUBMISSIONS, (), {"batch": wire}, {"redis_message_id": "x"})
    await park_dead(bench.services, DeadLetter(SUBMISSIONS, "x", "SomeFailed", message.encode()))


def the_letter(bench: Bench) -> dict[str, Any]:
    [letter] = bench.collection("parked")
    return letter


def quotes(result: Result, whom: Someone) -> list[str]:
    return [word for word in whom.canaries if word in result.output]


# ---------------------------------------------------------------------- status


async def test_status_is_calm_when_all_is_well(bench: Bench, staff: Staff) -> None:
    await arrive(bench, 1, 2, 3)
    said = await staff("status", "--json")
    found = json.loads(said.stdout)
    assert (said.exit_code, found["alarms"]) == (0, [])
    assert {queue["queue"] for queue in found["queues"]} == set(QUEUES)
    [door] = found["doors"]
    assert (door["door"], door["highest"], door["missing"]) == ("door-of-a-test", 3, 0)
    shown = await staff("status")
    assert (shown.exit_code, "no alarm" in shown.stdout) == (0, True)


async def test_a_gap_in_a_doors_numbers_is_an_alarm(bench: Bench, staff: Staff) -> None:
    await arrive(bench, 1, 3)
    said = await staff("status", "--json")
    assert said.exit_code == 1
    assert json.loads(said.stdout)["alarms"] == ["door door-of-a-test: 1 message(s) accepted and never arrived"]
    shown = await staff("status")
    assert (shown.exit_code, "ALARM: door door-of-a-test" in shown.stdout) == (1, True)


async def test_a_gap_is_none_while_its_message_may_be_waiting(bench: Bench, staff: Staff) -> None:
    await arrive(bench, 1, 3)
    await bench.redis.hset(MESSAGES, "waiting", b"{}")
    assert (await staff("status")).exit_code == 0


async def test_a_number_that_comes_again_is_a_redelivery_and_no_alarm(bench: Bench, staff: Staff) -> None:
    event = factories.form(Case.CONTACT, factories.someone())
    wire = bench.sealer.seal(str(uuid_utils.uuid7()), "door-of-a-test", 1, [event])
    for _ in range(3):
        await bench.deliver(wire)
    [door] = json.loads((await staff("status", "--json")).stdout)["doors"]
    assert (door["redelivered"], door["missing"]) == (2, 0)


async def test_what_was_given_up_and_parked_has_arrived(bench: Bench, staff: Staff) -> None:
    for number in (1, 2):
        event = factories.form(Case.CONTACT, factories.someone())
        await give_up(bench, bench.sealer.seal(str(uuid_utils.uuid7()), "door-of-a-test", number, [event]))
    said = await staff("status", "--json")
    assert (said.exit_code, json.loads(said.stdout)["parked"]) == (0, {"SomeFailed": 2})
    await arrive(bench, 3)
    assert (await staff("status")).exit_code == 0


async def test_a_dead_letter_that_is_not_parked_is_an_alarm(bench: Bench, staff: Staff) -> None:
    await bench.redis.hset(DEAD, "dead", b"{}")
    said = await staff("status", "--json")
    assert said.exit_code == 1
    assert json.loads(said.stdout)["alarms"] == ["queue submissions: 1 dead letter(s) not parked yet"]


async def test_a_redis_that_is_away_is_an_alarm_and_no_crash(staff: Staff) -> None:
    said = await staff("status", "--json", GREFFIER_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    assert said.exit_code == 1
    assert json.loads(said.stdout)["alarms"] == ["Redis does not answer (ConnectionError)"]


# ---------------------------------------------------------------------- parked


async def test_list_and_show_say_everything_but_what_a_letter_says(bench: Bench, staff: Staff) -> None:
    whom = factories.someone()
    event = factories.form(Case.CONTACT, whom)
    await give_up(bench, bench.seal(event))
    letter = the_letter(bench)["_id"]
    listed, as_json = await staff("parked", "list"), await staff("parked", "list", "--json")
    shown = await staff("parked", "show", letter)
    assert letter in listed.stdout
    assert [one["_id"] for one in json.loads(as_json.stdout)] == [letter]
    assert json.loads(shown.stdout)["event"] == event.key
    for said in (listed, as_json, shown):
        assert (said.exit_code, quotes(said, whom)) == (0, [])
        assert "sealed" not in said.stdout


async def test_list_is_narrowed_by_reason(bench: Bench, staff: Staff) -> None:
    await give_up(bench, bench.seal(factories.form(Case.CONTACT, factories.someone())))
    assert json.loads((await staff("parked", "list", "--reason", "unknown_type", "--json")).stdout) == []
    assert len(json.loads((await staff("parked", "list", "--reason", "SomeFailed", "--json")).stdout)) == 1


async def test_a_letter_replayed_is_kept_and_gone(bench: Bench, staff: Staff) -> None:
    event = factories.form(Case.CONTACT, factories.someone())
    await give_up(bench, bench.seal(event))
    letter = the_letter(bench)["_id"]
    said = await staff("parked", "replay", letter)
    assert (said.exit_code, said.stdout) == (0, f"{letter}: kept\n")
    assert [one["event_id"] for one in bench.collection("submissions")] == [event.id]
    assert bench.collection("parked") == []
    again = await staff("parked", "replay", letter)
    assert (again.exit_code, "there is no such letter" in again.output) == (1, True)


async def test_all_letters_of_a_reason_are_replayed(bench: Bench, staff: Staff) -> None:
    await give_up(bench, bench.seal(*(factories.form(Case.CONTACT, factories.someone()) for _ in range(5))))
    said = await staff("parked", "replay", "--reason", "SomeFailed")
    assert (said.exit_code, said.stdout.count(": kept")) == (0, 5)
    assert (len(bench.collection("submissions")), bench.collection("parked")) == (5, [])


@pytest.mark.parametrize("words", [(), ("some-letter", "--reason", "SomeFailed")])
async def test_replay_wants_letters_or_a_reason(staff: Staff, words: tuple[str, ...]) -> None:
    assert (await staff("parked", "replay", *words)).exit_code == 1


async def test_a_letter_that_is_still_wrong_stays(bench: Bench, staff: Staff) -> None:
    whom = factories.someone()
    body = json.dumps({"email": whom.last_name}).encode()
    await bench.send(factories.raw_event("greffier.contact.client", factories.CRM, body))
    letter = the_letter(bench)
    said = await staff("parked", "replay", letter["_id"])
    assert (said.exit_code, quotes(said, whom)) == (1, [])
    assert f"stays parked, {letter['reason']}" in said.stdout
    assert the_letter(bench)["_id"] == letter["_id"]


async def test_another_body_under_a_known_id_is_never_merged(bench: Bench, staff: Staff) -> None:
    first, second = factories.someone(), factories.someone()
    event = factories.contact(Case.CLIENT, first)
    await bench.send(event)
    await bench.send(factories.contact(Case.CLIENT, second, event_id=event.id))
    said = await staff("parked", "replay", the_letter(bench)["_id"])
    assert (said.exit_code, "same_id_other_body" in said.stdout) == (1, True)
    assert len(bench.collection("submissions")) == 1
    assert len(bench.collection("parked")) == 1


async def test_an_erased_persons_letter_is_gone_with_him(bench: Bench, staff: Staff) -> None:
    whom = factories.someone()
    await give_up(bench, bench.seal(factories.form(Case.CONTACT, whom)))
    letter = the_letter(bench)["_id"]
    await bench.services.forgetting.forget(whom.email)
    said = await staff("parked", "replay", letter)
    assert (said.exit_code, "there is no such letter" in said.output) == (1, True)
    assert (bench.collection("submissions"), bench.collection("parked")) == ([], [])


async def test_a_letter_about_an_erased_person_is_not_replayed(bench: Bench, staff: Staff) -> None:
    whom = factories.someone()
    await bench.send(factories.contact(Case.CLIENT, whom))
    await bench.services.forgetting.forget(whom.email)
    await bench.send(factories.contact(Case.CLIENT, whom, received=datetime.now(UTC) + timedelta(hours=1)))
    letter = the_letter(bench)
    assert letter["reason"] == "erased"
    for words in (("parked", "replay", letter["_id"]), ("parked", "replay", "--reason", "erased")):
        said = await staff(*words)
        assert (said.exit_code, "about an erased person" in said.output) == (1, True)
    assert bench.collection("submissions") == []
    assert the_letter(bench)["_id"] == letter["_id"]


async def test_a_dropped_letter_is_erased_and_the_reason_stays(bench: Bench, staff: Staff) -> None:
    event = factories.form(Case.CONTACT, factories.someone())
    await give_up(bench, bench.seal(event))
    letter = the_letter(bench)["_id"]
    assert (await staff("parked", "drop", letter)).exit_code == 2  # not without a reason
    said = await staff("parked", "drop", letter, "--reason", "sent twice by mistake")
    assert (said.exit_code, said.stdout) == (0, f"{letter}: dropped\n")
    assert bench.collection("parked") == []
    [outcome] = bench.collection("outcomes", "evidence")
    assert (outcome["outcome"], outcome["reason"], outcome["event"]) == ("dropped", "sent twice by mistake", event.key)
    assert await bench.services.parked.content(letter, bench.clock()) is None
    for words in (("show", letter), ("drop", letter, "--reason", "again"), ("replay", letter)):
        assert (await staff("parked", *words)).exit_code == 1


# ---------------------------------------------------------------------- audience


async def test_an_audience_is_an_address_a_line_and_says_who_is_left_out(bench: Bench, staff: Staff) -> None:
    whom, applicant = factories.someone(), factories.someone()
    await bench.send(factories.form(Case.CONTACT, whom), factories.form(Case.JOB_APPLICATION, applicant))
    said = await staff("audience", "sales-prospecting")
    assert (said.exit_code, said.stdout) == (0, f"{whom.email}\n")
    assert json.loads(said.stderr) == {"members": 1, "no_such_purpose": 1}
    said = await staff("audience", "sales-prospecting", "--subsidiary", "us", "--by", "mailer", "--json")
    row = json.loads(said.stdout)
    assert (row["last_name"], row["headers"]) == (whom.last_name, None)
    assert "GREFFIER_PUBLIC_URL is not set" in said.stderr
    assert bench.collection("reads", "evidence")[-1]["reader"] == "mailer"


async def test_who_has_read_what_of_a_person_is_told(bench: Bench, staff: Staff) -> None:
    """Source: R9."""
    whom, nobody = factories.someone(), factories.someone()
    await bench.send(factories.form(Case.CONTACT, whom))
    assert (await staff("audience", "sales-prospecting", "--by", "mailer")).exit_code == 0
    said = await staff("evidence", "reads", whom.email)
    assert (said.exit_code, said.stderr) == (0, "reads: 1\n")
    assert said.stdout.endswith("mailer (marketing-sales): sales-prospecting, shown\n")
    [entry] = json.loads((await staff("evidence", "reads", whom.email, "--json")).stdout)
    assert (entry["reader"], entry["shown"]) == ("mailer", 1)
    assert json.loads((await staff("evidence", "reads", nobody.email, "--json")).stdout) == []
    said = await staff("evidence", "reads", "nobody")
    assert (said.exit_code, said.stderr) == (1, "greffier: that is no e-mail address\n")


async def test_each_of_an_audience_bears_a_link_of_their_own(bench: Bench, keys: Path, staff: Staff) -> None:
    """Source: R24; RFC 8058."""
    people = [factories.someone() for _ in range(2)]
    await bench.send(*(factories.form(Case.CONTACT, whom) for whom in people))
    said = await staff("audience", "sales-prospecting", "--json", GREFFIER_PUBLIC_URL="https://www.example.com/")
    rows = {row["email"]: row for row in map(json.loads, said.stdout.splitlines())}
    assert rows.keys() == {whom.email for whom in people}
    references, key = bench.services.trust.references, read_token_key(keys / "controller")
    for email, row in rows.items():
        headers = row["headers"]
        link = headers["List-Unsubscribe"]
        assert link.startswith("<https://www.example.com/unsubscribe/")
        assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        assert named_in([link], key, references, datetime.now(UTC)) == [
            Addressee(references.suppression(email)[0], row["person"])
        ]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("recruitment",), 1),  # not for marketing
        (("recruitment", "--department", "line-managers", "--subsidiary", "atlantis"), 2),
        (("world-domination",), 2),
    ],
)
async def test_an_audience_nobody_may_have_is_refused(
    bench: Bench, staff: Staff, words: tuple[str, ...], code: int
) -> None:
    await bench.send(factories.form(Case.JOB_APPLICATION, factories.someone()))
    said = await staff("audience", *words)
    assert (said.exit_code, said.stdout) == (code, "")
    assert said.stderr


# ---------------------------------------------------------------------- notices and consents, counted


async def test_of_nothing_nothing_is_counted(staff: Staff) -> None:
    said = await staff("notices", "--json")
    assert (said.exit_code, json.loads(said.stdout)) == (0, {"due_soon": 0, "overdue": 0, "contacts": []})
    said = await staff("consents", "due", "--json")
    nothing = {"due": {"ends": 0, "new_version": 0}, "made_again": 0, "ran_out": 0}
    assert (said.exit_code, json.loads(said.stdout)) == (0, nothing)


async def test_an_overdue_notice_is_listed_without_a_name_and_an_alarm(bench: Bench, staff: Staff) -> None:
    """Source: GDPR Art. 14."""
    whom = factories.someone()
    await bench.send(event := factories.contact(Case.PROSPECT, whom, collected_at="2026-01-31"))
    said = await staff("notices", "--json")
    [listed] = json.loads(said.stdout)["contacts"]
    assert listed == {"event": event.key, "due_on": "2026-03-02", "standing": "overdue"}
    assert not quotes(said, whom)
    said = await staff("status", "--json")
    assert said.exit_code == 1
    assert json.loads(said.stdout)["notices"] == {"due_soon": 0, "overdue": 1}


async def test_the_archive_is_read_for_a_reason_by_whom_it_concerns(bench: Bench, staff: Staff) -> None:
    whom = await applicant(bench)
    bench.clock.at = APPLICATION_OVER
    await sweep_all(bench.services)
    asked = ("archive", "read", whom.email, "--by", "clerk.sample", "--json")
    shown = await staff(*asked, "--department", "administration", "--reason", "claim 2027-14")
    assert (shown.exit_code, json.loads(shown.stdout)["last_day"]) == (0, "2032-02-20")
    refused = await staff(*asked, "--department", "it", "--reason", "claim 2027-14")
    assert (refused.exit_code, refused.stdout) == (1, "")
    without = await staff(*asked, "--department", "administration", "--reason", "who?")
    assert (without.exit_code, without.stdout) == (1, "")


async def test_the_preview_names_nobody_and_says_what_would_go(bench: Bench, staff: Staff) -> None:
    whom = await applicant(bench)
    told = await staff("retention", "preview", "--at", "2027-02-21", "--json")
    [line] = json.loads(told.stdout)["going"]
    assert (line["what"], line["purpose"], line["records"]) == ("archived", "recruitment", 1)
    assert quotes(told, whom) == []
    early = await staff("retention", "preview", "--at", "2027-02-19", "--json")
    assert json.loads(early.stdout)["going"] == []
    status = json.loads((await staff("status", "--json")).stdout)["retention"]
    assert (status["swept"], status["held"], status["no_to_deletion"]) == (None, 0, None)
