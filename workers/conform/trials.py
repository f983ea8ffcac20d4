"""What is tried. Each trial begins with people of its own, looks with the bench's eyes, and blames in words of ours.

Source: R25, R26; P2, P5, P6, P7; reliability §§ 7, 8; the issue's list.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from schemas.calendar import civil_day
from schemas.orders import LIFT, WISH
from schemas.terms import Right, StoreOutcome
from workers.conform.bench import Person, Standing
from workers.conform.bout import Bout, an_hour_ago, counted, gone
from workers.conform.every_right import EVERY_RIGHT
from workers.conform.group import CODE, Entry
from workers.conform.report import Trial
from workers.rules.receipts import answers_agree

_MOST_STEPS: Final = 80
_CORRECTED: Final = "Somebody"
_STANDS: Final[Mapping[str, Callable[[Standing], bool]]] = {
    "rectification": lambda now: _CORRECTED in now.fields.values(),
    "restriction": lambda now: now.restricted,
    "withdrawal": lambda now: not now.consents,
    WISH: lambda now: not now.objected,
}
"""What changes a store and removes nothing: what shows that it was served."""
_BESIDE: Final[Mapping[str, Callable[[Standing], bool]]] = {
    **_STANDS,
    "lifting": lambda now: not now.restricted,
    "canary": lambda now: now.rows > 0,
}
"""What is killed beside an erasure."""
_HOSTILE: Final = (
    "'or'1'='1@example.com",
    "%@example.com",
    "_______@example.com",
    "*@example.com",
    ".*@example.com",
    "[a-z]+@example.com",
    "$ne@example.com",
    '{$gt:""}@example.com',
    "x';drop/**/table/**/contacts;--@example.com",
    "\\@example.com",
    '"@example.com',
    "$(reboot)@example.com",
    "`id`@example.com",
    "../../etc/passwd@example.com",
    "<script>alert(1)</script>@example.com",
    "é\u0301@example.com",
    "__proto__@example.com",
)


async def unknown_person(bout: Bout, trial: Trial) -> None:
    """Nothing held is an answer, and nobody else is touched."""
    neighbour, stood = await bout.person()
    asked = [bout.group.entry(bout.somebody(), right) for right in Right if bout.serves(right)]
    if bout.serves(WISH):
        asked.append(bout.group.wish(bout.somebody(), datetime.now(UTC), datetime.now(UTC)))
    answers = await bout.send(*asked)
    for entry in asked:
        answer = bout.only(trial, answers, entry)
        trial.check(answer["outcome"] == StoreOutcome.NOTHING_HELD, "somebody unknown is not answered nothing-held")
    trial.check(await bout.standing(neighbour) == stood, "an order about somebody unknown changed another person")


async def rights_served(bout: Bout, trial: Trial) -> None:
    """Each right does what it says, to the person and to nobody else, and counts it."""
    email, stood = await bout.person(4)
    neighbour, beside = await bout.person(4)
    asked = bout.group.entry(email, "access")
    answers = await bout.send(asked)
    bout.only(trial, answers, asked)
    records, text = answers.copies.get(asked["task"], (0, ""))
    trial.check(records == stood.rows, "the access copy does not hold every record")
    trial.check(email in text and neighbour not in text, "the access copy is of somebody else too")
    for right in ("objection", "erasure"):
        asked = bout.group.entry(email, right)
        answer = await bout.ask(trial, asked)
        trial.check(answer["outcome"] == StoreOutcome.DONE, f"{right}: not answered done")
        await bout.looked_at(trial, asked, answer)
        now = await bout.standing(email)
        if right == "objection":
            trial.check(now.objected, "objection: says done, and it does not stand")
            trial.check(now.goes == stood.goes, "objection: it erased")
        else:
            trial.check(now.goes == 0, "erasure: says done, and the records still stand")
            trial.check(gone(answer) == stood.goes, "erasure: what was erased is not what it counts")
    trial.check(await bout.standing(neighbour) == beside, "another person was changed")


async def duplicate_delivery(bout: Bout, trial: Trial) -> None:
    """A repeat answers the same and does nothing; a later attempt acts, and counts the whole."""
    email, stood = await bout.person()
    asked = bout.group.entry(email)
    order = bout.group.order(asked)
    first = bout.only(trial, bout.group.read(await bout.carrier.deliver(order)), asked)
    [again] = await bout.bench.fill(Person(email, 2))
    for repeated in (order, bout.group.order(asked)):
        answer = bout.only(trial, bout.group.read(await bout.carrier.deliver(repeated)), asked)
        trial.check(answers_agree(Right.ERASURE, first, answer), "a repeat is answered differently")
    trial.check((await bout.standing(email)).goes == again.goes, "a repeat acts again, or makes rows")
    anew = await bout.ask(trial, {**asked, "attempt": 2})
    trial.check(gone(anew) == stood.goes + again.goes, "a later attempt does not count the whole")
    trial.check((await bout.standing(email)).goes == 0, "a later attempt does not act")
    objecting, stood = await bout.person()
    asked = bout.group.entry(objecting, "objection")
    for _ in range(2):
        await bout.ask(trial, asked)
    now = await bout.standing(objecting)
    trial.check((now.goes, now.objected) == (stood.goes, True), "a repeated objection makes or removes rows")


async def partial_failure(bout: Bout, trial: Trial) -> None:
    """What is wrong in an order harms no neighbour; a receipt that cannot leave is not lost."""
    (one, _), (other, _), (third, stood) = [await bout.person() for _ in range(3)]
    good = [bout.group.entry(one), bout.group.entry(other)]
    strange = [bout.group.entry(one, word) for word in ("teleport", "eras")]
    anothers = bout.group.entry(one, task="C-1/another")
    torn = {"task": f"C-2/{CODE}", "attempt": "many"}
    answers = await bout.send(good[0], *strange, anothers, torn, good[1])
    for entry in good:
        trial.check(bout.only(trial, answers, entry)["outcome"] == StoreOutcome.DONE, "a good entry was not served")
    for entry in strange:
        told = bout.only(trial, answers, entry)["outcome"]
        trial.check(told == StoreOutcome.REFUSED, "an unknown right is served")
    trial.check(not answers.of(anothers), "another's entry is answered")
    asked = bout.group.entry(third)
    tokens = await bout.carrier.deliver_with_trouble(bout.group.order(asked))
    answer = bout.only(trial, bout.group.read(tokens), asked)
    trial.check(gone(answer) == stood.goes, "what was done is lost when the receipt cannot leave")


async def crash_at_every_step(bout: Bout, trial: Trial) -> None:
    """Killed anywhere, the next delivery completes the work and counts all of it; beside an erasure all the rest."""
    others = [what for what in _BESIDE if bout.serves("restriction" if what == "lifting" else what)]
    for step in range(_MOST_STEPS):
        email, stood = await bout.person()
        erasure = bout.group.entry(email)
        beside = {what: await _asked_beside(bout, trial, what) for what in others}
        order = bout.group.order(erasure, *(entry for _, entry in beside.values()))
        died = await bout.carrier.die_at(order, step)
        answers = bout.group.read(await bout.carrier.deliver(order))
        trial.check((await bout.standing(email)).goes == 0, "after a crash records still stand")
        whole = gone(bout.only(trial, answers, erasure)) == stood.goes
        trial.check(whole, "after a crash the receipt does not count the whole")
        for what, (other, entry) in beside.items():
            answer, now = bout.only(trial, answers, entry), await bout.standing(other)
            trial.check(answer["outcome"] == StoreOutcome.DONE, f"after a crash a {what} is not answered done")
            trial.check(_BESIDE[what](now), f"after a crash a {what} does not stand")
            once = what != "canary" or now.rows == counted(answer, "matched")
            trial.check(once, "after a crash a canary is not planted once")
        if not died:
            return
    trial.check(False, "it has no end of steps")


async def _asked_beside(bout: Bout, trial: Trial, what: str) -> tuple[str, Entry]:
    """Whom it is about, and the entry; what comes after something else is asked for after that."""
    if what == "canary":
        address = bout.canary()
        return address, bout.group.plant(address)
    email, stood = await bout.person()
    if what == WISH:
        at = an_hour_ago()
        await bout.ask(trial, bout.no(email, at(1)))
        return email, bout.group.wish(email, at(2), at(1))
    if what != "lifting":
        return email, bout.group.entry(email, what, **_correcting(stood, what))
    restricted = bout.group.entry(email, "restriction")
    await bout.ask(trial, restricted)
    return email, {**restricted, "ask": LIFT, "attempt": 2}


def _correcting(stood: Standing, right: str) -> dict[str, Any]:
    """What a rectification says of the first field that can be corrected."""
    if right != "rectification":
        return {}
    name, was = next(iter(stood.fields.items()), ("last_name", None))
    return {"patches": [{"field": name, "to": _CORRECTED, **({} if was is None else {"was": was})}]}


async def retained_data(bout: Bout, trial: Trial) -> None:
    """What must be kept stays, with its ground and a last day that has not passed."""
    email, stood = await bout.person(3, kept=True)
    asked = bout.group.entry(email)
    for attempt in (1, 2):
        answer = await bout.ask(trial, {**asked, "attempt": attempt})
        now = await bout.standing(email)
        trial.check(now.stays == stood.stays, "what must be kept was erased")
        trial.check(now.goes == 0, "what need not be kept still stands")
        trial.check(counted(answer, "retained") == stood.stays, "what is kept is not counted")
        trial.check(answer["outcome"] == StoreOutcome.PARTLY_RETAINED, "what is kept is not told")
        kept = [one for one in answer["collections"] if one.get("retained")]
        today = civil_day(datetime.now(UTC)).isoformat()
        trial.check(all(one.get("until", "9999") >= today for one in kept), "what is kept has a last day that is over")
    await bout.looked_at(trial, asked, answer)
    if bout.serves("disposal"):
        email, stood = await bout.person(3, kept=True, over=True)
        answer = await bout.ask(trial, bout.group.disposal(bout.periods))
        trial.check(await bout.standing(email) == replace(stood, goes=0), "what must be kept was disposed of")
        trial.check(counted(answer, "retained") >= stood.stays, "what is kept from a disposal is not counted")


async def many_rows(bout: Bout, trial: Trial) -> None:
    """A person with many rows is served and copied whole."""
    email, stood = await bout.person(bout.many)
    asked = bout.group.entry(email, "access")
    answers = await bout.send(asked)
    bout.only(trial, answers, asked)
    trial.check(answers.copies.get(asked["task"], (0, ""))[0] == stood.goes, "the copy of many rows is not whole")
    answer = await bout.ask(trial, bout.group.entry(email))
    trial.check(gone(answer) == stood.goes, "many rows are not counted whole")
    trial.check((await bout.standing(email)).goes == 0, "of many rows some still stand")


async def hostile_identifiers(bout: Bout, trial: Trial) -> None:
    """An address is an address: no pattern, no statement, no path."""
    neighbour, beside = await bout.person()
    for answer in await bout.ask_all(trial, _HOSTILE):
        trial.check(answer["outcome"] == StoreOutcome.NOTHING_HELD, "an address is taken for a pattern or a statement")
    trial.check(await bout.standing(neighbour) == beside, "others are taken for whom a strange address names")
    await bout.bench.fill(*(Person(email, 1) for email in _HOSTILE))
    for served, left in ((_HOSTILE[::2], _HOSTILE[1::2]), (_HOSTILE[1::2], ())):
        for answer in await bout.ask_all(trial, served):
            trial.check(gone(answer) == 1, "a person with a strange address is not served, or others with them")
        standing = await bout.bench.count(*served, *left)
        trial.check(
            not any(one.goes for one in standing[: len(served)]), "a person with a strange address still stands"
        )
        trial.check(
            all(one.goes for one in standing[len(served) :]), "others went with a person with a strange address"
        )
    trial.check(await bout.standing(neighbour) == beside, "others went with a person with a strange address")


async def clock_skew(bout: Bout, trial: Trial) -> None:
    """Clocks that differ a little, and orders that took days, are no reason to refuse."""
    now = datetime.now(UTC)
    for issued, fault in (
        (now + timedelta(minutes=3), "an order three minutes ahead is not served"),
        (now - timedelta(days=6), "an order of six days ago is not served"),
    ):
        email, _ = await bout.person()
        asked = bout.group.entry(email)
        trial.check(bool((await bout.send(asked, issued=issued)).of(asked)), fault)


async def forged_orders(bout: Bout, trial: Trial) -> None:
    """What is no order of the controller's to it, in time, has no effect and no answer."""
    email, stood = await bout.person()
    for what, order in bout.group.forged(bout.group.entry(email)).items():
        trial.check(not await bout.carrier.deliver(order), f"an order is answered that is {what}")
        trial.check(await bout.standing(email) == stood, f"an order has an effect that is {what}")


