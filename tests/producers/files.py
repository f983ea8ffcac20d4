"""Small files of every kind the door takes, and of many it must not."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping

from producers.uploads import DOCX, ODT

PDF = (
    b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n"
    b"2 0 obj\n<< /Type /Pages /Kids [] /Count 0 >>\nendobj\n"
    b"xref\n0 3\n0000000000 65535 f \n0000000009 00000 n \n0000000058 00000 n \n"
    b"trailer\n<< /Size 3 /Root 1 0 R >>\nstartxref\n110\n%%EOF\n"
)
TXT = "Parcours\n- dix ans d'expérience\n".encode()

_TYPES = b'<?xml version="1.0"?><Types><Override PartName="/word/document.xml" ContentType="x.main+xml"/></Types>'
_RELS = (
    b'<?xml version="1.0"?><Relationships><Relationship Id="r1" Target="https://www.example.com" TargetMode="External" '
    b'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/hyperlink"/></Relationships>'
)
EXTERNAL_TEMPLATE = _RELS.replace(b"/hyperlink", b"/attachedTemplate")

WORD: Mapping[str, bytes] = {
    "[Content_Types].xml": _TYPES,
    "word/document.xml": b"<w:document>Parcours</w:document>",
    "word/_rels/document.xml.rels": _RELS,
}
TEXT_DOCUMENT: Mapping[str, bytes] = {"mimetype": ODT.encode(), "content.xml": b"<office:document-content/>"}


def zipped(entries: Mapping[str, bytes], *, deflate: bool = True) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return packed.getvalue()


def word(**more: bytes) -> bytes:
    return zipped({**WORD, **{name.replace("__", "/"): content for name, content in more.items()}})


def with_entries(entries: Mapping[str, bytes]) -> bytes:
    return zipped({**WORD, **entries})


DOCX_FILE = word()
ODT_FILE = zipped(TEXT_DOCUMENT, deflate=False)


def encrypted() -> bytes:
    """The flag that says "encrypted", set in every header."""
    packed = bytearray(DOCX_FILE)
    for sign, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = packed.find(sign)
        while at >= 0:
            packed[at + offset] |= 1
            at = packed.find(sign, at + 1)
    return bytes(packed)


def lying_about_its_size() -> bytes:
    """One entry announces 10 bytes and unpacks to 60 MB."""
    honest = zipped({**WORD, "word/media/a.bin": b"\0" * (60 << 20)})
    size = (60 << 20).to_bytes(4, "little")
    return honest.replace(size, (10).to_bytes(4, "little"))


def bomb() -> bytes:
    return with_entries({f"word/media/{n}.bin": b"\0" * (6 << 20) for n in range(10)})


TAKEN = {
    "pdf": (PDF, "application/pdf", ".pdf"),
    "docx": (DOCX_FILE, DOCX, ".docx"),
    "odt": (ODT_FILE, ODT, ".odt"),
    "txt": (TXT, "text/plain", ".txt"),
}

REFUSED: dict[str, tuple[bytes, str]] = {
    "80 HTML": (b"<html><body>CV</body></html>", "file_type"),
    "80 HTML behind text": (b"CV\n<script>alert(1)</script>", "file_type"),
    "80 SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", "file_type"),
    "80 ELF": (b"\x7fELF\x02\x01\x01" + b"\0" * 64, "file_type"),
    "80 Windows program": (b"MZ\x90\x00" + b"\0" * 64, "file_type"),
    "80 ZIP": (zipped({"a.txt": b"a"}), "file_type"),
    "80 JPEG": (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", "file_type"),
    "80 old Word": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 64, "file_type"),
    "80 RTF": (rb"{\rtf1 CV}", "file_type"),
    "80 shell script": (b"#!/bin/sh\nrm -rf /\n", "file_type"),
    "80 PostScript": (b"%!PS-Adobe-3.0\nshowpage\n", "file_type"),
    "80 latin-1 text": ("Curriculum vit\xe6".encode("latin-1"), "file_type"),
    "80 spreadsheet": (zipped({"[Content_Types].xml": b"<Types/>", "xl/workbook.xml": b"<w/>"}), "file_type"),
    "81 PDF with a ZIP behind": (PDF + DOCX_FILE, "file_broken"),
    "81 PDF with a ZIP inside": (PDF.replace(b"startxref", DOCX_FILE + b"\nstartxref"), "file_broken"),
    "81 ZIP with a PDF behind": (DOCX_FILE + PDF, "file_broken"),
    "81 ZIP after a stub": (b"PK\x03\x04junk" + DOCX_FILE, "file_broken"),
    "82 macros": (word(word__vbaProject_bin=b"x").replace(b"vbaProject_bin", b"vbaProject.bin"), "file_active"),
    "82 macro type": (zipped({**WORD, "[Content_Types].xml": b"<x macroEnabled.main+xml/>"}), "file_active"),
    "82 external template": (zipped({**WORD, "word/_rels/settings.xml.rels": EXTERNAL_TEMPLATE}), "file_active"),
    "82 embedded object": (with_entries({"word/embeddings/ole1.bin": b"x"}), "file_active"),
    "82 ODT with macros": (zipped({**TEXT_DOCUMENT, "Basic/Standard/m.xml": b"<x/>"}), "file_active"),
    "82 entities": (
        with_entries({"word/a.xml": b"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a/>"}),
        "file_active",
    ),
    "82 too much inside": (bomb(), "file_unpacks"),
    "82 too much inside, unannounced": (lying_about_its_size(), "file_broken"),
    "82 1,001 entries": (with_entries({f"word/{n}.xml": b"" for n in range(1_001)}), "file_unpacks"),
    "82 .. in a name": (with_entries({"../../etc/cron.d/x": b"x"}), "file_broken"),
    "82 absolute name": (with_entries({"/etc/passwd": b"x"}), "file_broken"),
    "82 nested zip": (with_entries({"word/media/a.png": DOCX_FILE}), "file_active"),
    "83 empty": (b"", "file_empty"),
    "83 truncated PDF": (PDF[:-30], "file_broken"),
    "83 truncated DOCX": (DOCX_FILE[:-30], "file_broken"),
    "83 encrypted PDF": (PDF.replace(b"/Size 3", b"/Size 3 /Encrypt 9 0 R"), "file_encrypted"),
    "83 encrypted PDF, hidden name": (PDF.replace(b"/Size 3", b"/Size 3 /#45ncrypt 9 0 R"), "file_encrypted"),
    "83 encrypted DOCX": (encrypted(), "file_encrypted"),
    "84 EICAR": (b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*", "file_type"),
    "84 PDF that runs": (
        PDF.replace(b"/Type /Catalog", b"/Type /Catalog /OpenAction << /S /JavaScript >>"),
        "file_active",
    ),
    "84 PDF with a file inside": (
        PDF.replace(b"/Type /Catalog", b"/Type /Catalog /X << /EmbeddedFile >>"),
        "file_active",
    ),
    "damaged inside": (
        DOCX_FILE.replace(zlib.compress(WORD["word/document.xml"])[2:-4], b"\xff" * 20, 1)
        if zlib.compress(WORD["word/document.xml"])[2:-4] in DOCX_FILE
        else DOCX_FILE[:60] + b"\xff\xff\xff" + DOCX_FILE[63:],
        "file_broken",
    ),
    "6 MB": (b"a" * (6 << 20), "file_too_large"),
}
