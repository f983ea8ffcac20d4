"""What legal holds keep of what is kept by device, not by person.

A device is linked to somebody by the forms that named it. Source: R11; GDPR Art. 17(3)(e).
"""

from __future__ import annotations

from workers.services import Services


async def held_devices(services: Services) -> list[bytes]:
    """The devices that are linked to people whose data a legal hold keeps."""
    persons = {key.partition("/")[0] for key in await services.keys.all_held()}
    found = await services.submissions.of(persons, "device")
    return [bytes(one["device"]) for one in found if "device" in one]
