"""The package: whole, the same bytes each time, safe to unpack, and not held in memory."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.package.packages import OWN_COPY, holding, opened, package, part, written
from workers.correspondence.words import Language
from workers.package.archive import write_package
from workers.package.content import Attached, Collected

PDF = b"%PDF-1.7 a specimen of a life"


def data_of(archive: zipfile.ZipFile) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(archive.read("data.json"))
    return found


def test_the_package_holds_a_page_the_data_tables_and_files() -> None:
    files = [Attached("controller", "cv.pdf", "application/pdf", PDF)]
    archive = opened(package(holding({"name": "Sample"}), files=files))
    assert archive.namelist() == [
        "README.txt",
        "index.html",
        "data.json",
        "csv/001-controller-submissions.csv",
        "csv/002-gb-contacts.csv",
        "files/001-cv.pdf",
    ]
    assert archive.read("files/001-cv.pdf") == PDF


@pytest.mark.parametrize("language", Language)
def test_the_data_says_everything_the_law_lists(language: Language) -> None:
    """Purposes, bases, periods, sources, recipients by name, safeguards, rights, complaint; every store's answer."""
    data = data_of(opened(package(holding({"name": "Sample"}), language=language)))
    assert [store["state"] for store in data["stores"]] == [
        "done",
        "done",
        "nothing-held",
        "refused",
        "barred",
        "silent",
    ]
    assert data["stores"][0]["collections"][0]["records"] == OWN_COPY["collections"][0]["records"]
    assert data["stores"][1]["collections"][0]["records"] == [{"name": "Sample"}]
    assert "2031" not in data["stores"][1]["safeguard"]
    assert data["stores"][3]["reason"] == "store-locked"
    assert {one["purpose"] for one in data["processing"]} == {
        "sales-prospecting",
        "provide-services",
        "services-and-contract",
    }
    assert [one["source"] for one in data["processing"]] == [None, None, "trade fair"]
    assert all(one["until"] and one["lawful_basis"] and one["occasion"] for one in data["processing"])
    by_name = {one["name"]: one for one in data["recipients"]}
    assert "(EU) 2021/914" in by_name["Sopexa Example US Inc"]["safeguard"]
    assert by_name["Sopexa Example DE GmbH"]["safeguard"] is None
    assert by_name["Example Hosting SAS (hosting.example)"]["purposes"] == ["recruitment"]
    assert "Example Mailing BV (mailing.example)" not in by_name, "it serves none of these purposes"
    assert len(data["rights"]) == 6
    assert "cnil" in data["complaint"]["url"]


def test_the_same_content_is_the_same_bytes() -> None:
    one, other = (written(package(holding({"b": 1, "a": [2]}))) for _ in range(2))
    assert hashlib.sha256(one).digest() == hashlib.sha256(other).digest()
    turned = written(package(holding({"a": [2], "b": 1})))
    assert opened_bytes(one).read("data.json") == opened_bytes(turned).read("data.json"), "in whatever order said"


def opened_bytes(raw: bytes) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(raw))


def test_one_record_is_one_line_so_that_packages_can_be_compared() -> None:
    one = opened(package(holding({"n": 1}, {"n": 2}))).read("data.json").splitlines()
    other = opened(package(holding({"n": 1}, {"n": 3}))).read("data.json").splitlines()
    assert [(a, b) for a, b in zip(one, other, strict=True) if a != b] == [(b',{"n": 2}', b',{"n": 3}')]


def test_nobody_known_is_a_package_too() -> None:
    archive = opened(package(holding()))
    data = data_of(archive)
    assert data["stores"][1]["collections"][0]["records"] == []
    assert "Nothing" in archive.read("index.html").decode()


