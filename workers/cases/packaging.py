"""The package of a case, for access or portability: from every store's copy, sealed, waiting for one download.

Source: R17; design § 5.5; GDPR Art. 15(1), 15(2), 15(3).
"""

from __future__ import annotations

import asyncio
import io
import secrets
from collections.abc import Mapping, Sequence
from datetime import date

from schemas.errors import GreffierError
from schemas.orders import CONTROLLER
from schemas.terms import Right
from schemas.tokens import TokenKind
from workers.cases import answering
from workers.cases.copies import copy_in_parts
from workers.cases.delivering import fetched, package_id
from workers.cases.desk import Desk
from workers.correspondence.facts import Package
from workers.correspondence.words import Language
from workers.package.archive import write_package
from workers.package.content import AccessPackage, Attached, StorePart, collections_of
from workers.package.sources import processings, recipients, safeguard
from workers.rules.tokens import expires_at, make_token
from workers.stores.keys import DataKey
from workers.stores.mongo import Document
from workers.subject_access import files_in


class CopyLost(GreffierError):
    """A copy that a store's receipt names is not where it was kept: somebody must look at it."""


def is_made_of(case: Document, tasks: Sequence[Document]) -> bool:
    """Whether a letter brings a package: access always, for it says what is not held too; portability with data."""
    given = any("copy_sha256" in task.get("entry", {}) for task in tasks)
    return case["right"] == Right.ACCESS or (case["right"] == Right.PORTABILITY and given)


async def has_link(desk: Desk, case: Document, part: int) -> bool:
    """Whether the package of this letter has its link; if not it is made now, and the case is to be read again.

    That of a further letter holds all that the one before it held, which goes whether it was fetched or not.
    """
    before = case.get("package")
    if before is not None and before["part"] == part:
        return True
    if before is not None and "dropped_at" not in before:
        await fetched(desk.cases, desk.packages, case, desk.services.clock())
        return False
    now, former = desk.services.clock(), [*before.get("former", ()), before["token"]] if before else []
    link = {"token": secrets.token_hex(16), "part": part, "made": now, "former": former}
    await desk.cases.step(case, {"package": {**link, "expires": expires_at(TokenKind.DOWNLOAD, now)}})
    return False


async def put_together(desk: Desk, case: Document, tasks: Sequence[Document]) -> Package | None:
    """Build, seal and store the package that the case has a link for. Repeating it makes the same one again."""
    reference = case["_id"]
    key, person = await desk.case_key(reference), await desk.identifiers(case)
    if key is None or person is None:
        return None
    link = case["package"]
    if "taken_at" not in link and "dropped_at" not in link:
        await _store(desk, case, tasks, key, tuple(person["emails"]))
    token = make_token(desk.token_key, TokenKind.DOWNLOAD, reference, token_id=link["token"], now=link["made"])
    return Package(
        f"{desk.counter_url or desk.public_url}/download/{token}", expires_at(TokenKind.DOWNLOAD, link["made"])
    )


async def _store(desk: Desk, case: Document, tasks: Sequence[Document], key: DataKey, emails: tuple[str, ...]) -> None:
    copies = {task["store"]: await _copy(desk, key, task) for task in tasks}
    own = next(task for task in tasks if task["store"] == CONTROLLER)
    files = (*await _files(desk, key, own, copies.get(CONTROLLER)), *await _handed_over(desk, key, tasks))
    archive = await asyncio.to_thread(lambda: _written(_content(desk, case, tasks, copies, emails, files)))
    await desk.packages.put(package_id(case), archive)


async def _copy(desk: Desk, key: DataKey, task: Document) -> bytes | None:
    """What a store gave a copy of; ``None`` where it holds nothing, refused or has not answered.

    Raises :class:`CopyLost`: without it the answer would promise what the package does not hold.
    """
    digest = task.get("entry", {}).get("copy_sha256")
    if digest is None:
        return None
    copy = await copy_in_parts(desk, key, task["_id"], digest)
    if copy is None:
        raise CopyLost(task["_id"])
    return copy


async def _files(desk: Desk, key: DataKey, task: Document, copy: bytes | None) -> tuple[Attached, ...]:
    """The files that our own copy names, as they were kept beside it; one that was gone by then is named only."""
    named = [file for one in collections_of(CONTROLLER, copy) for record in one.records for file in files_in(record)]
    found = []
    for file in named:
        content = await copy_in_parts(desk, key, task["_id"], file["sha256"])
        found += [Attached(CONTROLLER, file["name"], file["media_type"], content)] if content is not None else []
    return tuple(found)


async def _handed_over(desk: Desk, key: DataKey, parts: Sequence[Document]) -> list[Attached]:
    """What external processors gave, as it is. Raises :class:`CopyLost`."""
    found = []
    for part in parts:
        for one in part.get("copies", ()):
            content = await copy_in_parts(desk, key, one["task"], one["sha256"])
            if content is None:
                raise CopyLost(one["task"])
            found.append(Attached(part["store"], part["store"], one["media_type"], content))
    return found


def _written(content: AccessPackage) -> bytes:
    out = io.BytesIO()  # in memory: a package in the clear never touches a disk
    write_package(content, out)
    return out.getvalue()


def _content(
    desk: Desk,
    case: Document,
    tasks: Sequence[Document],
    copies: Mapping[str, bytes | None],
    emails: tuple[str, ...],
    files: tuple[Attached, ...],
) -> AccessPackage:
    register, language = desk.services.trust.register, Language(case["language"])
    right = Right(case["right"])
    own = copies.get(CONTROLLER) if right is Right.ACCESS else None
    told = processings(collections_of(CONTROLLER, own), language)
    return AccessPackage(
        right=right,
        reference=case["_id"],
        language=language,
        received_on=date.fromisoformat(case["received_on"]),
        prepared_at=case["package"]["made"],
        emails=emails,
        head=desk.letterhead,
        stores=tuple(_part(desk, task, copies.get(task["store"]), language) for task in tasks),
        processings=told,
        files=files,
        recipients=recipients(register, {one.purpose for one in told}, language),
    )


def _part(desk: Desk, task: Document, copy: bytes | None, language: Language) -> StorePart:
    told = answering.report(desk, task)
    register = desk.services.trust.register
    party = register.subsidiaries.get(task["store"]) or register.processors.get(task["store"])
    return StorePart(
        code=task["store"],
        company=told.company,
        country=told.country,
        state=told.state,
        collections=collections_of(task["store"], copy),
        reason=told.reason,
        proof=told.proof,
        safeguard=safeguard(party.transfer, language) if party else None,
    )
