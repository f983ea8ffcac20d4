"""CVs and cover letters: the corpus items 80 to 88, by the examiner and through the door."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from typing import Any

import aiohttp
import pytest

from producers.uploads import MAX_NAME_CHARS, ExaminedFile, Upload, clean_name, examine
from schemas.errors import InvalidMessage
from schemas.routes import file_key
from tests.producers.conftest import Front, Installation, Letters
from tests.producers.files import PDF, REFUSED, TAKEN, TXT, with_entries
from tests.producers.samples import APPLICATION
from tests.producers.test_forms import dotted

PATH = "/forms/job-application"


def multipart(*files: tuple[str, str, bytes], **changes: Any) -> aiohttp.FormData:
    data = aiohttp.FormData(default_to_multipart=True)
    for name, value in dotted({**APPLICATION, **changes}).items():
        data.add_field(name, value)
    for field, name, content in files:
        data.add_field(field, content, filename=name, content_type="application/octet-stream")
    return data


@pytest.mark.parametrize("kind", TAKEN)
def test_four_kinds_are_taken_by_their_content(kind: str) -> None:
    content, media_type, suffix = TAKEN[kind]
    found = examine(Upload("whatever.exe", content))
    assert (found.media_type, found.name.endswith(suffix), found.content) == (media_type, True, content)


@pytest.mark.parametrize("name", REFUSED)
def test_everything_else_is_refused(name: str) -> None:
    content, code = REFUSED[name]
    with pytest.raises(InvalidMessage) as refused:
        examine(Upload("cv.pdf", content))
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("Mon CV (2026).PDF", "Mon_CV_(2026).pdf"),
        ("../../etc/passwd", "passwd.pdf"),
        ("..\\..\\x.pdf", "x.pdf"),
        ("con.pdf", "file_con.pdf"),
        ("x" * 400, "x" * 96 + ".pdf"),
        ("exe.\u202efdp", "exe._fdp.pdf"),
        ("a\0b.pdf", "a_b.pdf"),
        ("a\nb.pdf", "a_b.pdf"),
        ('x"; filename="y.pdf', "x_filename_y.pdf"),
        ("", "file.pdf"),
        ("....", "file.pdf"),
        ("Zoe\u0308.pdf", "Zoë.pdf"),
    ],
)
def test_85_a_name_becomes_a_harmless_label(given: str, kept: str) -> None:
    found = clean_name(given, ".pdf")
    assert (found, len(found) <= MAX_NAME_CHARS) == (kept, True)


async def test_a_cv_travels_sealed_beside_its_message(front: Front, letters: Letters) -> None:
    status, _ = await front.post(PATH, data=multipart(("cv", "Mon-CV.pdf", PDF)))

    assert status == 202
    (event,) = letters.events("submissions")
    stored = json.loads(event.body)["cv"]
    assert (stored["name"], stored["media_type"]) == ("Mon-CV.pdf", "application/pdf")
    assert (stored["size"], stored["sha256"]) == (len(PDF), hashlib.sha256(PDF).hexdigest())
    sealed = letters.client.get(file_key(stored["file"]))
    assert letters.client.ttl(file_key(stored["file"])) == -1, "kept until the worker has it"
    assert letters.opener.open_file(sealed, stored["file"], event.key) == PDF
    with pytest.raises(InvalidMessage):
        letters.opener.open_file(sealed, stored["file"], "/forms/job-application another")


async def test_a_letter_may_be_text_or_a_file(front: Front, letters: Letters) -> None:
    files = (("cv", "cv.pdf", PDF), ("cover_letter", "letter.txt", TXT))
    data = aiohttp.FormData(default_to_multipart=True)
    for name, value in dotted({k: v for k, v in APPLICATION.items() if k != "cover_letter"}).items():
        data.add_field(name, value)
    for field, name, content in files:
        data.add_field(field, content, filename=name)
    assert (await front.post(PATH, data=data))[0] == 202
    body = letters.bodies()[0]
    assert (body["cv"]["name"], body["cover_letter"]["name"]) == ("cv.pdf", "letter.txt")
    assert body["cv"]["file"] != body["cover_letter"]["file"]
    assert len(letters.client.keys("greffier:file:*")) == 2


async def test_a_file_comes_in_json_as_base64(front: Front, letters: Letters) -> None:
    large = PDF.replace(b"1 0 obj", b"%" + b"x" * (4 << 20) + b"\n1 0 obj")
    cv = {"name": "cv.pdf", "content": base64.b64encode(large).decode()}
    body = io.BytesIO(json.dumps({**APPLICATION, "cv": cv}).encode())
    assert (await front.post(PATH, data=body, headers={"Content-Type": "application/json"}))[0] == 202
    assert letters.bodies()[0]["cv"]["size"] == len(large)


@pytest.mark.parametrize(
    "cv",
    [
        {"name": "cv.pdf"},
        {"name": "cv.pdf", "content": "***"},
        {"name": 1, "content": ""},
        {"content": "", "name": "x", "a": 1},
    ],
)
async def test_a_file_in_json_is_a_name_and_base64(front: Front, letters: Letters, cv: Any) -> None:
    status, answer = await front.post(PATH, json={**APPLICATION, "cv": cv})
    assert (status, answer["errors"][0]["pointer"], letters.messages()) == (422, "/cv", [])


@pytest.mark.parametrize(
    "name", ["80 HTML", "81 PDF with a ZIP behind", "82 external template", "83 empty", "84 EICAR"]
)
async def test_a_refused_file_refuses_the_form_and_leaves_nothing(front: Front, letters: Letters, name: str) -> None:
    status, answer = await front.post(PATH, data=multipart(("cv", "cv.pdf", REFUSED[name][0])))
    assert (status, answer["code"], answer["errors"][0]["pointer"]) == (422, REFUSED[name][1], "/cv")
    assert letters.client.keys("*") == []


async def test_a_child_that_shows_in_a_text_file_is_refused(front: Front, letters: Letters) -> None:
    cv = b"Je cherche un stage. J'ai 12 ans."
    status, answer = await front.post(PATH, data=multipart(("cv", "cv.txt", cv)))
    assert (status, answer["code"], letters.client.keys("*")) == (422, "under_age", [])


async def test_87_an_image_in_a_document_is_the_documents_own(front: Front, letters: Letters) -> None:
    """Metadata of images inside a CV is the applicant's own content: kept sealed with it, like the rest."""
    cv = with_entries({"word/media/a.jpg": b"\xff\xd8\xff\xe1\x00\x10Exif\x00\x00GPS"})
    assert (await front.post(PATH, data=multipart(("cv", "cv.docx", cv))))[0] == 202


