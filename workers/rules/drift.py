"""Which fields of a store look as if they told who somebody is: by their name, and by a sample of what stands in them.

Only the field is named, with a reason and a count: never a value. A field name that itself looks like an address (some
stores use people as keys) is shown as ``*``.
Source: R12, R25; design § 5.5 (what no mapping names is found by nobody and erased by nobody).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

EMAIL: Final = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[a-z0-9-]{1,63}\.)+[a-z]{2,24}(?![\w-])", re.IGNORECASE)
_PHONE: Final = re.compile(r"(?:\+|00)[1-9](?:[ ().-]{0,2}\d){7,14}|0[1-9](?:[ .-]?\d{2}){4}")
_NETWORK: Final = re.compile(r"(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?:25[0-5]|2[0-4]\d|1?\d?\d)){3}")
_ACCOUNT: Final = re.compile(r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?")

_WORDS: Final = frozenset(
    # en, fr, de, es, it: as one word, or as part of a name in snake_case, kebab-case or camelCase
    ("email", "mail", "courriel", "correo", "phone", "telephone", "telefon", "telefono", "mobile", "handy", "portable",
     "fax", "surname", "lastname", "firstname", "nachname", "vorname", "prenom", "apellido", "cognome", "nome",
     "birthdate", "birthday", "naissance", "geburtsdatum", "street", "rue", "strasse", "adresse", "anschrift",
     "passport", "ssn", "iban")
)  # fmt: skip
_PHRASES: Final = ("last name", "first name", "full name", "family name", "given name", "birth date", "date of birth")
_LONE: Final = frozenset({"name", "nom", "nombre", "address", "ip"})
"""Names that tell of a person when they stand alone."""

_DEPTH: Final = 6
_VALUES: Final = 1_000
"""Values looked at in one document."""
_CHARS: Final = 4_096
"""Of one value."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One field. ``why``: reasons in words of ours; ``seen``: in how many sampled rows its values look like it."""

    store: str
    collection: str
    field: str
    why: tuple[str, ...]
    seen: int
    sampled: int

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "why": list(self.why)}


@dataclass
class Sampled:
    """What a sample of one collection has shown so far. ``known``: fields that somebody has accounted for.

    ``lone``: whether a field that is called no more than ``name`` counts; it does where others name the fields.
    """

    store: str
    collection: str
    known: Collection[str] = ()
    lone: bool = True
    rows: int = 0
    _reasons: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _seen: Counter[str] = field(default_factory=Counter)

    def add(self, row: Mapping[str, Any]) -> None:
        """Look at one row or document."""
        self.rows += 1
        marked: set[str] = set()
        for path, value in _leaves(row):
            if self._is_known(path):
                continue
            why = {reason for reason in (self._of_name(path), of_value(value)) if reason}
            if why:
                self._reasons[path] |= why
                marked.add(path)
        self._seen.update(marked)

    def name(self, fields: Iterable[str]) -> None:
        """Look at the names of columns, of which no row need exist."""
        for one in fields:
            reason = None if self._is_known(one) else self._of_name(one)
            if reason:
                self._reasons[one].add(reason)

    def drifts(self) -> list[Drift]:
        """What looks like it, by field."""
        return [
            Drift(self.store, self.collection, path, tuple(sorted(why)), self._seen[path], self.rows)
            for path, why in sorted(self._reasons.items())
        ]

    def _of_name(self, path: str) -> str | None:
        return None if not self.lone and path.rpartition(".")[2] in _LONE else of_name(path)

    def _is_known(self, path: str) -> bool:
        return any(path == one or path.startswith(one + ".") for one in self.known)


def of_name(path: str) -> str | None:
    """Why a field's name says that it holds an identifier; ``None`` where it does not say so."""
    last = path.rpartition(".")[2]
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", last).replace("_", " ").replace("-", " ").lower().split()
    phrase = " ".join(words)
    if words == ["*"]:
        return "people are the names of fields"
    if (len(words) == 1 and words[0] in _LONE) or any(found in phrase for found in _PHRASES):
        return "named like an identifier"
    return "named like an identifier" if _WORDS.intersection([*words, "".join(words)]) else None


def of_value(value: object) -> str | None:
    """What a value looks like; ``None`` for what tells of nobody."""
    if not isinstance(value, str):
        return None
    text = value[:_CHARS].strip()
    if EMAIL.search(text):
        return "holds e-mail addresses"
    for pattern, reason in ((_PHONE, "holds phone numbers"), (_NETWORK, "holds network addresses")):
        if pattern.fullmatch(text):
            return reason
    return "holds account numbers" if _ACCOUNT.fullmatch(text) else None


def _leaves(row: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Path → value, lists and sub-documents opened, so far as a bound allows."""
    waiting: list[tuple[str, object, int]] = [(_shown(str(name)), value, 1) for name, value in row.items()]
    for _ in range(_VALUES):
        if not waiting:
            return
        path, value, depth = waiting.pop()
        if isinstance(value, Mapping) and depth < _DEPTH:
            waiting += [(f"{path}.{_shown(str(name))}", inner, depth + 1) for name, inner in value.items()]
        elif isinstance(value, list) and depth < _DEPTH:
            waiting += [(path, inner, depth + 1) for inner in value]
        else:
            yield path, value


def _shown(name: str) -> str:
    """A field's name as it may be printed."""
    return "*" if of_value(name) or len(name) > 128 else name