HOSTILE_NAMES = [
    "../../etc/passwd",
    "..\\..\\windows\\system32\\cmd.exe",
    "/absolute",
    "C:\\absolute",
    "a/b",
    "",
    ".",
    "..",
    "con",
    "nul.txt",
    "x" * 500,
    "\u202egnp.exe",
    "cv.pdf.exe",
    "\0",
    "line\nbreak",
    "履歴書",
    "\ud800",
    " ",
    "~",
    "-rf",
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_no_name_leads_out_of_the_folder(name: str, tmp_path: Path) -> None:
    """Of a file, a collection or a store; unpacked by any tool, everything stays inside."""
    files = [Attached("controller", name, media, PDF) for media in ("application/pdf", "application/x-sh")]
    archive = opened(package(holding({"a": 1}, name=name), holding({"a": 1}, name=name), files=files))
    names = archive.namelist()
    assert len({one.lower() for one in names}) == len(names)
    for one in names:
        assert one.isascii()
        assert ".." not in one
        assert not PurePosixPath(one).is_absolute()
        assert not PureWindowsPath(one).is_absolute()
        assert not PureWindowsPath(one).is_reserved()
        assert PurePosixPath(one).suffix in (".txt", ".html", ".json", ".csv", ".pdf", ".bin")
        assert len(one) < 120
    archive.extractall(tmp_path)
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == set(names)


def test_files_are_listed_with_their_own_names_and_sums() -> None:
    data = data_of(opened(package(files=[Attached("controller", "CV Zoë.pdf", "application/pdf", PDF)])))
    assert data["files"] == [
        {
            "media_type": "application/pdf",
            "name": "CV Zoë.pdf",
            "path": "files/001-CV-Zoe.pdf",
            "sha256": hashlib.sha256(PDF).hexdigest(),
            "size": len(PDF),
            "store": "controller",
        }
    ]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(records=st.lists(st.dictionaries(st.text(), JSON, max_size=4), max_size=3))
@settings(deadline=None, max_examples=60)
def test_any_record_comes_out_as_it_went_in(records: list[dict[str, Any]]) -> None:
    data = data_of(opened(package(holding(*records))))
    assert data["stores"][1]["collections"][0]["records"] == records


@pytest.mark.parametrize("text", ["\ud800", "\udfff x", "\\\ud800", "\0", "\x1b[2J", "\u2028", "\uffff", "🫠"])
def test_hostile_text_comes_out_as_it_went_in(text: str) -> None:
    archive = opened(package(holding({"text": text})))
    assert data_of(archive)["stores"][1]["collections"][0]["records"] == [{"text": text}]
    archive.read("index.html").decode("utf-8")
    archive.read("csv/002-gb-contacts.csv").decode("utf-8")


class Many:
    """A hundred thousand records that are made as they are asked for."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (
            {"id": n, "name": f"Sample {n}", "note": "x" * 200, "at": {"city": "Paris"}} for n in range(self.number)
        )


def peak_memory(number: int, file: Path) -> int:
    """The most that Python held while writing so many records."""
    tracemalloc.start()
    try:
        with file.open("wb") as out:
            write_package(package(part(Collected("contacts", {}, Many(number)))), out)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_records(tmp_path: Path) -> None:
    """Four times as many; both beyond what the page shows."""
    peak_memory(1, tmp_path / "warm.zip")
    few, many = (peak_memory(number, tmp_path / f"{number}.zip") for number in (1_000, 4_000))
    assert many < few * 1.2
    assert many < 1024 * 1024, "the records alone are more than that"


def test_a_person_with_a_hundred_thousand_records_has_a_package(tmp_path: Path) -> None:
    number = 100_000
    with (tmp_path / "package.zip").open("wb") as out:
        write_package(package(part(Collected("contacts", {}, Many(number)))), out)
    with zipfile.ZipFile(tmp_path / "package.zip") as archive:
        assert archive.getinfo("data.json").file_size > 24_000_000
        with archive.open("csv/002-gb-contacts.csv") as sheet:
            assert sum(1 for _ in csv.reader(io.TextIOWrapper(sheet, "utf-8-sig", newline=""))) == number + 1
        page = archive.read("index.html")
        assert page.count(b"<article>") == 502
        assert b"first 500 of 100000" in page
