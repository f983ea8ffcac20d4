"""A copy is read record by record, and only if it is a copy in its canonical bytes."""

from __future__ import annotations

import json
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.copies import MAX_PARTS, check_part, cut, read_copy
from schemas.errors import InvalidMessage

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_RECORDS = st.lists(st.dictionaries(st.text(max_size=8), _VALUES, max_size=4), max_size=5)
_COPIES = st.lists(
    st.fixed_dictionaries({"name": st.text(max_size=12), "fields": st.just({"a": "b"}), "records": _RECORDS}),
    max_size=3,
)


def copy_of(collections: Any) -> bytes:
    return rfc8785.dumps({"store": "de", "collections": collections})


def read(copy: bytes) -> list[dict[str, Any]]:
    found = read_copy("de", copy)
    return [{"name": one.name, "fields": one.fields, "records": list(one.records)} for one in found]


@given(_COPIES)
@settings(max_examples=60, deadline=None)
def test_what_is_read_is_what_was_written_however_often(collections: list[dict[str, Any]]) -> None:
    copy = copy_of(collections)
    assert read(copy) == read(copy) == json.loads(copy)["collections"]


def test_what_lies_across_a_window_s_edge_is_read_whole() -> None:
    """Records of all lengths, of letters that are one, two, three and four bytes long."""
    letters = "aé€𝄞"
    records = [{"n": n, "text": letters[n % 4] * (n * 37 % 5000)} for n in range(400)]
    records.append({"n": 400, "text": "𝄞" * 200_000})
    assert read(copy_of([{"name": "x", "fields": {}, "records": records}]))[0]["records"] == records


@given(_COPIES, st.data())
@settings(max_examples=60, deadline=None)
def test_one_byte_more_less_or_other_is_refused_or_still_a_copy(collections: Any, data: st.DataObject) -> None:
    """Nothing but :class:`InvalidMessage` ever comes of it."""
    copy = bytearray(copy_of(collections))
    place = data.draw(st.integers(0, len(copy) - 1))
    match data.draw(st.sampled_from(["cut", "drop", "put"])):
        case "cut":
            del copy[place:]
        case "drop":
            del copy[place]
        case _:
            copy[place] = data.draw(st.integers(0, 255))
    with suppress(InvalidMessage):
        read(bytes(copy))


BAD = {
    "nothing": b"",
    "not UTF-8": b'{"collections":[{"fields":{},"name":"\xff","records":[]}],"store":"de"}',
    "with blanks": b'{ "collections":[],"store":"de"}',
    "members in another order": b'{"store":"de","collections":[]}',
    "a record twice named": b'{"collections":[{"fields":{},"name":"x","records":[{"a":1,"a":2}]}],"store":"de"}',
    "a record that is none": b'{"collections":[{"fields":{},"name":"x","records":[[]]}],"store":"de"}',
    "a comma too many": b'{"collections":[{"fields":{},"name":"x","records":[{},]}],"store":"de"}',
    "no number": b'{"collections":[{"fields":{},"name":"x","records":[{"a":NaN}]}],"store":"de"}',
    "too deep": b'{"collections":[{"fields":{},"name":"x","records":[{"a":' + b"[" * 5000 + b"]" * 5000,
    "a name that is none": b'{"collections":[{"fields":{},"name":[],"records":[]}],"store":"de"}',
    "fields that are none": b'{"collections":[{"fields":"","name":"x","records":[]}],"store":"de"}',
    "another store's": b'{"collections":[],"store":"gb"}',
    "something after it": b'{"collections":[],"store":"de"}x',
}


@pytest.mark.parametrize("copy", BAD.values(), ids=BAD)
def test_what_is_no_copy_is_refused(copy: bytes) -> None:
    with pytest.raises(InvalidMessage, match="bad_copy"):
        read(copy)


def test_a_copy_takes_no_more_memory_than_its_bytes() -> None:
    """Decoded whole, it would be larger than it is."""
    copy = copy_of([{"name": "x", "fields": {}, "records": [{"n": n, "text": "x" * 500} for n in range(4_000)]}])
    tracemalloc.start()
    try:
        (collection,) = read_copy("de", copy)
        assert sum(1 for _ in collection.records) == 4_000
        assert tracemalloc.get_traced_memory()[1] < len(copy) / 2
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("place", "of"), [("1", "1"), ("0", "0"), ("0", str(MAX_PARTS + 1)), ("9999", "9999")])
def test_a_part_that_no_copy_has_is_refused(place: str, of: str) -> None:
    (part,) = cut("R-1/de", copy_of([]))
    assert check_part(part) == part
    with pytest.raises(InvalidMessage, match="bad_part"):
        check_part({**part, "place": place, "of": of})
