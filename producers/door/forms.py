"""``POST /forms/<case>``: what a person hands in on the web site.

Source: R1, R7, R16; design § 6.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from aiohttp import web

from producers.door import idempotency
from producers.door.bodies import BodyReader
from producers.door.form_data import FormData, read_form
from producers.door.guard import Origins
from producers.door.metrics import DoorMetrics
from producers.door.pages import Words, page
from producers.door.problems import BASE_HEADERS, Handler, accepted
from producers.gather import Gatherer
from producers.intake import FILE_FIELDS, Intake, Taken, new_id
from producers.uploads import DETAILS, ExaminedFile, Upload, examine
from schemas.errors import InvalidBody, InvalidMessage, Problem, QueueUnavailable
from schemas.fields import wire_moment
from schemas.routes import form_type
from schemas.submissions import FORM_CASES
from schemas.terms import Case

MAX_UPLOADS: Final = 12
"""Requests with files in memory at once, in all; beyond it the answer is "later"."""
THANKS: Final = "/thank-you"

_WORDS: Final[Words] = {
    "fr": {"thanks": ("Merci", "Votre envoi a bien été enregistré.", "")},
    "en": {"thanks": ("Thank you", "What you sent has been recorded.", "")},
}


@dataclass(frozen=True, slots=True)
class Forms:
    """The handlers of the four forms."""

    intake: Intake
    gatherer: Gatherer
    idempotency: idempotency.Idempotency
    origins: Origins
    metrics: DoorMetrics
    bodies: BodyReader
    examiners: ThreadPoolExecutor
    uploads: asyncio.Semaphore

    def add_to(self, router: web.UrlDispatcher) -> None:
        for case in FORM_CASES:
            router.add_post(f"/forms/{case}", self._handler(case))
            router.add_route("OPTIONS", f"/forms/{case}", self.origins.preflight)
        router.add_get(THANKS, thank_you)

    def _handler(self, case: Case) -> Handler:
        shape = self.intake.routes[form_type(case)].shape
        with_files = any(field in (*shape.required, *shape.optional) for field in FILE_FIELDS)

        async def post(request: web.Request) -> web.StreamResponse:
            self.origins.check(request)
            key = idempotency.read_key(request)
            if with_files:
                if self.uploads.locked():
                    raise QueueUnavailable("too_many_uploads", 5)
                async with self.uploads:
                    return await self._answer(case, key, request, with_files=True)
            return await self._answer(case, key, request, with_files=False)

        return post

    async def _answer(self, case: Case, key: str | None, request: web.Request, *, with_files: bool) -> web.Response:
        form = await read_form(request, self.bodies, files=with_files)
        try:
            event_id, received_at = await self._accept(case, key, request, form)
        except InvalidBody:
            self.metrics.event(form_type(case), "refused")
            raise
        self.metrics.event(form_type(case), "accepted")
        if form.plain and "text/html" in request.headers.get("Accept", ""):
            return web.Response(status=303, headers={**BASE_HEADERS, "Location": THANKS})
        return accepted({"id": event_id, "received_at": wire_moment(received_at)})

    async def _accept(self, case: Case, key: str | None, request: web.Request, form: FormData) -> tuple[str, datetime]:
        files = await self._examine(form.files) if form.files else {}
        received_at = self.intake.clock()
        claim = self.idempotency.claim(f"{request.headers.get('Origin', '')} {request.path}", key) if key else None
        taken = self.intake.form(
            case,
            form.data,
            files,
            event_id=claim.id if claim else new_id(),
            received_at=received_at,
            traceparent=request.headers.get("traceparent"),
        )
        if claim is None:
            await self._post(taken, received_at)
            return taken.event.id, received_at
        first = await self.idempotency.once(claim, taken.event.body, received_at, lambda at: self._post(taken, at))
        return taken.event.id, first

    async def _post(self, taken: Taken, received_at: datetime) -> None:
        at = wire_moment(received_at)
        event = taken.event if taken.event.recordedtime == at else taken.event._replace(recordedtime=at)
        await self.gatherer.put(taken.queue, (event,), taken.files)

    async def _examine(self, uploads: Mapping[str, Upload]) -> dict[str, ExaminedFile]:
        unknown = [field for field in uploads if field not in FILE_FIELDS]
        if unknown:
            raise InvalidBody(Problem("extra_forbidden", "", "brings a file that is not a field of this form"))
        return await asyncio.get_running_loop().run_in_executor(self.examiners, _examine_all, uploads)


def _examine_all(uploads: Mapping[str, Upload]) -> dict[str, ExaminedFile]:
    """Runs in a thread: a hostile file takes a while."""
    files, problems = {}, []
    for field, upload in uploads.items():
        try:
            files[field] = examine(upload)
        except InvalidMessage as error:
            problems.append(Problem(error.code, f"/{field}", DETAILS[error.code]))
    if problems:
        raise InvalidBody(*problems)
    return files


async def thank_you(request: web.Request) -> web.Response:
    """Where a browser lands after a plain form."""
    return page(request, _WORDS, "thanks", 200)
