"""Access packages for tests, about fictional people, and the ways to look into one."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Any, Final

import rfc8785

from schemas.terms import Proof, Purpose
from tests.factories import REGISTER
from tests.workers.correspondence.letters import HEAD
from workers.correspondence.facts import StoreState
from workers.correspondence.words import Language
from workers.package.archive import write_package
from workers.package.content import AccessPackage, Attached, Collected, Record, StorePart, collections_of
from workers.package.sources import processings, recipients, safeguard

OWN_COPY: Final[dict[str, Any]] = {
    "store": "controller",
    "collections": [
        {
            "name": "submissions",
            "fields": {"case": "occasion of collection", "phone": "telephone"},
            "records": [
                {
                    "case": "contact",
                    "received": "2026-11-01T10:00:00.000Z",
                    "last_name": "Sample",
                    "phone": "+33199900001",
                    "postal_address": {"city": "Paris", "street": "1 Specimenroad"},
                    "purposes": [
                        {
                            "purpose": "sales-prospecting",
                            "lawful_basis": "legitimate-interests",
                            "until": "2029-11-01T23:00:00.000Z",
                        },
                        {
                            "purpose": "provide-services",
                            "lawful_basis": "legitimate-interests",
                            "until": "2029-11-01T23:00:00.000Z",
                        },
                    ],
                },
                {
                    "case": "client",
                    "source": "trade fair",
                    "last_name": "Sample",
                    "purposes": [
                        {
                            "purpose": "services-and-contract",
                            "lawful_basis": "contract",
                            "until": "open until contract-ended",
                        }
                    ],
                },
            ],
        }
    ],
}


def holding(*records: Record, name: str = "contacts", fields: dict[str, str] | None = None) -> StorePart:
    """A store in the United Kingdom that holds these."""
    return part(Collected(name, fields or {}, records))


def part(*collections: Collected, language: Language = Language.EN) -> StorePart:
    basis = safeguard(REGISTER.subsidiary("gb").transfer, language)
    return StorePart("gb", "Fictive Ltd", "GB", StoreState.DONE, collections, proof=Proof.ATTESTED, safeguard=basis)


def package(*stores: StorePart, language: Language = Language.EN, files: Iterable[Attached] = ()) -> AccessPackage:
    """Our own store, these, and one in each other state."""
    held = collections_of("controller", rfc8785.dumps(OWN_COPY))
    own = StorePart("controller", "Fictive SA", "FR", StoreState.DONE, held, proof=Proof.VERIFIED)
    others = (
        StorePart("de", "Fictive GmbH", "DE", StoreState.NOTHING_HELD),
        StorePart("no", "Fictive AS", "NO", StoreState.REFUSED, reason="store-locked"),
        StorePart("cn", "Fictive Co", "CN", StoreState.BARRED),
        StorePart("us", "Fictive Inc", "US", StoreState.SILENT),
    )
    return AccessPackage(
        reference="R-4F7K-9Q2M-7HXY",
        language=language,
        received_on=date(2026, 11, 2),
        prepared_at=datetime(2026, 11, 20, 12, tzinfo=UTC),
        emails=("testine.sample@example.org",),
        head=HEAD,
        stores=(own, *stores, *others),
        processings=processings(held, language),
        recipients=recipients(REGISTER, {Purpose.SALES_PROSPECTING, Purpose.RECRUITMENT}, language),
        files=tuple(files),
    )


def written(content: AccessPackage) -> bytes:
    out = io.BytesIO()
    write_package(content, out)
    return out.getvalue()


def opened(content: AccessPackage) -> zipfile.ZipFile:
    archive = zipfile.ZipFile(io.BytesIO(written(content)))
    assert archive.testzip() is None
    return archive
