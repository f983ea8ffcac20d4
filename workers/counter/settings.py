"""What a counter is told from outside. Source: house-style § 5."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from workers.settings import StoreSettings


class CounterSettings(StoreSettings):
    """One counter process; it uses the databases **evidence** and **keys** only."""

    counter_host: str = "127.0.0.1"
    """The address to listen on; ``0.0.0.0`` or ``::`` in a container."""
    counter_port: Annotated[int, Field(ge=0, le=65535)] = 8081
    """The port to listen on; 0 takes a free one."""
    keys: Path = Path("var/keys/counter")
    """Folder with ``tokens.public.json``, ``packages.json`` and, with Redis, ``subsidiaries.public.json``."""
    redis_url: SecretStr | None = None
    """Where receipts are left; without it no subsidiary is served over HTTP."""
    register_file: Path | None = Field(None, validation_alias="GREFFIER_REGISTER")
    """The register's file, which says who is served over HTTP and what people may choose; else the shipped one."""
    lease_s: Annotated[float, Field(gt=0, le=3600)] = 120.0
    """How long a subsidiary has an order to itself before it is handed out again."""
    outside: Path | None = None
    """Folder with ``outside.yaml`` and its keys: which other organisations' systems are served; none when absent."""
    door_url: Annotated[str, Field(pattern=r"^https?://[^/]+$")] = "http://127.0.0.1:8080"
    """Where this process reaches the door: what people choose goes in there like everything else they say."""
