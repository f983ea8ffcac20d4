"""Type of event → its shape, its queue and its actor: the one link between producers and workers.

A queue and its actor bear one name. Source: design § 3 "Types".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from schemas import consent, newsletter, rights, submissions, ticks
from schemas.register import Register
from schemas.shapes import Shape
from schemas.terms import Case

NAMESPACE: Final = "dramatiq"
"""The controller's own namespace in Redis."""

WAKE_CHANNEL: Final = "{namespace}:wake"
"""Where the name of a queue is published after each enqueue, so that nobody has to poll."""

SUBMISSIONS: Final = "submissions"
CONSENT: Final = "consent"
NEWSLETTER: Final = "newsletter"
RIGHTS: Final = "rights"
RETENTION: Final = "retention"
QUEUES: Final = (SUBMISSIONS, CONSENT, NEWSLETTER, RIGHTS, RETENTION)

CLOCK_LEASE: Final = "greffier:clock"
"""The Redis key that names the clock which leads."""

CLOCK_PUBLISHED: Final = "greffier:clock:published"
"""The Redis hash of the tick that was published last, by chore."""

COOKIES_SOURCE: Final = "/cookies"
"""The source of what browsers report."""

COOKIE_CONSENT: Final = "greffier.cookie.consent"
COOKIE_VISIT: Final = "greffier.cookie.visit"
CONSENT_GIVEN: Final = "greffier.consent.given"
CONSENT_WITHDRAWN: Final = "greffier.consent.withdrawn"
CONTACT_INTERACTED: Final = "greffier.contact.interacted"
CONTACT_ENDED: Final = "greffier.contact.ended"
CONTACT_INFORMED: Final = "greffier.contact.informed"
APPLICATION_DECIDED: Final = "greffier.application.decided"
NEWSLETTER_CONFIRMED: Final = "greffier.newsletter.confirmed"
NEWSLETTER_UNSUBSCRIBED: Final = "greffier.newsletter.unsubscribed"
PREFERENCE_CHANGED: Final = "greffier.preference.changed"
RIGHTS_REQUESTED: Final = "greffier.rights.requested"
RIGHTS_CONFIRMED: Final = "greffier.rights.confirmed"

RIGHTS_SOURCE: Final = "/rights"
"""The source of what people ask at the door."""

UNSUBSCRIBE_SOURCE: Final = "/unsubscribe"
"""The source of one-click links that were used."""

PREFERENCES_SOURCE: Final = "/preferences"
"""The source of what people choose by the mailed link to their preferences; nobody else's events bear it."""


@dataclass(frozen=True, slots=True)
class Route:
    """``case``: the case for collection, where the event brings a record of a person."""

    type: str
    queue: str
    shape: Shape
    case: Case | None = None


def form_type(case: Case) -> str:
    """The type of a web form's event."""
    return f"greffier.form.{case}"


def form_source(case: Case) -> str:
    """The source of a web form's event: the door's own route."""
    return f"/forms/{case}"


def contact_type(case: Case) -> str:
    """The type of a CRM contact's event."""
    return f"greffier.contact.{case}"


def message_hashes(queue: str) -> tuple[str, ...]:
    """The Redis hashes of a queue's messages: to be worked on, tried again later, given up and not parked yet."""
    return tuple(f"{NAMESPACE}:{queue}{kind}.msgs" for kind in ("", ".DQ", ".XQ"))


NOT_YET_NO: Final = (message_hashes(NEWSLETTER), message_hashes(RIGHTS))
"""Where an unsubscribe or an objection is from its acceptance until it is stored, queue by queue."""

NOT_YET_CHOSEN: Final = (message_hashes(CONSENT)[::2],)
"""The same of a choice about cookies. What is tried again there are visits that nothing covered."""


def file_key(file_id: str) -> str:
    """The Redis key of an uploaded file's sealed content."""
    return f"greffier:file:{file_id}"


def routes(register: Register) -> Mapping[str, Route]:
    """Every type this installation knows, with shapes drawn from its register."""
    found = [
        Route(COOKIE_CONSENT, CONSENT, consent.CONSENT),
        Route(COOKIE_VISIT, CONSENT, consent.VISIT),
        # With every other "no": who reads an audience waits for what this queue holds.
        Route(CONSENT_GIVEN, NEWSLETTER, consent.GIVEN),
        Route(CONSENT_WITHDRAWN, NEWSLETTER, consent.WITHDRAWN),
        Route(CONTACT_INTERACTED, SUBMISSIONS, submissions.INTERACTED),
        Route(CONTACT_ENDED, SUBMISSIONS, submissions.ENDED),
        Route(CONTACT_INFORMED, SUBMISSIONS, submissions.INFORMED),
        Route(APPLICATION_DECIDED, SUBMISSIONS, submissions.DECIDED),
        Route(NEWSLETTER_CONFIRMED, NEWSLETTER, newsletter.CONFIRMED),
        Route(NEWSLETTER_UNSUBSCRIBED, NEWSLETTER, newsletter.UNSUBSCRIBED),
        Route(PREFERENCE_CHANGED, NEWSLETTER, newsletter.CHOSEN),
        Route(RIGHTS_REQUESTED, RIGHTS, rights.REQUESTED),
        Route(RIGHTS_CONFIRMED, RIGHTS, rights.CONFIRMED),
        Route(ticks.TICK_TYPE, RETENTION, ticks.TICK),
    ]
    for case in submissions.FORM_CASES:
        queue = NEWSLETTER if case is Case.NEWSLETTER else SUBMISSIONS
        found.append(Route(form_type(case), queue, submissions.form(case, register.case(case)), case))
    found.extend(
        Route(contact_type(case), SUBMISSIONS, submissions.contact(case, register.case(case)), case)
        for case in submissions.CONTACT_CASES
    )
    return {route.type: route for route in found}
