"""The way in: one outside event becomes one published message.

::

    with SyncPublisher.from_settings() as publisher:        # or: async with Publisher.from_settings()
        publisher.publish_contact("client", {...})

Websites and CRMs that are not in Python, or may not reach Redis, speak HTTP to the door (:mod:`producers.door`).
Source: R27.
"""

from producers.publishing import Outcome, Publisher, SyncPublisher
from producers.uploads import Upload

__all__ = ["Outcome", "Publisher", "SyncPublisher", "Upload"]
