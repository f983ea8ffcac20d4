"""Orders out as a file, answered by an office with one laptop, and its file of receipts in again. Source: R28; P7."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
import typer
from typer.testing import CliRunner, Result

from schemas.by_hand import TokenFiles, read_tokens, write_tokens
from schemas.errors import InvalidMessage
from schemas.orders import RECEIPT_QUEUE, receipt_namespace
from tests.workers.bench import Bench
from tests.workers.cases.court import Court, mails_leave
from tests.workers.subsidiary.conftest import sqlite_kit
from tests.workers.subsidiary.kits import SqliteKit, write_mapping
from tests.workers.subsidiary.test_serving import fill
from workers.cases.engine import advance
from workers.commands import register_commands

__all__ = ["sqlite_kit"]

ANNA = "anna@example.com"


@dataclass
class Carried:
    """The court and an office of ``gb`` without a line, each typing its own commands."""

    court: Court
    kit: SqliteKit
    folder: Path
    redis: redis.Redis
    app: typer.Typer

    @property
    def orders(self) -> Path:
        return self.folder / "orders.json"

    @property
    def receipts(self) -> Path:
        return self.folder / "orders.json.receipts"

    async def type(self, *words: object) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, self.app, [str(word) for word in words])

    async def export(self) -> Result:
        return await self.type("orders", "export", "gb", "-o", self.orders)

    async def answer(self, code: str = "gb") -> Result:
        mapping = self.folder / "mapping.yaml"
        return await self.type("subsidiary", code, "--mapping", mapping, "--order", self.orders)

    async def take(self) -> int:
        """Take the file in and work it off; how many receipts."""
        result = await self.type("orders", "take", self.receipts)
        assert result.exit_code == 0, result.output
        queue = f"{receipt_namespace('gb')}:{RECEIPT_QUEUE}"
        bodies = self.redis.hvals(f"{queue}.msgs")
        self.redis.delete(queue, f"{queue}.msgs")
        for body in bodies:
            await self.court.take("gb", json.loads(body)["kwargs"]["token"])
        return len(bodies)

    async def asked(self, right: str = "erasure") -> str:
        reference = await self.court.ask(right, ANNA)
        await self.court.confirm(reference)
        await self.post()
        return reference

    async def post(self) -> None:
        """What ``gb`` is asked waits; the others answer."""
        await self.court.post()
        self.court.posted[:] = [one for one in self.court.posted if one[0] != "gb"]
        await self.court.deliver()

    async def task(self, reference: str) -> dict[str, Any]:
        return (await self.court.tasks(reference))["gb"]


@pytest.fixture
async def carried(  # noqa: PLR0917 - each is a fixture
    court: Court,
    bench: Bench,
    subsidiary_keys: Path,
    mongo_url: str,
    redis_url: str,
    sqlite_kit: SqliteKit,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    write_mapping(sqlite_kit, tmp_path)
    await fill(sqlite_kit)
    told = {"MONGO_URL": mongo_url, "MONGO_PREFIX": bench.prefix, "REDIS_URL": redis_url}
    told |= {"JOURNAL": str(tmp_path / "beside" / "journal.jsonl")}
    for name, value in told.items():
        monkeypatch.setenv(f"GREFFIER_{name}", value)
    monkeypatch.setattr("workers.by_hand.configure_logs", lambda _: None)  # that of this process stays as it is
    app = typer.Typer()
    register_commands(app)
    folders = {"orders": subsidiary_keys / "controller", "subsidiary": subsidiary_keys / "subsidiaries" / "gb"}
    with redis.Redis.from_url(redis_url) as client:
        made = Carried(court, sqlite_kit, tmp_path, client, app)
        typed = made.type

        async def with_own_keys(*words: object) -> Result:
            monkeypatch.setenv("GREFFIER_KEYS", str(folders[str(words[0])]))
            return await typed(*words)

        monkeypatch.setattr(made, "type", with_own_keys)
        yield made


async def test_a_case_is_served_and_closed_by_two_files(carried: Carried) -> None:
    before = len(await carried.kit.rows("visits"))
    reference = await carried.asked()
    for of in ("the order", "the second statement"):
        assert (await carried.export()).exit_code == 0, of
        assert ANNA not in carried.orders.read_text()
        answered = await carried.answer()
        assert answered.exit_code == 0, answered.output
        assert await carried.take() == 1
        case = await carried.court.case(reference)
        if "settle_at" in case:
            await carried.court.desk.cases.change(case, {"settle_at": carried.court.desk.services.clock()})
        await advance(carried.court.desk, reference)
        await carried.post()
    assert (await carried.task(reference))["proof"] == "attested"
    assert len(await carried.kit.rows("visits")) < before
    await mails_leave(carried.court, reference)
    await advance(carried.court.desk, reference)
    assert (await carried.court.case(reference))["proof"] == "closed"
    assert (await carried.export()).exit_code == 1, "nothing waits any more"


async def test_every_step_may_be_repeated(carried: Carried) -> None:
    reference = await carried.asked()
    told = []
    for _ in range(2):
        await carried.export()
        await carried.answer()
        rows = await carried.kit.rows("customers")
        await carried.answer()
        assert await carried.kit.rows("customers") == rows
        await carried.take()
        await carried.take()
        told.append((await carried.task(reference))["entry"])
        assert (await carried.task(reference))["state"] == "receipted"
    assert told[0] == told[1]


async def test_a_file_that_is_not_for_this_office_does_nothing(carried: Carried) -> None:
    """Another's, an altered one, one without an order, and none at all."""
    await carried.asked()
    await carried.export()
    before = await carried.kit.rows("customers")
    _, [token] = read_tokens(carried.orders, "orders")
    assert "for another subsidiary" in (await carried.answer("us")).output
    for forged in (token[:-8] + "AAAAAAAA", "a.b.c.d.e", token.swapcase()):
        write_tokens(carried.orders, "orders", "gb", [forged])
        refused = await carried.answer()
        assert (refused.exit_code, "bad seal" in refused.output) == (1, True), refused.output
    carried.orders.write_text('{"orders": []}')
    assert "nothing was done" in (await carried.answer()).output
    carried.orders.unlink()
    assert (await carried.answer()).exit_code == 1
    assert not carried.receipts.exists()
    assert await carried.kit.rows("customers") == before


