"""Whether a closed case is proved, and what a receipt counts: asked of MongoDB and of signatures by plain clients.

Nothing here asks the system's own rules. Source: P6, P7, P11.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import bson
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from pymongo.database import Database

from schemas.terms import Right
from tests.workers.bench import Dump

Document = dict[str, Any]
Evidence = Database[Document]

_ORDER_OF_ANSWERS = ("received", "identity_pending", "accepted", "answered")
_ORDER_OF_PROOFS = ("none", "served", "receipted", "verified", "closed")


def rank(case: Mapping[str, Any]) -> tuple[int, int]:
    """How far the two clocks of a case have gone: neither goes back by itself."""
    return _ORDER_OF_ANSWERS.index(case["answer"]), _ORDER_OF_PROOFS.index(case["proof"])


@dataclass(frozen=True)
class Auditor:
    """Looks at what is kept about cases. ``signers``: store → the one key it signs with."""

    evidence: Evidence
    signers: Mapping[str, OKPKey]
    settle: timedelta

    def case(self, reference: str) -> Document | None:
        return self.evidence["cases"].find_one({"_id": reference})

    def tasks(self, reference: str) -> dict[str, Document]:
        """Store → its part."""
        return {task["store"]: task for task in self.evidence["tasks"].find({"case": reference})}

    def orders(self, store: str) -> int:
        """How many orders a store was sent."""
        return self.evidence["attempts"].count_documents({"store": store})

    def state(self, reference: str) -> str:
        """A case as one line, for whoever reads a fault."""
        case = self.case(reference)
        if case is None:
            return "no case"
        tasks = ", ".join(f"{store} {task['state']} {task['ask']}" for store, task in self.tasks(reference).items())
        return f"{case['answer']}, {case['proof']}, woken at {case.get('wake_at')}: {tasks}"

    def faults_of(self, reference: str) -> list[str]:
        """What a closed case lacks."""
        tasks = self.tasks(reference)
        faults = [f"{store} has no task" for store in self.signers if store not in tasks]
        for store, task in tasks.items():
            if task["state"] == "barred":
                faults += [] if task.get("reason") else [f"{store} is barred without a reason"]
            else:
                faults += [f"{store}: {fault}" for fault in self._faults_of_task(task)]
        return [f"closed without proof, {fault}" for fault in faults]

    def _faults_of_task(self, task: Document) -> list[str]:
        if task["state"] != "proved":
            return [f"it is {task['state']}"]
        signed = self._signed_of(task)
        asked = "lift" if task["right"] == Right.RESTRICTION else "serve"
        served = [one for one in signed if one["ask"] == asked and _same(one, task.get("entry"))]
        looked = [one for one in signed if one["ask"] == "look" and _same(one, task.get("look"))]
        if not served:
            return ["no receipt that its store signed"]
        if not any(one["ask"] == "serve" for one in signed):
            return ["it was never done before it was undone"]
        if task.get("settled", {}).get("decision") == "accept":
            shown = any(one.get("conflicting") for one in served[0]["collections"])
            return [] if shown else ["accepted without a conflict"]
        if not looked:
            return ["no look that its store signed"]
        faults = []
        if served[0]["attempt"] <= task.get("void_attempts", 0):
            faults.append("an answer from before it was asked anew")
        if looked[0]["ordered_at"] < served[0]["ordered_at"] + self.settle:
            faults.append("looked at before anything could settle")
        if task["right"] == Right.ERASURE and _left(looked[0]) - _kept(served[0]):
            faults.append("the look found the person")
        if task["right"] == Right.WITHDRAWAL and _left(looked[0]) - _kept(served[0]):
            faults.append("the look found what rested on consent")
        return faults

    def _signed_of(self, task: Document) -> list[Document]:
        """Every entry about a task under its own store's signature, in answer to an order to that very store."""
        found = []
        for receipt in self.evidence["receipts"].find({"cases": task["case"], "store": task["store"]}):
            try:
                payload = jws.deserialize_compact(receipt["jws"], self.signers[task["store"]], ["Ed25519"]).payload
            except JoseError:
                continue
            claims = json.loads(payload)
            order = self.evidence["attempts"].find_one({"_id": claims["order"], "store": task["store"]})
            if order is None:
                continue
            asked = {(name, *about) for name, about in order["asked"]}
            found += [
                {**entry, "ordered_at": order["at"]}
                for entry in claims["entries"]
                if entry["task"] == task["_id"] and (task["_id"], entry["attempt"], entry["ask"]) in asked
            ]
        return found

    def erased(self, references: Iterable[str], store: str) -> Counter[str]:
        """Collection → how many records several cases together say they erased or anonymised in a store."""
        counted: Counter[str] = Counter()
        for reference in references:
            for one in self.tasks(reference)[store].get("entry", {}).get("collections", ()):
                counted[one["name"]] += one.get("erased", 0) + one.get("anonymised", 0)
        return counted


def _same(signed: Mapping[str, Any], kept: Mapping[str, Any] | None) -> bool:
    told = ("task", "attempt", "ask", "outcome", "collections", "at")
    return kept is not None and all(signed[name] == kept[name] for name in told)


def _left(look: Mapping[str, Any]) -> Counter[str]:
    return Counter({one["name"]: one["matched"] - one.get("restricted", 0) for one in look["collections"]})


def _kept(served: Mapping[str, Any]) -> Counter[str]:
    return Counter({one["name"]: one.get("retained", 0) for one in served["collections"]})


@dataclass
class Watched:
    """A case as it was seen last, and what was seen of it on the way. ``again``: how often its proof may go back.

    ``doubtful``: store → why.
    """

    rank: tuple[int, int] = (0, 0)
    closed: bool = False
    again: int = 0
    doubtful: dict[str, str] = field(default_factory=dict)

    @property
    def answered(self) -> bool:
        return self.rank[0] == len(_ORDER_OF_ANSWERS) - 1


def moved_back(watched: Watched, case: Mapping[str, Any]) -> bool:
    """Whether a clock of a case went back though nobody had a store asked anew."""
    before, watched.rank = watched.rank, rank(case)
    if watched.rank[1] < before[1] and watched.again:
        watched.again -= 1
        return False
    return watched.rank[0] < before[0] or watched.rank[1] < before[1]


def leftovers(dump: Dump, clear: Collection[str], closed: Collection[str]) -> list[str]:
    """What ought to be gone with the end of these cases, or, as ``clear`` in small letters, never to have stood."""
    living = {key["_id"] for key in dump["keys.keys"] if "wrapped" in key}
    faults = [f"the key of {case} lives on" for case in closed if f"{case}/case" in living]
    faults += [f"a package of {key['_id']} can be opened" for key in dump["keys.package_keys"] if "wrapped" in key]
    faults += [f"a letter of {mail['case']} is still there" for mail in dump["evidence.mails"] if "sealed" in mail]
    words = [word.encode() for word in clear]
    for name, documents in dump.items():
        held = [bson.encode(one).lower() for one in documents]
        faults += [f"{word.decode()} stands in {name}" for one in held for word in words if word in one]
    return faults
