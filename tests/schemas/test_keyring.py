"""The keys of an installation: made once, read by the process they are for, named when they are broken."""

from __future__ import annotations

import stat
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from schemas import keyring
from schemas.commands import keys_app
from schemas.errors import ConfigurationError
from schemas.party_keys import read_party, read_subsidiaries
from schemas.subject import References, ReferenceUse

TODAY = date(2026, 11, 22)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keyring.generate_keys(tmp_path / "keys")
    return tmp_path / "keys"


def test_keys_are_readable_by_their_owner_only_and_never_overwritten(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {"transit.private.json", "wrapping.json", "party.private.json"} <= {path.name for path in files}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o400}
    before = {path: path.read_bytes() for path in files}
    with pytest.raises(FileExistsError):
        keyring.generate_keys(folder)
    assert {path: path.read_bytes() for path in files} == before


def test_a_door_s_folder_holds_nothing_that_opens(folder: Path) -> None:
    names = {path.name for path in (folder / "door").iterdir()}
    assert names == {
        "transit.public.json",
        "publisher.private.json",
        "api-keys.json",
        "idempotency.key",
        "tokens.public.json",
    }


READERS = {
    "transit.private.json": keyring.read_opener,
    "publishers.public.json": keyring.read_opener,
    "wrapping.json": keyring.read_wrapping_keys,
    "lookup.key": keyring.read_references,
}


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"keys": [{"kid": "a", "id": "b", "private": "!"}]}', "\0", "7"])
@pytest.mark.parametrize("name", READERS)
def test_a_broken_key_file_is_named_and_not_quoted(folder: Path, name: str, content: str) -> None:
    path = folder / "controller" / name
    path.chmod(0o600)
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=name):
        READERS[name](path.parent)


def test_a_missing_key_file_is_named(folder: Path) -> None:
    (folder / "controller" / "wrapping.json").unlink()
    with pytest.raises(ConfigurationError, match=r"wrapping\.json"):
        keyring.read_wrapping_keys(folder / "controller")


def test_an_api_key_is_known_by_its_digest_and_scoped(folder: Path) -> None:
    token, entry = keyring.new_api_key(("greffier.contact.*",), ("https://crm.example.com*",))
    keyring.add_api_key(folder / "door", entry)
    assert token.split("_", 2)[2] not in (folder / "door" / "api-keys.json").read_text()
    known = keyring.read_api_keys(folder / "door")
    found = known.find(token, TODAY)
    assert found is not None
    assert found.allows("greffier.contact.client", "https://crm.example.com/eu")
    assert not found.allows("greffier.form.contact", "https://crm.example.com")
    assert not found.allows("greffier.contact.client", "https://other.example.com")


SPOILS: list[Callable[[str], str]] = [
    *(lambda t: t[:-1], lambda t: t + "x", lambda _: "", lambda _: "gk__", lambda _: "gk_a", lambda _: "é" * 40),
    lambda t: t.replace("gk_", "xx_"),
]


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_wrong_token_is_nobody_s(folder: Path, spoil: Callable[[str], str]) -> None:
    token, entry = keyring.new_api_key()
    keyring.add_api_key(folder / "door", entry)
    assert keyring.read_api_keys(folder / "door").find(spoil(token), TODAY) is None


def test_a_revoked_or_expired_key_is_nobody_s(folder: Path) -> None:
    token, entry = keyring.new_api_key()
    keyring.add_api_key(folder / "door", entry)
    assert keyring.revoke_api_key(folder / "door", entry.id)
    assert not keyring.revoke_api_key(folder / "door", "unknown")
    assert keyring.read_api_keys(folder / "door").find(token, TODAY) is None
    assert not keyring.ApiKey("a", "b", expires="2026-11-21").usable(TODAY)
    assert keyring.ApiKey("a", "b", expires="2026-11-22").usable(TODAY)


def test_the_commands_make_add_and_revoke(tmp_path: Path) -> None:
    run = CliRunner().invoke
    assert run(keys_app, ["generate", str(tmp_path / "k")]).exit_code == 0
    assert run(keys_app, ["generate", str(tmp_path / "k")]).exit_code == 1
    token = run(keys_app, ["api-key", str(tmp_path / "k/door"), "--type", "greffier.contact.client"]).stdout.strip()
    found = keyring.read_api_keys(tmp_path / "k/door").find(token, TODAY)
    assert found is not None
    assert found.types == ("greffier.contact.client",)
    assert run(keys_app, ["revoke", str(tmp_path / "k/door"), found.id]).exit_code == 0
    assert run(keys_app, ["revoke", str(tmp_path / "k/door"), "nobody"]).exit_code == 1


def test_a_subsidiary_is_made_known_to_controller_and_counter(folder: Path, tmp_path: Path) -> None:
    run, office = CliRunner().invoke, tmp_path / "office"
    assert run(keys_app, ["subsidiary", str(folder), "gb", "-o", str(office)]).exit_code == 0
    own = read_party(office).signing.kid
    for place in ("controller", "counter"):
        known = read_subsidiaries(folder / place)
        assert list(known) == ["gb"]
        assert set(known["gb"].verifying) == {own}
    assert run(keys_app, ["subsidiary", str(folder), "gb", "-o", str(office)]).exit_code == 1
    assert read_party(office).signing.kid == own, "keys are never overwritten"


def test_one_address_has_another_reference_for_each_use(folder: Path) -> None:
    """What one store knows cannot be joined with what another knows."""
    references = keyring.read_references(folder / "controller")
    found = {references.of_email(use, "Ada@example.com") for use in ReferenceUse}
    assert len(found) == len(ReferenceUse)
    assert references.of_email(ReferenceUse.LOOKUP, "ada@example.com") in found
    with pytest.raises(ValueError, match="32 bytes"):
        References(b"short")


def test_the_suppression_list_gets_a_further_key_and_keeps_those_it_had(folder: Path) -> None:
    controller, address = folder / "controller", "ada@example.com"
    before = keyring.read_references(controller)
    keyring.rotate_suppression_key(controller)
    keyring.rotate_suppression_key(controller)
    after = keyring.read_references(controller)
    assert len(set(after.suppression(address))) == 3
    assert after.suppression(address)[-1:] == before.suppression(address)
    assert after.of_email(ReferenceUse.LOOKUP, address) == before.of_email(ReferenceUse.LOOKUP, address)
    assert (controller / "lookup.key").stat().st_mode & 0o777 == 0o400
