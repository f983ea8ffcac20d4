"""The queue ``newsletter``: subscriptions with their proof, the confirmations that begin them, one-click links,
choices by the link to one's preferences, and express agreements.

While the register says ``double_opt_in``, or the address is on the suppression list, a subscription is kept but serves
no purpose until the mailed link was used, in time. They may come in any order.
Source: R3, R14, R16, R24; design § 4 "A first subscription".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from schemas.calendar import end_of_period
from schemas.envelope import event_key
from schemas.errors import InvalidMessage
from schemas.fields import read_moment
from schemas.routes import NEWSLETTER_CONFIRMED, NEWSLETTER_UNSUBSCRIBED, PREFERENCE_CHANGED, form_source
from schemas.terms import Case, SuppressionGround
from workers.actors.agreements import AGREEMENTS, keep_agreements
from workers.actors.batches import ERASED, Arrived, letter_of, park, refuse
from workers.actors.preferences import addressee_of, keep_choices
from workers.actors.records import keep_records, purpose_links
from workers.services import Services
from workers.slips import addresses_of
from workers.stores.mongo import Document
from workers.stores.tombstones import of_event, of_person
from workers.suppressing import Said, suppress_on_record


async def keep_newsletter(services: Services, arrived: Sequence[Arrived]) -> None:
    """Carry out each "no"; then keep subscriptions and confirmations, and begin what is both."""
    await keep_unsubscribes(services, [one for one in arrived if one.event.type == NEWSLETTER_UNSUBSCRIBED])
    await keep_choices(services, [one for one in arrived if one.event.type == PREFERENCE_CHANGED])
    await keep_agreements(services, [one for one in arrived if one.event.type in AGREEMENTS])
    waits = services.trust.register.newsletter.double_opt_in
    kept = await keep_records(services, [one for one in arrived if one.route.case], linked=not waits)
    confirmed = await _keep_confirmations(services, [one for one in arrived if one.event.type == NEWSLETTER_CONFIRMED])
    await _begin_confirmed(services, {*kept, *confirmed})


async def keep_unsubscribes(services: Services, arrived: Sequence[Arrived]) -> None:
    """Put whom each link is for on the suppression list; one that we did not make is parked, its neighbours go on."""
    clicked, forged = [], []
    for one in arrived:
        try:
            clicked.append((one, addressee_of(services, one)))
        except InvalidMessage as fault:
            forged.append(letter_of(services, one, fault.code))
    held = await addresses_of(services, (whom.person for _, whom in clicked if whom.person))
    said = [
        Said(one.key, [whom.reference], one.happened, [held[whom.person]] if whom.person in held else [])
        for one, whom in clicked
    ]
    await suppress_on_record(services, SuppressionGround.UNSUBSCRIBE, said)
    await park(services, forged)


async def _keep_confirmations(services: Services, arrived: Sequence[Arrived]) -> list[str]:
    """The keys of the subscriptions that are confirmed."""
    if not arrived:
        return []
    inserted = await services.confirmations.insert([_confirmation(one) for one in arrived])
    conflicting = [one for one in arrived if one.key in inserted.conflicting]
    await park(services, [letter_of(services, one, "same_id_other_body") for one in conflicting])
    kept = [one for one in arrived if one.key not in inserted.conflicting]
    stones = await services.tombstones.look(
        stone for one in kept for stone in (of_event(one.key), of_event(_about(one)))
    )
    late = [one for one in kept if of_event(one.key) in stones or of_event(_about(one)) in stones]
    if late:
        await refuse(services, [one.key for one in late], ERASED)
        await services.confirmations.undo(one.key for one in late)
        # Also what an attempt linked that died before its look: nothing names it once its subscription is erased.
        await services.submissions.undo_links_of_nothing([_about(one) for one in late])
    return [_about(one) for one in kept if one not in late]


def _about(one: Arrived) -> str:
    return event_key(form_source(Case.NEWSLETTER), one.data["about"])


def _confirmation(one: Arrived) -> Document:
    return {
        "_id": one.key,
        "event_id": one.event.id,
        "about": _about(one),
        "happened": min(read_moment(one.data["at"]), one.received),
        "received": one.received,
        "digest": one.digest,
    }


async def _begin_confirmed(services: Services, subscriptions: Iterable[str]) -> None:
    """Link the purposes of what is both subscribed and confirmed in time."""
    waiting = set(subscriptions)
    while waiting:
        waiting = await _begin(services, waiting)


async def _begin(services: Services, subscriptions: set[str]) -> set[str]:
    """One attempt, and a look after it, for a link is a derived copy; the subscriptions that must begin anew."""
    since: dict[str, datetime] = {}
    for confirmed in await services.confirmations.about(subscriptions):
        about, happened = confirmed["about"], confirmed["happened"]
        since[about] = min(happened, since.get(about, happened))
    if not since:
        return set()
    pending = services.trust.register.newsletter.pending.length
    found = await services.submissions.find({"_id": {"$in": list(since)}}, "person", "received")
    in_time = {
        one["_id"]: one["person"] for one in found if since[one["_id"]] < end_of_period(one["received"], pending)
    }
    links = [
        link | {"confirmed": since[subscription]}  # by which it stands against a "no" that was said before
        for subscription, person in in_time.items()
        for link in purpose_links(services, subscription, Case.NEWSLETTER, person, since[subscription])
    ]
    await services.submissions.confirm_links(links)
    return await _look_after(services, in_time)


async def _look_after(services: Services, begun: dict[str, str]) -> set[str]:
    """Take back the links of what was erased meanwhile, or started anew under another person: the latter come back."""
    stones = await services.tombstones.look(
        stone for subscription, person in begun.items() for stone in (of_person(person), of_event(subscription))
    )
    found = await services.submissions.find({"_id": {"$in": list(begun)}}, "person")
    standing = {one["_id"]: one["person"] for one in found}
    moved = set()
    for subscription, person in begun.items():
        if of_person(person) in stones or of_event(subscription) in stones or standing.get(subscription) != person:
            await services.submissions.undo_links(subscription, person)
            if standing.get(subscription, person) != person:
                moved.add(subscription)
    return moved
