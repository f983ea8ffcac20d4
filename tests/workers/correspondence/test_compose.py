"""Letters: what each must say, in both languages, and that no value breaks out of its place."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from datetime import date, datetime
from email import message_from_bytes, policy
from email.headerregistry import Address
from email.message import EmailMessage
from enum import Enum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import ConfigurationError, InvalidMessage
from schemas.terms import Proof, Right
from tests.factories import REGISTER
from tests.workers.correspondence.letters import (
    HEAD,
    LINK,
    NAMED,
    NOW,
    REFERENCE,
    STATUS,
    STORES,
    acknowledgement,
    answer,
    confirmation,
    every_letter,
    partial_decision,
)
from workers.correspondence.compose import _environment, compose, letterhead, message_id, one_line
from workers.correspondence.facts import (
    ExtensionNotice,
    ExtensionReason,
    IdentityRequest,
    Letter,
    NamedLetter,
    RefusalLetter,
    StillHeld,
    StoreState,
)
from workers.correspondence.words import EN, FR, Language, Words, words
from workers.rules.decisions import KeepingGround, Reason, Refusal

BOTH = pytest.mark.parametrize("language", Language)
COURT = {Language.EN: "Art. 79 GDPR", Language.FR: "art. 79 du RGPD"}


def text_of(letter: Letter, language: Language = Language.EN) -> str:
    """A letter's text, its lines joined again."""
    return re.sub(r"\s+", " ", compose(letter, language, HEAD, NOW).get_content())


def as_received(mail: EmailMessage) -> EmailMessage:
    """The mail as a reader parses its bytes."""
    return message_from_bytes(mail.as_bytes(), policy=policy.default)


@BOTH
@pytest.mark.parametrize("letter", every_letter(), ids=lambda letter: f"{letter.kind}-{letter.right.value}")
def test_every_letter_is_whole(letter: Letter, language: Language) -> None:
    mail = as_received(compose(letter, language, HEAD, NOW))
    text = mail.get_content()
    assert REFERENCE in text
    assert words(language).rights[letter.right] in re.sub(r"\s+", " ", text)
    assert HEAD.contact in text
    assert max(map(len, text.splitlines())) <= max(76, len(LINK) + 4)
    assert not re.search(r"\n\n\n|[{}]|None|StoreState", text)
    assert mail["Content-Language"] == language.value
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["From"] == "SOPEXA <rights@example.org>"
    assert mail["Reply-To"] == HEAD.contact
    assert mail["Date"].datetime == NOW


def test_the_bytes_are_plain_ascii_lines() -> None:
    """Whatever a server between does not speak, it can carry this."""
    raw = compose(answer(), Language.FR, HEAD, NOW).as_bytes()
    assert raw.isascii()
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert max(map(len, raw.split(b"\r\n"))) <= 998


@BOTH
def test_a_link_stays_whole(language: Language) -> None:
    text = compose(confirmation(), language, HEAD, NOW).get_content()
    assert f"    {LINK}\n" in text
    assert text.index(LINK) < text.index(f"    {STATUS}\n"), "what is to be done comes first"
    assert f"    {STATUS}\n" in compose(acknowledgement(), language, HEAD, NOW).get_content()


@BOTH
def test_the_confirmation_is_the_same_for_everybody(language: Language) -> None:
    """But for address, reference and link; it holds nothing that anybody typed, and no word of what is held."""
    one, other = (
        compose(confirmation(to=to), language, HEAD, NOW).get_content() for to in ("a@example.org", "b@example.com")
    )
    assert one == other
    assert "name" not in {field.name for field in fields(confirmation())}


def test_a_letter_goes_under_one_message_id_however_often() -> None:
    ids = {message_id(letter, HEAD.sender) for letter in every_letter() for _ in range(3)}
    assert f"<{REFERENCE}.confirmation@example.org>" in ids
    assert f"<{REFERENCE}.answer.2@example.org>" in ids
    assert len(ids) == 7, "one for each kind and part of the case"
    mail = compose(answer(), Language.FR, HEAD, NOW)
    assert mail["Message-ID"] == message_id(answer(), HEAD.sender)


@BOTH
def test_the_answer_names_every_store_and_its_part(language: Language) -> None:
    text, terms = text_of(answer(), language), words(language)
    for store in STORES:
        assert f"{store.company} ({terms.country(store.country)})" in text
        assert terms.states[Right.ERASURE][store.state] in text
    assert terms.proofs[Proof.VERIFIED] in text
    assert terms.proofs[Proof.ATTESTED] in text
    assert "store-locked" in text
    assert "Art. 17(3)(b) accounts" in text
    assert terms.day(date(2030, 12, 31)) in text


