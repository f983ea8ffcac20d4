"""The trials of the rights an office may leave out: who lies is found out, who refuses by name is graded on that.

Source: R14, R18, R28; docs/subsidiary.md "Conformance".
"""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from schemas.orders import LIFT, WISH
from tests.workers.conform.liars import JsonOffice
from tests.workers.conform.test_conform import EXAMPLES, faults
from workers.actors.answers import Answer
from workers.actors.entries import Entry, Serving, _Acting, receipt_entry
from workers.conform.description import OPTIONAL, read_description
from workers.conform.report import Report
from workers.conform.running import conform
from workers.office import Office
from workers.stores.subsidiaries.adapter import PlantingAdapter, Subject, Tally
from workers.stores.subsidiaries.journal import Journal

LIARS = Path(__file__).with_name("liars.py")
OFFICE = EXAMPLES / "adapter" / "office.py"


async def tried(folder: Path, by: str, *only: str, without: tuple[str, ...] = ()) -> Report:
    path = folder / "d.yaml"
    path.write_text(
        "adapter: {name: liar, version: '1'}\n"
        f"files: [d.yaml]\nover: {{python: '{by}'}}\n"
        f"bench: [$PYTHON, {EXAMPLES}/conform/bench.py, json, $STORE]\n"
        + (f"without: [{', '.join(without)}]\n" if without else "")
    )
    return await conform(read_description(path), only or OPTIONAL)


async def test_who_does_too_much_is_found_out(tmp_path: Path) -> None:
    assert faults(await tried(tmp_path, f"{LIARS}:does_too_much")) == {
        "rectification": [
            "rectification: of two that cross one is not in conflict",
            "rectification: of an old version, it is no conflict",
            "rectification: what somebody set meanwhile was overwritten",
        ],
        "restriction": ["restriction: the person is not shown everything any more"],
        "portability": ["portability: what rests on another basis is handed over"],
        "withdrawal": ["withdrawal: more went than rests on consent"],
        "wish": [
            "wish: it changed something else",
            "wish: an older yes takes away the mark of a newer no",
            "another person was changed",
        ],
        "disposal": [
            "disposal: what went is not what it counts",
            "disposal: a later attempt does not count the whole",
            "disposal: what is not over was disposed of",
        ],
        "canary": ["canary: planted twice", "canary: it is not erased as anybody"],
    }


async def test_who_does_it_in_words_is_found_out(tmp_path: Path) -> None:
    assert faults(await tried(tmp_path, f"{LIARS}:says_so")) == {
        "rectification": ["rectification: what somebody set meanwhile was overwritten"],
        "restriction": [
            "restriction: says done, and it does not stand",
            "restriction: the second statement contradicts the first",
        ],
        "portability": ["portability: not answered done"],
        "withdrawal": [
            "withdrawal: says done, and what rests on consent still stands",
            "withdrawal: the second statement contradicts the first",
        ],
        "wish": ["wish: says done, and the mark still stands"],
        "disposal": ["disposal: what is over still stands", "disposal: a later attempt does not count the whole"],
        "canary": ["canary: what was planted is not what it counts"],
    }


async def test_who_never_lifts_is_found_out(tmp_path: Path) -> None:
    found = faults(await tried(tmp_path, f"{LIARS}:never_lifts", "restriction"))["restriction"]
    assert found == [
        "lifting: says done, and it still stands",
        "restriction: the second statement contradicts the first",
        "lifting: when every restriction was lifted the mark still stands",
    ]


