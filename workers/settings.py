"""What a controller worker is told from outside, read once and checked at start.

Secrets are files under ``keys``; nothing here is one, but the database URIs hold credentials and never print.
Source: house-style § 5; reliability § 6.3 for the values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.errors import ConfigurationError, Fault
from schemas.routes import QUEUES

S = TypeVar("S", bound=BaseSettings)


def _either(name: str) -> AliasChoices:
    return AliasChoices(f"GREFFIER_{name}", name)


class StoreSettings(BaseSettings):
    """Where the four databases are: of every process that opens them."""

    model_config = SettingsConfigDict(
        env_prefix="GREFFIER_", frozen=True, extra="ignore", hide_input_in_errors=True, populate_by_name=True
    )

    mongo_url: SecretStr = Field(SecretStr("mongodb://127.0.0.1:27017"), validation_alias=_either("MONGO_URL"))
    """For every database that has no URI of its own."""
    mongo_active_url: SecretStr | None = None
    mongo_archive_url: SecretStr | None = None
    mongo_evidence_url: SecretStr | None = None
    """Must survive a restore of the others: another cluster is the safest."""
    mongo_keys_url: SecretStr | None = None
    mongo_prefix: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,30}$")] = "greffier"
    """Databases are named ``<prefix>_active``, ``_archive``, ``_evidence``, ``_keys``."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class ControllerSettings(StoreSettings):
    """One controller worker process. Times in milliseconds where a name ends in ``_ms``."""

    redis_url: SecretStr = Field(SecretStr("redis://127.0.0.1:6379/0"), validation_alias=_either("REDIS_URL"))
    keys: Path = Path("var/keys/controller")
    register_file: Path | None = Field(None, validation_alias="GREFFIER_REGISTER")
    """The register's file; the shipped one when absent."""
    eyes: Path | None = None
    """Folder with ``<code>.yaml`` for each office whose store the controller may read: :mod:`workers.cases.eyes`."""
    queues: str = ",".join(QUEUES)
    """Comma list: which queues this process serves, so that ops scale each kind on its own (R29)."""
    threads: Annotated[int, Field(ge=1, le=64)] = 4
    """Batches in work at once in this process."""
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 9102
    """Port of ``/metrics``, ``/livez`` and ``/readyz``; 0 takes a free one."""
    metrics_host: str = "127.0.0.1"
    """Where that port listens."""
    heartbeat_ms: Annotated[int, Field(ge=1_000)] = 60_000
    """After this long without a sign of life a worker's messages go to others. Lower risks false deaths."""
    skew_ms: Annotated[int, Field(ge=0, le=600_000)] = 5_000
    """How far a door's clock may be off: an event received this soon after an erasure is parked, not guessed about."""

    def queue_names(self) -> tuple[str, ...]:
        """The queues to serve. Raises :class:`ConfigurationError` for one that does not exist."""
        names = tuple(filter(None, self.queues.split(",")))
        unknown = [name for name in names if name not in QUEUES]
        if unknown or not names:
            raise ConfigurationError("settings", Fault("GREFFIER_QUEUES", f"knows only {', '.join(QUEUES)}"))
        return names


def read_controller_settings() -> ControllerSettings:
    """From the environment. Raises :class:`ConfigurationError` naming each bad variable, never its value."""
    return read_settings(ControllerSettings)


def read_settings(kind: type[S]) -> S:
    """Settings of a kind from the environment. Raises like :func:`read_controller_settings`."""
    try:
        return kind()
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        raise ConfigurationError(
            "settings",
            *(Fault(str(fault["loc"][0]).upper() if fault["loc"] else "settings", fault["msg"]) for fault in faults),
        ) from None
