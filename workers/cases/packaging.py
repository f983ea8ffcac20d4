"""The access package of a case: put together from every store's copy, sealed, waiting for one download.

Source: R17; design § 5.5; GDPR Art. 15(1), 15(2), 15(3).
"""

from __future__ import annotations

import asyncio
import io
import secrets
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

from schemas.errors import StoreUnavailable
from schemas.orders import CONTROLLER
from schemas.register import Register
from schemas.register_entries import Party
from schemas.terms import LawfulBasis, Purpose, TransferBasis
from schemas.tokens import TokenKind
from workers.cases import answering
from workers.cases.desk import Desk, open_sealed_json
from workers.correspondence.facts import Package
from workers.correspondence.words import Language
from workers.package.archive import write_package
from workers.package.content import AccessPackage, Processing, RecipientNamed, StorePart, collections_of
from workers.rules.tokens import expires_at, make_token
from workers.stores.keys import DataKey, key_id
from workers.stores.mongo import Document

PACKAGE: Final = "package"
"""The class of the key that a package is sealed under: destroyed with its download, or when its link has ended."""


async def put_together(desk: Desk, case: Document, tasks: Sequence[Document]) -> Package | None:
    """Build, seal and store the package, and make its link. Repeating it after a crash makes the same one again."""
    reference, now = case["_id"], desk.services.clock()
    key, person = await desk.case_key(reference), await desk.identifiers(case)
    if key is None or person is None:
        return None
    if "package" not in case:
        link = {"token": secrets.token_hex(16), "made": now, "expires": expires_at(TokenKind.DOWNLOAD, now)}
        await desk.cases.change(case, {"package": link})
        case = await _again(desk, reference)
    copies = {
        copy["store"]: open_sealed_json(key, f"copies/{copy['_id']}", copy["sealed"])
        for copy in await desk.cases.copies_of(reference)
    }
    content = _content(desk, case, tasks, copies, tuple(person["emails"]))
    archive = await asyncio.to_thread(_written, content)
    await desk.packages.put(reference, (await _package_key(desk, reference)).seal(f"packages/{reference}", archive))
    link = case["package"]
    token = make_token(desk.token_key, TokenKind.DOWNLOAD, reference, token_id=link["token"], now=link["made"])
    return Package(f"{desk.public_url}/download/{token}", link["expires"])


async def _again(desk: Desk, reference: str) -> Document:
    case = await desk.cases.get(reference)
    if case is None:
        raise StoreUnavailable("case_gone")
    return case


async def _package_key(desk: Desk, reference: str) -> DataKey:
    name = key_id(reference, PACKAGE)
    return (await desk.services.keys.ensure([name]))[name]


def _written(content: AccessPackage) -> bytes:
    out = io.BytesIO()  # in memory: a package in the clear never touches a disk
    write_package(content, out)
    return out.getvalue()


def _content(
    desk: Desk, case: Document, tasks: Sequence[Document], copies: Mapping[str, Any], emails: tuple[str, ...]
) -> AccessPackage:
    register = desk.services.trust.register
    return AccessPackage(
        reference=case["_id"],
        language=Language(case["language"]),
        received_on=date.fromisoformat(case["received_on"]),
        prepared_at=desk.services.clock(),
        emails=emails,
        head=desk.letterhead,
        stores=tuple(_part(desk, task, copies.get(task["store"])) for task in tasks),
        processings=_processings(copies.get(CONTROLLER)),
        recipients=_recipients(register),
    )


def _part(desk: Desk, task: Document, copy: Mapping[str, Any] | None) -> StorePart:
    told = answering.report(desk, task)
    subsidiaries = desk.services.trust.register.subsidiaries
    party = subsidiaries.get(task["store"])
    return StorePart(
        code=task["store"],
        company=told.company,
        country=told.country,
        state=told.state,
        collections=collections_of(copy),
        reason=told.reason,
        proof=told.proof,
        safeguard=_safeguard(party) if party else None,
    )


def _safeguard(party: Party) -> str | None:
    """What the border crossing rests on, in words; none inside the EEA."""
    if party.transfer.basis is TransferBasis.NOT_NEEDED:
        return None
    return ": ".join(filter(None, (party.transfer.basis.value, party.transfer.reference)))


def _processings(copy: Mapping[str, Any] | None) -> tuple[Processing, ...]:
    """Every use of our own records, each told once."""
    records = [record for one in (copy or {"collections": []})["collections"] for record in one["records"]]
    found = {
        Processing(
            purpose=Purpose(use["purpose"]),
            basis=LawfulBasis(use["lawful_basis"]),
            occasion=record["case"],
            until=use["until"],
            source=record["source"] if "collected_at" in record else None,
        )
        for record in records
        for use in record["purposes"]
    }
    return tuple(sorted(found, key=lambda one: (one.occasion, one.purpose, one.until)))


def _recipients(register: Register) -> tuple[RecipientNamed, ...]:
    """The companies that may be given data, by name. Source: C-154/21."""
    group = [(one, "company of the group") for one in register.subsidiaries.values()]
    processors = [(one, one.service) for one in register.processors.values()]
    return tuple(
        RecipientNamed(one.name, role, one.store_region, tuple(one.purposes), _safeguard(one))
        for one, role in (*group, *processors)
    )
