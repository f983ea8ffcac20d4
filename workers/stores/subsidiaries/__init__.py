"""A subsidiary's own store: one protocol, an engine driven by a mapping file, and two kinds of database under it.

| file | what |
| --- | --- |
| `adapter` | the protocol the worker serves through, its values and its errors |
| `mapping`, `mapping_checks` | the office's file: where a person stands in its store, and what becomes of each row |
| `decisions` | pure: what becomes of one row |
| `mapped` | the engine: a mapped store, each right as one walk over its rows |
| `finding`, `erasing`, `objecting` | one person's walks: which rows, and what becomes of them, children first |
| `disposing` | whose retention is over: the same walks, over rows that are nobody's in particular |
| `together` | walks of several people over one session, with what they ask joined |
| `mongo`, `sql` | the rows of MongoDB and of any SQL database |
| `mysql` | what MySQL and MariaDB do otherwise than others, where it would touch the wrong person |
| `copies` | the access copy in canonical bytes |
| `copying`, `copying_postgres`, `scratch` | a copy of a store, for a restore drill |
| `journal` | the tombstone journal beside the store |

Source: R25, R26, R28; design § 5.5.
"""

from workers.stores.subsidiaries.adapter import StoreAdapter
from workers.stores.subsidiaries.mapped import MappedStore
from workers.stores.subsidiaries.mapping import Mapping, StoreKind

__all__ = ["open_store"]


def open_store(mapping: Mapping, url: str) -> StoreAdapter:
    """The adapter for a mapping. Call it in the event loop that will use it; connects on first use.

    A driver is imported here, so that an office needs only its own.
    """
    if mapping.store.kind is StoreKind.MONGODB:
        from workers.stores.subsidiaries.mongo import MongoRows  # noqa: PLC0415

        return MappedStore(mapping, MongoRows(mapping, url))
    from workers.stores.subsidiaries.sql import SqlRows  # noqa: PLC0415

    return MappedStore(mapping, SqlRows(mapping, url))
