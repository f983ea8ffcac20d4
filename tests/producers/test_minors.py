"""Who is taken for a child, and who is not. Source: R7."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from producers.minors import reveals_child

TODAY = date(2026, 11, 22)


def child(**data: Any) -> bool:
    return reveals_child(data, (), below=13, today=TODAY)


@pytest.mark.parametrize(
    "text",
    [
        "Bonjour, j'ai 11 ans",
        "J’AI ONZE ANS !",
        "j'ai seulement 9 ans et demi",
        "Je suis âgée de 10 ans",
        "je suis un garçon âgé de douze ans.",
        "Mon âge : 12",
        "Je suis née le 3 mai 2017",
        "je suis né le 03/05/2017 à Metz",
        "je suis né en 2016",
        "Né le 2017-05-03",
        "Date de naissance : 3/5/2017",
        "I am 11 years old",
        "Hi, I'm eleven years old and like cats",
        "I'm 12.",
        "i'm only 9 yo",
        "I am a 10-year-old",
        "I’m aged 8",
        "My age is 7",
        "I was born on May 3rd, 2017",
        "I was born in 2015",
        "DOB: 2017-05-03",
        "date of birth 3 May 2017",
    ],
)
def test_a_sentence_tells_a_child(text: str) -> None:
    assert child(message=text)
    assert child(postal_address={"street": text})
    assert reveals_child({}, [f"first line\n{text}"], below=13, today=TODAY)


@pytest.mark.parametrize(
    "text",
    [
        "J'ai dix ans d'expérience",
        "j'ai 12 ans de métier",
        "J'ai 12 ans dans la vente",
        "j'ai 13 ans",
        "j'ai 45 ans",
        "Je suis âgé de 31 ans",
        "I am 13 years old",
        "I have 10 years of experience",
        "Our company, born in 2016, sells 12 products",
        "an 8-year-old start-up",
        "I'm 1 of 12 candidates",
        "Je suis né le 3 mai 1987",
        "born 03/05/1987",
        "Société âgée de 10 ans",
        "12 ans d'âge",
        "7 Impasse des Clepsydres",
        "Anne-Marie Oldman",
        "Je suis né le 31/02/2017",
        "",
    ],
)
def test_a_grown_person_is_let_through(text: str) -> None:
    assert not child(message=text)


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({"age": 12}, True),
        ({"age": "12 ans"}, True),
        ({"age": 0}, True),
        ({"age": 13}, False),
        ({"age": True}, False),
        ({"age": -4}, False),
        ({"age": "unknown"}, False),
        ({"birth_date": "2013-11-23"}, True),
        ({"birth_date": "2013-11-22"}, False),
        ({"birth_date": "23/11/2013"}, True),
        ({"birth_date": "1980-01-01"}, False),
        ({"birth_date": "2013-02-30"}, False),
        ({"birth_date": "2999-01-01"}, False),
        ({"birth_date": ["2013-11-23"]}, False),
    ],
)
def test_a_declared_age_counts_by_the_day(declared: dict[str, Any], expected: bool) -> None:
    assert child(**declared) is expected


def test_the_age_is_the_registers_to_say() -> None:
    assert reveals_child({"age": 15}, (), below=16, today=TODAY)
