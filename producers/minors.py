"""Whether a submission declares or reveals that its author is a child.

What is looked at: the fields ``birth_date`` and ``age`` (recognised for this only), and sentences in the first person,
in French and English, that tell an age or a date of birth. It errs towards letting a grown person through: "j'ai dix
ans d'expérience" is no child. Nothing found here is kept, logged or echoed.
Source: R7.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, Final

from dateutil.relativedelta import relativedelta

_NUMBERS: Final = {
    word: number
    for words in (
        "zero un deux trois quatre cinq six sept huit neuf dix onze douze",
        "zero one two three four five six seven eight nine ten eleven twelve",
    )
    for number, word in enumerate(words.split())
} | {"une": 1}
_MONTHS: Final = {
    name: number
    for names in (
        "janvier fevrier mars avril mai juin juillet aout septembre octobre novembre decembre",
        "january february march april may june july august september october november december",
        "jan feb mar apr may jun jul aug sep oct nov dec",
    )
    for number, name in enumerate(names.split(), 1)
}

_N = rf"(?P<age>\d{{1,3}}|{'|'.join(sorted(_NUMBERS, key=len, reverse=True))})"
_DATE = (
    r"(?:(?P<iso>\d{4}-\d{1,2}-\d{1,2})|(?P<dmy>\d{1,2}[/.-]\d{1,2}[/.-]\d{4})"
    rf"|(?P<day>\d{{1,2}})(?:er|st|nd|rd|th)? (?:of )?(?P<month>{'|'.join(_MONTHS)})\.?,? (?P<year>\d{{4}})"
    rf"|(?P<month2>{'|'.join(_MONTHS)})\.? (?P<day2>\d{{1,2}})(?:st|nd|rd|th)?,? (?P<year2>\d{{4}})"
    r"|(?P<only_year>\d{4}))"
)
_AGES: Final = tuple(
    re.compile(expression)
    for expression in (
        # "j'ai 11 ans", not "j'ai 11 ans d'expérience / de métier / en vente"
        rf"\bj'ai (?:juste |seulement |tout juste |presque )?{_N} ans\b"
        r"(?! (?:d'|de |des |du |en |dans |a |comme |chez ))",
        rf"\bje suis (?:\w+ ){{0,3}}agee? de {_N} ans\b",
        rf"\bmon age (?:est |: ?|est de ){_N}\b",
        rf"\b(?:i am|i'm) (?:only |just |almost )?{_N}(?:[ -]years?[ -]old| ?y/?o\b| (?:and a half )?years of age)",
        rf"\b(?:i am|i'm) (?:only |just )?{_N} ?(?:[.!;]|$|, | and | but )",
        rf"\b(?:i am|i'm) an? {_N}[ -]years?[ -]old\b",
        rf"\b(?:i am|i'm) aged {_N}\b",
        rf"\bmy age is {_N}\b",
    )
)
_BIRTHS: Final = tuple(
    re.compile(expression)
    for expression in (
        rf"\bje suis nee? (?:le |en )?(?:\w+ )?{_DATE}",
        # at the start of a line, as in a CV; elsewhere it may be the company that was born then
        rf"^(?:ne|nee|ne\(e\)|born) (?:le |en |on |in )?{_DATE}",
        rf"\b(?:date de naissance|date of birth|birth ?date|dob) ?(?::|is|est le)? ?{_DATE}",
        rf"\bi was born (?:on |in )?(?:the )?{_DATE}",
    )
)
_HINT: Final = re.compile(r"ans\b|age|old|naiss|birth|born|\bnee?\b|dob|i'm|i am|y/?o\b", re.IGNORECASE)


def reveals_child(data: Mapping[str, Any], texts: Iterable[str], *, below: int, today: date) -> bool:
    """Whether ``data`` (a form as it came in) or the further ``texts`` show an age under ``below`` years."""
    declared = _age_declared(data, today)
    if declared is not None and 0 <= declared < below:
        return True
    return any(
        0 <= age < below
        for text in (*_strings(data), *texts)
        if not text.isascii() or _HINT.search(text)  # most texts need no closer look
        for age in _ages_in(text, today)
    )


def _age_declared(data: Mapping[str, Any], today: date) -> int | None:
    age, born = data.get("age"), data.get("birth_date")
    if isinstance(age, int) and not isinstance(age, bool):
        return age
    if isinstance(age, str) and (found := re.fullmatch(r"\s*(\d{1,3})\b.*", age)):
        return int(found[1])
    if isinstance(born, str) and (match := re.fullmatch(_DATE, _plain(born).strip())):
        return _age_from(match, today)
    return None


def _strings(value: Any) -> Iterable[str]:
    """Every text of a body; bodies are shallow, their depth was bounded when they were read."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)


def _plain(text: str) -> str:
    """Small letters without accents, straight apostrophes, single spaces."""
    bare = unicodedata.normalize("NFKD", text.replace("’", "'")).casefold()
    kept = "".join(char for char in bare if not unicodedata.combining(char))
    return re.sub(r"[^\S\n]+", " ", kept)


def _ages_in(text: str, today: date) -> Iterable[int]:
    for line in _plain(text).split("\n"):
        for expression in _AGES:
            for match in expression.finditer(line):
                yield _number(match["age"])
        for expression in _BIRTHS:
            for match in expression.finditer(line):
                age = _age_from(match, today)
                if age is not None:
                    yield age


def _number(word: str) -> int:
    return int(word) if word.isdigit() else _NUMBERS[word]


def _age_from(match: re.Match[str], today: date) -> int | None:
    """Whole years, by the latest reading of what was written; None for what is no date or lies ahead."""
    if match["only_year"]:
        year = int(match["only_year"])
        # Born this many calendar years ago one may not have had this year's birthday: count the older reading.
        return today.year - year if 1900 < year <= today.year else None
    try:
        born = _born(match)
    except ValueError:
        return None
    return relativedelta(today, born).years if born <= today else None


def _born(match: re.Match[str]) -> date:
    if match["iso"]:
        year, month, day = map(int, match["iso"].split("-"))
    elif match["dmy"]:
        day, month, year = map(int, re.split(r"[/.-]", match["dmy"]))
        if month > 12:  # written the American way
            day, month = month, day
    else:
        day, year = int(match["day"] or match["day2"]), int(match["year"] or match["year2"])
        month = _MONTHS[match["month"] or match["month2"]]
    return date(year, month, day)
