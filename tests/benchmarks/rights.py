"""``rights``: erasures served on subsidiaries, from the confirmed address to the accepted receipts.

``tasks_per_s``: many cases at once, ten subsidiaries. ``confirmed_to_answered_p50_ms``: one case at a time, the three
subsidiaries of ``greffier up``. ``scaling``: :mod:`tests.benchmarks.scaling`. Requests and confirmations go through the
public door, links come by mail, and what was done is counted by plain clients.
"""

from __future__ import annotations

import json
import mailbox
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from schemas.routes import SUBMISSIONS
from tests.benchmarks.load import as_fast_as_answered, request
from tests.benchmarks.offices import CODES, Group
from tests.benchmarks.report import Figures, middle, rate, say
from tests.benchmarks.samples import Samples
from tests.benchmarks.scaling import scaling
from tests.benchmarks.stage import Stage, running_system
from workers.sample_group import OFFICES
from workers.stores import samples

ROUNDS: Final = 3
_WARM_UP: Final = 5
_ONE_BY_ONE: Final = 20
_CONNECTIONS: Final = 8
_PATIENCE_S: Final = 300.0
_SELDOM_S: Final = 0.1
_ANSWERED: Final = {"$in": ["receipted", "proved"]}


def rights(n: int, rounds: int, people: int) -> Figures:
    """``n``: erasure cases open at once in each of ``rounds``; as many as that, at most 20, one by one.

    ``people``: held in the larger stores of :mod:`tests.benchmarks.scaling`.
    """
    figures = {"bench": "rights", "n": n, "rounds": rounds, **_many_at_once(n, rounds)}
    return {**figures, **_one_by_one(min(n, _ONE_BY_ONE)), **scaling(people)}


def _many_at_once(n: int, rounds: int) -> Figures:
    with TemporaryDirectory(prefix="greffier-bench-") as folder:
        group = Group(Path(folder))
        with running_system(register=group.found) as stage, group.at_work(stage) as stores:
            rates = []
            for number in range(rounds + 1):
                cases = _Cases(stage, n if number else _WARM_UP)  # the first opens connections and loads what is loaded
                for store in stores.values():
                    store.fill(cases.emails)
                rates.append(cases.served_together(list(stores)))
                assert not any(store.held(cases.emails) for store in stores.values()), "an office still holds somebody"
                cases.wait_answered()
                say(f"rights round {number}: {rates[-1]:,.0f} tasks/s")
            return {"tasks_per_s": rate(rates[1:]), "offices": len(CODES), "rss_mib": stage.rss_mib()}


def _one_by_one(n: int) -> Figures:
    with running_system(whole=True) as stage:
        cases = _Cases(stage, n + 1)
        for email in cases.emails:  # the third office holds nobody
            samples.fill_people(stage.offices["us"][0].database, "Ada Sample", email)
            samples.fill_sales(stage.offices["de"][1], "Ada", "Sample", email)
        waited = [cases.served_alone(reference, OFFICES) for reference in cases.references]
        return {"confirmed_to_answered_p50_ms": middle(waited[1:])}


class _Cases:
    """Erasure cases of ``n`` people the controller knows, opened by the door; their links were mailed."""

    def __init__(self, stage: Stage, n: int) -> None:
        self._stage = stage
        self._evidence = stage.database("evidence")
        forms = list(Samples().submissions(n))
        stage.post(SUBMISSIONS, forms, 500)
        stage.wait_persisted(SUBMISSIONS, "submissions", n)  # whoever was there before has been erased
        self.emails: list[str] = [json.loads(form.body)["email"] for form in forms]
        before = set(self._evidence["cases"].distinct("_id"))
        asking = [request("/rights", {"right": "erasure", "email": email}) for email in self.emails]
        as_fast_as_answered(stage.door_port, asking, min(n, _CONNECTIONS))
        self._tokens: dict[str, str] = {}
        stage.wait_for(lambda: len(self._links(before)) == n, _PATIENCE_S, "links mailed")
        self.references = list(self._tokens)

    def _links(self, before: set[str]) -> dict[str, str]:
        """Reference → token, from the mailbox where mail lands."""
        for mail in mailbox.Maildir(self._stage.mailbox).values():
            content = mail.get_payload(decode=True)
            found = re.search(rb"/rights/([^/]+)/confirm\?token=(\S+)", content if isinstance(content, bytes) else b"")
            if found is not None and found[1].decode() not in before:
                self._tokens[found[1].decode()] = found[2].decode()
        return self._tokens

    def served_together(self, stores: Sequence[str]) -> float:
        """Confirm all of them while the controller holds still; tasks a second from when it may go on."""
        with self._stage.controller_paused():
            self._confirm(self.references, _CONNECTIONS)
            began = time.perf_counter()
        wanted = len(self.references) * len(stores)
        served = self._receipted
        self._stage.wait_for(lambda: served(self.references, stores) == wanted, _PATIENCE_S, "receipts", _SELDOM_S)
        return wanted / (time.perf_counter() - began)

    def served_alone(self, reference: str, stores: Sequence[str]) -> float:
        """Confirm one case; milliseconds until it is answered, with every receipt in."""
        began = time.perf_counter()
        self._confirm([reference], 1)
        answered = {"_id": reference, "answer": "answered"}
        self._stage.wait_for(lambda: self._cases(answered) == 1, _PATIENCE_S, "the answer")
        waited = 1000 * (time.perf_counter() - began)
        assert self._receipted([reference], stores) == len(stores), "answered before every receipt was in"
        return waited

    def wait_answered(self) -> None:
        """Until the last letter has left: the next round shall not wait for this one's."""
        self._stage.wait_for(
            lambda: self._evidence["mails"].count_documents({"outcome": {"$exists": False}}) == 0,
            _PATIENCE_S,
            "answers mailed",
        )

    def _confirm(self, references: Iterable[str], connections: int) -> None:
        confirming = [request(f"/rights/{one}/confirm", {"token": self._tokens[one]}) for one in references]
        as_fast_as_answered(self._stage.door_port, confirming, min(len(confirming), connections))

    def _receipted(self, references: Sequence[str], stores: Sequence[str]) -> int:
        served = {"case": {"$in": list(references)}, "store": {"$in": list(stores)}, "state": _ANSWERED}
        return self._evidence["tasks"].count_documents(served)

    def _cases(self, query: dict[str, Any]) -> int:
        return self._evidence["cases"].count_documents(query)