@pytest.mark.parametrize(
    ("trial", "place", "broken", "fault"),
    [
        (
            "restriction",
            "is_restricted_by_another",
            False,
            "lifting: another restriction of the same person is gone",
        ),
        ("canary", "done", None, "canary: a late order plants it again after its erasure"),
    ],
)
async def test_a_worker_that_forgets_what_it_was_asked_is_found_out(
    trial: str, place: str, broken: object, fault: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert faults(await tried(tmp_path, f"{OFFICE}:open_office", trial)) == {}
    monkeypatch.setattr(Journal, place, lambda *_: broken)
    assert fault in faults(await tried(tmp_path, f"{OFFICE}:open_office", trial))[trial]


async def test_who_refuses_a_canary_and_plants_it_is_found_out(tmp_path: Path) -> None:
    report = await tried(tmp_path, f"{LIARS}:plants_anyway", "canary", without=("canary",))
    assert faults(report) == {"canary": ["canary: refused, and it changed something"]}


async def test_a_lifting_and_a_planting_that_are_answered_too_early_do_not_survive_a_crash(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Broken on purpose: what is answered is written down before it is done."""
    act = _Acting.one

    async def hasty_act(acting: _Acting, serving: Serving) -> None:
        if serving.entry["ask"] == LIFT:
            acting._office.journal.finish([receipt_entry(acting._office, serving.entry, serving.planned)])
        await act(acting, serving)

    async def hasty_plant(office: Office, entry: Entry) -> Answer:
        subject = Subject((entry["address"],), office.clock())
        planted = receipt_entry(office, entry, [Tally("contacts", matched=1)])
        if office.journal.done(entry["task"]) is None:
            office.journal.finish([planted])
            await cast(PlantingAdapter, office.store).plant(subject)
        return Answer(planted)

    monkeypatch.setattr(_Acting, "one", hasty_act)
    monkeypatch.setattr("workers.actors.subsidiary.plant_canary", hasty_plant)
    only = ("rectification", "portability", "withdrawal", "wish", "disposal")
    [found] = faults(await tried(tmp_path, f"{OFFICE}:open_office", "crash at every step", without=only)).values()
    assert found == [
        "after a crash a lifting does not stand",
        "after a crash a canary does not stand",
        "after a crash a canary is not planted once",
    ]


async def test_who_says_that_it_does_not_is_graded_on_refusing_it_by_name(tmp_path: Path) -> None:
    report = await tried(tmp_path, f"{LIARS}:bare", without=OPTIONAL)
    assert faults(report) == {}
    assert report.rights == {"shown": [], "refused": list(OPTIONAL)}
    without_saying_so = faults(await tried(tmp_path, f"{LIARS}:bare"))
    assert set(without_saying_so) == set(OPTIONAL)
    assert all(
        f"{name}: refused, and the description does not say that it is" in without_saying_so[name] for name in OPTIONAL
    )
    modest = faults(await tried(tmp_path, f"{OFFICE}:open_office", "disposal", "rectification", without=OPTIONAL))
    assert "disposal: served, and the description says it is not" in modest["disposal"]
    assert "rectification: served, and the description says it is not" in modest["rectification"]


async def test_a_mapping_that_does_not_say_how_a_mark_goes_says_so(tmp_path: Path) -> None:
    """`no-acceptance`, of whom is marked; and that is no full marks where the description keeps quiet of it."""
    shutil.copytree(EXAMPLES / "conform", tmp_path / "conform")
    mapping, path = tmp_path / "conform" / "sql.mapping.yaml", tmp_path / "conform" / "sql.yaml"
    mapping.write_text(mapping.read_text().replace(", lift: {objected: false}}", "}"))
    quiet = faults(await conform(read_description(path), [WISH]))[WISH]
    assert quiet == ["wish: refused, and the description does not say that it is"]
    path.write_text(path.read_text() + "without: [wish]\n")
    assert faults(await conform(read_description(path), [WISH])) == {}


async def test_the_adapter_of_the_examples_sends_nothing_to_whoever_is_restricted_or_objected(tmp_path: Path) -> None:
    contacts = [{"id": n, "email": f"{name}@example.com", "newsletter": True} for n, name in enumerate(("ada", "bob"))]
    (tmp_path / "store.json").write_text(json.dumps({"contacts": contacts, "invoices": []}))
    office = JsonOffice(tmp_path / "store.json")
    ada = Subject(("ada@example.com",), datetime.now(UTC))
    await office.restrict(ada)
    assert office.recipients() == ["bob@example.com"]
    await office.lift(ada)
    await office.object(ada)
    assert office.recipients() == ["bob@example.com"]
    await office.accept(ada)
    assert office.recipients() == ["ada@example.com", "bob@example.com"]
