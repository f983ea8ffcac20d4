"""The terms of letters and access packages in each language; the sentences around them stand in the templates.

Every table is whole in both languages: a test looks. Dates and countries are put by Babel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Final

from babel import Locale
from babel.dates import format_date, format_datetime

from schemas.calendar import PARIS
from schemas.terms import Channel, LawfulBasis, Proof, Purpose, Right
from workers.correspondence.facts import ExtensionReason, StillHeld, StoreState
from workers.rules.decisions import KeepingGround, Reason, Refusal


class Language(StrEnum):
    """The languages people are written to in."""

    EN = "en"
    FR = "fr"

    @classmethod
    def of(cls, tag: str | None) -> Language:
        """The best for a language tag such as ``fr-CA``; English where there is none of ours."""
        primary = (tag or "").split("-")[0].lower()
        return cls(primary) if primary in tuple(cls) else cls.EN


@dataclass(frozen=True, slots=True)
class Words:
    """One language's terms."""

    language: Language
    rights: Mapping[Right, str]
    channels: Mapping[Channel, str]
    purposes: Mapping[Purpose, str]
    bases: Mapping[LawfulBasis, str]
    states: Mapping[Right, Mapping[StoreState, str]]
    proofs: Mapping[Proof | None, str]
    reasons: Mapping[Reason, str]
    keeping: Mapping[KeepingGround, str]
    refusals: Mapping[Refusal, str]
    extensions: Mapping[ExtensionReason, str]
    still_held: Mapping[StillHeld, str]

    def day(self, day: date) -> str:
        """``20 November 2026``, ``20 novembre 2026``."""
        return format_date(day, self._day_pattern(day), locale=self.language.value)

    def moment(self, moment: datetime) -> str:
        """A moment in Paris, to the minute."""
        in_paris = moment.astimezone(PARIS)
        at = "'at'" if self.language is Language.EN else "'à'"
        pattern = f"{self._day_pattern(in_paris)} {at} HH:mm"
        return format_datetime(in_paris, pattern, tzinfo=PARIS, locale=self.language.value)

    def _day_pattern(self, day: date) -> str:
        return "d'er' MMMM y" if self.language is Language.FR and day.day == 1 else "d MMMM y"

    def article(self, article: str) -> str:
        """An article of the GDPR as the language cites it: ``17(3)(e)``, ``17, § 3, e)``."""
        if self.language is Language.EN:
            return article
        number, *parts = article.replace(")", "").split("(")
        return ", ".join([number, *(f"§ {part}" if part.isdigit() else f"{part})" for part in parts)])

    def country(self, code: str) -> str:
        """A country's name; its code where it has none."""
        return str(Locale(self.language.value).territories.get(code, code))


def words(language: Language) -> Words:
    """The terms of a language."""
    return _WORDS[language]


def _states(
    done: str, *, partly: str, nothing: str, refused: str, barred: str, silent: str, conflict: str = ""
) -> dict[StoreState, str]:
    """``conflict``: of a rectification; no other right can meet one."""
    return {
        StoreState.DONE: done,
        StoreState.NOTHING_HELD: nothing,
        StoreState.PARTLY_RETAINED: partly,
        StoreState.REFUSED: refused,
        StoreState.CONFLICT: conflict or refused,
        StoreState.BARRED: barred,
        StoreState.SILENT: silent,
    }


_EN_SHARED: Final = {
    "nothing": "holds nothing about you",
    "barred": "was not asked: no valid ground lets data cross its border at present",
    "silent": "HAS NOT ANSWERED YET",
}
_FR_SHARED: Final = {
    "nothing": "ne détient rien à votre sujet",
    "barred": "n'a pas été interrogée : aucun fondement valable ne permet actuellement un transfert avec ce pays",
    "silent": "N'A PAS ENCORE RÉPONDU",
}

