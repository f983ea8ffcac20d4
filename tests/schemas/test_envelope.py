"""A sealed batch: who holds the queue reads nobody, changes nothing and adds nothing."""

from __future__ import annotations

import base64
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from schemas.envelope import MAX_EVENTS, Event, Opener, Sealer
from schemas.errors import InvalidMessage
from schemas.keyring import generate_keys, read_opener, read_sealer

BODY = json.dumps({"email": "ada.quillfeather@example.com"}).encode()
RECEIVED = "2026-11-22T08:00:00.000Z"


def event(number: int = 0, **changes: Any) -> Event:
    plain = {"id": f"e{number}", "source": "/forms/contact", "type": "greffier.form.contact"}
    return Event(**{**plain, "recordedtime": RECEIVED, "body": BODY, **changes})


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installation") / "keys"
    generate_keys(folder)
    return folder


@pytest.fixture(scope="module")
def sealer(keys: Path) -> Sealer:
    return read_sealer(keys / "door")


@pytest.fixture(scope="module")
def opener(keys: Path) -> Opener:
    return read_opener(keys / "controller")


def test_what_was_sealed_is_opened_as_it_was(sealer: Sealer, opener: Opener) -> None:
    events = (event(0), event(1, time="2026-11-22T07:00:00.000Z", traceparent=f"00-{'a' * 32}-{'b' * 16}-01"))
    opened = opener.open(json.loads(json.dumps(sealer.seal("b1", "d1", 7, events))))
    assert opened.events == events
    assert (opened.id, opened.door, opened.seq) == ("b1", "d1", 7)


def test_members_in_another_order_are_the_same_batch(sealer: Sealer, opener: Opener) -> None:
    wire = sealer.seal("b1", "d1", 7, [event(time="2026-11-22T07:00:00.000Z")])
    turned = {name: wire[name] for name in reversed(wire)}
    turned["events"] = [dict(reversed(attributes.items())) for attributes in wire["events"]]
    assert opener.open(turned) == opener.open(wire)


def test_the_wire_shows_ids_and_no_person(sealer: Sealer) -> None:
    wire = json.dumps(sealer.seal("b1", "d1", 1, [event()]))
    assert '"id": "e0"' in wire
    assert "quillfeather" not in wire
    assert base64.b64encode(BODY).decode()[:20] not in wire


def test_the_event_s_own_time_never_passes_its_arrival() -> None:
    assert event(time="2027-01-01T00:00:00.000Z").happened == RECEIVED
    assert event(time="2025-01-01T00:00:00.000Z").happened == "2025-01-01T00:00:00.000Z"


ATTRIBUTES = ("id", "kid", "publisher", "door", "seq", "events/0/id", "events/0/source", "events/0/type")


@pytest.mark.parametrize("path", [*ATTRIBUTES, "events/0/recordedtime", "sealed", "signature"])
def test_one_changed_attribute_or_byte_and_it_does_not_open(sealer: Sealer, opener: Opener, path: str) -> None:
    wire = sealer.seal("b1", "d1", 1, [event()])
    altered = copy.deepcopy(wire)
    *way, last = path.split("/")
    target: Any = altered
    for step in way:
        target = target[int(step) if step.isdigit() else step]
    value = target[last]
    target[last] = value + 1 if isinstance(value, int) else _other(last, value)
    with pytest.raises(InvalidMessage):
        opener.open(altered)


def _other(name: str, value: str) -> str:
    if name in ("sealed", "signature"):
        raw = bytearray(base64.b64decode(value))
        raw[len(raw) // 2] ^= 1
        return base64.b64encode(raw).decode()
    if name == "recordedtime":
        return "2026-11-22T08:00:00.001Z"
    return value + "x"


def test_a_seal_by_a_stranger_is_not_opened(opener: Opener, tmp_path: Path) -> None:
    """Sealing needs only a public key; what makes a publisher is his signature."""
    generate_keys(tmp_path / "other")
    with pytest.raises(InvalidMessage, match="unknown_publisher"):
        opener.open(read_sealer(tmp_path / "other" / "door").seal("b", "d", 1, [event()]))


def test_a_key_that_was_destroyed_opens_nothing(sealer: Sealer, keys: Path) -> None:
    publishers = json.loads((keys / "controller" / "publishers.public.json").read_text())["keys"]
    known = {key["id"]: Ed25519PublicKey.from_public_bytes(base64.b64decode(key["public"])) for key in publishers}
    with pytest.raises(InvalidMessage, match="unknown_transit_key"):
        Opener({}, known).open(sealer.seal("b", "d", 1, [event()]))


NO_BATCH: list[Any] = [
    *(None, [], "batch", 7, {}, {"v": 1}, {"v": 2}, {"sealed": ""}, {"events": []}, {"events": "x"}, {"extra": 1}),
    *({"seq": 0}, {"seq": True}, {"seq": "1"}, {"sealed": "not base64"}, {"sealed": "AAAA" * 200_000}),
    *({"signature": ""}, {"events": [{"id": "e"}]}, {"kid": "../../etc/passwd"}),
]


@pytest.mark.parametrize("wire", NO_BATCH)
def test_what_is_no_batch_is_told_by_a_code(sealer: Sealer, opener: Opener, wire: Any) -> None:
    whole = sealer.seal("b1", "d1", 1, [event()])
    with pytest.raises(InvalidMessage) as refused:
        opener.open({**whole, **wire} if isinstance(wire, dict) and wire and wire != {"v": 1} else wire)
    assert refused.value.code in ("malformed_batch", "bad_signature", "unknown_transit_key")


def test_a_batch_of_none_or_too_many_is_not_made(sealer: Sealer) -> None:
    for events in ([], [event(n) for n in range(MAX_EVENTS + 1)]):
        with pytest.raises(ValueError, match="a batch holds"):
            sealer.seal("b", "d", 1, events)


def test_a_file_opens_only_where_it_belongs(sealer: Sealer, opener: Opener) -> None:
    sealed = sealer.seal_file("f1", event().key, b"curriculum vitae")
    assert opener.open_file(sealed, "f1", event().key) == b"curriculum vitae"
    assert b"vitae" not in sealed
    for file_id, key in (("f2", event().key), ("f1", event(1).key)):
        with pytest.raises(InvalidMessage, match="bad_seal"):
            opener.open_file(sealed, file_id, key)
    for broken in (b"", b"\xff", sealed[:20], sealed[:-1]):
        with pytest.raises(InvalidMessage):
            opener.open_file(broken, "f1", event().key)
