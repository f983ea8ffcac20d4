"""The page of preferences in French and English: what it says, what it was by its digest, and its form.

What a person was shown is part of the proof (Art. 7(1)), so the page's words are put together here, from the register's
purposes, into one text; its digest goes along with each choice. No script, no cookie, nothing from elsewhere.
Source: R16, R21; consent-and-cookies § 1 (refusing is as easy as accepting, at the same level).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Final

from schemas.register import Register
from schemas.terms import Purpose
from workers.correspondence.words import Language, words

ALL: Final = "all"
"""The field of the button that refuses everything at once."""

_FORM: Final = (
    '<p>{said}</p><form method="post"><input type="hidden" name="language" value="{language}">'
    '<input type="hidden" name="notice" value="{notice}">{choices}'
    '<p><button>{save}</button> <button name="{all}" value="no">{refuse_all}</button></p></form>'
)
_CHOICE: Final = "<fieldset><legend>{label}</legend>{answers}</fieldset>"
_ANSWER: Final = '<label><input type="radio" name="{purpose}" value="{value}"{checked}> {word}</label> '


@dataclass(frozen=True, slots=True)
class _Words:
    title: str
    intro: str
    group: str
    accept: str
    refuse: str
    save: str
    refuse_all: str
    kept: str
    nothing: str
    changed: str


_WORDS: Final[Mapping[str, _Words]] = {
    "fr": _Words(
        title="Vos préférences",
        intro="Acceptez ou refusez chaque usage de vos coordonnées. Vous pouvez changer d'avis à tout moment avec ce "
        "lien. Un refus prend effet immédiatement ; il met fin aussi à la lettre d'information lorsqu'il porte sur la "
        "prospection commerciale. Ce qu'un refus a fait effacer n'est pas rétabli.",
        group="Refuser ce que font aussi les sociétés du groupe met fin à toute leur prospection.",
        accept="J'accepte",
        refuse="Je refuse",
        save="Enregistrer",
        refuse_all="Tout refuser et retirer mes consentements",
        kept="Votre choix est enregistré. Il prend effet immédiatement.",
        nothing="Choisissez au moins une réponse.",
        changed="Cette page a changé entre-temps. Relisez-la et choisissez à nouveau.",
    ),
    "en": _Words(
        title="Your preferences",
        intro="Accept or refuse each use of your details. You may change your mind at any time by this link. A refusal "
        "holds at once; it ends the newsletter too where it is about sales prospecting. What a refusal had deleted is "
        "not brought back.",
        group="Refusing what companies of the group do too ends all of their prospecting.",
        accept="I accept",
        refuse="I refuse",
        save="Save",
        refuse_all="Refuse everything and withdraw my consents",
        kept="Your choice is recorded. It holds at once.",
        nothing="Choose at least one answer.",
        changed="This page has changed in the meantime. Read it again and choose anew.",
    ),
}


@dataclass(frozen=True, slots=True)
class Shown:
    """What the page says in one language, whoever looks. ``purposes``: in the order shown, with their said."""

    language: str
    purposes: Mapping[Purpose, str]

    @classmethod
    def by(cls, register: Register, language: str) -> Shown:
        labels = words(Language(language)).purposes
        return cls(language, {purpose: labels[purpose] for purpose in Purpose if purpose in register.prospecting})

    @property
    def title(self) -> str:
        return _WORDS[self.language].title

    @property
    def sha256(self) -> str:
        """Of every word a person reads before choosing, in UTF-8, a line each."""
        said = _WORDS[self.language]
        lines = [said.title, said.intro, said.group, *self.purposes.values()]
        lines += [said.accept, said.refuse, said.save, said.refuse_all]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def say(self, kind: str) -> str:
        """``kept``, ``nothing`` or ``changed``, in said."""
        return str(getattr(_WORDS[self.language], kind))

    def form(self, chosen: Mapping[Purpose, bool]) -> str:
        """The form as HTML. ``chosen``: what stands."""
        said = _WORDS[self.language]
        fields = (
            _CHOICE.format(label=escape(label), answers=self._answers(purpose, chosen.get(purpose)))
            for purpose, label in self.purposes.items()
        )
        return _FORM.format(
            said=f"{escape(said.intro)} {escape(said.group)}",
            language=self.language,
            notice=self.sha256,
            choices="".join(fields),
            save=escape(said.save),
            all=ALL,
            refuse_all=escape(said.refuse_all),
        )

    def _answers(self, purpose: Purpose, chosen: bool | None) -> str:
        said = _WORDS[self.language]
        answers = ((said.accept, "yes", True), (said.refuse, "no", False))
        return "".join(
            _ANSWER.format(
                purpose=purpose.value, value=value, checked=" checked" if chosen is yes else "", word=escape(word)
            )
            for word, value, yes in answers
        )
