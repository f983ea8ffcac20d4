"""Is what was accepted kept, exactly once? Asked of MongoDB and Redis by plain clients, against the publisher's log.

Nothing here uses the system's own stores, counters or status. Source: reliability § 2, I1, I3, I8, I9.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import redis
from pymongo import MongoClient

from schemas.routes import NAMESPACE, QUEUES
from schemas.terms import Case
from tests.chaos.load import REGISTER, Accepted

Reader = MongoClient[dict[str, Any]]

ACTIVE: Final = "greffier_active"
EVENT_COLLECTIONS: Final = ("submissions", "anchors", "notices", "agreements", "confirmations", "consents", "visits")
AT_ONCE: Final = 5_000
SHOWN: Final = 5


@dataclass
class Faults:
    """``faults``: sentences, empty when every promise was kept."""

    faults: list[str] = field(default_factory=list)

    def blame(self, what: str, which: Iterable[object]) -> None:
        """A fault, with a few of its instances."""
        found = list(which)
        if found:
            self.faults.append(f"{len(found)} {what}, such as {found[:SHOWN]}")


@dataclass
class Findings(Faults):
    """The numbers say what the run has seen."""

    lost: int = 0
    events: int = 0
    batches: int = 0
    redelivered: int = 0
    reposted: int = 0


def leftovers(server: redis.Redis) -> dict[str, int]:
    """Key → size of whatever still waits, is in work or is dead: nothing, once all is settled."""
    keys = [f"{NAMESPACE}:{queue}{kind}" for queue in QUEUES for kind in ("", ".DQ", ".XQ")]
    sizes = {f"{key}.msgs": server.hlen(f"{key}.msgs") for key in keys}
    sizes |= {key: server.llen(key) for key in keys if not key.endswith(".XQ")}
    sizes |= {key.decode(): server.scard(key) for key in server.scan_iter(match=f"{NAMESPACE}:__acks__.*")}
    sizes |= {key.decode(): 1 for key in server.scan_iter(match="greffier:file:*")}
    return {key: size for key, size in sizes.items() if size}


def keys_in_redis(server: redis.Redis) -> set[str]:
    """The events of every message that Redis still has in any state."""
    names = [f"{NAMESPACE}:{queue}{kind}.msgs" for queue in QUEUES for kind in ("", ".DQ", ".XQ")]
    return {key for name in names for body in cast("list[bytes]", server.hvals(name)) for key in keys_of(body)}


def keys_of(body: bytes) -> list[str]:
    """The events of a message, as they stand in the clear on its envelope."""
    return [f"{event['source']} {event['id']}" for event in json.loads(body)["kwargs"]["batch"]["events"]]


def standing(reader: Reader, keys: Sequence[str], collections: Iterable[str] = EVENT_COLLECTIONS) -> Counter[str]:
    """Event → in how many documents it stands, whatever their own ids are."""
    key_of = {key.partition(" ")[2]: key for key in keys}  # no two sources use one id here
    ids = list(key_of)
    found: Counter[str] = Counter()
    for start in range(0, len(ids), AT_ONCE):
        wanted = {"event_id": {"$in": ids[start : start + AT_ONCE]}}
        for name in collections:
            for document in reader[ACTIVE][name].find(wanted, {"event_id": 1}):
                found[key_of[document["event_id"]]] += 1
    return found


def missing(server: redis.Redis, reader: Reader, accepted: Sequence[Accepted]) -> list[str]:
    """Accepted events that are in no store and in no queue: lost, however long one waits.

    Redis is asked first: an event leaves it only after it came to stand in MongoDB.
    """
    waiting = keys_in_redis(server)
    keys = [key for one in accepted for key in one.events]
    stands = standing(reader, keys)
    return [key for key in keys if key not in stands and key not in waiting]


def check(server: redis.Redis, reader: Reader, accepted: Sequence[Accepted], confirmed: dict[str, int]) -> Findings:
    """Everything, after all has come to rest. ``confirmed``: door → the last number that it says Redis confirmed."""
    findings = Findings()
    _check_events(findings, server, reader, accepted)
    _check_persons(findings, reader, accepted)
    _check_files(findings, reader, accepted)
    _check_sequences(findings, reader, confirmed)
    findings.blame("leftovers in Redis", leftovers(server).items())
    findings.blame("letters parked", [letter["reason"] for letter in reader[ACTIVE]["parked"].find()])
    findings.blame("events refused", [one["reason"] for one in reader["greffier_evidence"]["outcomes"].find()])
    return findings


def _check_events(findings: Findings, server: redis.Redis, reader: Reader, accepted: Sequence[Accepted]) -> None:
    keys = [key for one in accepted for key in one.events]
    stands = standing(reader, keys)
    lost = [key for key in keys if not stands[key]]
    findings.events, findings.lost = len(keys), len(lost)
    findings.blame("accepted events absent", lost)
    findings.blame("events kept more than once", [key for key in keys if stands[key] > 1])
    links: Counter[str] = Counter(link["submission"] for link in reader[ACTIVE]["links"].find({}, {"submission": 1}))
    wrong = [
        (key, links[key])
        for one in accepted
        if one.case
        for key in one.events
        if links[key] != (0 if one.case == Case.NEWSLETTER else len(REGISTER.links_for(Case(one.case))))
    ]
    findings.blame("submissions with the wrong number of purpose links", wrong)


def _check_persons(findings: Findings, reader: Reader, accepted: Sequence[Accepted]) -> None:
    """One address, one person; one person, one address; and no person twice."""
    found = reader[ACTIVE]["submissions"].find({}, {"person": 1})
    person_of = {submission["_id"]: submission["person"] for submission in found}
    persons, addresses = defaultdict(set), defaultdict(set)
    for one in accepted:
        for key, email in zip(one.events, one.emails, strict=False):
            if key in person_of:
                persons[email].add(person_of[key])
                addresses[person_of[key]].add(email)
    findings.blame("addresses with several persons", [email for email, ids in persons.items() if len(ids) > 1])
    findings.blame("persons with several addresses", [person for person, of in addresses.items() if len(of) > 1])
    known = [person["_id"] for person in reader[ACTIVE]["persons"].find({}, {"_id": 1})]
    findings.blame("persons without a document", set(person_of.values()) - set(known))


def _check_files(findings: Findings, reader: Reader, accepted: Sequence[Accepted]) -> None:
    files: Counter[str] = Counter()
    chunks: Counter[str] = Counter()
    for file in reader[ACTIVE]["files.files"].find():
        files[file["metadata"]["event"]] += 1
        for chunk in reader[ACTIVE]["files.chunks"].find({"files_id": file["_id"]}, {"data": 1}):
            chunks[file["metadata"]["event"]] += len(chunk["data"])
        if chunks[file["metadata"]["event"]] != file["length"]:
            findings.faults.append(f"a file of {file['metadata']['event']} is not whole")
    wanted = [key for one in accepted if one.file for key in one.events]
    findings.blame("uploads without their one file", [key for key in wanted if files[key] != 1])


def _check_sequences(findings: Findings, reader: Reader, confirmed: dict[str, int]) -> None:
    """Each door's numbers are 1, 2, 3 … and reach what the door says of itself."""
    numbers: dict[str, set[int]] = defaultdict(set)
    posted = 0
    for batch in reader[ACTIVE]["batches"].find():
        numbers[batch["door"]].add(batch["seq"])
        findings.batches += 1
        findings.redelivered += batch["deliveries"] - 1
        posted += batch["events"]
    gaps = {door: sorted(set(range(1, max(seen) + 1)) - seen)[:SHOWN] for door, seen in numbers.items()}
    findings.blame("doors with a gap in their numbers", [(door, gap) for door, gap in gaps.items() if gap])
    short = [(door, last) for door, last in confirmed.items() if last and max(numbers[door], default=0) < last]
    findings.blame("doors whose last messages did not arrive", short)
    kept = sum(reader[ACTIVE][name].count_documents({}) for name in EVENT_COLLECTIONS)
    findings.reposted = posted - kept
