"""``POST /cookies``: consents and visits, as a page's script or beacon reports them.

A beacon cannot set a Content-Type that needs a preflight, so ``text/plain`` is read as JSON here and nowhere else.
Source: R4, R15, R16; design § 6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from producers.door import bodies
from producers.door.bodies import BodyReader
from producers.door.guard import Networks, Origins
from producers.door.metrics import DoorMetrics
from producers.door.problems import accepted
from producers.door.several import answer, sift
from producers.gather import Gatherer
from producers.intake import Intake, Taken


@dataclass(frozen=True, slots=True)
class Cookies:
    """The handler of ``/cookies``."""

    intake: Intake
    gatherer: Gatherer
    origins: Origins
    networks: Networks
    metrics: DoorMetrics
    bodies: BodyReader

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_post("/cookies", self.post)
        router.add_route("OPTIONS", "/cookies", self.origins.preflight)

    async def post(self, request: web.Request) -> web.StreamResponse:
        self.origins.check(request)
        if bodies.media_type(request) not in ("application/json", "text/plain"):
            raise bodies.unsupported()
        said = await self.bodies.read_json(request, bodies.BATCH_BYTES, bodies.BATCH_NODES)
        network, trace = self.networks.of(request), request.headers.get("traceparent")
        if not isinstance(said, list):
            taken = self.intake.cookie(said, network, trace)
            await self.gatherer.put(taken.queue, (taken.event,))
            self.metrics.event(taken.event.type, "accepted")
            return accepted({"accepted": 1, "refused": []})
        sifted = await sift(said, lambda item: self.intake.cookie(item, network, trace))
        await self.gatherer.put_all(sifted.new)
        self._count(said, sifted.new, len(sifted.refused))
        return answer(sifted)

    def _count(self, said: list[Any], taken: list[Taken], refused: int) -> None:
        for one in taken:
            self.metrics.event(one.event.type, "accepted")
        for _ in range(refused):
            self.metrics.event("greffier.cookie", "refused")
