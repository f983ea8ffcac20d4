"""Choices by the mailed link to somebody's preferences: each purpose refused or accepted, in the queue ``newsletter``.

A refusal needs nobody to be known: it is entered under what the link bears. An acceptance is kept of whoever is held;
of anybody else nothing is held that could be used. Who withdraws every consent gets a case, like any withdrawal.
Source: R8, R16, R20, R21; P2, P10; docs/decisions/0018.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from schemas.errors import InvalidMessage
from schemas.newsletter import Addressee, open_addressee
from schemas.rights import LANGUAGES, reference_from
from schemas.terms import Channel, Purpose, Right, SuppressionGround
from schemas.tokens import TokenKind
from workers.actors.batches import Arrived, letter_of, park
from workers.actors.remarks import keep_remarks, remark
from workers.cases.desk import Docket
from workers.cases.opening import open_case
from workers.correspondence.compose import Letterhead, letterhead
from workers.preferences import tell_again
from workers.rules.tokens import LIFETIMES
from workers.services import Services
from workers.slips import Told, addresses_of
from workers.stores.cases import Cases
from workers.stores.mongo import Document
from workers.suppressing import Said, suppress_on_record

_SHOWN = ("policy_version", "notice_sha256", "language")


async def keep_choices(services: Services, arrived: Sequence[Arrived]) -> None:
    """Refuse, then accept; what a link that we did not make says is parked, its neighbours go on. Repeatable."""
    if not arrived:
        return
    chosen, forged = [], []
    for one in arrived:
        try:
            chosen.append((one, addressee_of(services, one)))
        except InvalidMessage as fault:
            forged.append(letter_of(services, one, fault.code))
    held = await addresses_of(services, (whom.person for _, whom in chosen if whom.person))
    known = {one.key: held[whom.person] for one, whom in chosen if whom.person and whom.person in held}
    await _refuse(services, chosen, known)
    agreements = [said for one, _ in chosen if one.key in known for said in _each(one, known[one.key])]
    await keep_remarks(services, services.submissions.agreements, agreements, _agreement, own_act=True)
    await tell_again(
        services,
        [Told(one.key, known[one.key], one.happened) for one, _ in chosen if one.key in known and _accepts(one)],
    )
    for one, _ in chosen:
        if "withdraw" in one.data and one.key in known:
            await _withdraw(services, one, known[one.key])
    for one, _ in chosen:
        expires = one.happened + LIFETIMES[TokenKind.PREFERENCES]
        await services.preferences.note(one.data["reference"], one.data["choices"], one.happened, expires)
    await park(services, forged)


def _accepts(one: Arrived) -> bool:
    return any(one.data["choices"].values())


def addressee_of(services: Services, one: Arrived) -> Addressee:
    """Whom a mailed link is for. Raises :class:`InvalidMessage` ``unknown_token`` for one that we did not make."""
    return open_addressee(services.trust.references, one.data["list"], one.data["reference"])


async def _refuse(services: Services, chosen: Sequence[tuple[Arrived, Addressee]], known: Mapping[str, str]) -> None:
    """``known``: event → the address, of whoever is held."""
    said = [
        Said(one.key, [whom.reference], one.happened, [known[one.key]] if one.key in known else [], refused)
        for one, whom in chosen
        if (refused := frozenset(Purpose(name) for name, yes in one.data["choices"].items() if not yes))
    ]
    if said:
        await suppress_on_record(services, SuppressionGround.PREFERENCE, said)


async def _withdraw(services: Services, one: Arrived, email: str) -> None:
    """A case of its own, everywhere: what rests on consent alone goes. The mailed link has proved the address."""
    reference = reference_from(one.key)
    docket = Docket(services, Cases(services.databases), services.notes, _wakes_by_itself, _letterhead(services))
    asked = {"right": Right.WITHDRAWAL.value, "email": email, "channel": Channel.WEBSITE.value, "confirmed": "yes"}
    language = {"language": one.data["language"]} if one.data["language"] in LANGUAGES else {}
    opened = await open_case(docket, {"reference": reference, **asked, **language}, one.happened)
    await services.notes.note("request_confirmed", opened, f"preferences/{reference}")


def _letterhead(services: Services) -> Letterhead:
    controller = services.trust.register.controller
    return letterhead(controller, controller.email)


async def _wakes_by_itself(_: str) -> None:
    """The reconciler of whoever keeps cases finds it within seconds."""


def _each(one: Arrived, email: str) -> list[Arrived]:
    """One remark for each purpose: of this address, and under a key of its own."""
    shown = {name: one.data[name] for name in _SHOWN}
    return [
        one._replace(key=f"{one.key}.{purpose}", data={"email": email, "purpose": purpose, "given": yes, **shown})
        for purpose, yes in one.data["choices"].items()
    ]


def _agreement(services: Services, one: Arrived) -> Document:
    said: Document = {name: one.data[name] for name in ("purpose", "given", *_SHOWN)}
    return remark(services, one) | said | {"source": one.event.source, "happened": one.happened}
