"""What somebody wishes of all that they refused and accepted, in a subsidiary; and each "no" that comes beside it.

Orders come in any order, late and again. What was ever heard of an address stands in the journal before a row is
touched, and rows are marked, or their marks taken away, by what is left of all of it: so the last that arrives leaves
what any other would have left. A "no" that no wish has known yet counts.
Source: R20, R21, R25; P2, P10; docs/decisions/0022.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from schemas.fields import read_moment
from workers.actors.answers import Answer
from workers.actors.entries import Entry, Serving, by_itself, receipt_entry
from workers.office import Office
from workers.rules.objections import Wish
from workers.stores.subsidiaries.adapter import AcceptingAdapter, StoreRefuses, Subject, Tally


async def grant(office: Office, entry: Entry) -> Answer:
    """Serve one entry. Raises :class:`schemas.errors.Temporary` when the store is away, or takes too long."""
    (email,), at = entry["person"]["emails"], read_moment(entry["received_at"])
    wish = Wish(at, entry["version"], entry["accepts"] == "yes", read_moment(entry["refused_at"]))
    subject = Subject((email,), at)
    names = [entry["task"], *office.journal.marks(subject)]
    return await by_itself(
        office, entry, names, office.entry_timeout_s, partial(_granted, office, office.store, entry, subject, wish)
    )


async def _granted(office: Office, store: object, entry: Entry, subject: Subject, wish: Wish) -> Entry:
    if not isinstance(store, AcceptingAdapter):
        raise StoreRefuses("not-supported")
    done = office.journal.done(entry["task"])
    if done is not None and done.attempt >= entry["attempt"]:
        return {**done.entry, "attempt": entry["attempt"]}
    await asyncio.to_thread(office.journal.begin_wish, entry["task"], subject, wish, office.clock())
    (normal_form,) = subject.normal_forms
    heard = office.journal.heard(normal_form)
    subject = replace(subject, received_at=heard.latest or wish.at)
    tallies = await (store.accept(subject) if heard.accepted else store.object(subject))
    answer = receipt_entry(office, entry, tallies)
    await asyncio.to_thread(office.journal.finish, [answer])
    return answer


def lifted_meanwhile(office: Office, serving: Serving) -> Answer | None:
    """The answer to a "no" that its person has lifted since, as far as it was heard; else it is left to be served.

    Of several addresses of one person those are left out that it was lifted for.
    """
    emails = serving.subject.emails
    left = tuple(email for email in emails if not office.journal.heard(email.lower()).accepted)
    if not left:
        return Answer(receipt_entry(office, serving.entry, _matched(serving.planned)))
    if left != emails:
        serving.subject = replace(serving.subject, emails=left)
    return None


def _matched(planned: Iterable[Tally]) -> list[Tally]:
    return [Tally(one.name, matched=one.matched) for one in planned]
