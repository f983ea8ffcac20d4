"""Messages that are not ours, or not whole: parked, sealed, with a reason that quotes nothing. P3, P4, P7."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from bson import encode
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from schemas.envelope import Sealer
from schemas.terms import Case
from tests import factories
from tests.workers.bench import Bench
from workers.actors.batches import ERASED, letter_of, park, read_event
from workers.actors.dead import park_dead, park_poison
from workers.broker import DeadLetter, Poison
from workers.stores.keys import ACTIVE, ARCHIVE, PARKED

Wire = dict[str, Any]


def _flip(text: str) -> str:
    return ("B" if text[0] == "A" else "A") + text[1:]


def _altered(wire: Wire, **changes: Any) -> Wire:
    return {**wire, **changes}


def _other_attribute(wire: Wire) -> Wire:
    events = [{**wire["events"][0], "recordedtime": "2031-01-01T00:00:00.000Z"}]
    return {**wire, "events": events}


FORGERIES: dict[str, tuple[Callable[[Wire], Any], str]] = {
    "no object": (lambda wire: "hello", "malformed_batch"),
    "nothing": (lambda wire: None, "malformed_batch"),
    "unsealed": (lambda wire: {"email": "a@example.org"}, "malformed_batch"),
    "a field too many": (lambda wire: {**wire, "priority": 1}, "malformed_batch"),
    "no event": (lambda wire: _altered(wire, events=[]), "malformed_batch"),
    "too many events": (lambda wire: _altered(wire, events=wire["events"] * 501), "malformed_batch"),
    "a later version": (lambda wire: _altered(wire, v=2), "malformed_batch"),
    "no number": (lambda wire: _altered(wire, seq="1"), "malformed_batch"),
    "no base64": (lambda wire: _altered(wire, sealed="A"), "malformed_batch"),
    "truncated": (lambda wire: _altered(wire, sealed=wire["sealed"][:40]), "bad_signature"),
    "seal altered": (lambda wire: _altered(wire, sealed=_flip(wire["sealed"])), "bad_signature"),
    "signature altered": (lambda wire: _altered(wire, signature=_flip(wire["signature"])), "bad_signature"),
    "number altered": (lambda wire: _altered(wire, seq=wire["seq"] + 1), "bad_signature"),
    "attribute altered": (_other_attribute, "bad_signature"),
    "event added": (lambda wire: _altered(wire, events=wire["events"] * 2), "bad_signature"),
    "unknown publisher": (lambda wire: _altered(wire, publisher="door-nobody"), "unknown_publisher"),
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forged_message_is_parked_whole_and_touches_nothing(bench: Bench, name: str) -> None:
    whom = factories.someone()
    forge, reason = FORGERIES[name]
    await bench.deliver(forge(bench.seal(factories.form(Case.CONTACT, whom))))
    (letter,) = bench.collection("parked")
    assert (letter["reason"], letter["event"]) == (reason, "")
    assert b"sealed_by" not in encode(letter)
    for collection in ("persons", "submissions", "links", "batches"):
        assert bench.collection(collection) == []


async def test_a_message_sealed_for_somebody_else_is_parked(bench: Bench) -> None:
    publisher = bench.sealer._publisher, bench.sealer._signer
    stranger = Sealer("transit-other", X25519PrivateKey.generate().public_key(), *publisher)
    pretender = Sealer(bench.sealer._kid, X25519PrivateKey.generate().public_key(), *publisher)
    forger = Sealer(bench.sealer._kid, bench.sealer._transit, publisher[0], Ed25519PrivateKey.generate())
    event = factories.form(Case.CONTACT, factories.someone())
    for sealer in (stranger, pretender, forger):
        await bench.deliver(sealer.seal("b-1", "door-1", 1, [event]))
    assert bench.reasons() == ["bad_seal", "bad_signature", "unknown_transit_key"]
    assert bench.collection("submissions") == []


async def test_a_repeated_message_is_parked_once(bench: Bench) -> None:
    for _ in range(3):
        await bench.deliver({"no": "batch"})
    assert bench.reasons() == ["malformed_batch"]


async def test_what_was_parked_can_be_read_by_its_key_and_stands_sealed(bench: Bench) -> None:
    raw = b"somebody wrote Testine Sampleby into the queue by hand"
    await park_poison(bench.services, Poison.of("submissions", b"r-1", raw, code="not_json"))
    (letter,) = bench.collection("parked")
    assert b"Sampleby" not in encode(letter)
    assert await bench.services.parked.content(letter["_id"], bench.clock()) == raw


async def test_a_door_counts_its_messages_and_a_gap_shows(bench: Bench) -> None:
    wires = [bench.seal(factories.choice("d")) for _ in range(3)]
    first = wires[0]["seq"]
    for wire in (wires[0], wires[2], wires[2]):
        await bench.deliver(wire, "consent")
    (door,) = await bench.services.bookkeeping.sequences()
    assert (door.highest, door.arrived, door.redelivered) == (first + 2, 2, 1)


# --- what failed to the last ----------------------------------------------------------------------------------------


def _dead(wire: Any, reason: str = "Boom") -> DeadLetter:
    return DeadLetter("submissions", "r-1", reason, json.dumps({"kwargs": {"batch": wire}}).encode())


async def test_a_dead_message_is_parked_event_by_event_but_for_what_was_kept(bench: Bench) -> None:
    kept, lost = (factories.form(Case.CONTACT, factories.someone()) for _ in range(2))
    await bench.send(kept)
    dead = _dead(bench.seal(kept, lost))
    for _ in range(2):
        await park_dead(bench.services, dead)
    (letter,) = bench.collection("parked")
    assert (letter["event"], letter["reason"]) == (lost.key, "Boom")


async def test_a_dead_message_about_somebody_forgotten_meanwhile_does_not_stay(bench: Bench) -> None:
    whom = factories.someone()
    wire = bench.seal(factories.form(Case.CONTACT, whom))
    await bench.services.forgetting.forget(whom.email)
    await park_dead(bench.services, _dead(wire))
    assert bench.collection("parked") == []


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000])
async def test_a_dead_message_that_cannot_be_read_is_parked_whole(bench: Bench, raw: bytes) -> None:
    await park_dead(bench.services, DeadLetter("submissions", "r-1", "Boom", raw))
    assert bench.reasons() == ["Boom"]


# --- letters and erasure --------------------------------------------------------------------------------------------


async def test_letters_about_a_person_go_with_them_and_others_stay(bench: Bench) -> None:
    whom, other = factories.someone(), factories.someone()
    for person in (whom, other):
        event = factories.form(Case.CONTACT, person)
        await bench.send(event)
        await bench.send(factories.form(Case.CONTACT, person, event_id=event.id, first_name="Otherwise"))
    await bench.services.forgetting.forget(whom.email)
    (letter,) = bench.collection("parked")
    assert (await bench.services.parked.content(letter["_id"], bench.clock()) or b"").find(other.email.encode()) > 0
    destroyed = [key for key in bench.collection("keys", "keys") if "destroyed_at" in key]
    assert sorted(key["_id"].partition("/")[2] for key in destroyed) == [ACTIVE, ARCHIVE, PARKED]


async def test_a_letters_id_says_nothing_to_who_guesses_its_content(bench: Bench) -> None:
    """It outlives the letter, in the key that was destroyed. Source: R19."""
    raw = b"a guess at what somebody wrote"
    await park_poison(bench.services, Poison.of("submissions", b"r-1", raw, code="not_json"))
    (letter,) = bench.collection("parked")
    plain = hashlib.sha256(b"\0".join((b"", b"not_json", raw))).hexdigest()
    assert letter["_id"] != plain[:40]


async def test_an_erased_letter_is_not_written_again(bench: Bench) -> None:
    whom = factories.someone()
    event = factories.form(Case.CONTACT, whom)
    letter = letter_of(bench.services, read_event(bench.services, "submissions", 0, event), "boom")
    await park(bench.services, [letter])
    await bench.services.forgetting.forget(whom.email)
    await park(bench.services, [letter])
    assert bench.collection("parked") == []


async def test_a_contact_about_somebody_erased_waits_for_staff_sealed(bench: Bench) -> None:
    """Source: design § 4: parked for staff, who may admit it with a ground; the next erasure takes it."""
    whom = factories.someone()
    await bench.services.forgetting.forget(whom.email)
    await bench.send(factories.contact(Case.CLIENT, whom, received=bench.services.clock()))
    (letter,) = bench.collection("parked")
    assert letter["reason"] == ERASED
    assert not [text for text in whom.canaries if text.encode() in encode(letter)]
    assert bench.collection("submissions") == bench.collection("persons") == []
    await bench.services.forgetting.forget(whom.email)
    assert bench.collection("parked") == []