@pytest.mark.parametrize(
    "files",
    [
        (("cv", "a.pdf", PDF), ("cv", "b.pdf", PDF)),
        (("cv", "a.pdf", PDF), ("cover_letter", "b.pdf", PDF), ("photo", "c.pdf", PDF)),
    ],
)
async def test_86_two_files_at_most_one_a_field(front: Front, letters: Letters, files: Any) -> None:
    assert (await front.post(PATH, data=multipart(*files)))[0] == 400
    assert letters.client.keys("*") == []


@pytest.mark.parametrize("field", ["photo", "first_name"])
async def test_a_file_where_none_is_due_is_refused(front: Front, letters: Letters, field: str) -> None:
    status, _ = await front.post(PATH, data=multipart((field, "a.pdf", PDF)))
    assert (status, letters.client.keys("*")) == (422, [])


async def test_other_forms_take_no_files(front: Front, letters: Letters) -> None:
    assert (await front.post("/forms/contact", data=multipart(("cv", "a.pdf", PDF))))[0] == 422
    assert letters.client.keys("*") == []


def by_hand(*parts: bytes, boundary: str = "b", end: bytes = b"--b--\r\n") -> dict[str, Any]:
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + end
    return {"data": body, "headers": {"Content-Type": f"multipart/form-data; boundary={boundary}"}}


