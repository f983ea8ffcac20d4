"""The keys of one installation, as files: which process holds which, how they are made and read.

======================== ========== ================================================================
file                     held by    what it can do
======================== ========== ================================================================
transit.public.json      door       seal a batch; cannot open one
publisher.private.json   door       sign as this publisher
api-keys.json            door       tell a publisher's key: only SHA-256 digests stand here
idempotency.key          door       derive event ids and fingerprints from ``Idempotency-Key``
transit.private.json     controller open batches; several while one is being rotated out
publishers.public.json   controller check publishers' signatures
lookup.key               controller derive every keyed reference (:class:`schemas.subject.References`); further
                                    lines: later keys of the suppression list, the current one last
wrapping.json            controller wrap the data keys of persons and cases; the first one is current
outside/                 counter    a door's files, which seal a request; and a controller's two, which open errands
errands/                 controller what seals errands to the counter
packages.json            controller, wrap the keys of access packages, and of nothing else; with
                         counter    ``tokens.public.json`` all that the counter has
======================== ========== ================================================================

Secrets are files of mode 0400, never environment values, arguments or database entries.
Source: design § 3, § 4 "Keys"; ASVS 13.3.1; crypto-and-evidence § 6.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from schemas.envelope import Opener, Sealer
from schemas.keyfiles import naming, read_json, read_text, write_json, write_text
from schemas.ledger_keys import generate_ledger_keys
from schemas.party_keys import generate_controller_party
from schemas.subject import References

SECRET_BYTES = 32
WRAPPING: Final = "wrapping.json"
PACKAGES: Final = "packages.json"
ERRANDS: Final = "errands"
"""The folder, in the controller's, of what seals to the counter what it is to ask of external processors."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A publisher's key as the door keeps it. ``types`` and ``sources``: patterns with ``*`` that it may publish."""

    id: str
    sha256: str
    types: tuple[str, ...] = ("greffier.contact.*",)
    sources: tuple[str, ...] = ("*",)
    expires: str | None = None
    revoked: bool = False

    def usable(self, today: date) -> bool:
        return not self.revoked and (self.expires is None or today <= date.fromisoformat(self.expires))

    def allows(self, event_type: str, source: str) -> bool:
        """Whether this key may publish an event of that type from that source."""
        return _matches(event_type, self.types) and _matches(source, self.sources)


def _matches(value: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(value, pattern) for pattern in patterns)


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """The publishers a door knows."""

    keys: Mapping[str, ApiKey] = field(default_factory=dict)

    def find(self, token: str, today: date) -> ApiKey | None:
        """The live key behind a bearer token ``gk_<id>_<secret>``, compared in constant time."""
        parts = token.split("_", 2)
        if len(parts) != 3 or parts[0] != "gk":
            return None
        key = self.keys.get(parts[1])
        digest = hashlib.sha256(parts[2].encode()).hexdigest()
        if not hmac.compare_digest(digest, key.sha256 if key else "0" * 64) or key is None:
            return None
        return key if key.usable(today) else None


def new_api_key(
    types: tuple[str, ...] = ("greffier.contact.*", "greffier.application.*"), sources: tuple[str, ...] = ("*",)
) -> tuple[str, ApiKey]:
    """A fresh token, shown once, and the entry that stands for it."""
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(SECRET_BYTES)
    return f"gk_{key_id}_{secret}", ApiKey(key_id, hashlib.sha256(secret.encode()).hexdigest(), types, sources)


def add_api_key(folder: Path, key: ApiKey) -> None:
    """Add one entry to the door's ``api-keys.json``."""
    _write_api_keys(folder, (*read_api_keys(folder).keys.values(), key))


def revoke_api_key(folder: Path, key_id: str) -> bool:
    """Mark a publisher's key as revoked; ``False`` when there is none of that id."""
    known = read_api_keys(folder).keys
    if key_id not in known:
        return False
    _write_api_keys(folder, (replace(key, revoked=key.revoked or key.id == key_id) for key in known.values()))
    return True


def _write_api_keys(folder: Path, keys: Iterable[ApiKey]) -> None:
    write_json(folder / "api-keys.json", {"keys": [asdict(key) for key in keys]})


def generate_keys(folder: Path) -> None:
    """Make every key of an installation under ``folder/door``, ``folder/controller`` and ``folder/counter``.

    Refuses (``FileExistsError``) to touch a folder that has keys: losing one loses what it protects.
    """
    door, controller, counter = folder / "door", folder / "controller", folder / "counter"
    for place in (door, controller, counter):
        place.mkdir(parents=True, mode=0o700)
    _new_transit(controller, door)
    write_json(controller / "publishers.public.json", {"keys": [_new_publisher(door, "door")]})
    write_json(door / "api-keys.json", {"keys": []})
    write_text(door / "idempotency.key", _b64(secrets.token_bytes(SECRET_BYTES)))
    write_text(controller / "lookup.key", _b64(secrets.token_bytes(SECRET_BYTES)))
    write_json(controller / WRAPPING, _new_wrapping("wrap"))
    generate_controller_party(door, controller)
    generate_ledger_keys(controller)
    for source, name in ((door, "tokens.public.json"), (controller, "subsidiaries.public.json")):
        write_text(counter / name, read_text(source / name))
    add_package_key(folder)


