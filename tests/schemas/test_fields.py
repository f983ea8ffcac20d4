"""Every field as outsiders may say it. Numbers: reliability.md § 5."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import fields
from schemas.errors import InvalidBody, InvalidMessage
from schemas.fields import FieldType
from schemas.shapes import Shape
from schemas.subject import clean_email

SAID: list[tuple[str, FieldType, str, str]] = [
    ("case of the domain", fields.EMAIL, "Ada.Q@EXAMPLE.com", "Ada.Q@example.com"),
    ("58 tag and dots stay", fields.EMAIL, "a.d.a+news@example.com", "a.d.a+news@example.com"),
    ("spaces around", fields.EMAIL, "  ada@example.com ", "ada@example.com"),
    ("56 IDNA2008, not IDNA2003", fields.EMAIL, "ada@straße.example.com", "ada@xn--strae-oqa.example.com"),
    ("decomposed", fields.EMAIL, "ame\u0301lie@example.com", "amélie@example.com"),
    ("62 (0)", fields.PHONE, "+33 (0)1 99 00 01 01", "+33199000101"),
    ("62 national", fields.PHONE, "01 99 00 01 01", "+33199000101"),
    ("62 Arabic-Indic digits", fields.PHONE, "٠١٩٩٠٠٠١٠١", "+33199000101"),
    ("63 one letter", fields.NAME, "Ó", "Ó"),
    ("63 O'Neil", fields.NAME, "O'Neil", "O'Neil"),
    ("63 Null", fields.NAME, "Null", "Null"),
    ("63 formula", fields.NAME, "=1+1", "=1+1"),
    ("63 emoji", fields.NAME, "Ada 👩‍🔬", "Ada 👩‍🔬"),
    ("22 decomposed", fields.NAME, "Chloe\u0301", "Chloé"),
    ("68 markup is text", fields.LINE, "<script>{{7*7}}${jndi:x}' OR 1=1 --", "<script>{{7*7}}${jndi:x}' OR 1=1 --"),
    ("line breaks in a letter", fields.LETTER, "Madame,\r\n\tje", "Madame,\n\tje"),
    ("language", fields.LANGUAGE, "fr-FR", "fr-FR"),
    ("zone to UTC", fields.MOMENT, "2026-11-22T09:00:00+01:00", "2026-11-22T08:00:00.000Z"),
    ("73 +14:00", fields.MOMENT, "2026-11-22T22:00:00+14:00", "2026-11-22T08:00:00.000Z"),
    ("fraction", fields.MOMENT, "2026-11-22T08:00:00.123456Z", "2026-11-22T08:00:00.123Z"),
    ("url without query", fields.URL, "https://www.example.com/a?mail=x@example.com#b", "https://www.example.com/a"),
]

REFUSED: list[tuple[str, FieldType, Any]] = [
    ("45 object for a string", fields.EMAIL, {"$ne": None}),
    ("45 null", fields.NAME, None),
    ("76 number for a string", fields.NAME, 7),
    ("57 quoted local part", fields.EMAIL, '"ada q"@example.com'),
    ("57 literal", fields.EMAIL, "ada@[192.0.2.1]"),
    ("57 255 characters", fields.EMAIL, "a" * 60 + "@" + ".".join(["b" * 48] * 4) + ".example.com"),
    ("57 65 in the local part", fields.EMAIL, "a" * 65 + "@example.com"),
    ("57 trailing dot", fields.EMAIL, "ada@example.com."),
    ("60 two addresses", fields.EMAIL, "ada@example.com, bo@example.com"),
    ("60 display name", fields.EMAIL, "Ada <ada@example.com>"),
    ("61 tab", fields.EMAIL, "ada\t@example.com"),
    ("61 zero width", fields.EMAIL, "ada\u200b@example.com"),
    ("41 header injection", fields.EMAIL, "ada@example.com\r\nBcc: all@example.com"),
    ("41 CR LF in a name", fields.NAME, "Ada\r\nBcc: all@example.com"),
    ("17 NUL", fields.NAME, "Ada\0"),
    ("19 controls", fields.NAME, "Ada\x85Q"),
    ("19 U+2028", fields.NAME, "Ada\u2028Q"),
    ("19 U+FEFF", fields.NAME, "\ufeffAda"),
    ("20 bidi override", fields.NAME, "Ada\u202eadA"),
    ("21 4 KB of marks", fields.NAME, "a" + "\u0301" * 4096),
    ("21 twenty marks", fields.NAME, "a" + "\u0336" * 20),
    ("empty", fields.NAME, "   "),
    ("64 long", fields.LINE, "x\n" * 500),
    ("62 40 digits", fields.PHONE, "1" * 40),
    ("62 extension", fields.PHONE, "+33199000101 ext. 4"),
    ("62 words", fields.PHONE, "call me"),
    ("65 UK", fields.COUNTRY, "UK"),
    ("65 lower case", fields.COUNTRY, "fr"),
    ("65 name", fields.COUNTRY, "France"),
    ("65 EU", fields.COUNTRY, "EU"),
    ("66 underscore", fields.LANGUAGE, "fr_FR"),
    ("66 upper case", fields.LANGUAGE, "FR"),
    ("66 xx", fields.LANGUAGE, "xx"),
    ("66 subtags", fields.LANGUAGE, "-".join(["fr"] * 35)),
    ("71 year 1", fields.MOMENT, "0001-01-01T00:00:00Z"),
    ("71 1970", fields.MOMENT, "1970-01-01T00:00:00Z"),
    ("73 24:00", fields.MOMENT, "2026-11-22T24:00:00Z"),
    ("73 second 60", fields.MOMENT, "2026-11-22T08:00:60Z"),
    ("73 no zone", fields.MOMENT, "2026-11-22T08:00:00"),
    ("73 number", fields.MOMENT, 1763798400),
    ("a week date", fields.DAY, "2026-W47"),
    ("no such day", fields.DAY, "2026-02-30"),
    ("address as an id", fields.IDENTIFIER, "ada@example.com"),
    ("78 path as an id", fields.IDENTIFIER, "../../etc/passwd"),
    ("78 10 MB id", fields.IDENTIFIER, "a" * 10_000_000),
    ("78 control in an id", fields.IDENTIFIER, "a\nb"),
    ("credentials in a URL", fields.URL, "https://ada:secret@www.example.com/"),
    ("script URL", fields.URL, "javascript:alert(1)"),
    ("76 string for a boolean", fields.CHOICES, {"analytics": "false"}),
    ("76 one for a boolean", fields.CHOICES, {"analytics": 1}),
    ("76 null for a boolean", fields.CHOICES, {"analytics": None}),
    ("no choice at all", fields.CHOICES, {}),
    ("49 dollar key", fields.CHOICES, {"$set": True}),
    ("49 dotted key", fields.CHOICES, {"a.b": True}),
    ("50 empty key", fields.CHOICES, {"": True}),
]


def one(kind: FieldType) -> Shape:
    return Shape("one", {"value": kind})


@pytest.mark.parametrize(("kind", "said", "clean"), [row[1:] for row in SAID], ids=[row[0] for row in SAID])
def test_what_is_said_is_cleaned_and_stays_clean(kind: FieldType, said: str, clean: str) -> None:
    shape = one(kind)
    assert shape.clean({"value": said}) == {"value": clean}
    assert shape.clean({"value": clean}) == {"value": clean}
    assert shape.check({"value": clean}) == {"value": clean}


@pytest.mark.parametrize(("kind", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_refused_is_not_quoted(kind: FieldType, said: Any) -> None:
    with pytest.raises(InvalidBody) as refused:
        one(kind).clean({"value": said})
    told = " ".join(f"{problem.detail} {problem.pointer}" for problem in refused.value.problems) + str(refused.value)
    assert refused.value.problems[0].pointer.startswith("/value")
    assert not (isinstance(said, str) and len(said.strip()) > 3 and said in told)


def test_a_worker_takes_only_normal_forms() -> None:
    for kind, value in ((fields.EMAIL, "ada@EXAMPLE.com"), (fields.PHONE, "01 99 00 01 01"), (fields.MOMENT, "today")):
        with pytest.raises(InvalidMessage, match="not_in_normal_form"):
            one(kind).check({"value": value})


def test_a_homoglyph_is_another_address() -> None:
    """56: Cyrillic а is not a; nothing merges them, nothing refuses a person for his script."""
    assert clean_email("\u0430da@example.com") != clean_email("ada@example.com")


def test_turkish_letters_fold_without_a_locale() -> None:
    """59: the simple lower case of İ and ı does not depend on the machine."""
    assert clean_email("ADA@example.com").lower() == "ada@example.com"
    assert clean_email("ıda@example.com").lower() != clean_email("ida@example.com").lower()


@settings(deadline=None)
@given(st.text(max_size=400))
def test_no_text_breaks_a_cleaner(said: str) -> None:
    for kind in (fields.NAME, fields.LINE, fields.EMAIL, fields.PHONE, fields.MOMENT, fields.DAY, fields.URL):
        shape = one(kind)
        try:
            clean = shape.clean({"value": said})
        except InvalidBody:
            continue
        assert shape.clean(clean) == clean == shape.check(clean)
