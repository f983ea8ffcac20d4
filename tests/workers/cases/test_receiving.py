"""P7: of a receipt nothing is believed but what its store signed, for what was asked of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import OctKey

from schemas.errors import InvalidMessage
from schemas.jose import open_sealed, seal
from schemas.orders import ORDER
from schemas.party_keys import new_party
from tests.factories import someone
from tests.workers.cases.court import Court, erased, nothing_held

ADA = someone("ada").email


async def ordered(court: Court) -> tuple[str, str, str]:
    """An erasure on its way: reference, the German store's order, and the British one's."""
    reference = await court.ask("erasure", ADA)
    await court.confirm(reference)
    await court.post()
    posted = dict(court.posted)
    return reference, posted["de"], posted["gb"]


async def still_waiting(court: Court, reference: str, store: str = "de") -> bool:
    return (await court.tasks(reference))[store]["state"] == "waiting"


FORGED: dict[str, tuple[dict[str, Any], str]] = {
    "by another key": ({"by": new_party("de")}, "unknown_key"),
    "for somebody else": ({"audience": "gb"}, "wrong_audience"),
    "an order passed off as a receipt": ({"kind": ORDER}, "wrong_kind"),
    "expired": ({"lifetime": timedelta(seconds=-1)}, "expired"),
    "of an order never sent": ({"order": "01890000-0000-7000-8000-000000000000"}, "answers_no_order_of_this_store"),
    "with an unknown claim": ({"crit": ["b64"]}, "not_in_normal_form"),
}


@pytest.mark.parametrize(("forged", "code"), FORGED.values(), ids=FORGED)
async def test_a_forged_receipt_changes_nothing(court: Court, forged: dict[str, Any], code: str) -> None:
    reference, order, _ = await ordered(court)
    token = court.receipt("de", order, **forged)
    assert token is not None
    with pytest.raises(InvalidMessage, match=code):
        await court.take("de", token)
    assert await still_waiting(court, reference)


async def test_a_receipt_of_one_store_is_not_believed_from_another(court: Court) -> None:
    """Neither by another's key in its own name, nor its own receipt carried into another's namespace."""
    reference, order, british = await ordered(court)
    german = court.receipt("de", order)
    assert german is not None
    with pytest.raises(InvalidMessage):
        await court.take("gb", german)
    as_german = court.receipt("gb", british, by=court.stores["gb"].keys)
    assert as_german is not None
    with pytest.raises(InvalidMessage):
        await court.take("de", as_german)
    assert await still_waiting(court, reference)
    assert await still_waiting(court, reference, "gb")


def altered(court: Court, token: str, change: Callable[[str], str]) -> str:
    """A receipt whose JWS was changed and sealed again, which anybody can do."""
    message = json.loads(open_sealed(token, court.desk.party))
    message["receipt"] = change(message["receipt"])
    return seal(json.dumps(message).encode(), court.stores["de"].controller)


def one_byte(signed: str) -> str:
    header, payload, signature = signed.split(".")
    raw = bytearray(base64.urlsafe_b64decode(payload + "=="))
    raw[len(raw) // 2] ^= 1
    return ".".join((header, base64.urlsafe_b64encode(raw).rstrip(b"=").decode(), signature))


def unsigned(signed: str) -> str:
    header = base64.urlsafe_b64encode(b'{"alg":"none","kid":"x","typ":"greffier-receipt+jwt"}').rstrip(b"=").decode()
    return f"{header}.{signed.split('.')[1]}."


def by_the_public_key(court: Court) -> Callable[[str], str]:
    """HS256 with the bytes of the store's public key: a reader that lets the header choose takes it."""
    public = court.stores["de"].keys.signing.as_dict(private=False)
    secret = OctKey.import_key(base64.urlsafe_b64decode(str(public["x"]) + "=="))

    def change(signed: str) -> str:
        payload = base64.urlsafe_b64decode(signed.split(".")[1] + "==")
        header = {"alg": "HS256", "kid": str(public["kid"]), "typ": "greffier-receipt+jwt"}
        return jws.serialize_compact(header, payload, secret, algorithms=["HS256"])

    return change


