"""The state of an installation at one look: queues, dead letters, parked letters, doors' numbers, stores, ledger,
chores, and which subsidiaries owe receipts for a "no".

Source: R29; I8, I9.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from schemas.calendar import civil_day
from schemas.errors import StoreUnavailable
from schemas.fields import read_moment, wire_moment
from schemas.routes import NAMESPACE, QUEUES
from schemas.ticks import PURGE_ARCHIVE, SCHEDULE, SWEEPS, missed
from workers.cases.canaries import NO_ALARM, OVERDUE
from workers.notices import NoticeState, look_at_notices
from workers.policy import untold
from workers.services import Services
from workers.stores.bookkeeping import Sequence
from workers.stores.cases import Cases, Withdrawn
from workers.stores.consents import Withdrawals
from workers.stores.disposals import Took
from workers.stores.errands import Errands
from workers.stores.heads import LedgerState, at_one_look
from workers.stores.mongo import Document
from workers.stores.office_disposals import Reported
from workers.stores.outside import Outside
from workers.stores.rounds import Owing, Unserved

WITHDRAWALS_SHOWN: Final = timedelta(days=30)
"""Over how long it is told how long deletion took after a withdrawal."""

WITHDRAWAL_OVERDUE: Final = timedelta(minutes=5)
"""How long what rested on a withdrawn consent may still be there: a worker deletes it with the "no" in its hands."""

SILENT: Final = timedelta(days=1)
"""How long a subsidiary may owe a receipt for a "no" before somebody looks: by then it was asked five times."""

DISPOSAL_SILENT: Final = timedelta(days=7)
"""How long a subsidiary may not say what it did with what is over in its store: as long as an order to it holds."""

_OUTSIDE: Final = {
    "given_up": "whoever asked could not be called back, and it was given up",
    "late": "whoever asked is called back again only after the answer's due date",
}

HEAD_OVERDUE: Final = timedelta(minutes=1)
"""How long an entry may wait for a signed head: keepers sign every few seconds."""


@dataclass(frozen=True, slots=True)
class QueueState:
    """Messages: waiting or in work, delayed for a retry, dead (not yet parked)."""

    queue: str
    messages: int
    delayed: int
    dead: int


@dataclass(frozen=True, slots=True)
class ChoreState:
    """Moments as the wire writes them. ``planned``: of the last tick that came; ``done``: when one was done last."""

    chore: str
    planned: str | None
    done: str | None
    next_due: str
    missed: bool


@dataclass(frozen=True, slots=True)
class RetentionState:
    """``swept``: the moment, as the wire writes it, since which every person has been looked at; None: not yet.

    ``held``: records that legal holds kept from going then; ``open``: those with a purpose that has no end yet;
    ``due``: persons who wait to be looked at now; ``no_to_deletion``: seconds, of the last one and the longest (R14).
    """

    swept: str | None
    held: int
    open: int
    due: int
    no_to_deletion: Took | None


@dataclass(frozen=True, slots=True)
class ConsentState:
    """Choices about cookies of which it is recorded that renewal is due, and that they have run out. Source: R15."""

    renewal_due: int
    expired: int


@dataclass(frozen=True, slots=True)
class CanaryState:
    """The latest drill of a store. Moments as the wire writes them; times in milliseconds, from order to receipt.

    ``planted``: rows of the canary; ``outcome``: None while it goes on, at ``step``.
    """

    store: str
    began: str
    step: str
    outcome: str | None
    planted: int
    access_ms: int | None
    erasure_ms: int | None


@dataclass(frozen=True, slots=True)
class Status:
    """``alarms``: sentences for whoever is on duty; empty when all is well."""

    queues: tuple[QueueState, ...]
    parked: dict[str, int]
    doors: tuple[dict[str, Any], ...]
    alarms: tuple[str, ...]
    ledger: LedgerState | None = None
    chores: tuple[ChoreState, ...] = ()
    withdrawals: Withdrawals | None = None
    owing: tuple[Owing, ...] = ()
    notices: NoticeState | None = None
    retention: RetentionState | None = None
    office_disposals: tuple[Reported, ...] = ()
    consents: ConsentState | None = None
    consent_withdrawals: Withdrawn | None = None
    canaries: tuple[CanaryState, ...] = ()
    unserved: tuple[Unserved, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


async def look_around(services: Services, redis: Redis) -> Status:
    """Ask Redis and MongoDB; a server that does not answer is an alarm, not an error."""
    alarms: list[str] = []
    try:
        queues = tuple([await _queue(redis, queue) for queue in QUEUES])
    except RedisError as error:
        queues = ()
        alarms.append(f"Redis does not answer ({type(error).__name__})")
    try:
        parked = await services.parked.count_by_reason()
        sequences = await services.bookkeeping.sequences()
        ledger = await at_one_look(services.databases)
        chores = await look_at_chores(services)
        withdrawals = await services.consents.withdrawals(services.clock() - WITHDRAWALS_SHOWN)
        owing = tuple(await services.rounds.owing())
        unserved = tuple(await services.rounds.unserved(services.clock() - WITHDRAWALS_SHOWN))
        notices = await look_at_notices(services)
        retention = await look_at_retention(services)
        consents = ConsentState(*await services.consents.noted(services.clock()))
        unknown = await untold(services)
        outside = await Outside(services.databases).alarms()
        errands = await Errands(services.databases).alarms()
        withdrawn = await Cases(services.databases).withdrawals(services.clock() - WITHDRAWALS_SHOWN)
        drills = await services.canaries.latest()
        reports = tuple(await services.office_disposals.reported(list(services.trust.register.subsidiaries)))
    except StoreUnavailable as error:
        parked, sequences, ledger, chores, withdrawals, owing = {}, [], None, (), None, ()
        notices, retention, consents, unknown, reports, outside, withdrawn = None, None, None, None, (), {}, None
        errands, drills, unserved = {}, [], ()
        alarms.append(f"MongoDB does not answer ({error})")
    waiting = any(state.messages or state.delayed for state in queues)
    alarms += _door_alarms(services, sequences, waiting=waiting)
    alarms += [f"queue {state.queue}: {state.dead} dead letter(s) not parked yet" for state in queues if state.dead]
    alarms += ledger_alarms(services, ledger) if ledger is not None else []
    alarms += [
        f"chore {state.chore}: last done {state.done or 'never'}, due {state.next_due} again; does greffier clock run?"
        for state in chores
        if state.missed
    ]
    alarms += _withdrawal_alarms(services, withdrawals) if withdrawals is not None else []
    alarms += _owing_alarms(owing, services.clock())
    alarms += _consent_alarms(withdrawn, services.clock()) if withdrawn is not None else []
    if notices is not None and notices.overdue:
        alarms.append(f"notices: {notices.overdue} contact(s) not told in time of their data: greffier notices")
    alarms += [f"policy: nobody was told of version {unknown}: greffier policy"] if unknown else []
    alarms += [f"outside: {count} request(s), {_OUTSIDE[why]}" for why, count in outside.items() if count]
    alarms += [f"processor {code}: {count} request(s) refused or unanswered" for code, count in errands.items()]
    alarms += _canary_alarms(drills, services.clock())
    alarms += _disposal_alarms(reports, services.clock())
    doors = tuple({**asdict(sequence), "missing": sequence.missing} for sequence in sequences)
    seen = (ledger, chores, withdrawals, owing, notices, retention, reports, consents, withdrawn)
    canaries = tuple(map(_canary, drills))
    return Status(queues, parked, doors, tuple(alarms), *seen, canaries=canaries, unserved=unserved)


def _door_alarms(services: Services, sequences: Iterable[Sequence], *, waiting: bool) -> list[str]:
    """Doors' messages that never arrived, and doors whose clock runs ahead.

    While messages wait, a door's newest numbers may still be among them: only then is a gap no alarm.
    """
    bound = services.skew // timedelta(milliseconds=1)
    missing = [
        f"door {sequence.door}: {sequence.missing} message(s) accepted and never arrived"
        for sequence in sequences
        if sequence.missing and not waiting
    ]
    return missing + [
        f"door {sequence.door}: its clock ran {sequence.ahead_ms} ms ahead, the bound is {bound} ms (GREFFIER_SKEW_MS)"
        for sequence in sequences
        if sequence.ahead_ms > bound
    ]


def _canary(drill: Document) -> CanaryState:
    times = (drill.get("outcome"), drill.get("planted", 0), drill.get("access_ms"), drill.get("erasure_ms"))
    return CanaryState(drill["store"], wire_moment(drill["began"]), drill["step"], *times)


def _canary_alarms(drills: Iterable[Document], now: datetime) -> list[str]:
    """Stores that did not serve their canary truly, or do not answer about it. Source: R25."""
    found = []
    for drill in drills:
        since, outcome = wire_moment(drill["began"]), drill.get("outcome")
        if outcome is None and now - drill["began"] > OVERDUE:
            found.append(f"canary of {drill['store']}: no answer to its {drill['step']}, begun {since}: is it at work?")
        elif outcome is not None and outcome not in NO_ALARM:
            found.append(f"canary of {drill['store']}: {outcome}, begun {since}: no person fares better there")
    return found


def _disposal_alarms(reports: Iterable[Reported], now: datetime) -> list[str]:
    """Which subsidiaries are asked every day to dispose of what is over, and do not answer. Source: R13, R25."""
    return [
        f"subsidiary {one.store}: since {one.silent_since} it has not said what it did with what is over in its store"
        for one in reports
        if one.silent_since is not None and civil_day(now) - date.fromisoformat(one.silent_since) >= DISPOSAL_SILENT
    ]


def _owing_alarms(owing: Iterable[Owing], now: datetime) -> list[str]:
    """Which subsidiaries have not answered a "no" for too long, and what they gave as a reason. Source: R20, R25."""
    return [
        f'subsidiary {one.store}: no receipt for a "no"{" or a wish" if one.wishes else ""} of {one.people} people'
        f" since {one.since}" + (f" ({', '.join(one.reasons)})" if one.reasons else "")
        for one in owing
        if now - read_moment(one.since) > SILENT
    ]


def _consent_alarms(withdrawn: Withdrawn, now: datetime) -> list[str]:
    """Withdrawals of consent that a store has not answered for too long. Source: R14, R25."""
    since = withdrawn.waiting_since
    if since is None or now - read_moment(since) <= SILENT:
        return []
    return [f"consents: {withdrawn.waiting} withdrawal(s) not answered by every store, the oldest of {since}"]


def _withdrawal_alarms(services: Services, withdrawals: Withdrawals) -> list[str]:
    """What rested on a withdrawn consent and is still there. Source: R14."""
    since = withdrawals.waiting_since
    if since is None or services.clock() - read_moment(since) <= WITHDRAWAL_OVERDUE:
        return []
    return [f"visits: what rested on a consent is not deleted, and its withdrawal came at {since}"]


def ledger_alarms(services: Services, ledger: LedgerState) -> list[str]:
    """What is wrong with the ledger: that it is not what was signed, or that nobody signs what is new."""
    if ledger.fault is not None:
        return [f"ledger: {ledger.fault}; nothing more is proved before somebody has looked: greffier evidence check"]
    since = ledger.waiting_since
    if since is None or services.clock() - read_moment(since) <= HEAD_OVERDUE:
        return []
    newest = ledger.newest_head_at or "never"
    return [f"ledger: entries wait since {since} for a signed head, the newest is of {newest}: no worker keeps it"]


async def look_at_chores(services: Services) -> tuple[ChoreState, ...]:
    """How each chore stands. It is missed when none of its ticks was done for more than two periods.

    Raises :class:`StoreUnavailable`.
    """
    now, found = services.clock(), []
    began = await services.bookkeeping.working_since()
    for chore, rhythm in SCHEDULE.items():
        standing = await services.ticks.standing(chore, now)
        since = standing.planned_done or began  # nothing came in yet: there was nothing to do either
        late = since is not None and missed(rhythm, since, now)
        following = wire_moment(rhythm.following(now))
        found.append(ChoreState(chore, _said(standing.planned), _said(standing.done), following, late))
    return tuple(found)


async def look_at_retention(services: Services) -> RetentionState:
    """How far the sweep and the purge are. Raises :class:`StoreUnavailable`."""
    ended = await services.disposals.ended([*SWEEPS, PURGE_ARCHIVE])
    swept = [ended[shard] for shard in SWEEPS if shard in ended]
    return RetentionState(
        swept=_said(min(one.at for one in swept)) if len(swept) == len(SWEEPS) else None,
        held=sum(one.counts.get("held", 0) for one in ended.values()),
        open=sum(one.counts.get("open", 0) for one in swept),
        due=await services.due.count(),
        no_to_deletion=await services.disposals.no_to_deletion(),
    )


def _said(moment: datetime | None) -> str | None:
    return wire_moment(moment) if moment else None


async def _queue(redis: Redis, queue: str) -> QueueState:
    # HLEN of the bodies counts what is waiting and what is in work; LLEN of the list would leave out the latter.
    work, delayed, dead = [
        await redis.hlen(f"{NAMESPACE}:{name}.msgs") for name in (queue, f"{queue}.DQ", f"{queue}.XQ")
    ]
    return QueueState(queue, work, delayed, dead)
