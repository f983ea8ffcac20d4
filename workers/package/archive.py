"""The ZIP: README.txt, index.html, data.json, one CSV for each collection, the person's files, and processors'.

For portability (Art. 20) the same without the page, which is for people.

The same content gives the same bytes: members in a fixed order, one fixed date, JSON with sorted names and one record
per line, so that two packages can be compared. Written in one pass and bounded memory, whatever the number of records;
it takes a processor while it does, so an event loop calls it in a thread. Every member's name is ours: nothing that a
store or a person called something becomes a path.
Source: R17; ASVS 5.3.2, 12.3; crypto-and-evidence § 4.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from schemas.terms import Right
from workers.package.content import AccessPackage, Attached, Collected, StorePart
from workers.package.labels import labels
from workers.package.page import page
from workers.package.sheets import rows

FORMAT: Final = {Right.ACCESS: "greffier-access-package/1", Right.PORTABILITY: "greffier-portable-data/1"}
_DATE: Final = (1980, 1, 1, 0, 0, 0)
_READABLE: Final = 0o100644 << 16
_UNIX: Final = 3
_MAX_STEM: Final = 40
_FLUSH_BYTES: Final = 64 * 1024
_EXTENSIONS: Final = {
    "application/pdf": ".pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.oasis.opendocument.text": ".odt",
    "text/plain": ".txt",
    "text/csv": ".csv",
    "application/json": ".json",
    "application/xml": ".xml",
    "application/zip": ".zip",
}


@dataclass(frozen=True, slots=True)
class Sheet:
    """A collection and its CSV file's name in the archive."""

    store: StorePart
    collected: Collected
    path: str


@dataclass(frozen=True, slots=True)
class Enclosure:
    """A file and its name in the archive."""

    file: Attached
    path: str


def write_package(package: AccessPackage, out: BinaryIO) -> None:
    """Write the archive to ``out``, a file opened for writing bytes."""
    sheets = _sheets(package)
    enclosures = [
        Enclosure(file, f"files/{n:03}-{_stem(file.name)}{_EXTENSIONS.get(file.media_type, '.bin')}")
        for n, file in enumerate(package.files, 1)
    ]
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        portable, known = package.right is Right.PORTABILITY, labels(package.language)
        _put(archive, "README.txt", [(known.readme_portable if portable else known.readme).encode()])
        if not portable:
            _put(archive, "index.html", page(package, [(s.collected, s.path) for s in sheets], _listed(enclosures)))
        _put(archive, "data.json", _json(package, sheets, enclosures))
        for sheet in sheets:
            _put(archive, sheet.path, rows(sheet.collected))
        for enclosure in enclosures:
            _put(archive, enclosure.path, [enclosure.file.content])


def _sheets(package: AccessPackage) -> list[Sheet]:
    found = [(store, collected) for store in package.stores for collected in store.collections]
    return [
        Sheet(store, collected, f"csv/{n:03}-{_stem(store.code)}-{_stem(collected.name)}.csv")
        for n, (store, collected) in enumerate(found, 1)
    ]


def _stem(name: str) -> str:
    """A name without folder or ending, in letters any system takes; its number in front makes it unique."""
    last = re.split(r"[/\\]", name)[-1].partition(".")[0]
    plain = unicodedata.normalize("NFKD", last).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-")[:_MAX_STEM] or "unnamed"


def _put(archive: zipfile.ZipFile, path: str, parts: Iterable[bytes]) -> None:
    info = zipfile.ZipInfo(path, _DATE)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = _READABLE
    info.create_system = _UNIX
    with archive.open(info, "w", force_zip64=True) as member:
        for part in _gathered(parts):
            member.write(part)


def _gathered(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Small parts together: a call of the compressor for each line would cost more than the line."""
    waiting = bytearray()
    for part in parts:
        waiting += part
        if len(waiting) >= _FLUSH_BYTES:
            yield bytes(waiting)
            waiting.clear()
    yield bytes(waiting)


def _json(package: AccessPackage, sheets: list[Sheet], enclosures: list[Enclosure]) -> Iterator[bytes]:
    """The whole as JSON, one line for each member and each record."""
    for n, (name, value) in enumerate(sorted(_members(package, enclosures).items())):
        yield _encoded(f"{'{' if n == 0 else ','}\n{json.dumps(name)}: {_dumped(value)}")
    yield b',\n"stores": ['
    for n, store in enumerate(package.stores):
        yield _encoded(f'{"," if n else ""}\n{_dumped(_store(store))[:-1]}, "collections": [')
        for m, sheet in enumerate(one for one in sheets if one.store is store):
            head = {"csv": sheet.path, "fields": dict(sheet.collected.fields), "name": sheet.collected.name}
            yield _encoded(f'{"," if m else ""}\n{_dumped(head)[:-1]}, "records": [')
            for k, record in enumerate(sheet.collected.records):
                yield _encoded(f"\n{',' if k else ''}{_dumped(record)}")
            yield b"\n]}"
        yield b"]}"
    yield b"\n]}\n"


def _members(package: AccessPackage, enclosures: list[Enclosure]) -> dict[str, Any]:
    head = package.head
    return {
        "complaint": {
            "authority": head.authority.name,
            "postal_address": head.authority.postal_address,
            "url": head.authority.url,
        },
        "controller": {"contact": head.contact, "name": head.company, "postal_address": head.postal_address},
        "emails": list(package.emails),
        "files": _listed(enclosures),
        "format": FORMAT[package.right],
        "language": package.language.value,
        "prepared_at": package.prepared_at.isoformat(timespec="seconds"),
        "processing": [
            {
                "lawful_basis": one.basis,
                "occasion": one.occasion,
                "purpose": one.purpose,
                "source": one.source,
                "until": one.until,
            }
            for one in package.processings
        ],
        "received_on": package.received_on.isoformat(),
        "recipients": [
            {
                "country": one.country,
                "name": one.name,
                "purposes": list(one.purposes),
                "role": one.role,
                "safeguard": one.safeguard,
            }
            for one in package.recipients
        ],
        "reference": package.reference,
        "rights": list(labels(package.language).rights),
    }


def _store(store: StorePart) -> dict[str, Any]:
    return {
        "code": store.code,
        "company": store.company,
        "country": store.country,
        "proof": store.proof,
        "reason": store.reason,
        "safeguard": store.safeguard,
        "state": store.state,
    }


def _listed(enclosures: list[Enclosure]) -> list[dict[str, Any]]:
    return [
        {
            "media_type": one.file.media_type,
            "name": one.file.name,
            "path": one.path,
            "sha256": hashlib.sha256(one.file.content).hexdigest(),
            "size": len(one.file.content),
            "store": one.file.store,
        }
        for one in enclosures
    ]


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)


def _encoded(text: str) -> bytes:
    # A lone surrogate has no UTF-8; written as an escape it is the JSON it came from.
    return text.encode("utf-8", "backslashreplace")
