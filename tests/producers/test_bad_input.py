"""The numbered corpus of bad input, items 1 to 30 and 45 to 79: each refused by a clear problem or kept as it is.

The numbers are those of the reliability notes, § 5; `test_transport.py` has 31 to 44, `test_uploads.py` 80 to 88.
"""

from __future__ import annotations

import codecs
import gzip
import json
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.producers.conftest import Front, Letters
from tests.producers.samples import APPLICATION, CLIENT, CONTACT, PERSON, cloud, consent, visit

MARK = "Zyzzogeton"
"""Stands in every refused body; must stand in no answer."""

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
BODY = json.dumps({**CONTACT, "last_name": MARK})


def put(text: str, name: str = "first_name") -> bytes:
    """The contact form with raw JSON text for one field."""
    form = {key: value for key, value in CONTACT.items() if key != name}
    return (json.dumps({**form, "last_name": MARK})[:-1] + f', "{name}": {text}}}').encode()


def contact(**changes: Any) -> bytes:
    return json.dumps({**CONTACT, "last_name": MARK, **changes}).encode()


REFUSED: list[tuple[str, bytes, int]] = [
    ("1 NaN", put("NaN"), 400),
    ("2 Infinity", put("Infinity"), 400),
    ("2 -Infinity", put("-Infinity"), 400),
    ("3 1e999", put("1e999"), 400),
    ("4 2**63", put("9223372036854775808"), 400),
    ("5 4,301 digits", put("1" * 4301), 400),
    ("6 -0", put("-0"), 422),
    ("6 1.0", put("1.0"), 422),
    ("7 01", put("01"), 400),
    ("7 .5", put(".5"), 400),
    ("7 1_000", put("1_000"), 400),
    ("8 same key twice", put('"a", "first_name": "b"'), 400),
    ("8 same key twice, nested", put('{"city": "a", "city": "b"}', "postal_address"), 400),
    ("9 100,000 nested arrays", put("[" * 100_000 + "]" * 100_000), 400),
    ("10 900 nested arrays", put("[" * 900 + "]" * 900), 400),
    ("11 trailing comma", BODY[:-1].encode() + b",}", 400),
    ("11 comment", BODY[:-1].encode() + b"/* no */}", 400),
    ("11 single quotes", BODY.replace('"', "'").encode(), 400),
    ("12 BOM", codecs.BOM_UTF8 + BODY.encode(), 400),
    ("13 UTF-16", BODY.encode("utf-16"), 400),
    ("13 UTF-32", BODY.encode("utf-32"), 400),
    ("15 invalid UTF-8", put('"\\u00e9"').replace(b"\\u00e9", b"\xff"), 400),
    ("15 overlong form", put('"X"').replace(b'"X"', b'"\xc0\xaf"'), 400),
    ("16 lone surrogate", put('"\\ud800"'), 400),
    ("17 NUL in a value", put('"a\\u0000b"'), 422),
    ("18 NUL in a key", put('"a"', "first\\u0000name"), 422),
    ("19 C0 control", put('"a\\u0007b"'), 422),
    ("19 C1 control", put('"a\\u0085b"'), 422),
    ("19 U+2028", put('"a\\u2028b"'), 422),
    ("19 U+FEFF inside", put('"a\\ufeffb"'), 422),
    ("20 bidi override", put('"abc\\u202efdp"'), 422),
    ("21 4 KB of combining marks", contact(first_name="e" + "\u0301" * 2048), 422),
    ("23 empty body", b"", 400),
    ("23 null", b"null", 422),
    ("23 []", b"[]", 422),
    ("23 empty string", b'""', 422),
    ("23 0", b"0", 422),
    ("24 array of a million", b"[" + b"0," * 99_999 + b"0]", 400),
    ("25 two documents", (BODY + BODY).encode(), 400),
    ("26 __proto__", put('{"a": 1}', "__proto__"), 422),
    ("26 constructor", put('"a"', "constructor"), 422),
    ("27 a key of 200 KB", contact(**{"k" * 200_000: "x"}), 400),
    ("28 a hundred thousand keys", b"{" + b",".join(b'"k%d":0' % n for n in range(20_000)) + b"}", 400),
    ("45 $ne", contact(email={"$ne": None}), 422),
    ("46 $regex", contact(email={"$regex": "^a"}), 422),
    ("47 $where", contact(**{"$where": "sleep(1000)"}), 422),
    ("48 $gt deep in an array", contact(postal_address={"city": [[{"$gt": ""}]]}), 422),
    ("49 key $set", contact(**{"$set": {"a": "b"}}), 422),
    ("49 key a.b", contact(**{"postal_address.city": "X"}), 422),
    ("50 empty key", contact(**{"": "x"}), 422),
    ("51 _id", contact(_id="x"), 422),
    ("51 _id object", contact(_id={"a": 1}), 422),
    ("52 $oid", contact(first_name={"$oid": "0" * 24}), 422),
    ("52 $date", contact(first_name={"$date": 0}), 422),
    ("52 $numberLong", contact(first_name={"$numberLong": "1"}), 422),
    ("57 quoted local part", contact(email='"a b"@example.com'), 422),
    ("57 comment", contact(email="a(x)@example.com"), 422),
    ("57 address literal", contact(email="a@[192.0.2.1]"), 422),
    ("57 255 characters", contact(email=f"a@{'b' * 60}.{'c' * 60}.{'d' * 60}.{'e' * 60}.example.com"), 422),
    ("57 long local part", contact(email="a" * 65 + "@example.com"), 422),
    ("57 trailing dot", contact(email="a@example.com."), 422),
    ("60 several addresses", contact(email="a@example.com, b@example.com"), 422),
    ("60 display name", contact(email="Name <a@example.com>"), 422),
    ("61 tab", contact(email="a\t@example.com"), 422),
    ("61 zero width", contact(email="a\u200b@example.com"), 422),
    ("41 line break in an e-mail", contact(email="a@example.com\r\nBcc: b@example.com"), 422),
    ("41 line break in a name", contact(first_name="a\r\nBcc: b@example.com"), 422),
    ("62 forty digits", contact(phone="0" * 41), 422),
    ("62 extension", contact(phone="+33612345678 ext. 9"), 422),
    ("62 letters", contact(phone="call me"), 422),
    ("64 500-line address", contact(postal_address={"street": "\n".join(["1 rue"] * 500)}), 422),
    ("65 country UK", contact(postal_address={"country": "UK"}), 422),
    ("65 XK, which ISO never assigned", contact(postal_address={"country": "XK"}), 422),
    ("65 lower case", contact(postal_address={"country": "fr"}), 422),
    ("65 name for code", contact(postal_address={"country": "France"}), 422),
    ("67 birth date", contact(birth_date="2018-01-31"), 422),
    ("67 age", contact(age=12), 422),
    ("67 age in words", contact(first_name="Bonjour, j’ai douze ans"), 422),
    ("67 age in English", contact(first_name="I'm 11 years old"), 422),
]


