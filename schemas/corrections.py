"""What a data subject says is wrong, field by field: what stands (``was``) and what should stand (``to``).

``was`` is the version of the field that the person saw: a store sets ``to`` only where that stands, so a correction of
something older, or two that cross, never overwrite what somebody else corrected meanwhile. Without ``was`` nothing
stands there yet, and the field is completed. The address itself is what people are found by: it is not corrected so.
Source: R18; GDPR Art. 16.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from schemas.fields import COUNTRY, LANGUAGE, LINE, NAME, PHONE, FieldType, listed, pattern
from schemas.shapes import Shape
from schemas.submissions import POSTAL_ADDRESS_FIELDS

_POSTAL: Final = "postal_address"


def _patch(name: str, kind: FieldType) -> FieldType:
    return Shape(f"correction_of_{name}", {"to": kind}, {"was": LINE}).as_field


_PLAIN: Final = {
    "last_name": NAME,
    "first_name": NAME,
    "phone": PHONE,
    "position": LINE,
    "country": COUNTRY,
    "language": LANGUAGE,
}
CORRECTABLE: Final = (*_PLAIN, *(f"{_POSTAL}.{part}" for part in POSTAL_ADDRESS_FIELDS))
"""Fields that can be corrected, those of the postal address dotted."""

CORRECTIONS: Final = Shape(
    "corrections",
    required={},
    optional={name: _patch(name, kind) for name, kind in _PLAIN.items()}
    | {
        _POSTAL: Shape(
            "corrections_of_postal_address",
            required={},
            optional={name: _patch(f"{_POSTAL}_{name}", kind) for name, kind in POSTAL_ADDRESS_FIELDS.items()},
        ).as_field
    },
)
"""As it is said at the door: ``{"last_name": {"was": "Muster", "to": "Master"}, "postal_address": {"city": …}}``."""

PATCHES: Final = listed(
    Shape(
        "patch_ordered",
        required={"field": pattern(f"^({'|'.join(CORRECTABLE)})$".replace(".", r"\."), 40), "to": LINE},
        optional={"was": LINE},
    ).as_field,
    1,
    len(CORRECTABLE),
)
"""As an order says it: one after the other, each with its field."""


def patches_of(corrections: Mapping[str, Any]) -> list[dict[str, str]]:
    """The patches of :data:`CORRECTIONS`, in the order of :data:`CORRECTABLE`."""
    flat = {name: one for name, one in corrections.items() if name != _POSTAL}
    flat |= {f"{_POSTAL}.{part}": one for part, one in corrections.get(_POSTAL, {}).items()}
    return [{"field": name, **flat[name]} for name in CORRECTABLE if name in flat]
