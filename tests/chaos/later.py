"""The later rights in a story: corrections that cross, restrictions and their lifting, withdrawals; and who looks on.

Each is seen as everything here: by plain clients, against what the person said.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import cycle
from typing import Any

from schemas.orders import CONTROLLER, LIFT
from schemas.terms import Case, Department, Purpose, Right
from tests.chaos.acts import Act, Fate
from tests.chaos.affairs import Affairs
from tests.chaos.interleaving import Life
from tests.chaos.offices import Branch
from tests.chaos.rights import Request
from tests.workers.bench import Document, Dump
from tests.workers.retention.people import sweep_theirs
from workers.audience import Audience
from workers.cases import deciding, own_store, rectifying, serving
from workers.gate import Reader, ReadRefused
from workers.retention.evidence import read_archive
from workers.retention.sweep import look_at_due
from workers.stores.keys import ACTIVE, key_id

_DONE = ("receipted", "proved")
_MARKETING = Reader("mailer", Department.MARKETING_SALES)
_CLAIMS = Reader("claims", Department.ADMINISTRATION)

_RESTRICTED = "GDPR Art. 18"
"""On what a receipt says that something was kept."""

_LONG_AGO = timedelta(days=4 * 365)
"""Longer than anything is kept after the last that was heard of somebody."""

Standing = tuple[str, str]
"""A request and a store in which it is done, and not undone."""


@dataclass
class Later(Affairs):
    """Affairs in which the person also corrects, restricts and withdraws.

    ``stands``: what is done and not undone at this moment; ``kept``: of a restriction, whether there was something to
    be kept when it began.
    """

    stands: set[Standing] = field(default_factory=set)
    kept: dict[str, bool] = field(default_factory=dict)
    overdue: list[Act] = field(default_factory=list)
    over: list[Request] = field(default_factory=list)

    # --- who acts -------------------------------------------------------------------------------------------------

    def corrects(self, was: str, to: str, *, after: Request | None = None) -> Request:
        """The person's name is not what stands."""
        return self.asks(Right.RECTIFICATION, after=after, corrections={"last_name": {"was": was, "to": to}})

    async def accepted_already(self, right: Right) -> Request:
        """A request that every store is to be asked for when the story begins."""
        request, desk = self._request(right), self.new_clerk().desk
        await self._open(request)
        await self._confirm(request)
        case = await desk.cases.get(request.reference)
        assert case is not None
        await serving.open_tasks(desk, case)
        return request

    def own_part(self, name: str, request: Request) -> None:
        """A worker at our own store's part of it."""

        async def serve() -> None:
            desk, of = self.new_clerk().desk, request.reference
            (case,), tasks = await desk.cases.whole([of]), await desk.cases.tasks([f"{of}/{CONTROLLER}"])
            person = await desk.identifiers(case)
            assert person is not None
            await own_store.serve(desk, case, tasks[f"{of}/{CONTROLLER}"], person)

        self._add(name, lambda: self._until_done(name, serve, None))

    def correction(self, to: str) -> None:
        """Our own store's part of one, by itself."""
        asked = {"_id": "R-CORRECTS", "received_at": self.clock()}
        patch = {"field": "last_name", "was": self.whom.last_name, "to": to}
        person = {"emails": [self.whom.email], "patches": [patch]}

        async def work() -> None:
            await self._until_done(to, lambda: rectifying.rectify(self.new_clerk().desk, asked, person), None)

        self._add(to, work)

    def lifter(self, request: Request) -> None:
        """Staff lift a restriction once it has been answered."""

        async def work() -> None:
            name = f"lifts {request.reference}"
            await self._until_done(name, lambda: self._lift(request), self.luck.dies_at(8))

        self._patient(f"lifter {request.reference}", lambda: request.watched.answered, work)

    async def _lift(self, request: Request) -> None:
        for one in (request, *self._of(Right.ERASURE, Right.WITHDRAWAL)):
            one.watched.again += 1  # it is undone, and what waited for it is served now
        await deciding.lift(self.new_clerk().desk, request.reference, "staff")

    async def long_ago(self, act: Act) -> None:
        """An act whose time is over."""
        await self.already(act, _LONG_AGO)
        self.overdue.append(act)

    def sweeper(self) -> None:
        """The daily walk over what is held, at any time."""

        async def work() -> None:
            await self._until_done("sweeper", self._sweep, self.luck.dies_at(20))

        self._add("sweeper", work)

    async def _sweep(self) -> None:
        await sweep_theirs(self.bench, self.bench.services)
        await look_at_due(self.bench.services)

    def onlooker(self) -> None:
        """Read by each way in turn, until everybody else is done."""
        ways = cycle((self._gate, self._audience, self._archive, self._offices))

        async def look_on() -> None:
            while True:
                await self._pause()
                if not self._busy:
                    return
                before = set(self.stands)
                await next(ways)(before)

        async def work() -> None:
            await self.schedule.live(Life("onlooker"), look_on())

        self.actors["onlooker"] = work

    # --- what may be seen -----------------------------------------------------------------------------------------

    async def _gate(self, before: set[Standing]) -> None:
        shown = {record.submission for record in await self.bench.read(self.whom.email)}
        self._never(shown, Right.RESTRICTION, before, "the gate shows what is restricted by")
        consented = {act.key for act in self.acts if act.case is Case.NEWSLETTER and act.event and self._is_before(act)}
        self._never(shown & consented, Right.WITHDRAWAL, before, "the gate shows what was withdrawn by")

    async def _audience(self, before: set[Standing]) -> None:
        pages = Audience(self.bench.services, _MARKETING, Purpose.SALES_PROSPECTING).pages()
        written = [one.email async for page in pages for one in page.members]
        self._never(written, Right.RESTRICTION, before, "the audience has who is restricted by")

    async def _archive(self, before: set[Standing]) -> None:
        with suppress(ReadRefused):
            await read_archive(self.bench.services, _CLAIMS, self.whom.email, "a claim")
            self._never([""], Right.RESTRICTION, before, "the archive answers about who is restricted by")

    async def _offices(self, before: set[Standing]) -> None:
        for code, branch in self.branches.items():
            if code not in self.disturbed:
                async with self.baton.operation(f"looks at {code}"):
                    unmarked = [row["id"] for row in await self._own(branch, "customers") if not row.get("on_hold")]
                self._never(unmarked, Right.RESTRICTION, before, "an office uses what is restricted by", code)

    def _never(
        self, found: Iterable[Any], right: Right, before: set[Standing], what: str, store: str = CONTROLLER
    ) -> None:
        """Nothing is to be found of whom a request stands for, if it did from before the look to its end."""
        these = {one.reference for one in self._of(right)}
        by = sorted(reference for reference, where in before & self.stands if where == store and reference in these)
        self.faults += [f"{what} {', '.join(by)}"] if by and list(found) else []

    async def _own(self, branch: Branch, name: str) -> list[Document]:
        """The person's rows of before the requests that anybody was told to look at."""
        fresh = {key for key, old in branch.added.items() if not old}
        unseen = {(where, row) for code, where, row in self.unseen if code == branch.code}
        rows = [row for row in await branch.kit.rows(name) if str(row["email"]).lower() == self.whom.email.lower()]
        return [row for row in rows if (name, row["id"]) not in fresh | unseen]

    # --- what is seen on the way ----------------------------------------------------------------------------------

    def _of(self, *rights: Right) -> list[Request]:
        return [one for one in self.requests if one.right in rights]

    def look_over(self) -> None:
        super().look_over()
        for request in self._of(Right.RESTRICTION, Right.WITHDRAWAL):
            for store, task in self.auditor.tasks(request.reference).items():
                if task["state"] in _DONE and task["ask"] != LIFT and not task.get("entry", {}).get("reason"):
                    self.stands.add((request.reference, store))
                else:
                    self.stands.discard((request.reference, store))
            if request.right is Right.RESTRICTION:
                self._look_at_what_is_kept(request)
        for request in self._of(Right.ERASURE, Right.WITHDRAWAL):
            if request.watched.closed and request not in self.over:
                self.over.append(request)
                self._look_at_what_is_over(request)

    def _look_at_what_is_kept(self, request: Request) -> None:
        if (request.reference, CONTROLLER) not in self.stands:
            return
        first = self.acts[0].key
        there = self.bench.reader[f"{self.bench.prefix}_active"]["submissions"].find_one({"_id": first}, {"person": 1})
        key = there and self.bench.reader[f"{self.bench.prefix}_keys"]["keys"].find_one(key_id(there["person"], ACTIVE))
        stands = bool(key and "wrapped" in key)
        if self.kept.setdefault(request.reference, stands) and not stands:
            self.faults.append(f"what {request.reference} restricts was taken away")

    def _look_at_what_is_over(self, request: Request) -> None:
        own = self.auditor.tasks(request.reference)[CONTROLLER].get("entry", {}).get("collections", ())
        kept = any(_RESTRICTED in one.get("ground", "") for one in own)
        self.faults += [f"{request.reference} closed on what a restriction kept"] * kept
        if request.right is Right.ERASURE:
            return
        keys = [act.key for act in self.acts if act.case is Case.NEWSLETTER and act.event and self._is_before(act)]
        left = self.bench.reader[f"{self.bench.prefix}_active"]["submissions"].count_documents({"_id": {"$in": keys}})
        self.faults += [f"{request.reference} closed, and its subscription stands"] * bool(left)

    def _has_cause(self, request: Request, store: str) -> bool:
        corrected = request.right is Right.RECTIFICATION and len(self._of(Right.RECTIFICATION)) > 1
        return corrected or super()._has_cause(request, store)

    async def _lift_what_is_answered(self) -> None:
        for one in self._of(Right.RESTRICTION):
            case = self.auditor.case(one.reference)
            if case is not None and case["answer"] == "answered" and "lifting_at" not in case:
                await self._lift(one)

    async def _come_to_rest(self) -> None:
        await super()._come_to_rest()
        await look_at_due(self.bench.services)  # within minutes
        if self.overdue:
            self.bench.clock.at = self._now() + timedelta(days=1)
            try:
                await self._sweep()
            finally:
                self.bench.clock.at = None

    # --- what must be true in the end ------------------------------------------------------------------------------

    def _in_no_clear(self) -> list[str]:
        return [*super()._in_no_clear(), *(to.lower() for _, to in map(_patch, self._of(Right.RECTIFICATION)))]

    def _is_before(self, act: Act) -> bool:
        """Whether an act had been received when the person withdrew."""
        withdrawn = self._of(Right.WITHDRAWAL)
        return act.received is not None and any(act.received <= one.arrived for one in withdrawn)

    def _expected(self, act: Act, stone: Any) -> Fate:
        said = act.about or act
        ended = any(one.watched.closed for one in self._of(Right.WITHDRAWAL))
        if said in self.overdue or (said.case is Case.NEWSLETTER and ended and self._is_before(said)):
            return Fate.GONE
        return super()._expected(act, stone)

    def _is_body_of(self, act: Act, body: bytes) -> bool:
        if super()._is_body_of(act, body):
            return True
        told = [_patch(one) for one in self._of(Right.RECTIFICATION) if act.received and act.received <= one.arrived]
        sent = json.loads(act.event.body) if act.event else {}
        return json.loads(body) in [{**sent, "last_name": to} for _, to in told]

    async def _faults_left(self) -> list[str]:
        faults = await super()._faults_left()
        lasting = not self._of(Right.ERASURE)
        for code, branch in self.branches.items():
            if code in self.disturbed:
                continue
            customers, leads = await self._own(branch, "customers"), await self._own(branch, "leads")
            for name, rows in (("customers", customers), ("leads", leads)):
                faults += self._faults_of_corrections(code, name, [row["name"] for row in rows])
            if self._of(Right.RESTRICTION) and any(row.get("on_hold") for row in customers):
                faults.append(f"{code} has marks of a restriction that was lifted")
            if self._of(Right.WITHDRAWAL) and self._is_served(Right.WITHDRAWAL, code):
                faults += [f"{code} holds what was withdrawn"] * bool(leads)
                faults += [f"{code} writes to who withdrew"] * any(row.get("newsletter") != 0 for row in customers)
            if lasting:
                lost = branch.ids_before - await branch.standing(self.whom.email) - {("leads", 1)}
                faults += [f"{code} lost {one}" for one in sorted(lost)]
        return faults + await self._faults_of_our_own(self.bench.dump())

    def _is_served(self, right: Right, store: str) -> bool:
        """Whether a store did it, rather than being barred from it or refusing."""
        entries = [self.auditor.tasks(one.reference)[store].get("entry", {}) for one in self._of(right)]
        return any(entry and not entry.get("reason") for entry in entries)

    async def _faults_of_our_own(self, dump: Dump) -> list[str]:
        names = []
        for document in dump["active.submissions"]:
            if document["_id"] == self.acts[0].key:
                key = (await self.bench.services.keys.read([of := key_id(document["person"], ACTIVE)])).get(of)
                data = json.loads(key.open(f"submissions/{document['_id']}", bytes(document["sealed"]))) if key else {}
                names.append(data.get("last_name"))
        return self._faults_of_corrections(CONTROLLER, "submissions", names)

    def _faults_of_corrections(self, store: str, name: str, standing: list[Any]) -> list[str]:
        """Each correction is in what stands, or was overtaken by a later one, or its case tells of a conflict."""
        said = [(one, *_patch(one)) for one in self._of(Right.RECTIFICATION) if one.watched.closed]
        faults, found = [], Counter(standing)
        for request, _, to in said:
            entry = self.auditor.tasks(request.reference)[store].get("entry", {})
            counted = next((one for one in entry.get("collections", ()) if one["name"] == name), {})
            if not entry or entry.get("reason"):
                continue  # barred, or refused: the case says so
            overtaken = sum(found[later] for _, was, later in said if was == to)
            if found[to] > counted.get("corrected", 0):
                faults.append(f"{store} was corrected by {request.reference}, whose case does not say so")
            elsewhere = len(standing) - found[to] - overtaken
            if elsewhere and not counted.get("conflicting"):
                faults.append(f"{store} lost {request.reference} silently: {name} {counted}")
        return faults


def _patch(request: Request) -> tuple[str, str]:
    """What stood and what should."""
    patch = request.said["corrections"]["last_name"]
    return patch["was"], patch["to"]
