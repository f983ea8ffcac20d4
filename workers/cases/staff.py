"""Opens what staff decide with, in a process that is no controller: it takes nothing from a queue and signs no order.

What they decide is done by the controllers, whose reconciler finds it due. Source: design § 1; R30.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

from workers.cases.desk import Docket
from workers.correspondence.compose import letterhead
from workers.correspondence.mailer import MailSettings
from workers.evidence.notes import Notes
from workers.services import Services, Trust, open_services, utc_now
from workers.settings import ControllerSettings
from workers.stores.cases import Cases
from workers.stores.ledger import Ledger


@asynccontextmanager
async def open_docket(
    settings: ControllerSettings, trust: Trust, mail: MailSettings, clock: Callable[[], datetime] = utc_now
) -> AsyncIterator[Docket]:
    """A docket over real stores, for as long as it is needed."""
    services = open_services(settings, trust, clock)
    try:
        yield docket_over(services, mail)
    finally:
        await services.close()


def docket_over(services: Services, mail: MailSettings) -> Docket:
    """A docket over services that are open already."""
    return Docket(
        services=services,
        cases=Cases(services.databases),
        evidence=Notes(Ledger(services.databases), services.clock),
        wake_case=_leave_to_the_reconciler,
        letterhead=letterhead(services.trust.register.controller, mail.mail_from),
    )


async def _leave_to_the_reconciler(_: str) -> None:
    """Every decision sets when its case is due: at once."""
