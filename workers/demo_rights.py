"""The demo's second act: a person known to four companies asks what is held about him, then to be forgotten.

He reads his mail from a real mailbox; what each office still holds is counted by plain clients; the bundle of evidence
is verified by the command an auditor would use.
Source: design § 5, § 6 "an erasure served on three subsidiaries".
"""

from __future__ import annotations

import asyncio
import json
import mailbox
import re
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from workers.demo_commands import greffier
from workers.demo_rows import Row, until
from workers.demo_traffic import NAMES, address
from workers.sample_group import IN_NODE, NODE_MAJOR, Office
from workers.stores import samples
from workers.stores.witness import Witness
from workers.up import System

_PERSON: Final = 1
_CASE_PATIENCE_S: Final = 45.0


@dataclass(frozen=True, slots=True)
class RightsAct:
    """One run against a running system with its offices."""

    system: System
    session: aiohttp.ClientSession
    witness: Witness

    async def run(self) -> list[Row]:
        """Fill two offices, ask for access, then for erasure, and have the proof checked."""
        email, (first, last) = address(_PERSON), NAMES[_PERSON]
        sales, people = self.system.store_url(self.system.offices["de"]), self.system.offices["us"].database
        await asyncio.to_thread(samples.fill_sales, sales, first, last, email)
        await asyncio.to_thread(samples.fill_people, people, f"{first} {last}", email)
        office = self.system.offices[IN_NODE]
        if office.over_http:
            await asyncio.to_thread(samples.fill_contacts, office.database, f"{first} {last}", email)
        access, _ = await self._served("access", email, Row("a person asks what is held"))
        erasure, reference = await self._served("erasure", email, Row("the same person asks to be forgotten"))
        left = await asyncio.to_thread(samples.people_of, people, email)
        erasure.note(f"rows left at the US office: {left}", left == 0)
        kept = await asyncio.to_thread(samples.orders_held, sales)
        erasure.note(f"orders kept at the DE office, on a ground: {kept}", kept == 2)
        proved = await self._proved(reference)
        return [access, erasure, self._over_http(office, email), proved]

    def _over_http(self, office: Office, email: str) -> Row:
        """What became of the office without Python: its own file says, and its own log."""
        row = Row("an office without Python, over HTTP")
        if not office.over_http:
            row.note(f"not shown: no Node {NODE_MAJOR} here, or no checkout; a worker served {office.code}", True)
            return row
        row.note(f"{office.code} served by the client in Node, at the counter", self._client_runs(office.code))
        left = samples.contacts_in(office.database, email)
        row.note(f"contacts left in its file: {left}", left == 0)
        journal = office.journal.read_text()
        row.note("its journal names nobody", "begun" in journal and email not in journal)
        return row

    def _client_runs(self, code: str) -> bool:
        return f"subsidiary-{code}" in self.system.facts()["pids"]

    async def _served(self, right: str, email: str, row: Row) -> tuple[Row, str]:
        """Ask, confirm by the mailed link, and wait until every store has proved."""
        _, answer = await self._post("/rights", {"right": right, "email": email, "language": "en"})
        reference = answer.get("reference", "")
        await until(lambda: self._link(reference) is not None)
        status, _ = await self._post(f"/rights/{reference}/confirm", {"token": self._link(reference)})
        row.note("address confirmed by the mailed link", status == 202)
        served = await until(lambda: self._count(reference, "answer", "answered"), _CASE_PATIENCE_S)
        for task in self._tasks(reference):
            row.note(f"{task['store']}: {task.get('outcome', 'silent')}", "outcome" in task)
        row.note(f"answered after {served:.1f} s", self._count(reference, "answer", "answered"))
        proved = await until(lambda: self._count(reference, "proof", "closed"), _CASE_PATIENCE_S)
        proofs = sorted({task.get("proof", "none") for task in self._tasks(reference)})
        row.note(
            f"closed on proof ({', '.join(proofs)}) {proved:.1f} s later", self._count(reference, "proof", "closed")
        )
        row.note("answer mailed", self._mail(reference, "answer") is not None)
        return row, reference

    async def _post(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, str]]:
        async with self.session.post(path, json=body) as response:
            return response.status, await response.json(content_type=None)

    def _count(self, reference: str, clock: str, state: str) -> bool:
        return self.witness.count("evidence", "cases", {"_id": reference, clock: state}) == 1

    def _tasks(self, reference: str) -> list[dict[str, str]]:
        return self.witness.documents("evidence", "tasks", {"case": reference}, "store", "outcome", "proof")

    def _mail(self, reference: str, kind: str) -> str | None:
        """The text of a mail of this kind about this case, from the mailbox where mail lands."""
        for mail in mailbox.Maildir(self.system.mailbox):
            if str(mail["Message-ID"]).startswith(f"<{reference}.{kind}"):
                payload = mail.get_payload(decode=True)
                return payload.decode() if isinstance(payload, bytes) else None
        return None

    def _link(self, reference: str) -> str | None:
        found = re.search(r"/confirm\?token=(\S+)", self._mail(reference, "confirmation") or "")
        return found[1] if found else None

    async def _proved(self, reference: str) -> Row:
        """Export the case's evidence, verify it, change one byte, and verify it again."""
        row = Row("the proof, checked without the system")
        bundle, altered = self.system.data / "case.json", self.system.data / "altered.json"
        exported, _ = await greffier(self.system, "evidence", "export", reference, "-o", str(bundle))
        row.note("bundle exported", exported == 0)
        verified, _ = await greffier(self.system, "evidence", "verify", str(bundle))
        row.note("verified offline", verified == 0)
        told = json.loads(bundle.read_text())
        altered.write_text(json.dumps(told).replace('"answered"', '"refused"', 1))
        verified, _ = await greffier(self.system, "evidence", "verify", str(altered))
        row.note("one word altered: found", verified != 0)
        return row
