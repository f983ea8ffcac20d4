"""A shape is a closed list of fields: what a body may hold, and nothing else.

Built from a table of field types (and, for forms and contacts, from the register), so that one list drives what the
door accepts and what a worker reads. An unknown field is refused, not stored.
Source: R1 "a field that the case does not list is refused".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, cast

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model, with_config
from typing_extensions import TypedDict

from schemas.errors import InvalidBody, InvalidMessage, Problem
from schemas.fields import FieldType

MAX_PROBLEMS = 20

_DETAILS = {
    "missing": "is required",
    "extra_forbidden": "is not a field of this form",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "string_too_long": "is too long",
    "string_too_short": "is too short",
    "string_pattern_mismatch": "has a form that is not allowed here",
}


class Shape:
    """A closed body: ``clean`` at the door, ``read`` in a worker, ``as_field`` inside another shape."""

    def __init__(
        self, name: str, required: Mapping[str, FieldType], optional: Mapping[str, FieldType] | None = None
    ) -> None:
        self.name = name
        self.required = tuple(required)
        self.optional = tuple(optional or ())
        self._said = _said_model(name, required, optional or {})
        self._kept_type = _kept_type(name, required, optional or {})
        self._kept: TypeAdapter[dict[str, Any]] = TypeAdapter(self._kept_type)

    @property
    def as_field(self) -> FieldType:
        return FieldType(self._said, self._kept_type)

    def clean(self, data: object) -> dict[str, Any]:
        """The normal form of a body from outside; fields that were not given are absent.

        Raises :class:`InvalidBody` with every fault, none of which quotes a value.
        """
        try:
            said = self._said.model_validate(data)
        except ValidationError as error:
            raise InvalidBody(*_problems(error)) from None
        return said.model_dump(exclude_none=True)

    def read(self, body: bytes) -> dict[str, Any]:
        """A body in normal form, as a worker finds it. Raises :class:`InvalidMessage` ``not_in_normal_form``."""
        try:
            return self._kept.validate_json(body)
        except ValidationError as error:
            raise _not_normal(error) from None

    def check(self, value: object) -> dict[str, Any]:
        """The same for a value already parsed."""
        try:
            return self._kept.validate_python(value)
        except ValidationError as error:
            raise _not_normal(error) from None

    def json_schema(self) -> dict[str, Any]:
        """JSON Schema 2020-12 of what the door accepts."""
        return self._said.model_json_schema()


def _said_model(name: str, required: Mapping[str, FieldType], optional: Mapping[str, FieldType]) -> type[BaseModel]:
    fields: dict[str, Any] = {field: (kind.said, ...) for field, kind in required.items()}
    fields |= {field: (kind.said | None, None) for field, kind in optional.items()}
    config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
    return cast(type[BaseModel], create_model(name, __config__=config, **fields))


def _kept_type(name: str, required: Mapping[str, FieldType], optional: Mapping[str, FieldType]) -> Any:
    fields: dict[str, Any] = {field: kind.kept for field, kind in required.items()}
    fields |= {field: NotRequired[kind.kept] for field, kind in optional.items()}
    kept = TypedDict(name, fields)  # type: ignore[misc]
    return with_config(ConfigDict(extra="forbid", strict=True))(kept)


def _not_normal(error: ValidationError) -> InvalidMessage:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return InvalidMessage("not_in_normal_form", _pointer(first["loc"]))


def _problems(error: ValidationError) -> list[Problem]:
    found = error.errors(include_url=False, include_context=False, include_input=False)[:MAX_PROBLEMS]
    return [
        # With inputs hidden, pydantic's own messages may name a limit but never a value.
        Problem(fault["type"], _pointer(fault["loc"]), _DETAILS.get(fault["type"], fault["msg"]))
        for fault in found
    ]


def _pointer(location: tuple[int | str, ...]) -> str:
    """RFC 6901. An unknown key is the sender's own word: it is cut short and kept printable, never trusted."""
    parts = [str(part) for part in location if part != "[key]"]
    return "".join("/" + _token(part) for part in parts)


def _token(part: str) -> str:
    if len(part) > 64 or (not part.isidentifier() and not part.replace("-", "_").isidentifier() and not part.isdigit()):
        return "…"
    return part.replace("~", "~0").replace("/", "~1")