def add_package_key(folder: Path) -> None:
    """Make the key of access packages for controller and counter, and take from the counter what opened far more.

    For an installation that was made before packages had a key of their own. Raises FileExistsError where it has one.
    """
    controller, counter = folder / "controller", folder / "counter"
    if (controller / PACKAGES).exists():
        raise FileExistsError(controller / PACKAGES)
    made = _new_wrapping("packages")
    for place in (counter, controller):  # the controller's last: until it stands, this may be done again
        write_json(place / PACKAGES, made)
    (counter / WRAPPING).unlink(missing_ok=True)


def add_outside(folder: Path) -> Path:
    """Make the keys of ``folder/outside`` and what the controller needs to exchange letters with it; where they stand.

    Raises FileExistsError where there are some.
    """
    door, controller, outside = folder / "door", folder / "controller", folder / "outside"
    outside.mkdir(mode=0o700)
    write_json(outside / "transit.public.json", read_json(door / "transit.public.json"))
    write_json(outside / "api-keys.json", {"keys": []})
    write_text(outside / "idempotency.key", _b64(secrets.token_bytes(SECRET_BYTES)))
    known = read_json(controller / "publishers.public.json")["keys"]
    write_json(controller / "publishers.public.json", {"keys": [*known, _new_publisher(outside, "outside")]})
    (controller / ERRANDS).mkdir(mode=0o700)
    _new_transit(outside, controller / ERRANDS)
    write_json(outside / "publishers.public.json", {"keys": [_new_publisher(controller / ERRANDS, "errands")]})
    return outside


def _new_transit(opens: Path, seals: Path) -> None:
    """A pair of keys by which one folder's holder seals, and the other's opens."""
    kid, transit = f"transit-{secrets.token_hex(4)}", X25519PrivateKey.generate()
    write_json(seals / "transit.public.json", {"kid": kid, "public": _b64(transit.public_key().public_bytes_raw())})
    write_json(opens / "transit.private.json", {"keys": [{"kid": kid, "private": _b64(transit.private_bytes_raw())}]})


def _new_publisher(folder: Path, name: str) -> dict[str, str]:
    """What signs as a publisher of a new name; the entry by which it is known."""
    publisher, signer = f"{name}-{secrets.token_hex(4)}", Ed25519PrivateKey.generate()
    write_json(folder / "publisher.private.json", {"id": publisher, "private": _b64(signer.private_bytes_raw())})
    return {"id": publisher, "public": _b64(signer.public_key().public_bytes_raw())}


def _new_wrapping(name: str) -> dict[str, list[dict[str, str]]]:
    return {"keys": [{"kid": f"{name}-{secrets.token_hex(4)}", "key": _b64(secrets.token_bytes(SECRET_BYTES))}]}


def read_sealer(folder: Path) -> Sealer:
    """The door's sealing and signing keys."""
    transit, publisher = read_json(folder / "transit.public.json"), read_json(folder / "publisher.private.json")
    with naming("transit.public.json, publisher.private.json"):
        return Sealer(
            transit["kid"],
            X25519PublicKey.from_public_bytes(_unb64(transit["public"])),
            publisher["id"],
            Ed25519PrivateKey.from_private_bytes(_unb64(publisher["private"])),
        )


def read_opener(folder: Path) -> Opener:
    """The controller's opening and verifying keys."""
    transit, publishers = read_json(folder / "transit.private.json"), read_json(folder / "publishers.public.json")
    with naming("transit.private.json, publishers.public.json"):
        return Opener(
            {key["kid"]: X25519PrivateKey.from_private_bytes(_unb64(key["private"])) for key in transit["keys"]},
            {key["id"]: Ed25519PublicKey.from_public_bytes(_unb64(key["public"])) for key in publishers["keys"]},
        )


def read_references(folder: Path) -> References:
    """The controller's root of keyed references, and the later keys of the suppression list."""
    with naming("lookup.key"):
        root, *later = map(_unb64, read_text(folder / "lookup.key").split())
        return References(root, later)


def rotate_suppression_key(controller: Path) -> None:
    """Give the suppression list a new key; those before it stay, for what was written with them."""
    read_references(controller)  # never add to a file that cannot be read
    path = controller / "lookup.key"
    write_text(path, "\n".join([read_text(path), _b64(secrets.token_bytes(SECRET_BYTES))]) + "\n")


def read_wrapping_keys(folder: Path, name: str = WRAPPING) -> dict[str, bytes]:
    """Key-encryption keys by id, the current one first. ``name``: :data:`WRAPPING` or :data:`PACKAGES`."""
    entries = read_json(folder / name)
    with naming(name):
        found = {entry["kid"]: _unb64(entry["key"]) for entry in entries["keys"]}
        if not found or any(len(key) != SECRET_BYTES for key in found.values()):
            raise ValueError("no key of 32 bytes")
        return found


def read_api_keys(folder: Path) -> ApiKeys:
    """The door's list of publishers."""
    entries = read_json(folder / "api-keys.json")
    with naming("api-keys.json"):
        keys = [ApiKey(**{**e, "types": tuple(e["types"]), "sources": tuple(e["sources"])}) for e in entries["keys"]]
        return ApiKeys({key.id: key for key in keys})


def read_idempotency_key(folder: Path) -> bytes:
    """The door's secret for deriving ids and fingerprints."""
    with naming("idempotency.key"):
        return _unb64(read_text(folder / "idempotency.key"))


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _unb64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
