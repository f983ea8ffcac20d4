"""Keys of the parties that sign orders and receipts, and of the tokens that people are mailed.

=============================== ============= ==========================================================
file                            held by       what it can do
=============================== ============= ==========================================================
party.private.json              each party    sign as itself, open what is sealed to it
subsidiaries.public.json        controller,   check receipts, seal orders; per subsidiary code
                                counter       tell who calls
controller.public.json          subsidiaries  check orders, seal receipts
journal.key                     subsidiaries  keyed hashes of the journal of what was erased
tokens.private.json             controller,   make the tokens that are mailed to people
                                desk
tokens.public.json              door          tell a forged token; cannot make one
=============================== ============= ==========================================================

Source: P7; design § 3 "Orders and receipts", § 5 "Tokens".
"""

from __future__ import annotations

import base64
import secrets
from pathlib import Path
from typing import Any

from joserfc.jwk import OKPKey

from schemas.jose import Keys, Peer
from schemas.keyfiles import naming, read_json, read_text, write_json, write_text
from schemas.orders import CONTROLLER

_PRIVATE = "party.private.json"
_PEERS = "subsidiaries.public.json"
_CONTROLLER = "controller.public.json"


def new_party(party: str) -> Keys:
    """Fresh keys of one party."""
    name = f"{party}-{secrets.token_hex(4)}"
    return Keys(
        party,
        OKPKey.generate_key("Ed25519", parameters={"kid": f"{name}-sign"}),
        OKPKey.generate_key("X25519", parameters={"kid": f"{name}-open"}),
    )


def as_peer(keys: Keys) -> dict[str, Any]:
    """What others need of a party, as JSON members."""
    return {
        "party": keys.party,
        "verifying": [keys.signing.as_dict(private=False)],
        "sealing": keys.opening.as_dict(private=False),
    }


def generate_controller_party(door: Path, controller: Path) -> None:
    """The controller's own keys, an empty list of subsidiaries, and the key of people's tokens."""
    _write_party(controller / _PRIVATE, new_party(CONTROLLER))
    write_json(controller / _PEERS, {"subsidiaries": {}})
    tokens = OKPKey.generate_key("Ed25519", parameters={"kid": f"tokens-{secrets.token_hex(4)}"})
    write_json(controller / "tokens.private.json", tokens.as_dict(private=True))
    write_json(door / "tokens.public.json", {"keys": [tokens.as_dict(private=False)]})


def add_subsidiary(controller: Path, folder: Path, code: str) -> None:
    """Make a subsidiary's keys in ``folder`` (new), and make the two known to each other.

    Raises FileExistsError where the folder is there: a subsidiary's keys are never overwritten.
    """
    folder.mkdir(parents=True, mode=0o700)
    keys = new_party(code)
    _write_party(folder / _PRIVATE, keys)
    write_text(folder / "journal.key", base64.b64encode(secrets.token_bytes(32)).decode())
    write_json(folder / _CONTROLLER, as_peer(read_party(controller)))
    known = {**read_json(controller / _PEERS)["subsidiaries"], code: as_peer(keys)}
    write_json(controller / _PEERS, {"subsidiaries": known})
    counter = controller.with_name("counter")
    if counter.is_dir():
        write_json(counter / _PEERS, {"subsidiaries": known})


def _write_party(path: Path, keys: Keys) -> None:
    private = {"signing": keys.signing.as_dict(private=True), "opening": keys.opening.as_dict(private=True)}
    write_json(path, {"party": keys.party, **private})


def read_party(folder: Path) -> Keys:
    """A party's own keys. Raises :class:`schemas.errors.ConfigurationError`."""
    with naming(_PRIVATE):
        found = read_json(folder / _PRIVATE)
        return Keys(found["party"], OKPKey.import_key(found["signing"]), OKPKey.import_key(found["opening"]))


def read_subsidiaries(controller: Path) -> dict[str, Peer]:
    """The subsidiaries a controller (or counter) knows, by code. Raises :class:`schemas.errors.ConfigurationError`."""
    with naming(_PEERS):
        return {code: _peer(found) for code, found in read_json(controller / _PEERS)["subsidiaries"].items()}


def read_controller(subsidiary: Path) -> Peer:
    """The controller as a subsidiary knows it. Raises :class:`schemas.errors.ConfigurationError`."""
    return read_peer(subsidiary / _CONTROLLER)


def read_peer(path: Path) -> Peer:
    """One party as others know it. Raises :class:`schemas.errors.ConfigurationError`."""
    with naming(path.name):
        return _peer(read_json(path))


def read_peers(path: Path) -> list[Peer]:
    """One party, or all subsidiaries: whatever file of public keys it is. Raises like :func:`read_peer`."""
    with naming(path.name):
        found = read_json(path)
        return [_peer(one) for one in found.get("subsidiaries", {"": found}).values()]


def read_journal_key(subsidiary: Path) -> bytes:
    """Raises :class:`schemas.errors.ConfigurationError`."""
    with naming("journal.key"):
        return base64.b64decode(read_text(subsidiary / "journal.key"), validate=True)


def read_token_key(controller: Path) -> OKPKey:
    """What makes people's tokens."""
    with naming("tokens.private.json"):
        return OKPKey.import_key(read_json(controller / "tokens.private.json"))


def read_token_keys(door: Path) -> dict[str, OKPKey]:
    """What tells a forged token, by key id."""
    with naming("tokens.public.json"):
        keys = [OKPKey.import_key(key) for key in read_json(door / "tokens.public.json")["keys"]]
        return {str(key.kid): key for key in keys}


def _peer(found: dict[str, Any]) -> Peer:
    verifying = [OKPKey.import_key(key) for key in found["verifying"]]
    return Peer(found["party"], {str(key.kid): key for key in verifying}, OKPKey.import_key(found["sealing"]))
