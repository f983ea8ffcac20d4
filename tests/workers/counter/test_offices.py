"""Orders fetched and receipts brought over HTTP: by who may, in its own name, and whatever it does besides.

Source: R28; P7; design § 6 "Counter"; docs/subsidiary.md "Without Python".
"""

from __future__ import annotations

import asyncio
import io
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from joserfc import jws
from joserfc.jwk import OctKey
from pydantic import SecretStr

from schemas.errors import InvalidMessage
from schemas.orders import RECEIPT
from schemas.party_keys import new_party, read_party
from tests.waiting import until
from tests.workers.cases.court import erased
from tests.workers.counter.offices import OVER_HTTP, Counters, register_file
from workers.cases.posting import Posting
from workers.counter import offices
from workers.counter.app import open_counter
from workers.counter.settings import CounterSettings
from workers.stores.leases import Leases

# ---------------------------------------------------------------------- the way there and back


async def test_an_order_is_fetched_answered_and_closes_its_case(counters: Counters) -> None:
    court = counters.court
    court.stores["us"].answer = court.stores["gb"].answer = erased(2)
    reference = await counters.served()
    for of in ("the order", "the second statement"):
        for code in ("us", "gb"):
            status, found = await counters.fetch(code)
            assert status == 200, of
            assert await counters.bring(code, court.receipt(code, found["order"])) == 202
            assert (await counters.fetch(code))[0] == 204, "nothing more waits"
        assert await counters.take_all() == 2
        await counters.settle(reference)
    assert (await counters.closed(reference))["proof"] == "closed"
    assert {task["proof"] for code, task in (await court.tasks(reference)).items() if code != "controller"} == {
        "attested"
    }


async def test_who_waits_is_woken_by_the_order(counters: Counters, redis_url: str) -> None:
    """The very call that the controller makes when it sends: for who fetches, it rings and puts nothing into Redis."""
    waiting = asyncio.create_task(counters.fetch("us", wait=50))
    await until(lambda: counters.redis.pubsub_numsub("to.us:wake")[0][1], what="the counter listens")
    await counters.served()
    posting = Posting(redis_url, fetched=["us"])
    posting.post("us", "sealed")
    status, found = await asyncio.wait_for(waiting, 30)
    posting.close()
    assert (status, set(found)) == (200, {"order", "leased_until"})
    assert not counters.redis.exists("to.us:orders", "to.us:orders.msgs")


async def test_many_who_ask_at_once_get_it_once(counters: Counters) -> None:
    await counters.served()
    found = await asyncio.gather(*(counters.fetch("us") for _ in range(4)))
    assert sorted(status for status, _ in found) == [200, 204, 204, 204]


