"""The one HTML file of the package: self-contained, inert, readable on a telephone and on paper.

Every value is escaped and isolated (a name may not turn the writing's direction); the page's own policy forbids
scripts, images, forms and anything from elsewhere, so that even a value that got through could do nothing. A collection
with very many records shows the first of them and names its CSV file: a telephone could not open the rest.
Source: R17; GDPR Art. 12(1); ASVS 1.2.1, 3.4.3.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from schemas.countries import EEA
from schemas.orders import CONTROLLER
from schemas.terms import Right
from workers.correspondence.words import words
from workers.package.content import AccessPackage, Collected, RecipientNamed, Record, StorePart
from workers.package.labels import Labels, labels

MAX_SHOWN: Final = 500
"""Records of one collection that the page shows."""
_MAX_DEPTH: Final = 8


def page(
    package: AccessPackage, sheets: Sequence[tuple[Collected, str]], files: Sequence[Mapping[str, Any]]
) -> Iterator[bytes]:
    """The page in parts. ``sheets``: each collection with its CSV file's name; ``files``: as in ``data.json``."""
    environment = _environment()
    style = environment.get_template("style.css.jinja").render()
    paths = {id(collected): path for collected, path in sheets}
    companies = {store.code: store.company for store in package.stores}
    parts = environment.get_template("index.html.jinja").generate(
        package=package,
        language=package.language.value,
        labels=labels(package.language),
        words=words(package.language),
        right=Right.ACCESS,
        sent=[file for file in files if file["store"] == CONTROLLER],
        handed_over=[{**file, "name": companies[file["store"]]} for file in files if file["store"] != CONTROLLER],
        path_of=lambda collected: paths[id(collected)],
        safeguard_of=lambda party: _safeguard(party, labels(package.language)),
        shown=_shown,
        count=_count,
        max_shown=MAX_SHOWN,
        style=Markup(style),  # noqa: S704  our own file
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    )
    return (part.encode("utf-8", "replace") for part in parts)


def _safeguard(party: StorePart | RecipientNamed, language: Labels) -> str:
    if party.safeguard:
        return party.safeguard
    return language.no_safeguard if party.country in EEA else language.unstated


def _shown(collected: Collected) -> Iterator[Record]:
    return islice(collected.records, MAX_SHOWN)


def _count(collected: Collected) -> int:
    return sum(1 for _ in collected.records)


def _is_object(value: object, depth: int) -> bool:
    return isinstance(value, Mapping) and bool(value) and depth < _MAX_DEPTH


def _is_list(value: object, depth: int) -> bool:
    return isinstance(value, list | tuple) and bool(value) and depth < _MAX_DEPTH


def _visible(value: object) -> object:
    """Text without the characters that HTML does not know; what replaces them shows that something stood there."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(char if char.isprintable() or char in "\n\t\u200c\u200d\xa0" else _stand_in(char) for char in value)


def _stand_in(char: str) -> str:
    return " " if char.isspace() else "\ufffd"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("workers.package"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["object_at"] = _is_object
    environment.tests["list_at"] = _is_list
    return environment