@pytest.mark.parametrize("how", ["one byte", "alg none", "HS256 with the public key", "cut short", "not a token"])
async def test_an_altered_receipt_changes_nothing(court: Court, how: str) -> None:
    reference, order, _ = await ordered(court)
    token = court.receipt("de", order)
    assert token is not None
    changes: dict[str, Callable[[str], str]] = {
        "one byte": one_byte,
        "alg none": unsigned,
        "HS256 with the public key": by_the_public_key(court),
        "cut short": lambda signed: signed[: len(signed) // 2],
        "not a token": lambda _: "receipt",
    }
    with pytest.raises(InvalidMessage):
        await court.take("de", altered(court, token, changes[how]))
    assert await still_waiting(court, reference)


@pytest.mark.parametrize("token", ["", "x", "a.b.c.d.e", "é" * 50, "A" * 100])
async def test_what_is_no_receipt_at_all_is_refused(court: Court, token: str) -> None:
    with pytest.raises(InvalidMessage):
        await court.take("de", token)


async def test_of_several_entries_only_the_bad_one_is_refused(court: Court) -> None:
    """A receipt for a task that was never asked, or for another attempt, harms no neighbour."""
    one, other = await court.ask("erasure", ADA), await court.ask("erasure", someone("bo").email)
    for reference in (one, other):
        await court.confirm(reference)
    await court.post()
    order = dict(court.posted)["de"]
    asked = court.order("de", order)["entries"]
    assert len(asked) == 2, "one order carries every due task of a store"

    def only_the_second(entry: dict[str, Any]) -> dict[str, Any]:
        bad = {"name": "customers", "matched": 1, "erased": 7}
        good = {"name": "customers", "matched": 1, "erased": 1}
        return {"outcome": "done", "collections": [bad if entry["task"] == asked[0]["task"] else good]}

    court.stores["de"].answer = only_the_second
    token = court.receipt("de", order)
    assert token is not None
    accepted = await court.take("de", token)
    assert accepted.refused == {asked[0]["task"]: "counts_disagree"}
    assert await still_waiting(court, asked[0]["task"].partition("/")[0])
    assert not await still_waiting(court, asked[1]["task"].partition("/")[0])


async def test_the_same_receipt_twice_changes_nothing(court: Court) -> None:
    court.stores["de"].answer = erased(2)
    reference, order, _ = await ordered(court)
    token = court.receipt("de", order)
    assert token is not None
    await court.take("de", token)
    before = (await court.tasks(reference))["de"]
    await court.take("de", token)
    assert (await court.tasks(reference))["de"] == before
    assert len(await court.desk.cases.receipts_of(reference)) == 2, "the controller's own, and this one"


async def test_two_receipts_that_contradict_each_other_go_to_a_person(court: Court) -> None:
    reference, order, _ = await ordered(court)
    for count in (2, 5):
        court.stores["de"].answer = erased(count)
        token = court.receipt("de", order)
        assert token is not None
        await court.take("de", token)
    task = (await court.tasks(reference))["de"]
    assert (task["state"], task["reason"]) == ("doubtful", "contradicting_receipts")
    assert len([one for one in await court.desk.cases.receipts_of(reference) if one["store"] == "de"]) == 2


@pytest.mark.parametrize("shown_first", [True, False], ids=["as made", "the later one came first"])
async def test_a_copy_asked_again_after_an_erasure_is_no_contradiction(court: Court, shown_first: bool) -> None:
    """The order came twice; in between the person's erasure took what the first copy showed."""
    reference = await court.ask("access", ADA)
    await court.confirm(reference)
    await court.post()
    order, tokens = dict(court.posted)["de"], []
    held = {"outcome": "done", "collections": [{"name": "customers", "matched": 1}]}
    for answer in (lambda _: {**held, "copy": {"store": "de", "collections": []}}, nothing_held):
        court.stores["de"].answer = answer
        tokens.append(court.receipt("de", order))
    for token in tokens if shown_first else reversed(tokens):
        assert token is not None
        await court.take("de", token)
    assert (await court.tasks(reference))["de"]["state"] == "receipted"


async def test_an_access_copy_that_was_exchanged_is_refused(court: Court) -> None:
    reference = await court.ask("access", ADA)
    await court.confirm(reference)
    await court.post()
    copy = {"store": "de", "collections": []}
    held = {"outcome": "done", "collections": [{"name": "customers", "matched": 1}]}
    court.stores["de"].answer = lambda _: {**held, "copy": dict(copy)}
    token = court.receipt("de", dict(court.posted)["de"])
    assert token is not None
    message = json.loads(open_sealed(token, court.desk.party))
    message["copies"] = {task: {"store": "de", "collections": [{}]} for task in message["copies"]}
    exchanged = seal(json.dumps(message).encode(), court.stores["de"].controller)
    accepted = await court.take("de", exchanged)
    assert set(accepted.refused.values()) == {"copy_altered"}
    assert await still_waiting(court, reference)
