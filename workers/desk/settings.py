"""What a desk is told from outside. Source: house-style § 5."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from workers.settings import ControllerSettings


class DeskSettings(ControllerSettings):
    """One desk process: a controller's databases and key folder; of the queues it sees only which messages wait."""

    desk_host: str = "127.0.0.1"
    """The address to listen on: of the internal network, never a public one."""
    desk_port: Annotated[int, Field(ge=0, le=65535)] = 8082
    """The port to listen on; 0 takes a free one."""
    desk_accounts: Path = Path("var/keys/desk-accounts.json")
    """The accounts that may use it, made by ``greffier keys desk-account``."""