EN: Final = Words(
    language=Language.EN,
    rights={
        Right.ACCESS: "access to personal data",
        Right.ERASURE: "erasure of personal data",
        Right.OBJECTION: "objection to the use of personal data",
        Right.WITHDRAWAL: "withdrawal of consent",
        Right.PORTABILITY: "portability of the data you gave us",
        Right.RECTIFICATION: "rectification of personal data",
        Right.RESTRICTION: "restriction of the use of personal data",
    },
    channels={
        Channel.WEBSITE: "on our website",
        Channel.EMAIL: "by e-mail",
        Channel.LETTER: "by letter",
        Channel.AGENT: "through an agent who says that it acts for you",
        Channel.CONTROLLER: "through a company that we process data for",
    },
    purposes={
        Purpose.PROVIDE_SERVICES: "running the services asked for",
        Purpose.SALES_PROSPECTING: "sales prospecting",
        Purpose.RECRUITMENT: "handling job applications",
        Purpose.SERVICES_AND_CONTRACT: "performing a contract and what belongs to it",
        Purpose.SALES_INFORMATION: "mailing sales information",
        Purpose.EVENT_INVITATIONS: "inviting to events",
        Purpose.PERSONALISE_NEWSLETTER: "tailoring the newsletter to what was read on the site",
        Purpose.DOWNLOAD_FOLLOW_UP: "getting in touch after a download",
        Purpose.AGGREGATE_STATISTICS: "counting visits where nobody can be recognised",
    },
    bases={
        LawfulBasis.CONSENT: "your consent (Art. 6(1)(a))",
        LawfulBasis.CONTRACT: "a contract, or steps before one (Art. 6(1)(b))",
        LawfulBasis.LEGAL_OBLIGATION: "a legal obligation (Art. 6(1)(c))",
        LawfulBasis.VITAL_INTERESTS: "vital interests (Art. 6(1)(d))",
        LawfulBasis.PUBLIC_TASK: "a task in the public interest (Art. 6(1)(e))",
        LawfulBasis.LEGITIMATE_INTERESTS: "our legitimate interests (Art. 6(1)(f))",
    },
    states={
        Right.ACCESS: _states(
            "holds data about you; the copy is in your package",
            partly="holds data about you; the copy is in your package, in part",
            refused="refused to give a copy",
            **_EN_SHARED,
        ),
        Right.ERASURE: _states(
            "erased what it held about you",
            partly="erased what it could and kept a part",
            refused="refused to erase",
            **_EN_SHARED,
        ),
        Right.OBJECTION: _states(
            "stopped using what it holds about you",
            partly="stopped using a part of what it holds about you",
            refused="refused to stop",
            **_EN_SHARED,
        ),
        Right.WITHDRAWAL: _states(
            "ended what rested on your consent: what rested on it alone is erased",
            partly="ended what rested on your consent and kept a part",
            refused="refused to end what rests on your consent",
            **_EN_SHARED | {"nothing": "holds nothing that rests on your consent"},
        ),
        Right.PORTABILITY: _states(
            "holds data you gave on your consent or for a contract; they are in your package",
            partly="holds data you gave on your consent or for a contract; they are in your package, in part",
            refused="refused to hand over data",
            **_EN_SHARED | {"nothing": "holds nothing that you gave on your consent or for a contract"},
        ),
        Right.RECTIFICATION: _states(
            "holds what you told us, from now on",
            partly="corrected a part of what it holds about you",
            refused="did not correct what it holds",
            conflict="holds something else than what you told us was wrong, and left it; somebody is looking at it "
            "and we will write to you again",
            **_EN_SHARED | {"nothing": "holds none of the fields you asked to have corrected"},
        ),
        Right.RESTRICTION: _states(
            "stores what it holds about you and uses it for nothing else",
            partly="uses a part of what it holds about you for nothing any more",
            refused="refused to restrict the use",
            **_EN_SHARED,
        ),
    },
    proofs={
        None: "signed receipt; it will be checked once more",
        Proof.VERIFIED: "signed receipt, then checked by ourselves in its store",
        Proof.ATTESTED: "signed receipt, then confirmed by a second signed statement",
        Proof.SIGNED: "its statement, signed under its certificate",
    },
    reasons={
        Reason.LEGAL_OBLIGATION: "the law obliges us to keep these data",
        Reason.PUBLIC_TASK: "a task in the public interest needs these data",
        Reason.NOT_CONSENT_OR_CONTRACT: "this right exists only for data held on consent or a contract",
        Reason.NOT_INTEREST_OR_TASK: "this right exists only for data held on legitimate interests or a public task",
        Reason.NOT_CONSENT: "this does not rest on your consent, so that withdrawing it changes nothing here",
        Reason.CONSENT_IS_WITHDRAWN: "your consent has been withdrawn, which has the same effect",
        Reason.GROUNDS_TO_BE_WEIGHED: "your objection is being weighed; until then these data are stored and not used",
        Reason.STILL_NEEDED: "these data still serve; your request is being weighed, and until then they are not used",
        Reason.LAWFULNESS_IN_DOUBT: "what the law says of these data is being examined; until then they are not used",
        Reason.EXCEPTION: "an exception provided by law covers these data",
        Reason.HOLD: "these data must be preserved for a dispute or an inquiry; they serve nothing else",
    },
    keeping={
        KeepingGround.FREE_EXPRESSION: "freedom of expression and information",
        KeepingGround.LEGAL_OBLIGATION: "a legal obligation",
        KeepingGround.PUBLIC_HEALTH: "public health",
        KeepingGround.ARCHIVES_AND_RESEARCH: "archives, research or statistics",
        KeepingGround.LEGAL_CLAIMS: "legal claims",
    },
    refusals={
        Refusal.CANNOT_IDENTIFY: "what we hold does not let us recognise you",
        Refusal.IDENTITY_NOT_PROVEN: "a reasonable doubt about who asks could not be removed",
        Refusal.MANIFESTLY_UNFOUNDED: "the request is manifestly unfounded",
        Refusal.EXCESSIVE: "the request is excessive, in particular by its repetition",
        Refusal.OTHERS_RIGHTS: "the rights of other people stand against it",
        Refusal.COMPELLING_GROUNDS: "compelling legitimate grounds, or legal claims, override it",
    },
    extensions={
        ExtensionReason.VOLUME: "the amount of data concerned",
        ExtensionReason.HARD_RETRIEVAL: "the difficulty of retrieving the data from several companies",
        ExtensionReason.REDACTION: "the work needed to protect other people named in the data",
        ExtensionReason.NUMBER_OF_REQUESTS: "the number of requests you have made",
    },
    still_held={
        StillHeld.SUPPRESSION: "a code made from your address (not the address itself), so that nobody in the group "
        "writes to you again for prospecting",
        StillHeld.RESTRICTION: "what was held, stored and used for nothing, and a code made from your address that "
        "sees to it; we will tell you before this ends",
        StillHeld.WITHDRAWN: "a code made from your address (not the address itself), so that nothing which rested on "
        "your consent is used or comes back",
        StillHeld.TOMBSTONE: "a code made from your address (not the address itself), so that what was erased does not "
        "come back with a late message or a restored backup",
        StillHeld.CASE_EVIDENCE: "the record of this request: dates, decisions and signed receipts, without your data",
    },
)

