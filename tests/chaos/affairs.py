"""What is seen of a person's requests on the way, how they come to rest, and what must be true in the end.

Everything is read by plain clients, and said here in its own words.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from schemas.orders import CONTROLLER
from schemas.terms import Right
from tests.chaos.offices import Branch
from tests.chaos.proofs import leftovers, moved_back
from tests.chaos.rights import LEAPS, Request, Requests
from workers.cases.reconciler import reconcile

AT_REST = (*LEAPS * 3, timedelta(days=1), *LEAPS * 2)
"""How time goes on once nobody disturbs: within so much of it everything must be closed."""

UNTIL_LAPSED = timedelta(days=8)
"""After which an access package that nobody fetched is gone."""

_WATCHED = ("cases.", "tasks.")


@dataclass
class Affairs(Requests):
    """Requests that are watched."""

    def _stuck(self) -> bool:
        """Who waits for the erasure goes on without it: its last message was lost, and nobody looks any more."""
        goes_on, self.stone_stands = not self.stone_stands, True
        return goes_on

    # --- once nobody disturbs ----------------------------------------------------------------------------------------

    async def _come_to_rest(self) -> None:
        there = [one for one in self.requests if self.auditor.case(one.reference)]
        served = [(one.right, one.said) for one in there]
        asked = [one for one in self.requests if one.asked]
        self.faults += [f"{one.reference} was lost" for one in asked if (one.right, one.said) not in served]
        self.requests = there
        for leap in AT_REST:
            await self._deliver_all()
            self.look_over()
            if all(request.watched.closed for request in self.requests):
                break
            self.clock.ahead += leap
            await self.decide()
            await self._lift_what_is_answered()
            await reconcile(self.new_clerk().desk)
        self.clock.ahead += UNTIL_LAPSED
        await reconcile(self.new_clerk().desk)
        self.faults += [
            f"{one.reference} never ends: {self.auditor.state(one.reference)}"
            for one in self.requests
            if not one.watched.closed
        ]

    async def _lift_what_is_answered(self) -> None:
        """What staff do in the end about restrictions that stand."""

    def _in_no_clear(self) -> list[str]:
        """What may stand nowhere as it is read, in small letters."""
        return [self.whom.email.lower()]

    # --- what is seen on the way -------------------------------------------------------------------------------------

    def _hear(self, what: str) -> None:
        super()._hear(what)
        if what.startswith(_WATCHED) and "find" not in what.partition(".")[2].split("_")[:1]:
            self.look_over()
        if what == "attempts.bulk_write":
            for code in self.branches:
                self.ordered[code] = self.auditor.orders(code)

    def look_over(self) -> None:
        """Look at every case as it stands, as an independent client sees it."""
        for request in self.requests:
            case = self.auditor.case(request.reference)
            if case is None:
                continue  # not asked yet, or taken for one that was open already
            if moved_back(request.watched, case):
                self.faults.append(f"{request.reference} went back to {case['answer']}, {case['proof']}")
            tasks = self.auditor.tasks(request.reference)
            self._look_at_tasks(request, tasks)
            if case["proof"] == "closed" and not request.watched.closed:
                request.watched.closed = True
                self.faults += [f"{request.reference} {fault}" for fault in self.auditor.faults_of(request.reference)]

    def _has_cause(self, request: Request, store: str) -> bool:
        """Whether two statements of a store may differ: a copy is older than what came in since."""
        grows = len(self.acts) > 1 if store == CONTROLLER else bool(self.branches[store].added)
        return store in self.disturbed or (request.right is Right.ACCESS and grows)

    def _look_at_tasks(self, request: Request, tasks: dict[str, dict[str, Any]]) -> None:
        for store, task in tasks.items():
            answered = task.get("entry", {}).get("attempt", task["attempt"] + 1)
            if answered <= task.get("void_attempts", 0):
                self.faults.append(f"{store}: an answer from before it was asked anew")
            if task.get("look_asked"):
                self.looked.add(store)
            if task["state"] == "doubtful" and not self._has_cause(request, store):
                said = {name: one["collections"] for name in ("entry", "look") if (one := task.get(name))}
                self.faults.append(f"{request.reference}: {store} is in doubt without a cause: {task['reason']} {said}")
        in_doubt = {store: task["reason"] for store, task in tasks.items() if task["state"] == "doubtful"}
        request.watched.doubtful = in_doubt
        own = tasks.get(CONTROLLER)
        if own and request.right is Right.ERASURE and own["state"] != "waiting" and self.erased_at is None:
            self.erased_at = self._stone()

    # --- what must be true in the end --------------------------------------------------------------------------------

    async def _faults_left(self) -> list[str]:
        faults = [*self.faults, *await super()._faults_left()]
        ended = [request.reference for request in self.requests if request.watched.closed]
        faults += leftovers(self.bench.dump(), self._in_no_clear(), ended)
        closed = {one.right for one in self.requests if one.watched.closed}
        if Right.ERASURE in closed:
            taking = (Right.ERASURE, Right.WITHDRAWAL)
            cases = [one.reference for one in self.requests if one.watched.closed and one.right in taking]
            for branch in self.branches.values():
                faults += await self._faults_in(branch, self.auditor.erased(cases, branch.code))
        return faults

    async def _faults_in(self, branch: Branch, counted: Counter[str]) -> list[str]:
        standing = await branch.standing(self.whom.email)
        fresh = {key for key, old in branch.added.items() if not old}
        owed = (branch.ids_before | set(branch.added)) - fresh
        unseen = {(name, row) for code, name, row in self.unseen if code == branch.code}
        faults = [f"still readable in {branch.code}: {one}" for one in sorted(standing & owed - unseen)]
        faults += [f"somebody else's rows in {branch.code} changed"] * (await branch.neighbours() != branch.others)
        if branch.code in self.restored:
            return faults  # what a backup brought back and a replay erased stands in no receipt
        faults += [f"a later act is lost in {branch.code}: {one}" for one in sorted(fresh - standing)]
        gone = Counter(name for name, _ in owed - standing)
        # A process that died between act and account cannot tell its own work from what came meanwhile.
        late = len(owed) - len(branch.ids_before) if branch.died else 0
        if counted - gone or sum((gone - counted).values()) > late:
            faults.append(f"{branch.code} counts {dict(counted)} of {dict(gone)} that went")
        return faults
