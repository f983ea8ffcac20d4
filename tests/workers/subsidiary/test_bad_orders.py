"""No order but the controller's own, to us, in time, has any effect; what is refused is noted and never answered."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import OKPKey

from schemas.jose import Keys, seal
from schemas.keyfiles import read_json, write_json
from schemas.orders import ORDER_LIFETIME, RECEIPT
from schemas.party_keys import as_peer, new_party, read_party, read_subsidiaries
from schemas.terms import Right
from tests.workers.subsidiary.conftest import OpenOffice
from tests.workers.subsidiary.controller import CODE, ControllerSide, entry
from tests.workers.subsidiary.kits import SqliteKit
from workers.actors.subsidiary import serve_order
from workers.office import RefusedLog

ANNA = "anna@example.com"
NOW = datetime.now(UTC)


def b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def parts_of(signed: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    header, payload, signature = signed.split(".")
    return _json(header), _json(payload), signature


def _json(part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=="))
    return found


def with_header(side: ControllerSide, **changes: Any) -> str:
    """An order whose header says something else, signed anew over it by the controller's own key where that helps."""
    header, payload, _ = parts_of(side.sign({"entries": [entry(ANNA)]}))
    head = b64(json.dumps({**header, **changes}).encode())
    body = b64(json.dumps(payload).encode())
    signature = side.keys.signing.private_key.sign(f"{head}.{body}".encode())
    return side.seal(f"{head}.{body}.{b64(signature)}")


def unsigned(side: ControllerSide) -> str:
    header, payload, _ = parts_of(side.sign({"entries": [entry(ANNA)]}))
    head = b64(json.dumps({**header, "alg": "none"}).encode())
    return side.seal(f"{head}.{b64(json.dumps(payload).encode())}.")


def hs256_with_the_public_key(side: ControllerSide) -> str:
    header, payload, _ = parts_of(side.sign({"entries": [entry(ANNA)]}))
    head = b64(json.dumps({**header, "alg": "HS256"}).encode())
    body = b64(json.dumps(payload).encode())
    public = side.keys.signing.public_key.public_bytes_raw()
    return side.seal(f"{head}.{body}.{b64(hmac.digest(public, f'{head}.{body}'.encode(), 'sha256'))}")


def altered(side: ControllerSide) -> str:
    header, payload, signature = parts_of(side.sign({"entries": [entry("bob@example.org")]}))
    payload["entries"][0]["person"]["emails"] = [ANNA]
    return side.seal(f"{b64(json.dumps(header).encode())}.{b64(json.dumps(payload).encode())}.{signature}")


def by_another(side: ControllerSide, party: str = "controller") -> Keys:
    """Somebody else's keys under the controller's name."""
    made = new_party(party)
    return Keys(party, made.signing, made.opening)


def under_the_right_kid(side: ControllerSide) -> str:
    stranger = by_another(side)
    kid = side.keys.signing.kid
    signing = OKPKey.import_key({**stranger.signing.as_dict(private=True), "kid": kid})
    return side.token(entry(ANNA), keys=Keys("controller", signing, stranger.opening))


def embedded(side: ControllerSide) -> str:
    stranger = by_another(side)
    header, payload, _ = parts_of(side.sign({"entries": [entry(ANNA)]}))
    head = b64(json.dumps({**header, "jwk": stranger.signing.as_dict(private=False)}).encode())
    body = b64(json.dumps(payload).encode())
    return side.seal(f"{head}.{body}.{b64(stranger.signing.private_key.sign(f'{head}.{body}'.encode()))}")


def sealed_to_another(side: ControllerSide) -> str:
    other = read_subsidiaries(side.parties / "controller")["us"]
    return seal(side.sign({"entries": [entry(ANNA)]}).encode(), other)


def signed_by_a_subsidiary(side: ControllerSide) -> str:
    return side.token(entry(ANNA), keys=read_party(side.parties / CODE))


BAD: dict[str, tuple[Callable[[ControllerSide], object], str]] = {
    "forged by a stranger": (lambda side: side.token(entry(ANNA), keys=by_another(side)), "unknown_key"),
    "forged under the controller's kid": (under_the_right_kid, "bad_signature"),
    "signed by the subsidiary itself": (signed_by_a_subsidiary, "unknown_key"),
    "altered": (altered, "bad_signature"),
    "expired": (lambda side: side.token(entry(ANNA), now=NOW - ORDER_LIFETIME - timedelta(seconds=1)), "expired"),
    "dated in the future": (lambda side: side.token(entry(ANNA), now=NOW + timedelta(hours=1)), "from_the_future"),
    "valid for a year": (lambda side: side.token(entry(ANNA), lifetime=timedelta(days=365)), "lives_too_long"),
    "for another subsidiary": (lambda side: side.token(entry(ANNA), audience="us"), "wrong_audience"),
    "sealed to another subsidiary": (sealed_to_another, "bad_seal"),
    "alg none": (unsigned, "bad_signature"),
    "HS256 with the public key": (hs256_with_the_public_key, "bad_signature"),
    "an embedded key": (embedded, "bad_signature"),
    "crit": (lambda side: with_header(side, crit=["exp"]), "bad_signature"),
    "jku": (lambda side: with_header(side, jku="https://example.com/keys"), "bad_signature"),
    "a path as kid": (lambda side: with_header(side, kid="../../controller"), "unknown_key"),
    "typ of a receipt": (lambda side: side.token(entry(ANNA), kind=RECEIPT), "wrong_kind"),
    "no entries": (lambda side: side.token(), "malformed_order"),
    "501 entries": (lambda side: side.token(*[entry(ANNA)] * 501), "malformed_order"),
    "a claim too many": (lambda side: side.seal(side.sign({"entries": [entry(ANNA)], "sub": "x"})), "malformed_order"),
    "an address as jti": (
        lambda side: side.seal(side.sign({"entries": [entry(ANNA)], "jti": ANNA})),
        "not_in_normal_form",
    ),
    "not a token": (lambda side: "x" * 50, "bad_seal"),
    "not even text": (lambda side: {"token": ANNA}, "malformed_token"),
    "too large": (lambda side: "x" * (5 << 20), "too_large"),
    "bytes that are no token": (lambda side: side.seal(b"\xff\xfe"), "malformed_token"),
}