async def key_rotation(bout: Bout, trial: Trial) -> None:
    """Old and new keys while both are given, the new alone after."""
    old = bout.group.rotate()
    for keys, fault in ((old, "the old key is refused too early"), (None, "the new key is refused")):
        email, _ = await bout.person()
        asked = bout.group.entry(email)
        changes: Mapping[str, Any] = {"by": keys} if keys is not None else {}
        trial.check(bool((await bout.send(asked, **changes)).of(asked)), fault)
    bout.group.retire_old()
    email, stood = await bout.person()
    trial.check(
        not await bout.carrier.deliver(bout.group.order(bout.group.entry(email), by=old)),
        "a key that was taken away still serves",
    )
    trial.check(await bout.standing(email) == stood, "a key that was taken away still serves")


async def restore(bout: Bout, trial: Trial) -> None:
    """What a backup brings back goes by the replay of the journal."""
    (erased, stood), (kept, _) = await bout.person(), await bout.person(3, kept=True)
    objected, _ = await bout.person()
    neighbour, beside = await bout.person()
    others = [right for right in ("restriction", "withdrawal", WISH) if bout.serves(right)]
    marked = {right: await _asked_beside(bout, trial, right) for right in others}
    await bout.bench.save()
    asked = [(erased, "erasure"), (kept, "erasure"), (objected, "objection")]
    await bout.send(*(bout.group.entry(email, right) for email, right in asked))
    await bout.send(*(entry for _, entry in marked.values()))
    await bout.carrier.close()
    await bout.bench.load()
    trial.check(await bout.standing(erased) == stood, "the bench does not restore")
    await bout.carrier.replay()
    back = await bout.bench.count(erased, kept, objected)
    trial.check(not back[0].goes and not back[1].goes, "who was erased came back with a restore")
    trial.check(back[2].objected, "an objection is gone with a restore")
    for right, (email, _) in marked.items():
        trial.check(_STANDS[right](await bout.standing(email)), f"a {right} is gone with a restore")
    trial.check(await bout.standing(neighbour) == beside, "a replay changed somebody who was never served")


TRIALS: Final[Mapping[str, Callable[[Bout, Trial], Awaitable[None]]]] = {
    "unknown person": unknown_person,
    "rights served": rights_served,
    **EVERY_RIGHT,
    "duplicate delivery": duplicate_delivery,
    "partial failure": partial_failure,
    "crash at every step": crash_at_every_step,
    "retained data": retained_data,
    "many rows": many_rows,
    "hostile identifiers": hostile_identifiers,
    "clock skew": clock_skew,
    "forged orders": forged_orders,
    "key rotation": key_rotation,
    "restore": restore,
}
