"""Uploaded files, judged by their content: PDF, DOCX, ODT and plain text, nothing that runs or reaches out.

The sender's word for the type is not asked. A container is opened and counted to its last byte, so that what was
announced cannot lie about what comes out. The name given is kept as a label only.
Source: reliability § 8.6; design § 10 "Files"; ASVS 5.2, 5.3.2.
"""

from __future__ import annotations

import hashlib
import io
import re
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import puremagic

from schemas.errors import InvalidMessage
from schemas.submissions import MAX_FILE_BYTES

MAX_FILES: Final = 2
MAX_NAME_CHARS: Final = 100
MAX_UNPACKED_BYTES: Final = 50 * 1024 * 1024
MAX_ENTRIES: Final = 1_000

PDF: Final = "application/pdf"
DOCX: Final = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
ODT: Final = "application/vnd.oasis.opendocument.text"
TXT: Final = "text/plain"

DETAILS: Final = {
    "file_empty": "is an empty file",
    "file_too_large": "is larger than 5 MB",
    "file_type": "is not a PDF, DOCX, ODT or plain text file",
    "file_broken": "is damaged, incomplete or two kinds of file at once",
    "file_encrypted": "is protected by a password",
    "file_active": "holds macros, scripts, embedded files or links to outside content",
    "file_unpacks": "unpacks to more than is allowed",
}


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it came in: the name its sender gave it, and its bytes."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class ExaminedFile:
    """A file that may be kept. ``text``: what it says, where it is plain text."""

    name: str
    media_type: str
    content: bytes
    text: str = ""

    def described(self, file_id: str) -> dict[str, object]:
        """As :data:`schemas.submissions.STORED_FILE` wants it."""
        return {
            "file": file_id,
            "name": self.name,
            "media_type": self.media_type,
            "size": len(self.content),
            "sha256": hashlib.sha256(self.content).hexdigest(),
        }


def examine(upload: Upload) -> ExaminedFile:
    """Judge a file by its content. Takes up to a second for a hostile one: not on the event loop.

    Raises :class:`InvalidMessage` with one of the codes in :data:`DETAILS`.
    """
    content = upload.content
    if not content:
        raise InvalidMessage("file_empty")
    if len(content) > MAX_FILE_BYTES:
        raise InvalidMessage("file_too_large")
    if content.startswith(b"%PDF-"):
        _check_pdf(content)
        return ExaminedFile(clean_name(upload.name, ".pdf"), PDF, content)
    if content.startswith(b"PK\x03\x04"):
        media_type, suffix = _check_container(content)
        return ExaminedFile(clean_name(upload.name, suffix), media_type, content)
    return ExaminedFile(clean_name(upload.name, ".txt"), TXT, content, _read_text(content))


def clean_name(given: str, suffix: str) -> str:
    """A harmless label of at most 100 characters that ends as the content is."""
    name = unicodedata.normalize("NFC", given).replace("\\", "/").rsplit("/", 1)[-1]
    # Letters, digits and a few marks: no control or direction characters, quotes or separators survive.
    kept = "".join(char if char.isalnum() or char in " ._()-" else "_" for char in name)
    stem = re.sub(r"[\s_]+", "_", kept).strip("._ ")
    stem = stem[: -len(suffix)] if stem.lower().endswith(suffix) else stem
    stem = stem.rstrip("._ ") or "file"
    if re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?", stem):  # device names of Windows
        stem = f"file_{stem}"
    return stem[: MAX_NAME_CHARS - len(suffix)] + suffix


def _check_pdf(content: bytes) -> None:
    if not re.search(rb"%%EOF\s*\Z", content[-1024:]) or b"startxref" not in content[-2048:]:
        raise InvalidMessage("file_broken")
    if re.search(rb"PK\x03\x04|PK\x05\x06", content[-66_000:]) and zipfile.is_zipfile(io.BytesIO(content)):
        raise InvalidMessage("file_broken")
    # Names may be written with #xx escapes to hide them.
    plain = re.sub(rb"#([0-9A-Fa-f]{2})", lambda found: bytes.fromhex(found[1].decode()), content)
    if re.search(rb"/Encrypt\b", plain):
        raise InvalidMessage("file_encrypted")
    if re.search(rb"/(JavaScript|JS|Launch|EmbeddedFile|RichMedia|XFA|SubmitForm|ImportData)\b", plain):
        raise InvalidMessage("file_active")


