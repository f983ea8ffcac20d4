"""Trials of the rights an office may leave out: served as the group's own worker serves them, or refused by name.

What the description says an office is ``without`` is asked for all the same: it is graded on refusing it by a
registered reason, and on touching nothing. Who serves it gets no mark for a refusal.
Source: R14, R18, R28; GDPR Arts 7(3), 16, 18, 20; P2, P6; docs/decisions/0021.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from schemas.orders import LIFT, WISH
from schemas.terms import Right, StoreOutcome
from workers.conform.bench import Standing
from workers.conform.bout import Bout, an_hour_ago, counted, gone
from workers.conform.group import Entry
from workers.conform.report import Trial
from workers.rules.receipts import answers_agree

_ANY: Final = "not-supported"
REFUSALS: Final[Mapping[str, frozenset[str]]] = {
    "rectification": frozenset({_ANY, "no-rectification"}),
    "restriction": frozenset({_ANY, "no-restriction"}),
    "portability": frozenset({_ANY, "no-basis"}),
    "withdrawal": frozenset({_ANY, "no-basis"}),
    WISH: frozenset({_ANY, "no-acceptance", "not-understood"}),
    "disposal": frozenset({_ANY, "no-retention"}),
    "canary": frozenset({_ANY, "no-canary"}),
}
"""By which reasons each may be refused: the table of docs/subsidiary.md "What is answered"."""

_Run = Callable[[Bout, Trial], Awaitable[None]]


def _optional(name: str, run: _Run) -> _Run:
    async def tried(bout: Bout, trial: Trial) -> None:
        await (run if bout.serves(name) else _refused)(bout, trial)

    async def _refused(bout: Bout, trial: Trial) -> None:
        email, stood = await bout.person(over=True)
        if name == WISH:  # of whom nobody marked, nobody is asked how the mark goes
            await bout.ask(trial, bout.no(email, an_hour_ago()(1)))
            stood = await bout.standing(email)
        asked = _asked(bout, name, email)
        answer = await bout.ask(trial, asked)
        trial.check(answer["outcome"] == StoreOutcome.REFUSED, f"{name}: served, and the description says it is not")
        trial.check(answer.get("reason") in REFUSALS[name], f"{name}: not refused by its registered name")
        planted = "address" in asked and (await bout.standing(asked["address"])).rows
        unchanged = await bout.standing(email) == stood and not planted
        trial.check(unchanged, f"{name}: refused, and it changed something")

    return tried


def _asked(bout: Bout, name: str, email: str) -> Entry:
    if name == "disposal":
        return bout.group.disposal(bout.periods)
    if name == WISH:
        return bout.group.wish(email, datetime.now(UTC), datetime.now(UTC))
    return bout.group.plant(bout.canary()) if name == "canary" else bout.group.entry(email, name)


def _served(answer: Entry, trial: Trial, what: str) -> bool:
    refused = answer["outcome"] == StoreOutcome.REFUSED
    return trial.check(not refused, f"{what}: refused, and the description does not say that it is")


def _done(answer: Entry, trial: Trial, what: str) -> bool:
    told = answer["outcome"] == StoreOutcome.DONE
    return _served(answer, trial, what) and trial.check(told, f"{what}: not answered done")


# ---------------------------------------------------------------------- the trials


async def rectification(bout: Bout, trial: Trial) -> None:
    """A field is set where what the person saw stands; what somebody set meanwhile is a conflict, and stays."""
    (email, stood), (neighbour, beside) = await bout.person(), await bout.person()
    if not trial.check(bool(stood.fields), "the bench names no field that can be corrected"):
        return
    name, was = next(iter(stood.fields.items()))
    patches = [{name: (was, to)} for to in ("Firstname", "Secondname")]
    done, crossing = (bout.group.entry(email, "rectification", patches=_patches(one)) for one in patches)
    order = bout.group.order(done, crossing)
    answers = bout.group.read(await bout.carrier.deliver(order))
    answer, other = bout.only(trial, answers, done), bout.only(trial, answers, crossing)
    if other["outcome"] == StoreOutcome.DONE:  # whichever came first
        (done, answer), other = (crossing, other), answer
    if not _done(answer, trial, "rectification"):
        return
    trial.check(other["outcome"] == StoreOutcome.CONFLICT, "rectification: of two that cross one is not in conflict")
    trial.check(counted(answer, "corrected") > 0, "rectification: what was corrected is not counted")
    to, now = done["patches"][0]["to"], await bout.standing(email)
    trial.check(now == _with(stood, name, to), "rectification: what stands is not what was answered")
    await bout.looked_at(trial, done, answer)
    again = bout.only(trial, bout.group.read(await bout.carrier.deliver(order)), done)
    trial.check(answers_agree(Right.RECTIFICATION, answer, again), "rectification: a repeat is answered differently")
    # On an old version, beside patches of other fields that would do: the record is left whole.
    others = {field: (value, "Othername") for field, value in stood.fields.items()}
    late = bout.group.entry(email, "rectification", patches=_patches({**others, name: (was, "Latename")}))
    answer = await bout.ask(trial, late)
    trial.check(answer["outcome"] == StoreOutcome.CONFLICT, "rectification: of an old version, it is no conflict")
    trial.check(await bout.standing(email) == now, "rectification: what somebody set meanwhile was overwritten")
    trial.check(await bout.standing(neighbour) == beside, "another person was changed")


def _patches(fields: Mapping[str, tuple[str | None, str]]) -> list[dict[str, str]]:
    return [{"field": name, "to": to, **({} if was is None else {"was": was})} for name, (was, to) in fields.items()]


def _with(stood: Standing, name: str, to: str) -> Standing:
    return replace(stood, fields={**stood.fields, name: to})


async def restriction(bout: Bout, trial: Trial) -> None:
    """Everything is marked, still shown to the person, and unmarked when it is lifted; late orders mark nothing."""
    (email, stood), (neighbour, beside) = await bout.person(), await bout.person()
    asked = bout.group.entry(email, "restriction")
    order = bout.group.order(asked)
    answer = bout.only(trial, bout.group.read(await bout.carrier.deliver(order)), asked)
    if not _done(answer, trial, "restriction"):
        return
    trial.check(counted(answer, "restricted") > 0, "restriction: what was restricted is not counted")
    now = await bout.standing(email)
    trial.check(now.restricted, "restriction: says done, and it does not stand")
    trial.check(replace(now, restricted=False) == stood, "restriction: it changed something else")
    await bout.looked_at(trial, asked, answer)
    shown = bout.group.entry(email, "access")
    answers = await bout.send(shown)
    bout.only(trial, answers, shown)
    records, _ = answers.copies.get(shown["task"], (0, ""))
    trial.check(records == stood.rows, "restriction: the person is not shown everything any more")
    lifting = {**asked, "ask": LIFT, "attempt": 2}
    answer = await bout.ask(trial, lifting)
    _done(answer, trial, "lifting")
    lifted = await bout.standing(email)
    trial.check(not lifted.restricted, "lifting: says done, and it still stands")
    trial.check(replace(lifted, restricted=False) == stood, "lifting: it changed something else")
    await bout.looked_at(trial, lifting, answer)
    await bout.carrier.deliver(order)
    trial.check(await bout.standing(email) == lifted, "restriction: a late repeat marks again what was lifted")
    await _two_restrictions(bout, trial)
    trial.check(await bout.standing(neighbour) == beside, "another person was changed")


async def _two_restrictions(bout: Bout, trial: Trial) -> None:
    """Of one person: while one of them is not lifted the mark stays, and the other has ended all the same."""
    email, stood = await bout.person()
    first, second = bout.group.entry(email, "restriction"), bout.group.entry(email, "restriction")
    await bout.send(first, second)
    if not (await bout.standing(email)).restricted:
        return  # it was blamed for that already
    for ending, stays, fault in (
        (first, True, "lifting: another restriction of the same person is gone"),
        (second, False, "lifting: when every restriction was lifted the mark still stands"),
    ):
        lifting = {**ending, "ask": LIFT, "attempt": 2}
        answer = await bout.ask(trial, lifting)
        _done(answer, trial, "lifting")
        trial.check(await bout.standing(email) == replace(stood, restricted=stays), fault)
        await bout.looked_at(trial, lifting, answer)


async def portability(bout: Bout, trial: Trial) -> None:
    """What the person gave, on consent or for a contract, and nothing that is held on another basis."""
    (email, stood), (neighbour, _) = await bout.person(4, kept=True), await bout.person()
    trial.check(stood.given < stood.rows, "the bench holds nothing of a person on another basis")
    asked = bout.group.entry(email, "portability")
    answers = await bout.send(asked)
    answer = bout.only(trial, answers, asked)
    if not _done(answer, trial, "portability"):
        return
    records, text = answers.copies.get(asked["task"], (0, ""))
    trial.check(records >= stood.given, "portability: something the person gave is not handed over")
    trial.check(records <= stood.given, "portability: what rests on another basis is handed over")
    trial.check(neighbour not in text, "portability: somebody else's is handed over")
    await bout.looked_at(trial, asked, answer)
    trial.check(await bout.standing(email) == stood, "portability: it changed something")


async def withdrawal(bout: Bout, trial: Trial) -> None:
    """What rests on consent alone stands no more, the rest does; withdrawn twice is withdrawn."""
    (email, stood), (neighbour, beside) = await bout.person(), await bout.person()
    trial.check(stood.consents > 0, "the bench holds nothing on consent")
    for _ in range(2):
        asked = bout.group.entry(email, "withdrawal")
        order = bout.group.order(asked)
        answer = bout.only(trial, bout.group.read(await bout.carrier.deliver(order)), asked)
        if not _served(answer, trial, "withdrawal"):
            return
        now = await bout.standing(email)
        trial.check(not now.consents, "withdrawal: says done, and what rests on consent still stands")
        trial.check(now.rows == stood.rows - gone(answer), "withdrawal: what went is not what it counts")
        trial.check(now.rows >= stood.rows - stood.consents, "withdrawal: more went than rests on consent")
        await bout.looked_at(trial, asked, answer)
        again = bout.only(trial, bout.group.read(await bout.carrier.deliver(order)), asked)
        trial.check(answers_agree(Right.WITHDRAWAL, answer, again), "withdrawal: a repeat is answered differently")
        stood = now
    trial.check(await bout.standing(neighbour) == beside, "another person was changed")


async def wish(bout: Bout, trial: Trial) -> None:
    """Who accepted again is marked no more, and nothing else is set; the newer word stands, whatever comes first."""
    stood, at = dict([await bout.person() for _ in range(5)]), an_hour_ago()
    undone, late, newer, twice, beside = stood

    async def ends(objected: bool, fault: str, email: str) -> None:
        now = await bout.standing(email)
        trial.check(now.objected is objected, fault)
        trial.check(replace(now, objected=False) == stood[email], "wish: it changed something else")

    wished = bout.group.wish
    await bout.send(
        *(bout.no(email, at(minute)) for email, minute in ((undone, 1), (newer, 3), (beside, 1))),
        wished(late, at(2), at(1)),
        wished(twice, at(4), at(3), version=6),
    )
    undoing, older, overtaken = wished(undone, at(2), at(1)), bout.no(late, at(1)), wished(newer, at(2), at(1))
    order = bout.group.order(undoing, older, overtaken, wished(twice, at(4), at(3), version=5, accepts="no"))
    answers = bout.group.read(await bout.carrier.deliver(order))
    answer, lifted, lost = (bout.only(trial, answers, one) for one in (undoing, older, overtaken))
    if not _done(answer, trial, WISH):
        return
    await ends(False, "wish: says done, and the mark still stands", undone)
    trial.check(not counted(answer, "restricted"), "wish: says that what it marks no more is marked")
    await ends(False, "wish: an older no marks who accepted since", late)
    await ends(True, "wish: an older yes takes away the mark of a newer no", newer)
    trial.check(counted(lost, "restricted") > 0, "wish: does not say that a newer no still stands")
    await ends(False, "wish: of two of the same moment the one that knows less counts", twice)
    await ends(True, "another person was changed", beside)
    await bout.ask(trial, bout.no(undone, at(3)))
    again = bout.only(trial, bout.group.read(await bout.carrier.deliver(order)), undoing)
    trial.check(answers_agree(Right.OBJECTION, answer, again), "wish: a repeat is answered differently")
    await bout.send({**undoing, "attempt": 2}, {**older, "attempt": 2})
    await ends(True, "wish: a repeat takes away the mark of a newer no", undone)
    await ends(False, "wish: an older no marks who accepted since", late)
    await bout.ask(trial, bout.no(late, at(5)))
    again = bout.only(trial, bout.group.read(await bout.carrier.deliver(order)), older)
    trial.check(answers_agree(Right.OBJECTION, lifted, again), "wish: a repeat is answered differently")
    await ends(True, "wish: a repeat takes away the mark of a newer no", late)


async def disposal(bout: Bout, trial: Trial) -> None:
    """What is past the group's periods goes, and is counted over all attempts; what is not stays."""
    (over, stood), (running, beside) = await bout.person(over=True), await bout.person()
    answer = await bout.ask(trial, bout.group.disposal(bout.periods, in_days=400))
    trial.check(answer["outcome"] == StoreOutcome.REFUSED, "disposal: served for a day to come")
    trial.check(await bout.standing(over) == stood, "disposal: what is refused was done")
    asked = bout.group.disposal(bout.periods)
    order = bout.group.order(asked)
    first = bout.only(trial, bout.group.read(await bout.carrier.deliver(order)), asked)
    if not _served(first, trial, "disposal"):
        return
    trial.check(gone(first) == stood.rows, "disposal: what went is not what it counts")
    trial.check((await bout.standing(over)).rows == 0, "disposal: what is over still stands")
    later, more = await bout.person(over=True)
    again = bout.only(trial, bout.group.read(await bout.carrier.deliver(order)), asked)
    trial.check(answers_agree(Right.ERASURE, first, again), "disposal: a repeat is answered differently")
    trial.check(await bout.standing(later) == more, "disposal: a repeat acts again")
    anew = await bout.ask(trial, {**asked, "attempt": 2})
    trial.check(gone(anew) == stood.rows + more.rows, "disposal: a later attempt does not count the whole")
    trial.check(await bout.standing(running) == beside, "disposal: what is not over was disposed of")