FIELD = b'Content-Disposition: form-data; name="email"\r\n'


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(by_hand(FIELD + b"\r\na", FIELD + b"\r\nb"), 400, id="86 same name twice"),
        pytest.param(by_hand(b"Content-Disposition: form-data\r\n\r\na"), 400, id="86 no name"),
        pytest.param(by_hand(b"\r\na"), 400, id="86 no headers"),
        pytest.param(
            by_hand(*[b'Content-Disposition: form-data; name="%d"\r\n\r\na' % n for n in range(61)]),
            413,
            id="86 61 parts",
        ),
        pytest.param(
            by_hand(*[b'Content-Disposition: form-data; name="%d"\r\n\r\na' % n for n in range(2_000)]),
            413,
            id="86 2,000 parts",
        ),
        pytest.param(by_hand(FIELD + b"\r\na", end=b""), 400, id="86 no end"),
        pytest.param(by_hand(FIELD + b"\r\na", boundary="c"), 400, id="86 another boundary"),
        pytest.param(by_hand(FIELD + b"\r\na", boundary="b" * 71), 400, id="86 long boundary"),
        pytest.param({"data": b"", "headers": {"Content-Type": "multipart/form-data"}}, 400, id="86 no boundary"),
        pytest.param({"data": b"", "headers": {"Content-Type": "multipart/mixed; boundary=b"}}, 415, id="86 mixed"),
        pytest.param(by_hand(FIELD + b"Content-Type: multipart/mixed; boundary=c\r\n\r\na"), 400, id="86 nested"),
        pytest.param(by_hand(FIELD + b"Content-Length: 9\r\n\r\na"), 400, id="88 wrong length"),
        pytest.param(by_hand(FIELD + b"Content-Length: -1\r\n\r\na"), 400, id="88 negative length"),
        pytest.param(by_hand(FIELD + b"Content-Transfer-Encoding: base64\r\n\r\nYQ=="), 400, id="86 transfer encoding"),
        pytest.param(by_hand(FIELD + b"X: 1\r\n" * 20 + b"\r\na"), 400, id="86 many headers"),
        pytest.param(by_hand(FIELD + b"X: " + b"x" * 9_000 + b"\r\n\r\na"), 400, id="86 long header"),
        pytest.param(by_hand(FIELD + b"\r\n\xff\xfe"), 400, id="15 not UTF-8"),
        pytest.param(
            by_hand(b'Content-Disposition: form-data; name="_charset_"\r\n\r\nutf-7', FIELD + b"\r\na"),
            400,
            id="86 charset",
        ),
        pytest.param(by_hand(b'Content-Disposition: attachment; name="email"\r\n\r\na'), 400, id="86 not form-data"),
    ],
)
async def test_86_a_malformed_multipart_is_refused(front: Front, letters: Letters, request_: Any, status: int) -> None:
    found, answer = await front.post(PATH, **request_)
    assert (found, letters.client.keys("*")) == (status, [])
    assert answer["errors"] is not None


async def test_86_a_boundary_inside_content_ends_nothing(front: Front, letters: Letters) -> None:
    fields = [f'Content-Disposition: form-data; name="{k}"\r\n\r\n{v}'.encode() for k, v in dotted(APPLICATION).items()]
    letter = next(field for field in fields if b"cover_letter" in field)
    fields[fields.index(letter)] = letter + b" --b-- \n--bb"
    cv = b'Content-Disposition: form-data; name="cv"; filename="cv.pdf"\r\n\r\n' + PDF
    assert (await front.post(PATH, **by_hand(*fields, cv)))[0] == 202
    assert letters.bodies()[0]["cover_letter"].endswith("--b-- \n--bb")


def test_an_examined_file_says_what_it_is() -> None:
    assert set(ExaminedFile("a.txt", "text/plain", b"a").described("f-1")) == {
        "file",
        "name",
        "media_type",
        "size",
        "sha256",
    }


def test_the_installation_key_opens_nothing_it_did_not_seal(installation: Installation) -> None:
    with pytest.raises(InvalidMessage):
        installation.opener.open_file(b"\x03abc" + b"x" * 100, "f-1", "a b")