async def test_a_file_of_receipts_is_believed_by_its_signatures(carried: Carried) -> None:
    reference = await carried.asked()
    await carried.export()
    await carried.answer()
    code, [token] = read_tokens(carried.receipts, "receipts")
    for whose, what in (("us", token), (code, token[:-8] + "AAAAAAAA"), ("xx", token)):
        write_tokens(carried.receipts, "receipts", whose, [token, what])
        taken = await carried.type("orders", "take", carried.receipts)
        assert (taken.exit_code, "nothing was taken in" in taken.output) == (1, True)
    assert not carried.redis.exists("from.us:receipts", "from.gb:receipts")
    assert (await carried.task(reference))["state"] == "waiting"


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"orders": "x", "subsidiary": "gb"}', '{"orders": [7], "subsidiary": "gb"}', "{}"],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(content)
    with pytest.raises(InvalidMessage):
        read_tokens(path, "orders")


@pytest.mark.parametrize(("most", "largest", "files"), [(2, 10_000, 3), (1_000, 1_024 + 2 * 60, 3), (5, 10_000, 1)])
def test_what_is_too_much_for_one_file_goes_on_in_another(
    most: int, largest: int, files: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As an access copy in parts is, or two: a file that nobody takes would be an end without a way on."""
    monkeypatch.setattr("schemas.by_hand.MAX_TOKENS", most)
    monkeypatch.setattr("schemas.by_hand.MAX_FILE_BYTES", largest)
    tokens = [f"{number}".ljust(50, "x") for number in range(5)]
    written = TokenFiles(tmp_path / "file.json", "receipts", "gb")
    for token in tokens:
        written.post(token)
    written.write()
    assert len(written.paths) == files
    assert sorted(written.paths) == sorted(tmp_path.iterdir())
    assert [one for path in written.paths for one in read_tokens(path, "receipts")[1]] == tokens


async def test_an_office_with_much_to_say_says_it_in_several_files(
    carried: Carried, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = await carried.asked("access")
    monkeypatch.setattr("workers.actors.answers.INLINE_BYTES", 1)  # the copy leaves in parts
    monkeypatch.setattr("schemas.by_hand.MAX_TOKENS", 1)
    await carried.export()
    answered = await carried.answer()
    assert f"{carried.receipts}, {carried.receipts}.2" in answered.output
    paths = [carried.receipts, carried.receipts.with_name(f"{carried.receipts.name}.2")]
    for path in paths:
        assert (await carried.type("orders", "take", path)).exit_code == 0
    assert await carried.take() == len(paths) + 1
    assert (await carried.task(reference))["state"] == "receipted"


def test_a_file_is_its_owners_alone(tmp_path: Path) -> None:
    write_tokens(tmp_path / "file.json", "orders", "gb", ["a.b.c.d.e"])
    assert (tmp_path / "file.json").stat().st_mode & 0o077 == 0
    assert read_tokens(tmp_path / "file.json", "orders") == ("gb", ["a.b.c.d.e"])