def _read_text(content: bytes) -> str:
    """UTF-8 text without control characters. What some other program would open as something else is refused."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidMessage("file_type") from None
    if any(char < " " and char not in "\t\n\r\f" for char in text) or "\x7f" in text:
        raise InvalidMessage("file_type")
    if _looks_like_something_else(content, text):
        raise InvalidMessage("file_type")
    return text


_MARKUP: Final = re.compile(r"\s*(<\?xml|<!doctype|<html|<svg|<script|<head|<body|#!|\{\\rtf)", re.IGNORECASE)
# The one string that every scanner agrees to find; there is none here, so this at least is not let through.
_EICAR: Final = "EICAR-STANDARD-ANTIVIRUS-TEST-FILE"


def _looks_like_something_else(content: bytes, text: str) -> bool:
    if _MARKUP.match(text) or re.search(r"<(script|svg|html)\b", text, re.IGNORECASE) or _EICAR in text:
        return True
    try:
        found = puremagic.from_string(content[:8192])
    except (puremagic.PureError, ValueError):
        return False  # no known signature: plain text has none
    return found not in ("", ".txt", ".csv", ".md", ".log", ".text")


def _check_container(content: bytes) -> tuple[str, str]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_entries(archive, content)
            kind = _kind(archive)
            _check_content(archive, kind)
            return kind
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, UnicodeDecodeError, RuntimeError):
        raise InvalidMessage("file_broken") from None


def _check_entries(archive: zipfile.ZipFile, content: bytes) -> None:
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES or sum(entry.file_size for entry in entries) > MAX_UNPACKED_BYTES:
        raise InvalidMessage("file_unpacks")
    if len({entry.filename for entry in entries}) != len(entries) or not _is_only_a_zip(archive, content):
        raise InvalidMessage("file_broken")
    for entry in entries:
        if entry.flag_bits & 0x1:
            raise InvalidMessage("file_encrypted")
        if entry.filename.startswith("/") or re.search(r"(^|/)\.\.(/|$)|\\|:|\0", entry.filename):
            raise InvalidMessage("file_broken")


def _is_only_a_zip(archive: zipfile.ZipFile, content: bytes) -> bool:
    """Nothing before the first entry, nothing after the end record: no second file hides around this one."""
    first = min((entry.header_offset for entry in archive.infolist()), default=-1)
    end = content.rfind(b"PK\x05\x06")
    comment = int.from_bytes(content[end + 20 : end + 22], "little")
    return first == 0 and end >= 0 and end + 22 + comment == len(content) and comment == 0


def _kind(archive: zipfile.ZipFile) -> tuple[str, str]:
    names = set(archive.namelist())
    if "[Content_Types].xml" in names and "word/document.xml" in names:
        return DOCX, ".docx"
    if "mimetype" in names and "content.xml" in names and _read(archive, "mimetype").strip() == ODT.encode():
        return ODT, ".odt"
    raise InvalidMessage("file_type")


_SIGNS: Final[Mapping[str, Callable[[str], bool]]] = {
    DOCX: lambda name: "vbaproject" in name or name.startswith(("word/embeddings/", "word/activex/")),
    ODT: lambda name: name.startswith(("basic/", "scripts/", "object ")),
}
_NESTED: Final = (b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"MZ", b"\x7fELF", b"\xd0\xcf\x11\xe0", b"%PDF-")


def _check_content(archive: zipfile.ZipFile, kind: tuple[str, str]) -> None:
    """Every entry is unpacked and counted, and looked at for what acts or reaches out."""
    unpacked = 0
    for entry in archive.infolist():
        if _SIGNS[kind[0]](entry.filename.lower()):
            raise InvalidMessage("file_active")
        content = _read(archive, entry.filename, MAX_UNPACKED_BYTES - unpacked)
        unpacked += len(content)
        if content.startswith(_NESTED):
            raise InvalidMessage("file_active")
        if entry.filename.endswith((".xml", ".rels")) and _reaches_out(entry.filename, content):
            raise InvalidMessage("file_active")


def _read(archive: zipfile.ZipFile, name: str, limit: int = 4096) -> bytes:
    with archive.open(name) as entry:
        content = entry.read(limit + 1)
    if len(content) > limit:
        raise InvalidMessage("file_unpacks")
    return content


def _reaches_out(name: str, content: bytes) -> bool:
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content or content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    if name.endswith(".rels"):
        return any(_is_fetched(link) for link in re.findall(rb"<(?:\w+:)?Relationship\b[^>]*>", content))
    if name == "[Content_Types].xml":
        return b"macroEnabled" in content or b"vbaProject" in content
    return bool(re.search(rb"<(script:|office:script|form:connection-resource)", content))


def _is_fetched(relationship: bytes) -> bool:
    """An external relation is a link a reader may follow, or something a program fetches by itself on opening."""
    external = re.search(rb"""TargetMode\s*=\s*["']External["']""", relationship)
    return bool(external) and not re.search(rb"""/relationships/hyperlink["']""", relationship)
