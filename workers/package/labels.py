"""The words of the access package in each language, beside those of :mod:`workers.correspondence.words`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from schemas.terms import Anchor, Case, TransferBasis
from workers.correspondence.words import Language


@dataclass(frozen=True, slots=True)
class Labels:
    """One language's headings and fixed sentences."""

    title: str
    about: str
    reference: str
    received_on: str
    prepared_at: str
    addresses: str
    controller: str
    stores: str
    company: str
    country: str
    answer: str
    proof: str
    safeguard: str
    no_safeguard: str
    unstated: str
    reason: str
    uses: str
    no_uses: str
    purpose: str
    basis: str
    occasion: str
    until: str
    source: str
    from_you: str
    recipients: str
    role: str
    data: str
    nothing: str
    record: str
    more: str
    sheet: str
    files: str
    handed_over: str
    your_rights: str
    rights: tuple[str, ...]
    automated: str
    complaint: str
    remedy: str
    yes: str
    no: str
    empty: str
    readme: str
    readme_portable: str
    occasions: Mapping[Case, str]
    anchors: Mapping[Anchor, str]
    transfers: Mapping[TransferBasis, str]
    until_last_day: str
    group_company: str


def labels(language: Language) -> Labels:
    """The words of a language."""
    return _LABELS[language]


EN: Final = Labels(
    title="Your data",
    about="What the companies of the group hold about you, and what they do with it.",
    reference="Reference",
    received_on="Request received on",
    prepared_at="Prepared on",
    addresses="Searched under",
    controller="Controller",
    stores="What each company answered",
    company="Company",
    country="Servers in",
    answer="Answer",
    proof="Proof",
    safeguard="What the transfer rests on",
    no_safeguard="within the European Economic Area",
    unstated="not stated",
    reason="Reason given",
    uses="What our own records about you are used for",
    no_uses="We hold no record of our own about you.",
    purpose="Purpose",
    basis="Lawful basis",
    occasion="Collected when",
    until="Kept until",
    source="Source",
    from_you="you",
    recipients="Who was given data, or may read it",
    role="Role",
    data="The data",
    nothing="Nothing.",
    record="Record",
    more="This page shows the first {shown} of {all} records; all of them are in the file named here.",
    sheet="The same as a table",
    files="Files you sent",
    handed_over="What a company that works for us holds about you, as it gave it to us",
    your_rights="Your rights",
    rights=(
        "have wrong data corrected and incomplete data completed",
        "have data erased, within the limits of the law",
        "have their use restricted while a dispute is settled",
        "receive what you gave us, on consent or a contract, in a form another company can read",
        "object to a use that rests on our legitimate interests; to prospecting, at any time and without a reason",
        "withdraw a consent at any time, as easily as you gave it",
    ),
    automated="Our record of processing names no decision about you that is made by a machine alone.",
    complaint="You may complain to the data protection authority at any time",
    remedy="You may also bring the matter before a court (Art. 79 GDPR).",
    yes="yes",
    no="no",
    empty="none",
    readme="""YOUR DATA

index.html   to read, in any browser; it needs no network and loads nothing
data.json    the same, whole, for other programs (JSON, UTF-8)
csv/         one table for each collection, for spreadsheets (CSV, UTF-8, comma).
             An apostrophe at the start of a cell keeps spreadsheets from running it; it is not part of your data.
files/       the files you sent us, and what companies that work for us hold about you

Keep this archive in a safe place: whoever opens it reads your data.
""",
    readme_portable="""DATA YOU GAVE US, FOR ANOTHER SERVICE (GDPR Art. 20)

data.json    whole, for other programs (JSON, UTF-8); "fields" says in words what each member is
csv/         one table for each collection (CSV, UTF-8, comma).
             An apostrophe at the start of a cell keeps spreadsheets from running it; it is not part of your data.
files/       the files you sent us

In it is what you gave us yourself, as far as it is held on your consent or for a contract with you.
Keep this archive in a safe place: whoever opens it reads your data.
""",
    occasions={
        Case.CONTACT: "you wrote to us through the contact form",
        Case.NEWSLETTER: "you subscribed to our news",
        Case.WHITE_PAPER: "you downloaded a white paper",
        Case.JOB_APPLICATION: "you applied for a job",
        Case.CLIENT: "you were a contact at a client",
        Case.SERVICE_PROVIDER: "you were a contact at a service provider",
        Case.SUPPLIER: "you were a contact at a supplier",
        Case.PARTNER: "you were a contact at a partner",
        Case.PROSPECT: "you were a contact at a prospect",
    },
    anchors={
        Anchor.COLLECTED: "a period after it was collected",
        Anchor.LAST_CONTACT: "a period after our last contact",
        Anchor.CONTRACT_ENDED: "a period after the contract ends",
        Anchor.APPLICATION_DECIDED: "a period after the application is decided",
        Anchor.WITHDRAWN: "the withdrawal of your consent",
    },
    transfers={
        TransferBasis.NOT_NEEDED: "none is needed",
        TransferBasis.ADEQUACY: "adequacy decision (Art. 45 GDPR)",
        TransferBasis.STANDARD_CONTRACTUAL_CLAUSES: "standard contractual clauses (Art. 46 GDPR)",
        TransferBasis.BINDING_CORPORATE_RULES: "binding corporate rules (Art. 47 GDPR)",
        TransferBasis.SUSPENDED: "suspended: nothing crosses at present",
    },
    until_last_day="{day} included",
    group_company="company of the group",
)

