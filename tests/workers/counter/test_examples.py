"""The worked clients of docs/examples, run as an office would run them, against the real counter and the controller.

Source: R28; docs/subsidiary.md "Without Python".
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from schemas.jose import seal, sign
from schemas.orders import ORDER, ORDER_LIFETIME
from schemas.party_keys import new_party, read_party, read_subsidiaries
from schemas.terms import Case, Right
from tests.factories import form, someone
from tests.waiting import until
from tests.workers.counter.offices import Counters
from tests.workers.subsidiary.controller import entry
from workers.cases import canaries
from workers.services import utc_now

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
COMMANDS = {
    "node": ["node", str(EXAMPLES / "node" / "office.mjs")],
    "shell": ["sh", str(EXAMPLES / "shell" / "office.sh")],
}

ADA, BOB = "ada@example.com", "bob@example.com"


@dataclass
class Client:
    """One of the examples, on a store of its own. ``command``: what starts it."""

    command: list[str]
    folder: Path
    counters: Counters
    code: str = "us"

    @property
    def store(self) -> Path:
        return self.folder / "store.json"

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "GREFFIER_COUNTER_URL": self.counters.url,
            "GREFFIER_KEYS": str(self.folder / "keys"),
            "GREFFIER_JOURNAL": str(self.folder / "beside" / "journal.jsonl"),
        }
        return {**os.environ, **own, "no_proxy": "127.0.0.1"}

    @property
    def said(self) -> str:
        """All it has printed."""
        return (self.folder / "log").read_text()

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            command = [*self.command, self.code, str(self.store), *words]
            return subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)

    async def run(self, *words: str) -> None:
        """Run it to its end."""
        process = self.start(*words)
        await until(lambda: process.poll() is not None, 60, what="the client ends")
        assert process.returncode == 0, self.said

    async def answer(self) -> None:
        """Fetch and answer one order, and let the controller work off what that brought."""
        await self.run("--once")
        await self.counters.take_all()

    async def lapse(self) -> None:
        """Every lease is over."""
        await self.counters.bench.services.databases.evidence["leases"].delete_many({})

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = json.loads(self.store.read_text())
        return found

    def fill(self, **collections: list[dict[str, Any]]) -> None:
        self.store.write_text(json.dumps({"contacts": [], "invoices": [], **collections}))

    async def task(self, reference: str) -> dict[str, Any]:
        return (await self.counters.court.tasks(reference))[self.code]

    def order(self, *entries: dict[str, Any], **changes: Any) -> str:
        """An order made by hand. ``changes``: ``by``, ``to``, ``audience``, ``kind``, ``now``."""
        keys = changes.get("by", read_party(self.counters.keys / "controller"))
        peer = read_subsidiaries(self.counters.keys / "controller")[changes.get("to", self.code)]
        claims = {"jti": str(uuid.uuid4()), "entries": list(entries)}
        signed = sign(
            keys,
            changes.get("kind", ORDER),
            claims,
            audience=changes.get("audience", self.code),
            now=changes.get("now", self.counters.bench.clock()),
            lifetime=changes.get("lifetime", ORDER_LIFETIME),
        )
        return seal(signed.encode(), peer)


@pytest.fixture(params=["node", pytest.param("shell", marks=pytest.mark.slow)])
def client(request: pytest.FixtureRequest, counters: Counters, tmp_path: Path) -> Client:
    """Each of them; the one in shell, which starts a hundred small programs for an order, in the slow run."""
    return made(request.param, counters, tmp_path)


def made(kind: str, counters: Counters, folder: Path) -> Client:
    shutil.copytree(counters.keys / "subsidiaries" / "us", folder / "office" / "keys")
    client = Client(COMMANDS[kind], folder / "office", counters)
    client.fill()
    return client


def contact(number: int, email: str, **more: Any) -> dict[str, Any]:
    return {"id": number, "email": email, "name": "Ada Sample", "newsletter": True, **more}


def invoice(number: int, of: int, years: int) -> dict[str, Any]:
    issued = f"{utc_now().year - years}-03-01"
    return {"id": number, "contact": of, "number": f"I-{number}", "issued_on": issued}


async def test_an_erasure_is_served_attested_and_closed(client: Client) -> None:
    client.fill(contacts=[contact(1, "Ada@Example.com "), contact(2, BOB)], invoices=[invoice(1, 1, 11)])
    reference = await client.counters.served("erasure", ADA)
    await client.run("--once")
    assert await client.counters.take_all() == 1
    assert client.rows() == {"contacts": [contact(2, BOB)], "invoices": []}
    told = (await client.task(reference))["entry"]
    assert told["outcome"] == "done"
    assert [(one["name"], one["erased"]) for one in told["collections"]] == [("contacts", 1), ("invoices", 1)]
    await other_answers(client.counters)
    await client.counters.settle(reference)
    await client.answer()
    await other_answers(client.counters)
    assert (await client.task(reference))["proof"] == "attested"
    assert (await client.counters.closed(reference))["proof"] == "closed"


@pytest.mark.slow
async def test_a_canary_is_planted_found_and_erased(client: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr(canaries, "SETTLING", timedelta())
    desk = client.counters.court.desk
    client.fill(contacts=[contact(1, ADA)])
    await client.counters.bench.send(form(Case.CONTACT, someone()))
    await canaries.open_drills(desk.services)
    [drill] = [one for one in await desk.services.canaries.latest() if one["store"] == client.code]
    for _ in range(4):  # plant, access, erasure, look
        await canaries.go_on(desk, drill["_id"])
        await client.counters.court.post()
        await client.answer()
    await canaries.go_on(desk, drill["_id"])
    [drill] = [one for one in await desk.services.canaries.latest() if one["store"] == client.code]
    assert (drill["outcome"], drill["planted"]) == ("sound", 1)
    assert client.rows()["contacts"] == [contact(1, ADA)]


async def other_answers(counters: Counters) -> None:
    """The other subsidiary over HTTP holds nobody."""
    _, found = await counters.fetch("gb")
    if found is not None:
        await counters.bring("gb", counters.court.receipt("gb", found["order"]))
        await counters.take_all()


async def test_what_must_be_kept_is_kept_with_ground_and_day(client: Client) -> None:
    rows = {"contacts": [contact(1, ADA)], "invoices": [invoice(1, 1, 11), invoice(2, 1, 2)]}
    client.fill(**rows)
    reference = await client.counters.served("erasure", ADA)
    await client.answer()
    told = (await client.task(reference))["entry"]
    assert told["outcome"] == "partly-retained"
    assert {one["name"]: one["retained"] for one in told["collections"]} == {"contacts": 1, "invoices": 1}
    assert {one["until"] for one in told["collections"]} == {f"{utc_now().year + 8}-03-01"}
    assert client.rows() == {"contacts": [contact(1, ADA)], "invoices": [rows["invoices"][1]]}


async def test_access_brings_everything_and_nobody_elses(client: Client) -> None:
    odd = 'Ada "Æ" \\ \u2028 \U0001f600 </script> $(reboot) `x`'
    client.fill(contacts=[contact(1, ADA, name=odd), contact(2, BOB, name="Bob Other")], invoices=[invoice(7, 1, 1)])
    reference = await client.counters.served("access", ADA)
    await client.answer()
    task = await client.task(reference)
    assert task["state"] == "receipted", task
    assert [(one["name"], one["matched"]) for one in task["entry"]["collections"]] == [("contacts", 1), ("invoices", 1)]
    assert "copy_sha256" in task["entry"], "the controller held it against the copy, byte for byte"


async def test_the_shell_serves_too(counters: Counters, tmp_path: Path) -> None:
    """In the normal run once: an order opened, a copy sealed, its digest and its canonical form as they must be."""
    client = made("shell", counters, tmp_path)
    await test_access_brings_everything_and_nobody_elses(client)


@pytest.mark.slow
async def test_a_large_copy_leaves_in_parts_or_is_refused(client: Client) -> None:
    """Above a megabyte: in Node in parts, which the controller joins; the client in shell says that it cannot."""
    invoices = [invoice(number, 1, 1) for number in range(1, 26_000)]
    client.fill(contacts=[contact(1, ADA)], invoices=invoices)
    reference = await client.counters.served("access", ADA)
    await client.answer()
    task = await client.task(reference)
    assert task["state"] == "receipted"
    if client.command[0] == "sh":
        assert task["entry"]["reason"] == "copy-too-large"
    else:
        assert [one["matched"] for one in task["entry"]["collections"]] == [1, len(invoices)]


async def test_an_objection_marks_and_changes_nothing_else(client: Client) -> None:
    client.fill(contacts=[contact(1, ADA), contact(2, BOB)])
    reference = await client.counters.served("objection", ADA)
    await client.answer()
    told = (await client.task(reference))["entry"]["collections"]
    assert (told[0]["matched"], told[0]["restricted"]) == (1, 1)
    assert client.rows()["contacts"] == [contact(1, ADA, objected=True), contact(2, BOB)]


async def test_a_repeat_answers_the_same_and_touches_nothing(client: Client) -> None:
    """Also what came since, by the same address: it is no part of an attempt that was answered."""
    client.fill(contacts=[contact(1, ADA)])
    reference = await client.counters.served("erasure", ADA)
    await client.run("--once")
    client.fill(contacts=[contact(3, ADA)])
    await client.lapse()
    await client.run("--once")
    assert await client.counters.take_all() == 2
    assert (await client.task(reference))["state"] == "receipted"
    assert client.rows()["contacts"] == [contact(3, ADA)]


async def test_what_came_back_with_a_restore_goes_by_a_replay(client: Client) -> None:
    client.fill(contacts=[contact(1, ADA), contact(2, BOB)])
    backup = client.store.read_text()
    await client.counters.served("erasure", ADA)
    await client.run("--once")
    client.store.write_text(backup)
    await client.run("--replay")
    assert client.rows()["contacts"] == [contact(2, BOB)]
    journal = (client.folder / "beside" / "journal.jsonl").read_text()
    assert ADA not in journal


async def test_a_fresh_act_stays_and_nothing_held_is_an_answer_too(client: Client) -> None:
    later = (client.counters.bench.clock() + timedelta(minutes=1)).isoformat(timespec="milliseconds")
    client.fill(contacts=[contact(1, ADA, asked_at=later.replace("+00:00", "Z"))])
    reference = await client.counters.served("erasure", ADA)
    await client.answer()
    assert (await client.task(reference))["entry"]["outcome"] == "nothing-held"
    assert len(client.rows()["contacts"]) == 1


FORGED: dict[str, Callable[[Client], str]] = {
    "signed by nobody known": lambda client: client.order(asked(), by=new_party("controller")),
    "for another": lambda client: client.order(asked(), audience="gb"),
    "sealed to another": lambda client: client.order(asked(), to="gb"),
    "expired": lambda client: client.order(asked(), now=client.counters.bench.clock() - timedelta(days=8)),
    "of tomorrow": lambda client: client.order(asked(), now=client.counters.bench.clock() + timedelta(days=1)),
    "of another kind": lambda client: client.order(asked(), kind="greffier-receipt+jwt"),
    "for ever": lambda client: client.order(asked(), lifetime=timedelta(days=400)),
    "altered": lambda client: _altered(client.order(asked())),
    "no order": lambda _: "a.b.c.d.e",
}


def asked() -> dict[str, Any]:
    return entry(ADA, right=Right.ERASURE, code="us")


def _altered(token: str) -> str:
    parts = token.split(".")
    parts[3] = ("A" if parts[3][0] != "A" else "B") + parts[3][1:]
    return ".".join(parts)


async def test_what_is_no_order_has_no_effect_and_no_answer(client: Client) -> None:
    """Put where the counter lends orders from; each is fetched, refused, and the next one asked for."""
    client.fill(contacts=[contact(1, ADA)])
    evidence = client.counters.bench.services.databases.evidence
    for number, forge in enumerate(FORGED.values()):
        name = {"_id": f"0-{number}", "store": "us"}
        await evidence["attempts"].insert_one({**name, "token": forge(client)})
        await evidence["tasks"].insert_one({**name, "order": name["_id"], "send_at": client.counters.bench.clock()})
    process = client.start()
    await until(lambda: client.said.count("refused") == len(FORGED), 60, what="each is refused")
    process.terminate()
    await until(lambda: process.poll() is not None, 30, what="it ends")
    assert ADA not in client.said
    assert client.counters.brought("us") == []
    assert client.rows()["contacts"] == [contact(1, ADA)]


async def test_it_works_until_told_to_stop_through_kills(client: Client) -> None:
    """Killed while it waits, started anew; then ended politely."""
    client.fill(contacts=[contact(1, ADA)])
    listening = lambda: client.counters.redis.pubsub_numsub("to.us:wake")[0][1]  # noqa: E731
    await until(listening, what="the counter listens")
    first = client.start()
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = client.start()
    await client.counters.served("erasure", ADA)
    client.counters.redis.publish("to.us:wake", "orders")
    await until(lambda: client.counters.redis.llen("from.us:receipts"), 30, what="a receipt")
    second.send_signal(signal.SIGTERM)
    await until(lambda: second.poll() is not None, 30, what="it ends")
    assert client.rows()["contacts"] == []