@pytest.mark.parametrize(("make", "reason"), BAD.values(), ids=BAD.keys())
async def test_a_bad_order_has_no_effect_and_leaves_a_trace_without_its_content(
    make: Callable[[ControllerSide], object],
    reason: str,
    sqlite_kit: SqliteKit,
    open_office: OpenOffice,
    controller: ControllerSide,
    tmp_path: Path,
) -> None:
    await sqlite_kit.insert("leads", {"id": 1, "email": ANNA, "name": "Anna"})
    office = await open_office(sqlite_kit)
    token = make(controller)
    await serve_order(office, token)
    assert not controller.receipts().claims
    assert (await sqlite_kit.rows("leads"))[0]["name"] == "Anna"
    (line,) = (tmp_path / "refused").read_text().splitlines()
    assert json.loads(line)["reason"] == reason
    assert "anna" not in line
    if isinstance(token, str):
        assert json.loads(line)["digest"] == hashlib.sha256(token.encode()).hexdigest()
    assert len(office.journal) == 0


async def test_the_same_order_unspoilt_is_served(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    """What the cases above differ from."""
    await sqlite_kit.insert("leads", {"id": 1, "email": ANNA, "name": "Anna"})
    await serve_order(await open_office(sqlite_kit), controller.token(entry(ANNA)))
    assert [one["outcome"] for one in controller.receipts().entries] == ["done"]
    assert (await sqlite_kit.rows("leads"))[0]["name"] is None


async def test_a_replayed_order_is_answered_alike_and_does_nothing_more(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    await sqlite_kit.insert("leads", {"id": 1, "email": ANNA, "name": "Anna"})
    token = controller.token(entry(ANNA))
    await serve_order(await open_office(sqlite_kit), token)
    await sqlite_kit.insert("leads", {"id": 2, "email": ANNA, "name": "came back"})
    await serve_order(await open_office(sqlite_kit), token)
    first, second = controller.receipts().entries
    assert first == second
    assert (await sqlite_kit.rows("leads"))[1]["name"] == "came back"


async def test_one_bad_entry_harms_no_neighbour(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide, tmp_path: Path
) -> None:
    anna, bob = ({"id": at, "email": email, "name": "Somebody"} for at, email in enumerate((ANNA, "bob@example.org")))
    await sqlite_kit.insert("leads", anna, bob)
    good = entry(ANNA)
    lifted = {**entry("bob@example.org"), "ask": "lift"}
    unknown_right = {**entry("bob@example.org"), "right": "oblivion"}
    of_nothing = entry("bob@example.org", right=Right.RECTIFICATION)
    foreign = entry("bob@example.org", code="us")
    nameless = {"task": f"R-1/{CODE}", "attempt": "one"}
    await serve_order(
        await open_office(sqlite_kit),
        controller.token(
            unknown_right, of_nothing, lifted, foreign, nameless, good, {**entry(ANNA), "person": {"emails": []}}
        ),
    )
    receipts = controller.receipts()
    assert receipts.of(good["task"])[0]["outcome"] == "done"
    assert receipts.of(unknown_right["task"])[0]["reason"] == "not-understood"
    assert receipts.of(of_nothing["task"])[0]["reason"] == "not-understood", "a correction says of what"
    assert receipts.of(lifted["task"])[0]["reason"] == "not-understood", "an erasure is not lifted"
    assert "bob@example.org" in [row["email"] for row in await sqlite_kit.rows("leads")]
    assert not receipts.of(foreign["task"])
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "refused").read_text().splitlines()]
    assert reasons == ["not_ours", "malformed_entry"]


async def test_a_key_rotated_in_the_middle_is_good_until_it_is_taken_out(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide
) -> None:
    office = await open_office(sqlite_kit)
    old, new = controller.keys, new_party("controller")
    known = controller.parties / CODE / "controller.public.json"

    def know(*keys: Keys) -> None:
        peers = [as_peer(one) for one in keys]
        write_json(known, {**peers[-1], "verifying": [one["verifying"][0] for one in peers]})

    async def answered(keys: Keys) -> bool:
        before = len(controller.receipts().entries)
        await serve_order(office, controller.token(entry(ANNA), keys=keys))
        return len(controller.receipts().entries) > before

    assert not await answered(new)
    know(new, old)  # sealing stays the old one's, so that this test can open what comes back
    assert await answered(new)
    assert await answered(old)
    replaced = read_json(known)
    write_json(known, {**replaced, "verifying": replaced["verifying"][:1]})
    assert not await answered(old)
    assert await answered(new)
    known.unlink()
    assert await answered(new)  # as it was known while its file cannot be read


async def test_the_refused_log_cannot_fill_the_disk(
    sqlite_kit: SqliteKit, open_office: OpenOffice, controller: ControllerSide, tmp_path: Path
) -> None:
    log = RefusedLog(tmp_path / "small", largest=500)
    for _ in range(100):
        log.note(NOW, "bad_seal", "0" * 64)
    kept = sorted(path.name for path in tmp_path.glob("small*"))
    assert kept == ["small", "small.1"]
    assert all((tmp_path / name).stat().st_size <= 500 for name in kept)