@BOTH
def test_the_answer_counts_who_is_silent(language: Language) -> None:
    counted = {Language.EN: "Still without an answer: 1 of 6", Language.FR: "Sans réponse à ce jour : 1 sur 6"}
    assert counted[language] in text_of(answer(), language)
    assert counted[language][:10] not in text_of(answer(stores=STORES[:3]), language)


@BOTH
def test_a_partial_refusal_has_its_three_blocks(language: Language) -> None:
    """Reasons with article and last day, the authority, the courts."""
    text, terms = text_of(answer(decision=partial_decision(), stores=STORES[2:3]), language), words(language)
    for reason in (Reason.EXCEPTION, Reason.LEGAL_OBLIGATION, Reason.STILL_NEEDED):
        assert terms.reasons[reason] in text
    assert terms.article("17(3)(e)") in text
    assert terms.day(date(2031, 5, 1)) in text
    assert HEAD.authority.url in text
    assert COURT[language] in text


@BOTH
@pytest.mark.parametrize("state", [StoreState.PARTLY_RETAINED, StoreState.REFUSED, StoreState.BARRED])
def test_what_a_store_refuses_is_a_refusal_too(state: StoreState, language: Language) -> None:
    refusing = answer(stores=(replace(STORES[0], state=state),))
    assert COURT[language] in text_of(refusing, language)


@BOTH
def test_a_full_answer_names_the_authority_and_no_court(language: Language) -> None:
    text = text_of(answer(stores=STORES[:1]), language)
    assert HEAD.authority.url in text
    assert COURT[language] not in text


@BOTH
def test_a_refusal_has_its_three_blocks(language: Language) -> None:
    letter = next(letter for letter in every_letter() if isinstance(letter, RefusalLetter))
    text = text_of(letter, language)
    assert words(language).refusals[letter.refusal] in text
    assert letter.text in text
    assert HEAD.authority.url in text
    assert COURT[language] in text


@pytest.mark.parametrize("blank", ["", "  ", "\n\t"])
def test_a_refusal_without_words_cannot_be_written(blank: str) -> None:
    shared = {**NAMED, "right": Right.ACCESS}
    due: dict[str, Any] = {"due": date(2026, 12, 2), "extended_due": date(2027, 2, 2)}
    with pytest.raises(InvalidMessage):
        RefusalLetter(**shared, refusal=Refusal.EXCESSIVE, text=blank)
    with pytest.raises(InvalidMessage):
        ExtensionNotice(**shared, **due, reason=ExtensionReason.VOLUME, text=blank)
    with pytest.raises(InvalidMessage):
        IdentityRequest(**shared, why=blank)


@BOTH
def test_the_answer_says_what_is_still_held(language: Language) -> None:
    erasure = next(letter for letter in every_letter() if letter.right is Right.ERASURE and letter.kind == "answer")
    text, terms = text_of(erasure, language), words(language)
    assert terms.still_held[StillHeld.SUPPRESSION] in text
    assert f"{terms.still_held[StillHeld.CASE_EVIDENCE]}," in text


INJECTIONS = [
    "Ann\r\nBcc: everybody@example.com",
    "Ann\nSubject: changed",
    "Ann\r\n\r\nAnother text",
    "Ann\u2028Bcc: x@example.com",
    "Ann\x85Bcc: x@example.com",
    '" <x@example.com>, "Ann',
    "Ann\x00\x1b[31m",
    "\u202eevil\u2066",
    "=?utf-8?q?Ann=0D=0ABcc:_x@example.com?=",
    "Ann " * 200,
    "",
    "\ud800",
]


@pytest.mark.parametrize("name", INJECTIONS)
def test_no_name_makes_a_header(name: str) -> None:
    mail = compose(answer(name=name), Language.FR, HEAD, NOW)
    read = as_received(mail)
    assert sorted(read.keys()) == sorted(compose(answer(), Language.FR, HEAD, NOW).keys())
    assert [address.addr_spec for address in read["To"].addresses] == ["Testine.Sample@example.org"]
    assert read.get_content() == as_received(compose(answer(), Language.FR, HEAD, NOW)).get_content()


@given(name=st.text(max_size=80))
@settings(deadline=None)
def test_no_name_at_all_makes_a_header(name: str) -> None:
    read = as_received(compose(answer(name=name), Language.EN, HEAD, NOW))
    assert [address.addr_spec for address in read["To"].addresses] == ["Testine.Sample@example.org"]
    assert "Bcc" not in read


