"""The way in: one outside event becomes one published message.

::

    with SyncPublisher.from_settings() as publisher:        # or: async with Publisher.from_settings()
        publisher.publish_contact("client", {...})

or, for a single call, the functions ``publish_*`` of this package, which open and close a publisher around it.
Websites and CRMs that are not in Python, or may not reach Redis, speak HTTP to the door (:mod:`producers.door`).
Source: R27.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from producers.publishing import (
        Outcome,
        Publisher,
        SyncPublisher,
        publish_consent,
        publish_consents,
        publish_contact,
        publish_contacts,
        publish_events,
        publish_newsletter_confirmed,
        publish_submission,
    )
    from producers.uploads import Upload

__all__ = [
    "Outcome",
    "Publisher",
    "SyncPublisher",
    "Upload",
    "publish_consent",
    "publish_consents",
    "publish_contact",
    "publish_contacts",
    "publish_events",
    "publish_newsletter_confirmed",
    "publish_submission",
]


def __getattr__(name: str) -> Any:
    # Loaded when first asked for: the command line imports this package just to list its commands.
    if name not in __all__:
        raise AttributeError(name)
    from producers import publishing  # noqa: PLC0415

    return getattr(publishing, name)