FR: Final = Words(
    language=Language.FR,
    rights={
        Right.ACCESS: "accès aux données personnelles",
        Right.ERASURE: "effacement des données personnelles",
        Right.OBJECTION: "opposition à l'utilisation des données personnelles",
        Right.WITHDRAWAL: "retrait du consentement",
        Right.PORTABILITY: "portabilité des données que vous nous avez fournies",
        Right.RECTIFICATION: "rectification des données personnelles",
        Right.RESTRICTION: "limitation de l'utilisation des données personnelles",
    },
    channels={
        Channel.WEBSITE: "sur notre site",
        Channel.EMAIL: "par courriel",
        Channel.LETTER: "par courrier",
        Channel.AGENT: "par un mandataire qui dit agir pour vous",
        Channel.CONTROLLER: "par une société pour le compte de laquelle nous traitons des données",
    },
    purposes={
        Purpose.PROVIDE_SERVICES: "fournir les services demandés",
        Purpose.SALES_PROSPECTING: "prospection commerciale",
        Purpose.RECRUITMENT: "traiter les candidatures",
        Purpose.SERVICES_AND_CONTRACT: "exécuter un contrat et ce qui s'y rattache",
        Purpose.SALES_INFORMATION: "envoyer des informations commerciales",
        Purpose.EVENT_INVITATIONS: "inviter à des événements",
        Purpose.PERSONALISE_NEWSLETTER: "adapter la lettre d'information à ce qui a été lu sur le site",
        Purpose.DOWNLOAD_FOLLOW_UP: "prendre contact après un téléchargement",
        Purpose.AGGREGATE_STATISTICS: "compter les visites sans que personne puisse être reconnu",
    },
    bases={
        LawfulBasis.CONSENT: "votre consentement (art. 6, § 1, a)",
        LawfulBasis.CONTRACT: "un contrat ou des mesures qui le précèdent (art. 6, § 1, b)",
        LawfulBasis.LEGAL_OBLIGATION: "une obligation légale (art. 6, § 1, c)",
        LawfulBasis.VITAL_INTERESTS: "des intérêts vitaux (art. 6, § 1, d)",
        LawfulBasis.PUBLIC_TASK: "une mission d'intérêt public (art. 6, § 1, e)",
        LawfulBasis.LEGITIMATE_INTERESTS: "nos intérêts légitimes (art. 6, § 1, f)",
    },
    states={
        Right.ACCESS: _states(
            "détient des données vous concernant ; la copie est dans votre dossier",
            partly="détient des données vous concernant ; la copie est en partie dans votre dossier",
            refused="a refusé d'en donner copie",
            **_FR_SHARED,
        ),
        Right.ERASURE: _states(
            "a effacé ce qu'elle détenait à votre sujet",
            partly="a effacé ce qui pouvait l'être et conservé une partie",
            refused="a refusé l'effacement",
            **_FR_SHARED,
        ),
        Right.OBJECTION: _states(
            "n'utilise plus ce qu'elle détient à votre sujet",
            partly="n'utilise plus une partie de ce qu'elle détient à votre sujet",
            refused="a refusé de cesser",
            **_FR_SHARED,
        ),
        Right.WITHDRAWAL: _states(
            "a mis fin à ce qui reposait sur votre consentement : ce qui ne reposait que sur lui est effacé",
            partly="a mis fin à ce qui reposait sur votre consentement et conservé une partie",
            refused="a refusé de mettre fin à ce qui repose sur votre consentement",
            **_FR_SHARED | {"nothing": "ne détient rien qui repose sur votre consentement"},
        ),
        Right.PORTABILITY: _states(
            "détient des données que vous avez fournies par consentement ou contrat ; elles sont dans votre dossier",
            partly="détient des données fournies par consentement ou contrat ; elles sont en partie dans votre dossier",
            refused="a refusé de remettre des données",
            **_FR_SHARED | {"nothing": "ne détient rien que vous ayez fourni par consentement ou contrat"},
        ),
        Right.RECTIFICATION: _states(
            "détient désormais ce que vous nous avez indiqué",
            partly="a rectifié une partie de ce qu'elle détient à votre sujet",
            refused="n'a pas rectifié ce qu'elle détient",
            conflict="détient autre chose que ce que vous nous avez signalé et l'a laissé ; quelqu'un l'examine et "
            "nous vous écrirons à nouveau",
            **_FR_SHARED | {"nothing": "ne détient aucun des champs dont vous demandez la rectification"},
        ),
        Right.RESTRICTION: _states(
            "conserve ce qu'elle détient à votre sujet sans l'utiliser",
            partly="conserve une partie de ce qu'elle détient à votre sujet sans l'utiliser",
            refused="a refusé de limiter l'utilisation",
            **_FR_SHARED,
        ),
    },
    proofs={
        None: "reçu signé ; il sera vérifié une nouvelle fois",
        Proof.VERIFIED: "reçu signé, puis vérification par nos soins dans sa base",
        Proof.ATTESTED: "reçu signé, puis confirmé par une seconde déclaration signée",
        Proof.SIGNED: "sa déclaration, signée sous son certificat",
    },
    reasons={
        Reason.LEGAL_OBLIGATION: "la loi nous oblige à conserver ces données",
        Reason.PUBLIC_TASK: "une mission d'intérêt public exige ces données",
        Reason.NOT_CONSENT_OR_CONTRACT: "ce droit ne vaut que pour des données fondées sur consentement ou contrat",
        Reason.NOT_INTEREST_OR_TASK: "ce droit ne vaut que pour les données fondées sur des intérêts légitimes ou "
        "une mission d'intérêt public",
        Reason.NOT_CONSENT: "ceci ne repose pas sur votre consentement : son retrait n'y change rien",
        Reason.CONSENT_IS_WITHDRAWN: "votre consentement a été retiré, ce qui a le même effet",
        Reason.GROUNDS_TO_BE_WEIGHED: "votre opposition est à l'examen ; d'ici là ces données sont conservées sans "
        "être utilisées",
        Reason.STILL_NEEDED: "ces données servent encore ; votre demande est à l'examen et, d'ici là, elles ne sont "
        "pas utilisées",
        Reason.LAWFULNESS_IN_DOUBT: "ce que la loi prévoit pour ces données est à l'examen ; d'ici là, elles ne sont "
        "pas utilisées",
        Reason.EXCEPTION: "une exception prévue par la loi couvre ces données",
        Reason.HOLD: "ces données sont préservées pour un litige ou une enquête et ne servent à rien d'autre",
    },
    keeping={
        KeepingGround.FREE_EXPRESSION: "liberté d'expression et d'information",
        KeepingGround.LEGAL_OBLIGATION: "obligation légale",
        KeepingGround.PUBLIC_HEALTH: "santé publique",
        KeepingGround.ARCHIVES_AND_RESEARCH: "archives, recherche ou statistiques",
        KeepingGround.LEGAL_CLAIMS: "droits en justice",
    },
    refusals={
        Refusal.CANNOT_IDENTIFY: "ce que nous détenons ne permet pas de vous reconnaître",
        Refusal.IDENTITY_NOT_PROVEN: "un doute raisonnable sur l'identité du demandeur n'a pu être levé",
        Refusal.MANIFESTLY_UNFOUNDED: "la demande est manifestement infondée",
        Refusal.EXCESSIVE: "la demande est excessive, notamment par sa répétition",
        Refusal.OTHERS_RIGHTS: "les droits d'autres personnes s'y opposent",
        Refusal.COMPELLING_GROUNDS: "des motifs légitimes et impérieux, ou des droits en justice, prévalent",
    },
    extensions={
        ExtensionReason.VOLUME: "la quantité de données concernées",
        ExtensionReason.HARD_RETRIEVAL: "la difficulté de réunir les données auprès de plusieurs sociétés",
        ExtensionReason.REDACTION: "le travail nécessaire pour protéger d'autres personnes citées",
        ExtensionReason.NUMBER_OF_REQUESTS: "le nombre de demandes que vous avez faites",
    },
    still_held={
        StillHeld.SUPPRESSION: "un code tiré de votre adresse (non l'adresse elle-même), pour que personne dans le "
        "groupe ne vous démarche à nouveau",
        StillHeld.RESTRICTION: "ce qui était détenu, conservé sans être utilisé, et un code tiré de votre adresse qui "
        "y veille ; nous vous préviendrons avant que cela prenne fin",
        StillHeld.WITHDRAWN: "un code tiré de votre adresse (non l'adresse elle-même), pour que rien de ce qui "
        "reposait sur votre consentement ne soit utilisé ni ne revienne",
        StillHeld.TOMBSTONE: "un code tiré de votre adresse (non l'adresse elle-même), pour que ce qui a été effacé ne "
        "revienne pas avec un message tardif ou une sauvegarde restaurée",
        StillHeld.CASE_EVIDENCE: "la trace de cette demande : dates, décisions et reçus signés, sans vos données",
    },
)

_WORDS: Final[Mapping[Language, Words]] = {Language.EN: EN, Language.FR: FR}