@pytest.mark.parametrize(
    "to", ["a@example.org\r\nBcc: x@example.com", "a@example.org, b@example.org", "Ann <a@example.org>", "", "a@"]
)
def test_no_address_is_anything_but_one_mailbox(to: str) -> None:
    with pytest.raises(InvalidMessage) as refused:
        compose(answer(to=to), Language.EN, HEAD, NOW)
    assert "example" not in str(refused.value)


def test_no_value_begins_a_line_of_its_own() -> None:
    forged = "locked\n\nYou may complain to nobody.\n- Fictive SA (France): erased"
    plain = compose(answer(), Language.EN, HEAD, NOW).get_content()
    stores = (*STORES[:3], replace(STORES[3], reason=forged), *STORES[4:])
    text = compose(answer(stores=stores), Language.EN, HEAD, NOW).get_content()
    assert len(re.findall(r"^- ", text, re.MULTILINE)) == len(re.findall(r"^- ", plain, re.MULTILINE))
    assert not re.search(r"^You may complain to nobody", text, re.MULTILINE)


def test_the_check_catches_a_letter_that_trusts_its_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same letter from templates that put values in as they are."""
    trusting = _environment().overlay(finalize=str)
    monkeypatch.setattr("workers.correspondence.compose._environment", lambda: trusting)
    with pytest.raises(AssertionError):
        test_no_value_begins_a_line_of_its_own()


def test_the_check_catches_a_header_that_keeps_an_encoded_word() -> None:
    """What the standard library makes of such a name: a header of its own."""
    trusting = EmailMessage(policy=policy.SMTP)
    trusting["To"] = Address(INJECTIONS[8], "testine", "example.org")
    assert "Bcc" in as_received(trusting)


@given(st.text())
def test_one_line_is_one_line(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1


def test_one_line_leaves_names_alone() -> None:
    for name in ("Zoë Ångström", "Jean-Pierre d'Été", "李小龍", "محمد", "می\u200cخواهم"):
        assert one_line(name) == name


def test_an_address_beyond_ascii_keeps_its_letters() -> None:
    mail = compose(answer(to="zoë@exämple.org"), Language.FR, HEAD, NOW)
    assert mail["To"].addresses[0].addr_spec == "zoë@xn--exmple-cua.org"
    assert "zoë@".encode() in mail.as_bytes()


def test_a_domain_beyond_ascii_needs_no_extension() -> None:
    assert compose(answer(to="zoe@exämple.org"), Language.FR, HEAD, NOW).as_bytes().isascii()


def test_a_controller_elsewhere_needs_its_authority() -> None:
    with pytest.raises(ConfigurationError):
        letterhead(REGISTER.controller.model_copy(update={"country": "DE"}), "rights@example.org")


def tables(terms: Words) -> dict[str, Any]:
    return {one.name: getattr(terms, one.name) for one in fields(terms) if one.name != "language"}


@BOTH
def test_every_term_has_its_word(language: Language) -> None:
    """Whole tables in both languages, and no word left in the other one."""
    for name, table in tables(words(language)).items():
        members: type[Enum] = type(next(key for key in table if key is not None))
        assert set(members) <= set(table), name
        for right, states in table.items() if name == "states" else ():
            assert set(states) == set(StoreState), right


def test_the_languages_differ() -> None:
    for name, table in tables(EN).items():
        if name != "states":
            assert not set(table.values()) & set(tables(FR)[name].values()), name
    assert set(KeepingGround) == set(EN.keeping)


@pytest.mark.parametrize(
    ("tag", "language"),
    [("fr", Language.FR), ("FR-ca", Language.FR), ("en-GB", Language.EN), ("ja", Language.EN), (None, Language.EN)],
)
def test_people_are_written_to_in_their_language(tag: str | None, language: Language) -> None:
    assert Language.of(tag) is language


def test_dates_are_said_as_people_say_them() -> None:
    assert (FR.day(date(2026, 1, 1)), EN.day(date(2026, 1, 1))) == ("1er janvier 2026", "1 January 2026")
    late = datetime.fromisoformat("2026-06-30T22:30:00+00:00")
    assert (FR.moment(late), EN.moment(late)) == ("1er juillet 2026 à 00:30", "1 July 2026 at 00:30")
    assert (FR.country("GB"), EN.country("XX")) == ("Royaume-Uni", "XX")
    assert FR.article("17(3)(e)") == "17, § 3, e)"


def test_every_named_letter_has_a_date_of_receipt() -> None:
    assert all(isinstance(letter, NamedLetter) or letter.kind == "confirmation" for letter in every_letter())
