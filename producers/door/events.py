"""``POST /events``: CloudEvents from a publisher that has a key: structured, binary or a batch.

A publisher says who it is by its key; what it may publish, and as which source, stands with the key. Forms, cookies
and whatever else is the door's own to say cannot come in here.
Source: R2, R27; design § 6; messaging-standards § 1 (CloudEvents 1.0.2, HTTP binding).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from aiohttp import web

from producers.door import bodies
from producers.door.bodies import BodyReader
from producers.door.guard import Origins, Publishers
from producers.door.idempotency import Idempotency
from producers.door.metrics import DoorMetrics
from producers.door.problems import accepted, invalid, problem
from producers.door.several import NotAllowed, Sifted, answer, sift
from producers.gather import Gatherer
from producers.intake import PUBLISHABLE, Intake, Taken
from schemas import strict_json
from schemas.errors import InvalidBody, InvalidMessage, Problem
from schemas.keyring import ApiKey

BATCH: Final = "application/cloudevents-batch+json"
STRUCTURED: Final = "application/cloudevents+json"
_TAKEN_OVER: Final = ("id", "source", "type", "time")
_JSON_TYPE: Final = re.compile(r"[a-z]+/(json|[a-z0-9.+-]+\+json)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Events:
    """The handler of ``/events``."""

    intake: Intake
    gatherer: Gatherer
    idempotency: Idempotency
    origins: Origins
    publishers: Publishers
    metrics: DoorMetrics
    bodies: BodyReader

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_post("/events", self.post)

    async def post(self, request: web.Request) -> web.StreamResponse:
        self.origins.check(request)
        key = self.publishers.of(request, self.intake.clock().date())
        media_type = bodies.media_type(request)
        if media_type == BATCH:
            return await self._batch(request, key)
        if media_type == STRUCTURED:
            event = await self.bodies.read_json(request, bodies.JSON_BYTES)
        elif _JSON_TYPE.fullmatch(media_type) and not media_type.startswith("application/cloudevents"):
            event = _attributes_in_headers(request)
            event["data"] = await self.bodies.read_json(request, bodies.JSON_BYTES)
        else:
            raise bodies.unsupported()
        return await self._one(request, event, key)

    async def _one(self, request: web.Request, event: Any, key: ApiKey) -> web.StreamResponse:
        try:
            taken = self._take(event, key)
        except NotAllowed as error:
            self._count("refused", _type_of(event))
            found = Problem(error.code, error.pointer, "is outside what this key may publish")
            return problem(403, error.code, "This key may not publish that.", problems=(found,))
        except InvalidBody as error:
            self._count("refused", _type_of(event))
            return invalid(error)
        await self.idempotency.put(request, f"{key.id} {request.path}", [taken], self.gatherer)
        self._count("accepted", taken.event.type)
        return accepted({"accepted": 1, "refused": []})

    async def _batch(self, request: web.Request, key: ApiKey) -> web.StreamResponse:
        items = await self.bodies.read_json(request, bodies.BATCH_BYTES, bodies.BATCH_NODES)
        if not isinstance(items, list):
            raise InvalidBody(Problem("list_type", "", "must be an array of events"))
        sifted = await sift(items, lambda item: self._take(item, key))
        await self.idempotency.put(request, f"{key.id} {request.path}", sifted.new, self.gatherer)
        self._count_all(items, sifted)
        return answer(sifted)

    def _take(self, event: Any, key: ApiKey) -> Taken:
        """Raises :class:`InvalidBody` with pointers into the event, :class:`NotAllowed`."""
        if not isinstance(event, dict):
            raise InvalidBody(Problem("model_type", "", "must be an object"))
        if event.get("specversion") != "1.0":
            raise InvalidBody(Problem("specversion", "/specversion", "must be 1.0"))
        attributes = self.intake.attributes({name: event[name] for name in _TAKEN_OVER if event.get(name) is not None})
        if attributes["type"] not in PUBLISHABLE or not key.allows(attributes["type"], attributes["source"]):
            raise NotAllowed("not_allowed", "/type")
        trace = event.get("traceparent")
        try:
            return self.intake.event(attributes, _data(event), trace if isinstance(trace, str) else None)
        except InvalidBody as error:
            raise InvalidBody(
                *(Problem(found.code, f"/data{found.pointer}", found.detail) for found in error.problems)
            ) from None

    def _count_all(self, items: list[Any], sifted: Sifted) -> None:
        for taken in sifted.new:
            self._count("accepted", taken.event.type)
        for index, _, _ in sifted.refused:
            self._count("refused", _type_of(items[index]))

    def _count(self, outcome: str, event_type: str | None) -> None:
        # What is not a type of ours may be anything: it makes no label.
        self.metrics.event(event_type if event_type in self.intake.routes and event_type else "unknown", outcome)


def _type_of(event: Any) -> str | None:
    found = event.get("type") if isinstance(event, Mapping) else None
    return found if isinstance(found, str) else None


def _data(event: Mapping[str, Any]) -> Any:
    """The event's data as JSON, however it was packed. Raises :class:`InvalidBody`."""
    kind = event.get("datacontenttype")
    if kind is not None and not (isinstance(kind, str) and _JSON_TYPE.fullmatch(kind.partition(";")[0].strip())):
        raise InvalidBody(Problem("datacontenttype", "", "must be JSON"))
    if event.get("data_base64") is None:
        return event.get("data")
    if "data" in event or not isinstance(event["data_base64"], str):
        raise InvalidBody(Problem("data_twice", "", "must be either data or data_base64, a string"))
    try:
        return strict_json.parse(base64.b64decode(event["data_base64"], validate=True))
    except (InvalidMessage, binascii.Error, ValueError):
        raise InvalidBody(Problem("not_json", "", "must be JSON in base64")) from None


def _attributes_in_headers(request: web.BaseRequest) -> dict[str, Any]:
    """Binary mode: ``ce-*`` headers, percent-encoded UTF-8. Raises :class:`Refused` 415, :class:`InvalidMessage`."""
    found: dict[str, Any] = {}
    for name, value in request.headers.items():
        attribute = name.lower().removeprefix("ce-")
        if attribute == name.lower():
            continue
        if attribute in found or attribute in ("data", "data_base64", "datacontenttype"):
            raise InvalidMessage("malformed_header")
        found[attribute] = _decoded(value)
    if not found:
        raise bodies.unsupported()
    return found


def _decoded(value: str) -> str:
    text = value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
    try:
        return unquote_to_bytes(text.encode("ascii")).decode("utf-8")
    except UnicodeError:
        raise InvalidMessage("malformed_header") from None
