"""What is sealed or opened is gone with whoever asked: an order names 500 people, and is no small thing either."""

from __future__ import annotations

import gc
from pathlib import Path

from joserfc.jwe import CompactEncryption

from schemas.jose import open_sealed, seal
from schemas.party_keys import add_subsidiary, generate_controller_party, read_party, read_subsidiaries


def messages() -> int:
    """How many of the library's messages are still there, the collector apart. `isinstance` would ask dead proxies."""
    return sum(type(one) is CompactEncryption for one in gc.get_objects())


def test_nothing_of_a_large_message_waits_for_the_collector(tmp_path: Path) -> None:
    for folder in ("door", "controller"):
        (tmp_path / folder).mkdir()
    generate_controller_party(tmp_path / "door", tmp_path / "controller")
    add_subsidiary(tmp_path / "controller", tmp_path / "gb", "gb")
    peer, own, text = read_subsidiaries(tmp_path / "controller")["gb"], read_party(tmp_path / "gb"), b"x" * 200_000
    gc.collect()
    gc.disable()
    try:
        before = messages()
        assert open_sealed(seal(text, peer), own) == text
        assert messages() == before
    finally:
        gc.enable()
