"""From what somebody says to an event in normal form: the one place that accepts or refuses.

The door and the Python publisher both pass through here, so that neither lets in what the other refuses. Pure but for
the clock handed in: no connection, no queue.
Source: R1, R2, R7, R15, R27; design § 3, § 6.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic_core import to_json
from uuid_utils import uuid7

from producers.minors import reveals_child
from producers.publisher import FileContent
from producers.uploads import ExaminedFile
from schemas import routes
from schemas.envelope import Event, event_key
from schemas.errors import InvalidBody, Problem
from schemas.fields import IDENTIFIER, MOMENT, SOURCE, pattern, wire_moment
from schemas.register import Register
from schemas.rights import ASKED, check_asked
from schemas.routes import Route, form_type
from schemas.shapes import Shape
from schemas.submissions import CONTACT_CASES
from schemas.terms import Case, Channel

AHEAD: Final = timedelta(days=1)
"""How far a sender's clock may run ahead of ours. What lies less far ahead is kept and counts as happening now."""
EAST: Final = timedelta(hours=14)
"""Where the day begins first: a date of today is no date in the future, wherever its sender sits."""
FILE_FIELDS: Final = ("cv", "cover_letter")
COOKIES: Final = "/cookies"
_OWN_SOURCES: Final = (
    "/forms/",
    COOKIES,
    routes.RIGHTS_SOURCE,
    routes.UNSUBSCRIBE_SOURCE,
    routes.PREFERENCES_SOURCE,
)
PUBLISHABLE: Final = frozenset(
    [routes.contact_type(case) for case in CONTACT_CASES]
    + [routes.CONTACT_INTERACTED, routes.CONTACT_ENDED, routes.APPLICATION_DECIDED, routes.NEWSLETTER_CONFIRMED]
    + [routes.CONTACT_INFORMED, routes.CONSENT_GIVEN, routes.CONSENT_WITHDRAWN]
)
"""Types that come in as events; forms and cookies have ways of their own."""

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The system's clock, aware."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Taken:
    """An event that was accepted, the queue it goes to, and the files that go beside it."""

    queue: str
    event: Event
    files: tuple[FileContent, ...] = ()


def checked_id(event_id: str) -> str:
    """An id that somebody gave. Raises :class:`InvalidBody`."""
    return str(_ID.clean({"id": event_id})["id"])


def new_id() -> str:
    """An id for an event that came without one: UUID version 7, as text."""
    return str(uuid7())


