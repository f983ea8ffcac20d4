"""The vocabulary, written once: every closed word that messages, rules, stores and the register share.

A word here is the value that stands in messages, in ``register.yaml`` and in MongoDB. To rename one is to migrate data.
"""

from __future__ import annotations

from enum import StrEnum


class Origin(StrEnum):
    """By which way a case comes in: typed by the person on the site, or published by the CRM."""

    FORM = "form"
    CRM = "crm"


class Case(StrEnum):
    """A case for collection: on which occasion data came in. Source: R1 (forms), R2 (CRM)."""

    CONTACT = "contact"
    NEWSLETTER = "newsletter"
    WHITE_PAPER = "white-paper"
    JOB_APPLICATION = "job-application"
    CLIENT = "client"
    SERVICE_PROVIDER = "service-provider"
    SUPPLIER = "supplier"
    PARTNER = "partner"
    PROSPECT = "prospect"

    @property
    def origin(self) -> Origin:
        """By which way the case comes in. From the CRM, ``source`` and ``collected_at`` must come along (Art. 14)."""
        forms = (Case.CONTACT, Case.NEWSLETTER, Case.WHITE_PAPER, Case.JOB_APPLICATION)
        return Origin.FORM if self in forms else Origin.CRM


class FieldName(StrEnum):
    """A field that a case may list. What its case does not list is refused. Source: R1, R2."""

    LAST_NAME = "last_name"
    FIRST_NAME = "first_name"
    EMAIL = "email"
    PHONE = "phone"
    POSTAL_ADDRESS = "postal_address"
    POSITION = "position"
    COUNTRY = "country"
    LANGUAGE = "language"
    CV = "cv"
    COVER_LETTER = "cover_letter"


class Purpose(StrEnum):
    """Why data is processed. Source: R3 (submissions and contacts), R5 and R6 (automatic data)."""

    PROVIDE_SERVICES = "provide-services"
    SALES_PROSPECTING = "sales-prospecting"
    RECRUITMENT = "recruitment"
    SERVICES_AND_CONTRACT = "services-and-contract"
    SALES_INFORMATION = "sales-information"
    EVENT_INVITATIONS = "event-invitations"
    PERSONALISE_NEWSLETTER = "personalise-newsletter"
    DOWNLOAD_FOLLOW_UP = "download-follow-up"
    AGGREGATE_STATISTICS = "aggregate-statistics"


class LawfulBasis(StrEnum):
    """The ground a purpose rests on; it decides which rights apply. Source: GDPR Art. 6(1)(a) to (f), in that order."""

    CONSENT = "consent"
    CONTRACT = "contract"
    LEGAL_OBLIGATION = "legal-obligation"
    VITAL_INTERESTS = "vital-interests"
    PUBLIC_TASK = "public-task"
    LEGITIMATE_INTERESTS = "legitimate-interests"


class Anchor(StrEnum):
    """The event a retention period is counted from. Until it has happened, the purpose link stays open. Source: R13."""

    COLLECTED = "collected"
    LAST_CONTACT = "last-contact"
    CONTRACT_ENDED = "contract-ended"
    APPLICATION_DECIDED = "application-decided"
    WITHDRAWN = "withdrawn"


class Disposal(StrEnum):
    """What happens to data when its retention is due. Source: R13."""

    DELETE = "delete"


class CookiePurpose(StrEnum):
    """What a visitor accepts or refuses, one by one. Source: R15."""

    LANGUAGE = "language"
    ANALYTICS = "analytics"
    PERSONALISATION = "personalisation"


class Department(StrEnum):
    """Who reads, each within its attributions. Source: R9."""

    MARKETING_SALES = "marketing-sales"
    ADMINISTRATION = "administration"
    IT = "it"
    LINE_MANAGERS = "line-managers"
    SUBCONTRACTORS = "subcontractors"


class Disclosure(StrEnum):
    """On what condition a recipient is given data. Source: R9, R10, R11; GDPR Art. 30(1)(d)."""

    GROUP = "group"
    PROCESSING_CONTRACT = "processing-contract"
    LEGAL_COMPULSION = "legal-compulsion"
    EXPRESS_CONSENT = "express-consent"


class SubsidiaryKind(StrEnum):
    """How a subsidiary takes its tasks: by the worker shipped here, or over HTTP without Python. Source: R28."""

    WORKER = "worker"
    HTTP = "http"


class TransferBasis(StrEnum):
    """What lets data cross a border. Source: R10; GDPR Arts 45 to 47.

    ``not-needed``: company and store both stand in the EEA. ``suspended``: there was a basis and it is gone; nothing
    crosses but the orders that end processing (P8).
    """

    NOT_NEEDED = "not-needed"
    ADEQUACY = "adequacy"
    STANDARD_CONTRACTUAL_CLAUSES = "standard-contractual-clauses"
    BINDING_CORPORATE_RULES = "binding-corporate-rules"
    SUSPENDED = "suspended"


class Right(StrEnum):
    """What a data subject may ask for. Source: R14, R17 to R20; GDPR Arts 7(3), 15 to 18, 20, 21."""

    ACCESS = "access"
    ERASURE = "erasure"
    OBJECTION = "objection"
    WITHDRAWAL = "withdrawal"
    PORTABILITY = "portability"
    RECTIFICATION = "rectification"
    RESTRICTION = "restriction"

    @property
    def gives_a_copy(self) -> bool:
        """Whether the person is given what is held, and nothing about it changes."""
        return self in (Right.ACCESS, Right.PORTABILITY)

    @property
    def ends_a_use(self) -> bool:
        """Whether it ends a use of data: such an order always goes, with identifiers only. Source: P8."""
        return self in (Right.ERASURE, Right.OBJECTION, Right.WITHDRAWAL, Right.RESTRICTION)


class SuppressionGround(StrEnum):
    """Why an address is on the suppression list: the one-click link, an objection, a complaint about a mail, what was
    refused on the page of preferences, or that every consent was withdrawn.
    """

    UNSUBSCRIBE = "unsubscribe"
    OBJECTION = "objection"
    COMPLAINT = "complaint"
    PREFERENCE = "preference"
    WITHDRAWAL = "withdrawal"


class Channel(StrEnum):
    """How a request reached the group. Source: R22.

    Staff enter what came by ``email`` and ``letter`` with its true date of receipt. By ``agent`` and ``controller`` it
    came from another organisation's system: an agent of the person (Data Rights Protocol), or a controller whose
    processor the group is (OpenDSR).
    """

    WEBSITE = "website"
    EMAIL = "email"
    LETTER = "letter"
    AGENT = "agent"
    CONTROLLER = "controller"


class Means(StrEnum):
    """By what means people are told of a new version of the policy. Source: R16."""

    WEBSITE = "website"
    MAIL = "mail"
    LETTER = "letter"


class StoreOutcome(StrEnum):
    """What a store answers to one task. ``conflict``: something else stands than a correction says.

    Source: R25; design § 5.
    """

    DONE = "done"
    NOTHING_HELD = "nothing-held"
    PARTLY_RETAINED = "partly-retained"
    REFUSED = "refused"
    CONFLICT = "conflict"


class Proof(StrEnum):
    """How a store's answer was looked at again: by the controller's own eyes, or by its second signed statement.

    ``signed``: it was not; an external processor's one statement, under its certificate.
    """

    VERIFIED = "verified"
    ATTESTED = "attested"
    SIGNED = "signed"
