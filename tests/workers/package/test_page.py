"""The page: it says what the data says, and nothing in a value does anything."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import fields
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.package.packages import holding, opened, package
from workers.correspondence.words import Language, words
from workers.package.content import AccessPackage, Attached
from workers.package.labels import EN, FR

ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "header", "main", "section", "h1", "h2", "h3", "h4", "p", "ul",
    "li", "dl", "dt", "dd", "bdi", "strong", "small", "span", "article", "a",
}  # fmt: skip
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class", "href"}
VOID = {"meta"}


class Seen(HTMLParser):
    """What a browser would make of the page: elements, attributes, text; and whether every element is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError("a comment")


def page_of(content: AccessPackage) -> str:
    return opened(content).read("index.html").decode()


def seen(content: AccessPackage) -> Seen:
    return Seen(page_of(content))


def assert_inert(page: Seen) -> None:
    assert set(page.tags) <= ALLOWED
    assert {name for name, _ in page.attributes} <= ATTRIBUTES
    links = [value for name, value in page.attributes if name == "href"]
    assert all(re.fullmatch(r"(csv|files)/[0-9]{3}-[A-Za-z0-9.-]+", str(link)) for link in links)
    assert page.open == []


ATTACKS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><script>alert(1)</script>",
    "</title><svg onload=alert(1)>",
    "<!-- ",
    "]]><b>",
    "{{ 7 * 7 }}{% include 'x' %}",
    "javascript:alert(1)",
    "&lt;script&gt;",
    '<meta http-equiv="refresh" content="0;url=https://example.com">',
    "<base href=https://example.com>",
    "\u202e</bdi>",
    "<\0script>",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_value_anywhere_is_more_than_text(attack: str) -> None:
    """As value, field, meaning, collection, nested name, file name, reason."""
    store = holding({attack: attack, "n": {attack: [attack, {attack: attack}]}}, name=attack, fields={attack: attack})
    page = seen(package(store, files=[Attached("gb", attack, "text/plain", b"x")]))
    assert_inert(page)
    assert set(page.tags) == set(seen(package(holding({"a": {"b": ["c"]}}, fields={"a": "x"}), files=[FILE])).tags)
    shown = attack.replace("\0", "\ufffd").replace("\u202e", "\ufffd")
    assert sum(text == shown for text in page.text) >= 5


FILE = Attached("gb", "cv.pdf", "application/pdf", b"x")


def test_the_check_catches_a_page_that_does_not_escape() -> None:
    page = page_of(package(holding({"name": "PLACE"})))
    for attack in (ATTACKS[0], ATTACKS[1], ATTACKS[3], ATTACKS[4], ATTACKS[5]):
        with pytest.raises(AssertionError):
            assert_inert(Seen(page.replace("PLACE", attack)))


@given(value=st.text(), name=st.text(max_size=20))
@settings(deadline=None, max_examples=60)
def test_no_text_at_all_is_more_than_text(value: str, name: str) -> None:
    assert_inert(seen(package(holding({name: value}))))


def test_the_page_asks_for_nothing_and_lets_nothing_run() -> None:
    page = page_of(package(holding({"a": 1})))
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert policy is not None
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy[1] == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert not re.search(r"src=|url\(|@import|https?://(?!www\.cnil\.fr)", page)
    assert page.index("Content-Security-Policy") < page.index("<style")


@pytest.mark.parametrize("language", Language)
def test_the_page_says_what_the_law_lists(language: Language) -> None:
    content = package(holding({"name": "Sample"}), language=language)
    text = " ".join(" ".join(seen(content).text).split())
    terms = words(language)
    for store in content.stores:
        assert store.company in text
        assert terms.states[next(iter(terms.states))][store.state] in text
    for one in content.processings:
        assert terms.purposes[one.purpose] in text
        assert terms.bases[one.basis] in text
        assert one.until in text
    for recipient in content.recipients:
        assert recipient.name in text
        assert recipient.safeguard is None or recipient.safeguard in text
    assert "trade fair" in text
    assert "store-locked" in text
    assert content.head.authority.url in text
    assert f'<html lang="{language.value}">' in page_of(content)


def test_no_store_abroad_is_said_to_be_at_home() -> None:
    """A store outside the EEA whose safeguard is unknown is not put inside it."""
    text = seen(package()).text
    assert text.count(EN.unstated) == 2, "China and the United States"
    assert text.count(EN.no_safeguard) > 2


def test_values_are_shown_by_what_they_are() -> None:
    record = {"yes": True, "no": False, "none": None, "zero": 0, "one": 1, "list": ["a", 1, False], "empty": ""}
    text = seen(package(holding(record))).text
    assert text.count("yes") >= 2
    assert {"0", "1", "a", "none"} <= set(text)
    assert "True" not in " ".join(text)


def test_what_is_nested_without_end_is_still_shown() -> None:
    deep: dict[str, Any] = {"bottom": "reached"}
    for _ in range(25):
        deep = {"down": deep}
    assert "reached" in page_of(package(holding(deep)))


def test_both_languages_are_whole() -> None:
    for one in fields(EN):
        here, there = getattr(EN, one.name), getattr(FR, one.name)
        assert here
        assert there
        if isinstance(here, dict):
            assert set(here) == set(there) == set(type(next(iter(here))))
        if isinstance(here, tuple):
            assert len(here) == len(there)
