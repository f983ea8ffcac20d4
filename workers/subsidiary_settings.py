"""What a subsidiary's worker is told from outside, read once and checked at start.

The store's own URL is named by the mapping file. Secrets are files under ``keys``; the Redis URL holds a credential and
never prints.
Source: R28; house-style § 5.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.errors import ConfigurationError, Fault


class SubsidiarySettings(BaseSettings):
    """One subsidiary's worker process. Times in seconds where a name ends in ``_s``, milliseconds in ``_ms``."""

    model_config = SettingsConfigDict(env_prefix="GREFFIER_", frozen=True, extra="ignore", hide_input_in_errors=True)

    redis_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    """Of the Redis where the controller leaves the orders; a user that may do no more than that is enough."""
    keys: Path | None = None
    """Folder with ``party.private.json``, ``controller.public.json`` and ``journal.key``; ``var/keys/<code>``."""
    journal: Path | None = None
    """The journal's file; ``var/<code>/journal.jsonl``. On another disk than the store's, never in its backup."""
    threads: Annotated[int, Field(ge=1, le=64)] = 4
    """Orders in work at once in this process."""
    entry_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 300.0
    """How long one person may take in the store before the order goes back; what was done until then stays done."""
    heartbeat_ms: Annotated[int, Field(ge=1_000)] = 60_000
    """After this long without a sign of life the orders in work go back to the queue."""
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 9103
    """Port of ``/metrics``, ``/livez`` and ``/readyz``; 0 takes a free one."""
    metrics_host: str = "127.0.0.1"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    def keys_of(self, code: str) -> Path:
        return self.keys or Path("var/keys") / code

    def journal_of(self, code: str) -> Path:
        return self.journal or Path("var") / code / "journal.jsonl"


def read_subsidiary_settings() -> SubsidiarySettings:
    """From the environment. Raises :class:`ConfigurationError` naming each bad variable, never its value."""
    try:
        return SubsidiarySettings()
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        raise ConfigurationError(
            "settings", *(Fault(f"GREFFIER_{str(fault['loc'][0]).upper()}", fault["msg"]) for fault in faults)
        ) from None