async def test_the_variant_that_only_looks_lends_twice(counters: Counters, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without compare-and-set the test above fails."""
    all_have_looked = asyncio.Barrier(4)

    async def only_look(*_: object) -> bool:
        await all_have_looked.wait()
        return True

    monkeypatch.setattr(Leases, "_lend", only_look)
    await counters.served()
    found = await asyncio.gather(*(counters.fetch("us") for _ in range(4)))
    assert [status for status, _ in found] == [200] * 4


async def test_who_hangs_up_while_waiting_takes_no_order_along(
    counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_gone, seen = offices.has_gone, []

    def looked(request: web.Request) -> bool:
        seen.append(has_gone(request))
        return seen[-1]

    monkeypatch.setattr(offices, "has_gone", looked)
    waiting = asyncio.create_task(counters.fetch("us", wait=50))
    await until(lambda: seen, what="the call is looked at")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await counters.served()
    counters.redis.publish("to.us:wake", "orders")
    await until(lambda: any(seen), what="it is found out to have hung up")
    assert (await counters.fetch("us"))[0] == 200


async def test_without_redis_orders_are_handed_out_and_receipts_come_back_later(
    counters: Counters, mongo_url: str, tmp_path: Path
) -> None:
    settings = CounterSettings(
        mongo_url=SecretStr(mongo_url),
        mongo_prefix=counters.bench.prefix,
        keys=counters.keys / "counter",
        counter_port=0,
        redis_url=SecretStr("redis://127.0.0.1:1/0"),
        register_file=register_file(tmp_path, *OVER_HTTP),
    )
    await counters.served()
    async with (
        open_counter(settings, counters.bench.clock) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http,
    ):
        away = replace(counters, http=http)
        assert (await away.fetch("us"))[0] == 200
        assert await away.bring("us", "a.b.c.d.e") == 503


# ---------------------------------------------------------------------- bad peers


async def test_leased_and_never_answered_comes_again_and_stays_visibly_open(counters: Counters) -> None:
    reference = await counters.served()
    _, first = await counters.fetch("us")
    assert (await counters.fetch("us"))[0] == 204
    counters.bench.clock.at = datetime.fromisoformat(first["leased_until"])
    assert (await counters.fetch("us"))[1]["order"] == first["order"]
    assert (await counters.court.tasks(reference))["us"]["state"] == "waiting"
    assert (await counters.court.case(reference))["proof"] == "served"


async def test_answered_after_the_lease_and_twice_counts_once(counters: Counters) -> None:
    court = counters.court
    court.stores["us"].answer = erased(2)
    reference = await counters.served()
    _, first = await counters.fetch("us")
    counters.bench.clock.at = datetime.fromisoformat(first["leased_until"])
    _, second = await counters.fetch("us")
    for found in (first, second, first):
        assert await counters.bring("us", court.receipt("us", found["order"])) == 202
    assert await counters.take_all() == 3
    task = (await court.tasks(reference))["us"]
    assert (task["state"], task["entry"]["collections"][0]["erased"]) == ("receipted", 2)
    assert (await counters.fetch("us"))[0] == 204


async def test_another_ones_receipt_is_refused_by_the_controller(counters: Counters) -> None:
    """Under a good token of its own: what is brought must be signed by who brings it."""
    court = counters.court
    court.stores["gb"].answer = erased(1)
    reference = await counters.served()
    _, found = await counters.fetch("gb")
    stolen = court.receipt("gb", found["order"])
    assert await counters.bring("us", stolen) == 202
    [token] = counters.brought("us")
    assert token == stolen
    with pytest.raises(InvalidMessage):
        await court.take("us", token)
    assert {task["state"] for code, task in (await court.tasks(reference)).items() if code in ("us", "gb")} == {
        "waiting"
    }


async def test_a_task_of_anothers_in_ones_own_receipt_is_refused(counters: Counters) -> None:
    court = counters.court
    reference = await counters.served()
    order = court.order("us", (await counters.fetch("us"))[1]["order"])
    lie = {"task": f"{reference}/gb", "attempt": 1, "ask": "serve", "outcome": "nothing-held", "collections": []}
    claims = {"jti": "r-1", "order": order["jti"], "entries": [{**lie, "at": order["entries"][0]["received_at"]}]}
    assert await counters.bring("us", court.seal(court.stores["us"], claims, {})) == 202
    accepted = await court.take("us", counters.brought("us")[0])
    assert accepted.refused == {f"{reference}/gb": "task_not_in_order"}


async def test_a_flood_of_receipts_is_stopped_and_harms_nobody_else(
    counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offices, "MAX_WAITING", 5)
    statuses = [await counters.bring("us", "a.b.c.d.e") for _ in range(9)]
    assert statuses == [202] * 5 + [429] * 4
    assert len(counters.brought("us")) == 5
    assert await counters.bring("gb", "a.b.c.d.e") == 202
    quota = offices.Quota(left=3.0)
    for _ in range(3):
        with quota.one("tasks"):
            pass
    with pytest.raises(offices.Refused) as refused, quota.one("tasks"):
        pass
    assert refused.value.status == 429


def test_only_a_few_of_its_calls_run_at_once() -> None:
    quota = offices.Quota()
    with ExitStack() as waiting:
        for _ in range(4):
            waiting.enter_context(quota.one("tasks"))
        with pytest.raises(offices.Refused), quota.one("tasks"):
            pass
        with quota.one("receipts"):
            pass
    with quota.one("tasks"):
        pass


async def test_ten_megabytes_are_not_taken_in(counters: Counters) -> None:
    headers = {**counters.call("us"), "Content-Type": "application/json"}
    whole = io.BytesIO(b'{"receipt": "' + b"a" * 10_000_000 + b'"}')
    async with counters.http.post("/receipts", data=whole, headers=headers) as answer:
        assert answer.status == 413

    async def piecemeal() -> Any:
        yield b'{"receipt": "'
        for _ in range(160):
            yield b"a" * 65_536

    async with counters.http.post("/receipts", data=piecemeal(), headers=headers) as answer:
        assert answer.status == 413
    assert counters.brought("us") == []


@pytest.mark.parametrize("receipt", ["", "a.b.c", "a.b.c.d.e.f", "a.b.c.d.é", 7, None, ["a.b.c.d.e"]])
async def test_what_is_no_sealed_message_is_not_taken_in(counters: Counters, receipt: object) -> None:
    assert await counters.bring("us", receipt) == 400
    assert counters.brought("us") == []


@pytest.mark.parametrize("wait", ["-1", "1.5", "soon", "99999"])
async def test_a_wait_is_a_number_of_seconds(counters: Counters, wait: str) -> None:
    assert (await counters.fetch("us", wait=wait))[0] == 400


# ---------------------------------------------------------------------- tokens


async def test_only_a_good_token_of_ones_own_opens(counters: Counters) -> None:
    await counters.served()
    now = counters.bench.clock()
    own = counters.court.stores["us"].keys
    forged = new_party("us")
    bad = {
        "none": {},
        "not a token": {"Authorization": "Bearer 12"},
        "basic": {"Authorization": counters.call("us")["Authorization"].replace("Bearer", "Basic")},
        "unknown key": counters.call("us", by=forged),
        "another's name": counters.call("us", claims={"iss": "gb"}, by=_as(own, "gb")),
        "expired": counters.call("us", now=now - timedelta(minutes=3)),
        "of tomorrow": counters.call("us", now=now + timedelta(days=1)),
        "for ever": counters.call("us", lifetime=timedelta(days=365)),
        "for somebody else": counters.call("us", audience="controller"),
        "a receipt's": counters.call("us", kind=RECEIPT),
        "more than it may say": counters.call("us", claims={"admin": True}),
        "the controller's": counters.call("us", by=read_party(counters.keys / "controller")),
        "by a shared secret": {"Authorization": f"Bearer {_hmac(own)}"},
        "altered": {"Authorization": counters.call("us")["Authorization"][:-6] + "AAAAAA"},
        "long": {"Authorization": "Bearer " + "a" * 5_000},
    }
    for what, headers in bad.items():
        status, problem = await counters.fetch("us", headers)
        assert (status, problem["code"]) == (401, "invalid_token"), what
        assert await counters.bring("us", "a.b.c.d.e", headers) == 401, what
    assert counters.brought("us") == []
    assert (await counters.fetch("us"))[0] == 200, "nobody else has taken it"


def _as(keys: Any, party: str) -> Any:
    return type(keys)(party, keys.signing, keys.opening)


def _hmac(keys: Any) -> str:
    """Signed with the public key as if it were a secret: RFC 8725 § 2.1."""
    secret = OctKey.import_key(keys.signing.as_dict(private=False)["x"])
    header = {"alg": "HS256", "kid": keys.signing.kid, "typ": "greffier-call+jwt"}
    return jws.serialize_compact(header, b'{"iss":"us","aud":"counter"}', secret, algorithms=["HS256"])


async def test_who_has_a_worker_is_not_served_over_http(counters: Counters) -> None:
    status, problem = await counters.fetch("de")
    assert (status, problem["code"]) == (403, "not_over_http")


async def test_nobody_gets_anothers_order(counters: Counters) -> None:
    await counters.served()
    orders = {code: (await counters.fetch(code))[1]["order"] for code in ("us", "gb")}
    assert [counters.court.order(code, token)["aud"] for code, token in orders.items()] == ["us", "gb"]
    with pytest.raises(InvalidMessage):
        counters.court.order("us", orders["gb"])