@pytest.mark.parametrize(("body", "status"), [pytest.param(*rest, id=name) for name, *rest in REFUSED])
async def test_a_bad_form_is_refused(front: Front, letters: Letters, body: bytes, status: int) -> None:
    found, answer = await front.post("/forms/contact", data=body, headers={"Content-Type": JSON})
    assert found == status
    _is_a_silent_problem(answer, status)
    assert letters.client.keys("*") == []


def _is_a_silent_problem(answer: Any, status: int) -> None:
    assert (answer["status"], bool(answer["title"]), bool(answer["code"])) == (status, True, True)
    text = json.dumps(answer)
    assert MARK not in text
    assert "example.com" not in text


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        pytest.param(BODY.encode(), {"Content-Type": f"{JSON}; charset=utf-7"}, 415, id="14 utf-7"),
        pytest.param(BODY.encode(), {"Content-Type": f"{JSON}; charset=utf-16"}, 415, id="14 utf-16"),
        pytest.param(urlencode(PERSON).encode(), {"Content-Type": f"{FORM}; charset=latin-1"}, 415, id="14 latin-1"),
        pytest.param(BODY.encode(), {"Content-Type": "text/plain"}, 415, id="29 text/plain"),
        pytest.param(BODY.encode(), {"Content-Type": "application/octet-stream"}, 415, id="29 bytes"),
        pytest.param(BODY.encode(), {"Content-Type": FORM}, 400, id="30 JSON as a form"),
        pytest.param(b"a=%FF", {"Content-Type": FORM}, 400, id="15 invalid UTF-8 in a form"),
        pytest.param("é=1".encode(), {"Content-Type": FORM}, 400, id="15 bare bytes in a form"),
        pytest.param(b"email=a&email=b", {"Content-Type": FORM}, 400, id="8 same field twice in a form"),
        pytest.param(b"postal_address=a&postal_address.city=b", {"Content-Type": FORM}, 400, id="8 two shapes"),
        pytest.param(b"&".join(b"a%d=1" % n for n in range(61)), {"Content-Type": FORM}, 400, id="28 61 fields"),
    ],
)
async def test_a_bad_way_to_say_it_is_refused(
    front: Front, letters: Letters, body: bytes, headers: dict[str, str], status: int
) -> None:
    found, answer = await front.post("/forms/contact", data=body, headers=headers)
    assert found == status
    _is_a_silent_problem(answer, status)
    assert letters.client.keys("*") == []