FR: Final = Labels(
    title="Vos données",
    about="Ce que les sociétés du groupe détiennent à votre sujet, et ce qu'elles en font.",
    reference="Référence",
    received_on="Demande reçue le",
    prepared_at="Établi le",
    addresses="Recherché sous",
    controller="Responsable du traitement",
    stores="Ce que chaque société a répondu",
    company="Société",
    country="Serveurs situés en",
    answer="Réponse",
    proof="Preuve",
    safeguard="Fondement du transfert",
    no_safeguard="au sein de l'Espace économique européen",
    unstated="non indiqué",
    reason="Motif indiqué",
    uses="À quoi servent nos propres enregistrements à votre sujet",
    no_uses="Nous ne détenons nous-mêmes aucun enregistrement à votre sujet.",
    purpose="Finalité",
    basis="Base légale",
    occasion="Collecte",
    until="Fin de la conservation",
    source="Source",
    from_you="vous-même",
    recipients="Qui a reçu des données ou peut les lire",
    role="Rôle",
    data="Les données",
    nothing="Rien.",
    record="Enregistrement",
    more="Cette page montre les {shown} premiers enregistrements sur {all} ; tous sont dans le fichier nommé ici.",
    sheet="Le même en tableau",
    files="Fichiers que vous avez envoyés",
    handed_over="Ce qu'une société qui travaille pour nous détient à votre sujet, tel qu'elle nous l'a remis",
    your_rights="Vos droits",
    rights=(
        "faire corriger des données inexactes et compléter des données incomplètes",
        "faire effacer des données, dans les limites de la loi",
        "faire limiter leur utilisation le temps de trancher un différend",
        "recevoir ce que vous nous avez fourni, par consentement ou contrat, sous une forme qu'un autre peut lire",
        "vous opposer à une utilisation fondée sur nos intérêts légitimes ; à la prospection, toujours et sans motif",
        "retirer un consentement à tout moment, aussi simplement que vous l'avez donné",
    ),
    automated="Notre registre des traitements ne mentionne aucune décision à votre sujet prise par une machine seule.",
    complaint="Vous pouvez à tout moment adresser une réclamation à l'autorité de protection des données",
    remedy="Vous pouvez aussi saisir un tribunal (art. 79 du RGPD).",
    yes="oui",
    no="non",
    empty="néant",
    readme="""VOS DONNÉES

index.html   à lire dans n'importe quel navigateur ; sans réseau, rien n'est chargé
data.json    le même contenu, entier, pour d'autres logiciels (JSON, UTF-8)
csv/         un tableau par collection, pour tableurs (CSV, UTF-8, virgule).
             Une apostrophe en tête de cellule empêche un tableur de l'exécuter ; elle n'est pas dans vos données.
files/       les fichiers que vous nous avez envoyés, et ce que des sociétés qui travaillent pour nous détiennent
             à votre sujet

Gardez cette archive en lieu sûr : qui l'ouvre lit vos données.
""",
    readme_portable="""LES DONNÉES QUE VOUS NOUS AVEZ FOURNIES, POUR UN AUTRE SERVICE (RGPD, art. 20)

data.json    entier, pour d'autres logiciels (JSON, UTF-8) ; « fields » dit en mots ce qu'est chaque membre
csv/         un tableau par collection (CSV, UTF-8, virgule).
             Une apostrophe en tête de cellule empêche un tableur de l'exécuter ; elle n'est pas dans vos données.
files/       les fichiers que vous nous avez envoyés

S'y trouve ce que vous nous avez fourni vous-même, pour autant que c'est détenu avec votre consentement ou pour un
contrat avec vous.
Gardez cette archive en lieu sûr : qui l'ouvre lit vos données.
""",
    occasions={
        Case.CONTACT: "vous nous avez écrit par le formulaire de contact",
        Case.NEWSLETTER: "vous vous êtes abonné à nos nouvelles",
        Case.WHITE_PAPER: "vous avez téléchargé un livre blanc",
        Case.JOB_APPLICATION: "vous avez postulé à un emploi",
        Case.CLIENT: "vous étiez un contact chez un client",
        Case.SERVICE_PROVIDER: "vous étiez un contact chez un prestataire",
        Case.SUPPLIER: "vous étiez un contact chez un fournisseur",
        Case.PARTNER: "vous étiez un contact chez un partenaire",
        Case.PROSPECT: "vous étiez un contact chez un prospect",
    },
    anchors={
        Anchor.COLLECTED: "un temps après la collecte",
        Anchor.LAST_CONTACT: "un temps après notre dernier contact",
        Anchor.CONTRACT_ENDED: "un temps après la fin du contrat",
        Anchor.APPLICATION_DECIDED: "un temps après la décision sur la candidature",
        Anchor.WITHDRAWN: "retrait de votre consentement",
    },
    transfers={
        TransferBasis.NOT_NEEDED: "aucun n'est nécessaire",
        TransferBasis.ADEQUACY: "décision d'adéquation (art. 45 du RGPD)",
        TransferBasis.STANDARD_CONTRACTUAL_CLAUSES: "clauses contractuelles types (art. 46 du RGPD)",
        TransferBasis.BINDING_CORPORATE_RULES: "règles d'entreprise contraignantes (art. 47 du RGPD)",
        TransferBasis.SUSPENDED: "suspendu : rien ne passe actuellement",
    },
    until_last_day="{day} inclus",
    group_company="société du groupe",
)

_LABELS: Final[Mapping[Language, Labels]] = {Language.EN: EN, Language.FR: FR}
