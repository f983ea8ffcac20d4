"""The examples an office starts from are sound, and the manual says what the program does."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.stores.subsidiaries.mapping import Mapping, StoreKind, load_mapping
from workers.subsidiary_settings import SubsidiarySettings

ROOT = Path(__file__).parents[3]
MANUAL = (ROOT / "docs" / "subsidiary.md").read_text()


@pytest.mark.parametrize("kind", list(StoreKind))
def test_an_example_is_a_sound_mapping(kind: StoreKind) -> None:
    mapping = load_mapping(ROOT / "docs" / "examples" / f"subsidiary-{kind}.yaml")
    assert mapping.store.kind is kind
    assert len(mapping.collections) >= 3


def test_the_examples_show_every_key_of_a_collection() -> None:
    shown: set[str] = set()
    for kind in StoreKind:
        mapping: Mapping = load_mapping(ROOT / "docs" / "examples" / f"subsidiary-{kind}.yaml")
        for entry in mapping.collections.values():
            shown |= entry.model_fields_set
    assert shown >= {
        *("found_by", "owned_by", "one_person_by", "fresh_by", "fields", "erasure", "retention", "objection"),
        *("mentions", "basis", "provided", "withdrawal", "rectification", "composed", "restriction"),
    }


def test_the_manual_names_every_setting() -> None:
    for name in SubsidiarySettings.model_fields:
        variable = f"GREFFIER_{name.upper()}"
        assert variable in MANUAL or variable.replace("GREFFIER_METRICS", "") in MANUAL, variable


def test_the_manual_names_every_reason_of_a_refusal() -> None:
    actors = ROOT / "workers" / "actors"
    said = (actors / "subsidiary.py").read_text() + (actors / "disposals.py").read_text()
    said += "".join(path.read_text() for path in (ROOT / "workers" / "stores" / "subsidiaries").glob("*.py"))
    for reason in ("shared-address", "constraint", "store-forbids", "store-rejects", "schema-mismatch"):
        assert reason in said
        assert reason in MANUAL
    for reason in ("copy-too-large", "not-understood", "store-error", "no-retention", "unknown-rule", "not-supported"):
        assert reason in said
        assert reason in MANUAL
    for reason in ("day-to-come", "no-basis", "no-rectification", "no-restriction", "no-acceptance"):
        assert reason in said
        assert reason in MANUAL
