"""Shapes are closed: what the case does not list is refused, every fault at once, nothing quoted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.errors import InvalidBody, InvalidMessage
from schemas.register import load_register
from schemas.routes import QUEUES, routes
from schemas.submissions import CONTACT_CASES, FORM_CASES, form
from schemas.terms import Case

REGISTER = load_register()
CONTACT = form(Case.CONTACT, REGISTER.case(Case.CONTACT))
WHOLE: dict[str, Any] = {
    "last_name": "Quillfeather",
    "first_name": "Ada",
    "email": "ada@example.com",
    "phone": "+33199000101",
    "postal_address": {"street": "1 rue de l'Exemple", "postal_code": "75002", "city": "Paris", "country": "FR"},
    "policy_version": "1",
}


def test_a_whole_form_is_kept_as_it_is() -> None:
    assert CONTACT.clean(WHOLE) == WHOLE
    assert CONTACT.read(json.dumps(WHOLE).encode()) == WHOLE


def test_every_fault_is_told_at_once() -> None:
    body = {**WHOLE, "email": "nobody", "phone": "12", "shoe_size": 39}
    del body["last_name"]
    with pytest.raises(InvalidBody) as refused:
        CONTACT.clean(body)
    assert {(p.code, p.pointer) for p in refused.value.problems} == {
        ("missing", "/last_name"),
        ("not_an_email", "/email"),
        ("not_a_phone", "/phone"),
        ("extra_forbidden", "/shoe_size"),
    }


@pytest.mark.parametrize(
    "field", ["__proto__", "constructor", "_id", "$where", "a.b", "", "k" * 300, "cv", "birth_date"]
)
def test_a_field_the_case_does_not_list_is_refused(field: str) -> None:
    with pytest.raises(InvalidBody) as refused:
        CONTACT.clean({**WHOLE, field: "x"})
    assert [p.code for p in refused.value.problems] == ["extra_forbidden"]
    assert len(refused.value.problems[0].pointer) <= 66


def test_an_unknown_key_is_not_echoed_when_it_is_no_name() -> None:
    """A key can hold personal data as well as a value can."""
    with pytest.raises(InvalidBody) as refused:
        CONTACT.clean({**WHOLE, "ada@example.com": 1})
    assert "ada" not in str(refused.value.problems)


@pytest.mark.parametrize(
    "body", [None, [], "", 0, [WHOLE], {"postal_address": "Paris"}, {"postal_address": {"$gt": ""}}]
)
def test_another_kind_of_value_is_refused(body: Any) -> None:
    with pytest.raises(InvalidBody):
        CONTACT.clean(body if not isinstance(body, dict) else {**WHOLE, **body})


def test_a_worker_refuses_what_a_door_would_never_send() -> None:
    for body in ({**WHOLE, "shoe_size": "39"}, {**WHOLE, "email": 1}, {}, []):
        with pytest.raises(InvalidMessage, match="not_in_normal_form"):
            CONTACT.read(json.dumps(body).encode())
    with pytest.raises(InvalidMessage, match="not_in_normal_form"):
        CONTACT.read(b"{")


def test_every_case_has_a_route_with_the_register_s_fields() -> None:
    """R1, R2: the lists are closed, and the CRM says where its data is from and since when."""
    found = routes(REGISTER)
    for case in FORM_CASES:
        shape = found[f"greffier.form.{case}"].shape
        assert {*shape.required, *shape.optional} == {
            *REGISTER.case(case).accepts,
            "policy_version",
            "device_id",
            "consents",
        }
    for case in CONTACT_CASES:
        shape = found[f"greffier.contact.{case}"].shape
        assert {*shape.required, *shape.optional} == {*REGISTER.case(case).accepts, "source", "collected_at"}
        assert {"source", "collected_at"} <= {*shape.required}
    assert {route.queue for route in found.values()} == {*QUEUES}
    assert {route.case for route in found.values()} == {*Case, None}
