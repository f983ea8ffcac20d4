"""Whom we know outside is data; what is wrong in it is named at start, and no value is quoted."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from tests.workers.outside.conftest import DIRECTORY
from workers.outside.peers import FILE, Peers, read_peers


def peers(folder: Path, text: str) -> Peers:
    (folder / FILE).write_text(text)
    return read_peers(folder)


def test_a_directory_with_keys_of_both_kinds(tmp_path: Path) -> None:
    found = peers(tmp_path, DIRECTORY)
    assert found.drp
    assert list(found.drp.by_id) == ["AGENT_ONE", "AGENT_TWO"]
    assert found.drp.by_id["AGENT_ONE"].hosts == {"agent.example.org"}


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("id: AGENT_ONE", "id: agent-one", "drp.agents.0.id"),
        ("verify_key: ", "verify_key: xx", "drp.agents.0.verify_key: cannot be read"),
        ("web_url: https://agent.example.org/", "web_url: https://10.0.0.1/", "drp.agents.0.web_url"),
        ("web_url: https://agent.example.org/", "web_url: http://agent.example.org/", "drp.agents.0.web_url"),
        ("id: SAMPLE_BUSINESS, ", "", "drp.business.id: Field required"),
        ("public_url: https://rights.example.com", "", "public_url: Field required"),
        ("public_url:", "opengdpr: {}\npublic_url:", "opengdpr: Extra inputs are not permitted"),
        ("      name: Agent Two", "      callback_hosts: [127.0.0.1]", "drp.agents.1.callback_hosts.0"),
    ],
)
def test_what_cannot_be_used_stops_the_start_by_name(tmp_path: Path, old: str, new: str, named: str) -> None:
    assert old in DIRECTORY
    with pytest.raises(ConfigurationError, match=r"outside\.yaml: 1 fault") as caught:
        peers(tmp_path, DIRECTORY.replace(old, new, 1))
    assert named in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"outside\.yaml.*no such file"):
        read_peers(tmp_path)
