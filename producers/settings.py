"""What a door or a clock is told from outside, read once and checked at start.

Secrets are files in the folder ``keys``; nothing here is one, but the Redis URL may hold a password and never prints.
Source: house-style § 5; design § 6 "Door".
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from schemas.errors import ConfigurationError, Fault

Network = IPv4Network | IPv6Network

S = TypeVar("S", bound=BaseSettings)

_Port = Annotated[int, Field(ge=0, le=65535)]


def _outside(*names: str) -> Any:
    return AliasChoices(*names)


class DoorSettings(BaseSettings):
    """One door process. Every variable bears the prefix ``GREFFIER_``; ``REDIS_URL`` is honoured without it too."""

    model_config = SettingsConfigDict(
        env_prefix="GREFFIER_", frozen=True, extra="ignore", hide_input_in_errors=True, populate_by_name=True
    )

    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"), validation_alias=_outside("GREFFIER_REDIS_URL", "REDIS_URL")
    )
    """Where accepted messages are put. It must fsync every write and never evict, else the door does not start."""
    door_host: str = "127.0.0.1"
    """The address to listen on; ``0.0.0.0`` or ``::`` in a container."""
    door_port: _Port = 8080
    """The port to listen on; 0 takes a free one."""
    metrics_port: _Port = 9101
    """Port of ``/metrics`` on the same address, not to be reached from outside; 0 takes a free one."""
    keys: Path = Path("var/keys/door")
    """The door's key folder, as ``greffier keys generate`` makes it."""
    register_file: Path | None = Field(None, validation_alias=_outside("GREFFIER_REGISTER"))
    """The register's file; the shipped one when absent."""
    origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Comma list of web sites, such as ``https://www.example.com``, whose pages may post here. A browser's request
    from any other site is refused; requests without ``Origin`` (servers) are not concerned."""
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = ()
    """Comma list of networks whose ``X-Forwarded-For`` is believed. None by default: the header is ignored."""
    queue_limit: Annotated[int, Field(ge=1)] = 20_000
    """Messages (of up to 500 events) in a queue from which on the door answers 503. Higher costs Redis memory."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """How much is said on standard error; never a word of a person, at any level."""

    @field_validator("log_level", mode="before")
    @classmethod
    def _level_in_any_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        return tuple(part.rstrip("/").lower() for part in _items(value)) if isinstance(value, str) else value

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _split_networks(cls, value: object) -> object:
        return tuple(ip_network(part) for part in _items(value)) if isinstance(value, str) else value


def _items(text: str) -> list[str]:
    return [part for part in (piece.strip() for piece in text.split(",")) if part]


class ClockSettings(BaseSettings):
    """One clock process. It seals and signs with a door's keys, and needs none of the others in that folder."""

    model_config = SettingsConfigDict(
        env_prefix="GREFFIER_", frozen=True, extra="ignore", hide_input_in_errors=True, populate_by_name=True
    )

    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"), validation_alias=_outside("GREFFIER_REDIS_URL", "REDIS_URL")
    )
    """Where the clocks agree who leads, and where ticks are put."""
    keys: Path = Path("var/keys/door")
    """``transit.public.json`` and ``publisher.private.json``, as a door has them."""
    clock_lease_ms: Annotated[int, Field(ge=300, le=20_000)] = 15_000
    """How long a clock that is not heard of goes on being the one that leads. It says so three times as often."""
    metrics_host: str = "127.0.0.1"
    """Where ``/metrics``, ``/livez`` and ``/readyz`` are answered."""
    metrics_port: _Port = 9104
    """Their port; 0 takes a free one."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


def read_door_settings() -> DoorSettings:
    """From the environment. Raises :class:`ConfigurationError` naming each bad variable, never its value."""
    return read_settings(DoorSettings)


def read_settings(kind: type[S]) -> S:
    """Settings of a kind from the environment. Raises like :func:`read_door_settings`."""
    try:
        return kind()
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        faults = (Fault(_variable(str(fault["loc"][0])), _problem(fault["type"], fault["msg"])) for fault in found)
        raise ConfigurationError("settings", *faults) from None


def _variable(name: str) -> str:
    return name if name.isupper() else f"GREFFIER_{name.upper()}"


def _problem(kind: str, message: str) -> str:
    # The message of a ValueError raised by a library quotes what was given; pydantic's own do not.
    return "is not a list of networks such as 10.0.0.0/8" if kind == "value_error" else message