KEPT: list[tuple[str, str, Any, Any]] = [
    ("22 composed as decomposed", "last_name", "Zoe\u0308", "Zo\u00eb"),
    ("56 Cyrillic a stays another address", "email", "а@example.com", "а@example.com"),
    ("56 IDNA domain", "email", "a@straße.example", "a@xn--strae-oqa.example"),
    ("58 tag is kept", "email", "jane+news@example.com", "jane+news@example.com"),
    ("58 dots are kept", "email", "j.a.n.e@example.com", "j.a.n.e@example.com"),
    ("59 Turkish letters are kept", "last_name", "Işık İnan", "Işık İnan"),
    ("62 +33 (0)", "phone", "+33 (0)6 98 76 54 32", "+33698765432"),
    ("62 Arabic-Indic digits", "phone", "٠٦٩٨٧٦٥٤٣٢", "+33698765432"),
    ("63 one letter", "last_name", "Ó", "Ó"),
    ("63 apostrophe", "last_name", "O'Neil", "O'Neil"),
    ("63 Null", "last_name", "Null", "Null"),
    ("63 formula", "last_name", "=1+1", "=1+1"),
    ("63 emoji", "last_name", "Zoé 🦊", "Zoé 🦊"),
    ("68 markup is text", "last_name", "<script>alert(1)</script>", "<script>alert(1)</script>"),
    ("68 template is text", "last_name", "{{7*7}} ${jndi:x} ' OR 1=1", "{{7*7}} ${jndi:x} ' OR 1=1"),
    ("69 lead-ins are text", "last_name", "@SUM(A1)", "@SUM(A1)"),
]


@pytest.mark.parametrize(("field", "said", "kept"), [pytest.param(*rest, id=name) for name, *rest in KEPT])
async def test_odd_but_honest_input_is_kept_as_it_is(
    front: Front, letters: Letters, field: str, said: Any, kept: Any
) -> None:
    status, _ = await front.post("/forms/contact", json={**CONTACT, field: said})
    assert (status, letters.bodies()[0][field]) == (202, kept)


async def test_63_no_first_name_is_an_answer_too(front: Front) -> None:
    form = {name: value for name, value in CONTACT.items() if name != "first_name"}
    status, answer = await front.post("/forms/contact", json=form)
    assert status in (202, 422), "the register says which"
    assert status == 202 or [error["pointer"] for error in answer["errors"]] == ["/first_name"]


@pytest.mark.parametrize("language", ["fr_FR", "FR", "xx", "-".join(["fr"] * 36)], ids=lambda text: f"66 {text[:8]}")
async def test_an_unknown_language_is_refused(front: Front, language: str) -> None:
    assert (await front.post("/cookies", json=consent(language=language)))[0] == 422


@pytest.mark.parametrize(
    ("at", "status"),
    [
        pytest.param("9999-12-31T23:59:59Z", 422, id="71 year 9999"),
        pytest.param("0001-01-01T00:00:00Z", 422, id="71 year 1"),
        pytest.param("1970-01-01T00:00:00Z", 422, id="71 1970"),
        pytest.param("2026-01-01T24:00:00Z", 422, id="73 24:00:00"),
        pytest.param("2026-01-01T10:00:60Z", 422, id="73 second 60"),
        pytest.param("2026-01-01T10:00:00+14:00", 202, id="73 +14:00"),
        pytest.param("2026-01-01T10:00:00", 422, id="73 no zone"),
        pytest.param("2026-01-01", 422, id="55 a date for a moment"),
        pytest.param(1767261600, 422, id="55 a number for a moment"),
        pytest.param("2023-01-01T00:00:00Z", 202, id="75 older than 13 months"),
    ],
)
async def test_moments_are_rfc_3339_and_believable(front: Front, at: Any, status: int) -> None:
    assert (await front.post("/cookies", json=consent(at=at)))[0] == status


