"""The sample group on machines with Node and without: one office is served over HTTP, or says that it is not."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from schemas.keyring import generate_keys
from schemas.register import load_register
from schemas.terms import SubsidiaryKind
from workers import sample_group
from workers.sample_group import IN_NODE, found_group, has_node
from workers.stores import samples


def node_saying(folder: Path, version: str) -> str:
    """A ``PATH`` with a program called node that tells this version."""
    folder.mkdir()
    node = folder / "node"
    node.write_text(f"#!/bin/sh\necho {version}\n")
    node.chmod(stat.S_IRWXU)
    return str(folder)


@pytest.mark.parametrize(
    ("version", "serves"), [("v20.1.0", True), ("v24.0.0", True), ("v18.19.0", False), ("", False), ("nonsense", False)]
)
def test_which_node_can_run_the_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, serves: bool
) -> None:
    monkeypatch.setenv("PATH", node_saying(tmp_path / "bin", version))
    assert has_node() is serves


def test_no_node_no_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not has_node()


def test_with_node_one_office_is_served_over_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate_keys(tmp_path / "keys")
    monkeypatch.setattr(sample_group, "has_node", lambda: True)
    register, offices = found_group(tmp_path)
    assert load_register(register).served(SubsidiaryKind.HTTP) == (IN_NODE,)
    assert {code: office.over_http for code, office in offices.items()} == {"de": False, "us": False, IN_NODE: True}
    samples.fill_contacts(offices[IN_NODE].database, "Ada Sample", "ada@example.com")
    found_group(tmp_path)
    assert samples.contacts_in(offices[IN_NODE].database, "ada@example.com") == 1, "what stands there stays"

    monkeypatch.setattr(sample_group, "has_node", lambda: False)
    with pytest.raises(ConfigurationError, match="Node 20"):
        found_group(tmp_path)


def test_without_node_a_worker_serves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate_keys(tmp_path / "keys")
    monkeypatch.setattr(sample_group, "has_node", lambda: False)
    register, offices = found_group(tmp_path)
    assert load_register(register).served(SubsidiaryKind.HTTP) == ()
    assert not any(office.over_http for office in offices.values())
    monkeypatch.setattr(sample_group, "has_node", lambda: True)
    assert not any(office.over_http for office in found_group(tmp_path)[1].values()), "the folder goes on as it began"