async def canary(bout: Bout, trial: Trial) -> None:
    """A fictional person is planted once, shown, erased, and not planted again; nobody else can be planted."""
    address, somebody = bout.canary(), bout.somebody()
    planting = bout.group.plant(address)
    order = bout.group.order(planting)
    answer = bout.only(trial, bout.group.read(await bout.carrier.deliver(order)), planting)
    if not _done(answer, trial, "canary"):
        return
    stood = await bout.standing(address)
    trial.check(stood.rows == counted(answer, "matched") > 0, "canary: what was planted is not what it counts")
    await bout.ask(trial, bout.group.plant(address))
    trial.check((await bout.standing(address)).rows == stood.rows, "canary: planted twice")
    await bout.send(bout.group.plant(somebody))
    trial.check((await bout.standing(somebody)).rows == 0, "canary: an order put somebody else there")
    answer = await bout.ask(trial, bout.group.entry(address))
    trial.check(gone(answer) == stood.rows, "canary: it is not erased as anybody")
    if trial.check((await bout.standing(address)).rows == 0, "canary: it still stands"):
        await bout.carrier.deliver(order)
        trial.check((await bout.standing(address)).rows == 0, "canary: a late order plants it again after its erasure")


_TRIALS: Final[Mapping[str, _Run]] = {
    "rectification": rectification,
    "restriction": restriction,
    "portability": portability,
    "withdrawal": withdrawal,
    WISH: wish,
    "disposal": disposal,
    "canary": canary,
}
EVERY_RIGHT: Final[Mapping[str, _Run]] = {name: _optional(name, run) for name, run in _TRIALS.items()}
"""By the names of :data:`workers.conform.description.OPTIONAL`."""
