"""A person's requests while they run: two clocks, several offices, a network that loses and doubles, workers that die.

What is carried between controller and offices (Redis, in truth) is an actor of its own (`carrier`). All else is shipped
code over real stores; a controller process is a desk of its own, an office's process is `offices.Process`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from schemas.errors import InvalidMessage
from schemas.terms import Right
from tests.chaos.acts import Act
from tests.chaos.carrier import Carrier, Luck, Message, Postman, WorldClock
from tests.chaos.erasure import World
from tests.chaos.forging import forged_receipts
from tests.chaos.interleaving import Life
from tests.chaos.offices import Branch, Process
from tests.chaos.proofs import Auditor, Watched
from workers.actors.subsidiary import serve_order
from workers.cases import deciding
from workers.cases.clerk import Clerk
from workers.cases.desk import Desk
from workers.cases.opening import confirm, open_case
from workers.cases.reconciler import reconcile
from workers.cases.serving import dispatch
from workers.evidence.notes import Notes
from workers.journal_replay import replay
from workers.stores.cases import Cases
from workers.stores.ledger import Ledger

DELIVERIES = 6
"""How often a message that failed by itself is handed over again."""

IN_CONFLICT = "something_else_stands"

LEAPS = tuple(timedelta(**leap) for leap in ({"seconds": 6}, {"seconds": 61}, {"minutes": 11}, {"hours": 2}))


@dataclass
class Request:
    """A request of the person, and the case it becomes. ``said``: what it says beside, as the door hands it on."""

    reference: str
    right: Right
    arrived: datetime
    said: Mapping[str, Any] = field(default_factory=dict)
    asked: bool = False
    watched: Watched = field(default_factory=Watched)


@dataclass
class Requests(World):
    """One person's requests, over a controller and its offices. ``desk``: the one that every process has its like of.

    ``faults``: promises broken on the way. ``disturbed``: stores whose answers may contradict each other, since rows
    of before the request came to them late, or came back. ``unseen``: such rows that came when the office had been
    looked at already, (store, collection, id): nobody will look again.
    """

    desk: Desk = field(kw_only=True)
    branches: dict[str, Branch] = field(kw_only=True)
    auditor: Auditor = field(kw_only=True)
    clock: WorldClock = field(kw_only=True)
    luck: Luck = field(default_factory=Luck)
    requests: list[Request] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    disturbed: set[str] = field(default_factory=set)
    restored: set[str] = field(default_factory=set)
    unseen: set[tuple[str, str, int]] = field(default_factory=set)
    looked: set[str] = field(default_factory=set)
    ordered: dict[str, int] = field(default_factory=dict)
    again: int = 0

    def __post_init__(self) -> None:
        self.carrier = Carrier(self.baton, self.luck, self._travel)
        for branch in self.branches.values():
            branch.post = lambda code, token: self.carrier.send("receipt", code, token)
            branch.start(self.luck.dies_at(20))
        if self.luck.office_dies_at is not None:
            first = next(iter(self.branches.values()))
            first.stop()
            first.start(self.luck.office_dies_at)

    async def already(self, act: Act, ago: timedelta = timedelta()) -> None:
        """An act of before: it stands when the story begins."""
        act.began = act.received = self._now() - ago
        event = act.event = act.make(act.received)
        act.wire = self.bench.seal(event)
        self.acts.append(act)
        await self._deliver(act)

    # --- the controller's processes -------------------------------------------------------------------------------

    def new_clerk(self) -> Clerk:
        """A controller process of its own."""
        clerk = Clerk(None, None, None, None)  # type: ignore[arg-type]  # what he would be started with
        services = replace(self.desk.services, clock=self.clock)
        clerk._desk = replace(
            self.desk,
            services=services,
            cases=Cases(services.databases),
            evidence=Notes(Ledger(services.databases), self.clock),
            send=self._send_order,
            wake_case=self._wake("advance"),
            wake_store=self._wake("dispatch"),
            wake_mail=self._wake("mail"),
        )
        clerk._mailer = Postman(self.baton)
        return clerk

    async def _send_order(self, store: str, token: str) -> None:
        async with self.baton.operation(f"sends to {store}"):
            self.carrier.send("order", store, token)

    def _wake(self, kind: str) -> Callable[[str], Awaitable[None]]:
        async def wake(what: str) -> None:
            self.carrier.send(kind, what)

        return wake

    async def _work(self, message: Message) -> None:
        """Do what a message in the controller's queues asks for."""
        clerk = self.new_clerk()
        match message.kind:
            case "advance":
                await clerk.advance(*message.what)
            case "dispatch":
                while await dispatch(clerk.desk, *message.what):
                    pass
            case "mail":
                await clerk.mail(*message.what)
            case "receipt":
                with suppress(InvalidMessage):  # parked, in truth
                    await clerk._taken(*message.what)

    # --- who acts -------------------------------------------------------------------------------------------------

    def asks(self, right: Right, *, after: Request | None = None, **said: Any) -> Request:
        """A request through the door, and the mailed link used. ``after``: whose answer must have left before."""
        request = self._request(right, said)

        async def work() -> None:
            await self._until_done(f"asks {request.reference}", lambda: self._open(request), self.luck.dies_at(8))
            await self._until_done(
                f"confirms {request.reference}", lambda: self._confirm(request), self.luck.dies_at(6)
            )

        if after is None:
            self._add(f"asks {request.reference}", work)
        else:
            self._patient(f"asks {request.reference}", lambda: after.watched.answered, work)
        return request

    async def asked_already(self, right: Right) -> Request:
        """A request whose every store has answered when the story begins, so that the second look is due."""
        request = self._request(right)
        await self._open(request)
        await self._confirm(request)
        await self._deliver_all()
        self.clock.ahead += LEAPS[0]
        return request

    def _request(self, right: Right, said: Mapping[str, Any] | None = None) -> Request:
        number = len(self.requests) + 1
        self.requests.append(Request(f"R-{number:04d}-{right.value[:4].upper()}", right, self.clock(), said or {}))
        return self.requests[-1]

    async def _open(self, request: Request) -> None:
        request.asked = True
        about = {"reference": request.reference, "right": request.right.value, "email": self.whom.email}
        await open_case(self.new_clerk().desk, {**about, "channel": "website", **request.said}, request.arrived)

    async def _confirm(self, request: Request) -> None:
        case = self.auditor.case(request.reference)
        token = case.get("link", "used") if case else "of none"
        await confirm(self.new_clerk().desk, {"reference": request.reference, "token": token})

    def reconciler(self, *early: bool) -> None:
        """A worker looks at MongoDB, now and then. ``early``: each time, whether messages may still be on their way."""

        async def work() -> None:
            for number, at_once in enumerate(early):
                once = f"reconciler {number}"
                await self._wait("reconciler", "wakes", at_once=at_once)
                await self._until_done(once, lambda: reconcile(self.new_clerk().desk), self.luck.dies_at(8))

        self._add("reconciler", work)

    def time(self, *leaps: tuple[timedelta, bool]) -> None:
        """Time goes on, now and then: by how much, and whether messages may still be on their way."""

        async def work() -> None:
            for leap, at_once in leaps:
                await self._wait("time", f"goes on by {leap}", at_once=at_once)
                self.clock.ahead += leap

        self._add("time", work)

    async def _wait(self, name: str, what: str, *, at_once: bool) -> None:
        """For a turn: at once, or when something was sent and all of it has arrived."""

        def quiet() -> bool:
            return at_once or (bool(self.carrier.sent) and not self.carrier.under_way)

        await self.schedule.live(Life(name), self.schedule.step(what, quiet))

    def late_row(self, code: str, name: str, row: dict[str, Any], *, old: bool, after: int = 0) -> None:
        """The office's own programs write a row. ``old``: of before the request, so that it must go too.

        ``after``: how many operations of its own the office must have done.
        """

        async def work() -> None:
            await self.schedule.live(Life(f"{code} writes"), self.schedule.step(f"a row into {name}"))
            if old:
                self.disturbed.add(code)
                if code in self.looked:
                    self.unseen.add((code, name, row["id"]))
            await self.branches[code].add(name, row, old=old)

        self._patient(f"{code} writes {name} {row['id']}", self._has_done(code, after), work)

    def restore(self, code: str, *, after: int = 0, dies_at: int | None = None) -> None:
        """An office's store is restored from its backup, and its journal replayed before anybody reads."""
        branch = self.branches[code]

        async def work() -> None:
            if branch.process:
                self.schedule.kill(branch.process.life)
            branch.stop()
            self.disturbed.add(code)
            self.restored.add(code)
            gone = branch.ids_before - await branch.standing(self.whom.email)
            await branch.restore()
            if not await self.schedule.live(Life(f"{code} replay", dies_at), self._replay(branch)):
                branch.stop()
                await self.schedule.live(Life(f"{code} replay'"), self._replay(branch))
            branch.stop()
            back = gone & await branch.standing(self.whom.email)
            self.faults += [f"readable again in {code} after restore and replay: {one}" for one in sorted(back)]
            branch.start()

        self._patient(f"{code} restores its backup", self._has_done(code, after), work)

    def _has_done(self, code: str, operations: int) -> Callable[[], bool]:
        def has_done() -> bool:
            process = self.branches[code].process
            return process is not None and process.life.steps >= operations

        return has_done

    async def _replay(self, branch: Branch) -> None:
        await replay(branch.store, branch.open_journal())

    def forger(self, code: str, by: str) -> None:
        """Another office says in the name of one that it holds nothing, whatever that one was asked."""

        async def forge() -> None:
            for token in forged_receipts(self.auditor.evidence, self.branches[by], code):
                self.carrier.send("receipt", code, token)

        async def work() -> None:
            await self.schedule.live(Life("forger"), forge())

        for number in (1, 2):
            self._patient(f"forger {number}", lambda number=number: self.ordered.get(code, 0) >= number, work)  # type: ignore[misc]

    def repeater(self) -> None:
        """Whoever kept them sends all receipts once more, when staff have had a store asked anew."""

        async def work() -> None:
            kept = [one for one in self.carrier.sent if one.kind == "receipt"]
            await self.schedule.live(Life("repeater"), self.schedule.step(f"sends {len(kept)} receipts again"))
            for message in kept:
                self.carrier.send(message.kind, *message.what)

        self._patient("repeater", lambda: self.again > 0, work)

    def staff(self, passes: int) -> None:
        """Have every store in doubt asked again; what is in conflict with a correction stays as it is."""

        async def work() -> None:
            await self._until_done("staff decides", self.decide, self.luck.dies_at(8))

        for number in range(passes):
            self._patient(f"staff {number}", lambda: any(request.watched.doubtful for request in self.requests), work)

    async def decide(self) -> None:
        for request in self.requests:
            for store, doubt in sorted(request.watched.doubtful.items()):
                decision = "accept" if doubt == IN_CONFLICT else "again"
                request.watched.again += decision == "again"
                decided = (request.reference, store, decision, "was in doubt", "staff")
                with suppress(deciding.CannotDecide):
                    await deciding.settle(self.new_clerk().desk, *decided)
                self.again += 1

    def worker(self, name: str, request: Request) -> None:
        """A worker that has been told to look at a case."""
        message = Message("advance", (request.reference,), 0)
        self._add(name, lambda: self._until_done(name, lambda: self._work(message), None))

    # --- how they act ----------------------------------------------------------------------------------------------

    def _patient(self, name: str, ready: Callable[[], bool], work: Callable[[], Awaitable[None]]) -> None:
        """Somebody who acts once there is a reason, and not at all if there is none in the end."""

        def nobody_else() -> bool:
            return not self._busy and not self.carrier.under_way

        async def patient() -> None:
            waiting = self.schedule.step("begins", lambda: ready() or nobody_else())
            await self.schedule.live(Life(name), waiting)
            if ready():
                self._busy += 1
                try:
                    await work()
                finally:
                    self._busy -= 1

        self.actors[name] = patient

    async def _until_done(self, name: str, act: Callable[[], Awaitable[object]], dies_at: int | None) -> None:
        """Something that a process does; one that dies or fails is replaced, and it is handed over again."""
        for delivery in range(DELIVERIES):
            life = Life(name + "'" * delivery, dies_at if delivery == 0 else None)
            try:
                if await self.schedule.live(life, self._begin(act)):
                    return
            except InvalidMessage:
                raise
            except Exception as error:
                last = error
        raise AssertionError(f"{name} was never settled: {last!r}")

    async def _begin(self, act: Callable[[], Awaitable[object]]) -> None:
        await self.schedule.step("begins")
        await act()

    async def _travel(self, message: Message) -> None:
        if message.kind != "order":
            await self._until_done(message.name, lambda: self._work(message), self.luck.dies_at(40))
            return
        branch = self.branches[message.what[0]]
        while True:
            arrives = self.schedule.step("arrives", lambda: branch.process is not None)
            await self.schedule.live(Life(message.name), arrives)
            process = branch.process
            if process and await self.schedule.live(process.life, serve_order(process.office, message.what[1])):
                return
            self._restart(branch, process)

    def _restart(self, branch: Branch, dead: Process | None) -> None:
        if branch.process is dead and dead is not None:
            branch.died = True
            branch.stop()
            branch.start()

    async def _deliver_all(self) -> None:
        for _ in range(200):
            messages = self.carrier.take()
            if not messages:
                return
            for message in messages:
                if message.kind == "order":
                    process = self.branches[message.what[0]].process
                    assert process is not None
                    await serve_order(process.office, message.what[1])
                else:
                    await self._work(message)
        raise AssertionError("messages never end")
