"""From **active** to the archive: a copy under another key first, then the look at the tombstones, then the deletion.

A copy is a derived one: an erasure of this moment either finds it, because it was written before its look, or is found
by ours. Whatever breaks off in between is done again: the copy stands already, and what is in use still stands too.
Source: R13; P5, P9; design § 4 "Moving re-encrypts, then destroys", "P5 in one paragraph".
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from schemas.subject import ReferenceUse
from workers.retention.folding import Record, body_of
from workers.services import Services
from workers.stores.archive import place
from workers.stores.keys import ARCHIVE, DataKey, key_id
from workers.stores.mongo import Document
from workers.stores.people import is_younger
from workers.stores.tombstones import of_address

_TAKEN_OVER: Final = ("source", "collected_at", "policy_version", "consents", "files", "versions")
"""What the archive needs beside the sealed body. Devices, digests and what is doubled in clear stay behind."""


async def archive(services: Services, moved: Sequence[Record]) -> frozenset[str]:
    """Copy these records into the archive; the events that must not go on.

    Of those their person was erased meanwhile, or a correction outran their copy: the next walk takes them.

    May be repeated, and done by several at once. Raises :class:`StoreUnavailable`.
    """
    if not moved:
        return frozenset()
    keys = await services.keys.ensure(key_id(one.person["_id"], ARCHIVE) for one in moved)
    # Whose archive key was destroyed was erased: there is nothing to be moved of him.
    movable = [one for one in moved if key_id(one.person["_id"], ARCHIVE) in keys]
    documents = []
    for one in movable:
        key = keys[key_id(one.person["_id"], ARCHIVE)]
        await _copy_files(services, one, key)
        documents.append(_document(services, one, key))
    await services.archive.insert(documents)
    erased, outrun = await asyncio.gather(_erased(services, movable), _follow(services, movable, keys))
    await _take_back(services, [one for one in movable if one.event in erased])
    return erased | outrun | {one.event for one in moved} - {one.event for one in movable}


async def _take_back(services: Services, records: Collection[Record]) -> None:
    """Undo what :func:`archive` wrote of these."""
    await services.archive.undo({one.event: one.person["_id"] for one in records})


async def _copy_files(services: Services, record: Record, key: DataKey) -> None:
    """Files first: they are reached through the record alone."""
    person = record.person["_id"]
    for file_id in record.document.get("files", ()):
        content = await services.files.read(file_id, person, record.key)
        if content is not None:
            await services.archive.files.put(
                file_id, content, key, person=person, event=record.event, now=services.clock()
            )


def _document(services: Services, record: Record, key: DataKey) -> Document:
    kept, document = {one.purpose for one in record.fate.by}, record.document
    body = record.body if record.body is not None else body_of(document, record.key)
    until = {one.purpose: one.until for one in record.fate.by}
    return {
        "_id": record.event,
        "person": record.person["_id"],
        "refs": record.person["refs"],
        "case": document["case"],
        "received": document["received"],
        "moved_at": services.clock(),
        "sealed": key.seal(place(record.event), body),
        "ended": [
            {"purpose": link["purpose"], "basis": link["basis"], "rule": link["rule"], "at": until[link["purpose"]]}
            for link in record.links
            if link["purpose"] in kept
        ],
        **{name: document[name] for name in _TAKEN_OVER if name in document},
    }


async def _erased(services: Services, records: Sequence[Record]) -> frozenset[str]:
    """The look after the write: whose address was erased, and who is not known to be younger than that."""
    references = services.trust.references
    stones = {one.event: of_address(references.of_email(ReferenceUse.TOMBSTONE, one.email)) for one in records}
    standing = await services.tombstones.look(stones.values())
    return frozenset(
        one.event
        for one in records
        if stones[one.event] in standing and not is_younger(one.person, standing[stones[one.event]])
    )


async def _follow(services: Services, records: Sequence[Record], keys: Mapping[str, DataKey]) -> frozenset[str]:
    """The other look after the write: a correction of what is in use reaches the copy, whichever run's copy it is.

    One of after this look finds the copy itself. The events of which it changed in this very moment.
    """
    going = {one.event: one for one in records}
    corrected = await services.submissions.corrected(one.person["_id"] for one in records)
    by_event = {one["_id"]: one for one in corrected if one["_id"] in going}
    outrun = set[str]()
    for copy in await services.archive.by_key(by_event):
        one, record = by_event[copy["_id"]], going[copy["_id"]]
        if not _is_behind(copy.get("versions", {}), one["versions"]):
            continue
        sealed = keys[key_id(record.person["_id"], ARCHIVE)].seal(place(record.event), body_of(one, record.key))
        if not await services.archive.follow(copy, sealed, one["versions"]):
            outrun.add(record.event)
    return frozenset(outrun)


def _is_behind(copy: Mapping[str, int], in_use: Mapping[str, int]) -> bool:
    return any(copy.get(name, 0) < version for name, version in in_use.items())