_ATTRIBUTES: Final = Shape(
    "event",
    required={"id": IDENTIFIER, "source": SOURCE, "type": pattern(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", 128)},
    optional={"time": MOMENT},
)
_ID: Final = Shape("id", required={"id": IDENTIFIER})
_TRACEPARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class Intake:
    """What this installation accepts, by its register. Stateless and cheap to call; make one per process."""

    def __init__(self, register: Register, clock: Clock = utc_now) -> None:
        self.clock = clock
        self.routes: Mapping[str, Route] = routes.routes(register)
        self._child_below = register.children.value
        self._cookie_purposes = frozenset(register.cookies)
        self._purposes = frozenset(register.purposes)
        self._prospecting = register.prospecting

    def form(
        self,
        case: Case,
        data: object,
        files: Mapping[str, ExaminedFile],
        *,
        event_id: str,
        received_at: datetime,
        traceparent: str | None = None,
    ) -> Taken:
        """A web form. ``files``: by field. Raises :class:`InvalidBody` with every fault."""
        route = self.routes[form_type(case)]
        self._refuse_child(data, received_at, [file.text for file in files.values()])
        event_source, contents = f"/forms/{case}", []
        if isinstance(data, dict):
            _refuse_raw_files(data)
            data = dict(data)
            for field, file in files.items():
                file_id = f"{event_id}.{field}"
                data[field] = file.described(file_id)
                contents.append(FileContent(file_id, event_key(event_source, event_id), file.content))
        body = route.shape.clean(data)
        _only_known(body, "consents", self._purposes)
        event = Event(
            event_id, event_source, route.type, wire_moment(received_at), _normal(body), None, _trace(traceparent)
        )
        return Taken(route.queue, event, tuple(contents))

    def cookie(self, data: object, network: str | None, traceparent: str | None = None) -> Taken:
        """One consent or visit from a browser, told apart by its fields. Raises :class:`InvalidBody`."""
        if not isinstance(data, dict):
            raise InvalidBody(Problem("model_type", "", "must be an object"))
        given = dict(data)
        event_id = _ID.clean({"id": given.pop("id")} if "id" in given else {})["id"]
        route = self.routes[routes.COOKIE_VISIT if "url" in given else routes.COOKIE_CONSENT]
        if "network" in given:  # the door's to say, nobody else's
            raise InvalidBody(Problem("extra_forbidden", "/network", "is not a field of this form"))
        now = self.clock()
        body = route.shape.clean(given)
        self._check_moments(body, now)
        _only_known(body, "choices", self._cookie_purposes)
        if network and route.type == routes.COOKIE_VISIT:
            body["network"] = network
        event = Event(event_id, COOKIES, route.type, wire_moment(now), _normal(body), body["at"], _trace(traceparent))
        return Taken(route.queue, event)

    def right(self, data: object, reference: str, traceparent: str | None = None, *, crowded: bool = False) -> Taken:
        """What a person asks at the door, under the case's new reference. Raises :class:`InvalidBody`.

        ``crowded``: see :class:`producers.door.crowds.Crowds`.
        """
        asked = ASKED.clean(data)
        check_asked(asked)
        whole = {**asked, "reference": reference, "channel": Channel.WEBSITE.value}
        if crowded:
            whole["crowded"] = "yes"
        body = self.routes[routes.RIGHTS_REQUESTED].shape.clean(whole)
        return self._rights_event(routes.RIGHTS_REQUESTED, reference, body, traceparent)

    def confirmed_right(self, reference: str, token_id: str) -> Taken:
        """That a case's mailed link was used. The event's id is the token's: using it twice is one event."""
        body = {"reference": reference, "token": token_id, "at": wire_moment(self.clock())}
        return self._rights_event(routes.RIGHTS_CONFIRMED, f"{reference}.{token_id}", body, None)

    def unsubscribed(self, mailing_list: str, reference: str) -> Taken:
        """That a one-click link was used. The event's id is made from the link's own, so each use of it is one event.

        ``reference``: whom the link is for, sealed; the door cannot open it.
        """
        route = self.routes[routes.NEWSLETTER_UNSUBSCRIBED]
        body = route.shape.clean({"list": mailing_list, "reference": reference})
        event_id = hashlib.sha256(reference.encode()).hexdigest()
        at = wire_moment(self.clock())
        event = Event(event_id, routes.UNSUBSCRIBE_SOURCE, route.type, at, _normal(body))
        return Taken(route.queue, event)

    def chosen(self, data: object, mailing_list: str, reference: str) -> Taken:
        """What was chosen by a link to somebody's preferences, each time an event of its own.

        ``reference``: whom the link is for, sealed. Raises :class:`InvalidBody`.
        """
        route = self.routes[routes.PREFERENCE_CHANGED]
        if not isinstance(data, dict):
            raise InvalidBody(Problem("model_type", "", "must be an object"))
        body = route.shape.clean({**data, "list": mailing_list, "reference": reference})
        _only_known(body, "choices", self._prospecting)
        event = Event(new_id(), routes.PREFERENCES_SOURCE, route.type, wire_moment(self.clock()), _normal(body))
        return Taken(route.queue, event)

    def _rights_event(self, kind: str, event_id: str, body: Mapping[str, Any], traceparent: str | None) -> Taken:
        at = wire_moment(self.clock())
        event = Event(event_id, routes.RIGHTS_SOURCE, kind, at, _normal(body), None, _trace(traceparent))
        return Taken(self.routes[kind].queue, event)

    def attributes(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes of an event that bears its own id and source. Raises :class:`InvalidBody`."""
        found = _ATTRIBUTES.clean(given)
        if found["source"].startswith(_OWN_SOURCES):
            raise InvalidBody(Problem("reserved_source", "/source", "is reserved for the door's own events"))
        if found["type"] not in self.routes:
            raise InvalidBody(Problem("unknown_type", "/type", "is not a type of event this door knows"))
        self._check_moments(found, self.clock())
        return found

    def event(self, attributes: Mapping[str, Any], data: object, traceparent: str | None = None) -> Taken:
        """An event with ``attributes`` as :meth:`attributes` returned them.

        Raises :class:`InvalidBody` with pointers into ``data``.
        """
        if attributes["type"] not in PUBLISHABLE:  # forms and cookies are put into events by us alone
            raise InvalidBody(Problem("unknown_type", "", "is no data of an event that can be published"))
        route, now = self.routes[attributes["type"]], self.clock()
        if route.case is not None:
            self._refuse_child(data, now, ())
        body = route.shape.clean(data)
        self._check_moments(body, now)
        _check_collected(body, now)
        _check_whom(route, body)
        event = Event(
            attributes["id"],
            attributes["source"],
            route.type,
            wire_moment(now),
            _normal(body),
            attributes.get("time") or body.get("at"),
            _trace(traceparent),
        )
        return Taken(route.queue, event)

    def _refuse_child(self, data: object, now: datetime, texts: list[str] | tuple[str, ...]) -> None:
        if isinstance(data, dict) and reveals_child(data, texts, below=self._child_below, today=now.date()):
            raise InvalidBody(Problem("under_age", "", f"nobody under {self._child_below} may be registered here"))

    def _check_moments(self, body: Mapping[str, Any], now: datetime) -> None:
        latest = wire_moment(now + AHEAD)
        for field in ("at", "time"):
            if field in body and body[field] > latest:
                raise InvalidBody(Problem("in_the_future", f"/{field}", "lies more than a day ahead"))


def _check_collected(body: Mapping[str, Any], now: datetime) -> None:
    if "collected_at" in body and body["collected_at"] > (now + EAST).date().isoformat():
        raise InvalidBody(Problem("in_the_future", "/collected_at", "lies in the future"))


def _check_whom(route: Route, body: Mapping[str, Any]) -> None:
    if "about" in route.shape.optional and ("about" in body) == ("email" in body):
        raise InvalidBody(Problem("one_of", "", "needs either email or about, and not both"))


def _refuse_raw_files(data: Mapping[str, Any]) -> None:
    """Only the door describes a stored file: a description from outside would point into somebody else's."""
    problems = [
        Problem("not_a_file", f"/{field}", "must be a file")
        for field in FILE_FIELDS
        if isinstance(data.get(field), (dict, list))
    ]
    if problems:
        raise InvalidBody(*problems)


def _only_known(body: dict[str, Any], field: str, known: frozenset[Any]) -> None:
    """Choices name purposes of the register only, and stand in one order: the same choice is the same body."""
    choices = body.get(field)
    if choices is None:
        return
    if not known.issuperset(choices):
        raise InvalidBody(Problem("unknown_purpose", f"/{field}", "names a purpose that is not asked about here"))
    body[field] = dict(sorted(choices.items()))


def _normal(body: Mapping[str, Any]) -> bytes:
    return to_json(body)


def _trace(given: str | None) -> str | None:
    """A traceparent that is one; a bad one is left out, as W3C Trace Context asks."""
    return given if given is not None and _TRACEPARENT.fullmatch(given) else None