@pytest.mark.parametrize("choice", ["false", "true", 1, 0, None, []], ids=lambda value: f"76 {value!r}")
async def test_only_booleans_are_choices(front: Front, letters: Letters, choice: Any) -> None:
    status, answer = await front.post("/cookies", json=consent(choices={"analytics": choice}))
    assert (status, answer["errors"][0]["pointer"]) == (422, "/choices/analytics")
    assert letters.messages() == []


@pytest.mark.parametrize(
    "event_id",
    ["x" * 200_000, "a\nb", "../../x", "a b", "é", "", "$ne", 7, None, {"a": 1}],
    ids=lambda v: f"78 {str(v)[:9]}",
)
async def test_an_id_is_a_plain_word(front: Front, letters: Letters, event_id: Any) -> None:
    assert (await front.post("/cookies", json=consent(event_id)))[0] == 422
    assert letters.messages() == []


async def test_74_grant_and_withdrawal_at_one_instant_both_arrive(front: Front, letters: Letters) -> None:
    said = [consent("a", choices={"analytics": True}), consent("b", choices={"analytics": False})]
    assert (await front.post("/cookies", json=said))[0] == 202
    assert [event.id for event in letters.events("consent")] == ["a", "b"], "which one wins is the worker's to decide"


async def test_77_another_body_under_a_used_id_is_refused_where_it_is_seen(front: Front, letters: Letters) -> None:
    status, answer = await front.post("/cookies", json=[consent("a"), consent("a", policy_version="2")])
    assert (status, answer["accepted"], answer["refused"][0]["index"]) == (202, 1, 1)


async def test_79_ids_of_two_sources_never_meet(front: Front, letters: Letters) -> None:
    headers = {"Content-Type": "application/cloudevents+json", **front.bearer}
    assert (await front.post("/events", json=cloud("same"), headers=headers))[0] == 202
    assert (await front.post("/cookies", json=consent("same")))[0] == 202
    assert {event.key for event in letters.events()} == {"https://crm.example.com same", "/cookies same"}


async def test_53_and_54_large_bodies_never_reach_a_queue(front: Front, letters: Letters) -> None:
    many = json.dumps({**CLIENT, "position": ["x"] * 60_000}).encode()
    for path in ("/forms/contact", "/cookies"):
        assert (await front.post(path, data=many, headers={"Content-Type": JSON}))[0] in (400, 413)
    assert letters.messages() == []


async def test_68_a_letter_may_hold_lines_and_markup(front: Front, letters: Letters) -> None:
    letter = "Bonjour,\r\n<b>{{7*7}}</b>\n\n=HYPERLINK(1)"
    assert (await front.post("/forms/job-application", json={**APPLICATION, "cover_letter": letter}))[0] in (202, 422)
    for body in letters.bodies():
        assert body["cover_letter"] == letter.replace("\r\n", "\n")


@pytest.mark.parametrize("url", ["javascript:alert(1)", "//x", "https://a b/", "https://u@x/", "file:///etc/passwd"])
async def test_a_page_is_an_http_address(front: Front, url: str) -> None:
    assert (await front.post("/cookies", json=visit(url=url)))[0] == 422


async def test_70_somebody_elses_address_cannot_be_told_apart_here(front: Front, letters: Letters) -> None:
    """Whoever fills in a form may type any address: nothing at the door treats it as proven."""
    assert (await front.post("/forms/newsletter", json={"email": "x@example.org", "policy_version": "1"}))[0] == 202
    assert letters.bodies("newsletter") == [{"email": "x@example.org", "policy_version": "1"}]


async def test_a_compressed_form_is_read(front: Front, letters: Letters) -> None:
    headers = {"Content-Type": JSON, "Content-Encoding": "gzip"}
    assert (await front.post("/forms/contact", data=gzip.compress(json.dumps(CONTACT).encode()), headers=headers))[
        0
    ] == 202
    assert letters.bodies() == [CONTACT]
