"""JSON from outside: what two readers could understand differently is refused. Numbers: reliability.md § 5."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidMessage
from schemas.strict_json import MAX_DEPTH, parse

HOSTILE = {
    "1 NaN": (b'{"a": NaN}', "number_out_of_range"),
    "2 -Infinity": (b"[-Infinity]", "number_out_of_range"),
    "3 1e999": (b"[1e999]", "number_out_of_range"),
    "4 2^63": (b"[9223372036854775808]", "number_out_of_range"),
    "4 2^53": (b"[9007199254740992]", "number_out_of_range"),
    "5 4301 digits": (b"1" * 4301, "number_out_of_range"),
    "7 leading zero": (b"01", "not_json"),
    "7 no leading digit": (b".5", "not_json"),
    "7 underscore": (b"1_000", "not_json"),
    "8 duplicate key": (b'{"a": 1, "a": 2}', "duplicate_key"),
    "8 duplicate key, nested": (b'{"x": [{"a": 1, "\\u0061": 2}]}', "duplicate_key"),
    "9 100,000 arrays": (b"[" * 100_000, "too_deep"),
    "10 900 arrays": (b"[" * 900 + b"]" * 900, "too_deep"),
    "11 trailing comma": (b"[1,]", "not_json"),
    "11 comment": (b"[1] // one", "not_json"),
    "11 single quotes": (b"{'a': 1}", "not_json"),
    "12 byte order mark": (b"\xef\xbb\xbf{}", "not_json"),
    "13 UTF-16": ("{}".encode("utf-16"), "not_utf8"),
    "13 UTF-32": ('{"é": 1}'.encode("utf-32"), "not_utf8"),
    "15 overlong": (b'"\xc0\xaf"', "not_utf8"),
    "15 0xff": (b'"\xff"', "not_utf8"),
    "16 lone surrogate": (b'"\\ud800"', "unpaired_surrogate"),
    "16 lone surrogate as a key": (b'{"\\udfff": 1}', "unpaired_surrogate"),
    "19 raw control": (b'"a\x01b"', "not_json"),
    "23 empty": (b"", "not_json"),
    "24 a million": (b"[" + b"0," * 999_999 + b"0]", "too_many_values"),
    "25 two documents": (b"{}{}", "not_json"),
    "27 key of 1 MB": (b'{"' + b"k" * 1_000_000 + b'": 1}', "key_too_long"),
    "28 10^5 keys": (json.dumps(dict.fromkeys(map(str, range(100_000)))).encode(), "too_many_values"),
}


@pytest.mark.parametrize(("raw", "code"), HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_hostile_is_refused_by_a_code(raw: bytes, code: str) -> None:
    with pytest.raises(InvalidMessage) as refused:
        parse(raw)
    assert refused.value.code == code


@pytest.mark.parametrize("raw", [b"null", b"[]", b'""', b"0", b"-0", b"1.0"])
def test_what_is_only_odd_is_left_to_the_shape(raw: bytes) -> None:
    assert parse(raw) == json.loads(raw)


def test_the_deepest_that_is_allowed() -> None:
    assert parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


def test_python_s_own_parser_lets_some_of_it_through() -> None:
    """The reason for this parser: were it replaced by the standard one, these would pass."""
    let_through = 0
    for raw, _ in HOSTILE.values():
        try:
            json.loads(raw)
        except (ValueError, RecursionError):
            continue
        let_through += 1
    assert let_through >= 10


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=10), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON)
def test_ordinary_json_is_read_as_it_was_written(value: Any) -> None:
    assert parse(json.dumps(value).encode()) == value
