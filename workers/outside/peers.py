"""Whom we speak with outside, as data: one folder that an operator fills, read once at start.

======================== ==================================================================================
file                     what it is
======================== ==================================================================================
outside.yaml             who may ask, what they are called, where they may be called back (docs/outside.md)
transit.public.json      seals a request to the controller; opens nothing
publisher.private.json   signs what is sealed as this counter's
api-keys.json            tells a controller's key: only digests stand here
anchors.pem              the authorities whose word about processors we take
opendsr.key.pem, .cert   sign our answers: :mod:`workers.outside.seal`
idempotency.key          tells whether two requests under one id say the same, without keeping either
======================== ==================================================================================

Whoever is not named there is refused; what is named and cannot be used stops the start, by name.
Source: rights-protocols § 2, § 3; ASVS 13.3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
)

from schemas.errors import ConfigurationError, Fault
from schemas.register_reading import dotted, read_mapping
from workers.rules.drp import AGENT_ID, read_key

FILE: Final = "outside.yaml"

Https = Annotated[str, StringConstraints(pattern=r"^https://[A-Za-z0-9.-]+(:[0-9]+)?(/[\x21-\x7e]*)?$", max_length=500)]
Host = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=253)]
DrpId = Annotated[str, StringConstraints(pattern=rf"^{AGENT_ID.pattern}$")]


def _a_name(host: str) -> str:
    try:
        ip_address(host)
    except ValueError:
        return host
    raise ValueError("an address is no name")


Named = Annotated[Host, AfterValidator(_a_name)]
"""A host by its name: an address would be called without asking where it leads."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True)


class _FromDirectory(_Entry):
    """An entry as the network's directory has it; what we do not use of it may stand there."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, arbitrary_types_allowed=True)


class Agent(_FromDirectory):
    """An authorised agent. ``callback_hosts``: ours to add, where its calls back do not go to ``web_url``'s host."""

    id: DrpId
    verify_key: str
    web_url: Https
    callback_hosts: tuple[Named, ...] = ()

    @field_validator("verify_key")
    @classmethod
    def _is_a_key(cls, text: str) -> str:
        read_key(text)
        return text

    @field_validator("web_url")
    @classmethod
    def _has_a_name(cls, url: str) -> str:
        _a_name(str(urlsplit(url).hostname))
        return url

    @property
    def key(self) -> Ed25519PublicKey:
        """What verifies its messages."""
        return read_key(self.verify_key)

    @property
    def hosts(self) -> frozenset[str]:
        """Where it may be called back."""
        return frozenset({str(urlsplit(self.web_url).hostname), *self.callback_hosts})


class Business(_FromDirectory):
    """We ourselves, as the directory names us. ``user_verification_url``: where people prove who they are."""

    id: DrpId
    user_verification_url: Https


class DrpPeers(_Entry):
    """The Data Rights Protocol's network."""

    business: Business
    agents: tuple[Agent, ...] = Field(min_length=1)

    @property
    def by_id(self) -> Mapping[str, Agent]:
        """Agents by id."""
        return {agent.id: agent for agent in self.agents}


class Controller(_Entry):
    """A controller whose processor we are. ``key``: the id of its key in ``api-keys.json``."""

    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,50}$")]
    key: str
    callback_hosts: tuple[Named, ...] = ()


class Processor(_Entry):
    """An external processor that we ask. ``domain``: which its certificate names; ``url``: where its version 2 is.

    ``token``: what it knows us by, where it wants one. ``revoked``: serial numbers of certificates not to be believed.
    """

    domain: Named
    url: Https
    token: SecretStr | None = None
    revoked: tuple[int, ...] = ()

    @property
    def hosts(self) -> frozenset[str]:
        """Where its certificate may be fetched."""
        return frozenset({self.domain, str(urlsplit(self.url).hostname)})


class OpendsrPeers(_Entry):
    """Those who speak OpenDSR. ``domain``: ours, dedicated to it, which our certificate names."""

    domain: Named
    controllers: tuple[Controller, ...] = ()
    processors: tuple[Processor, ...] = ()

    def processor(self, domain: str) -> Processor:
        """Raises KeyError."""
        return {one.domain: one for one in self.processors}[domain]

    @property
    def by_id(self) -> Mapping[str, Controller]:
        """Controllers by id."""
        return {controller.id: controller for controller in self.controllers}


class Peers(_Entry):
    """Everybody outside. ``public_url``: how this counter is reached by them."""

    public_url: Https
    drp: DrpPeers | None = None
    opendsr: OpendsrPeers | None = None


M = TypeVar("M", bound=BaseModel)


def read_peers(folder: Path) -> Peers:
    """The folder's ``outside.yaml``. Raises :class:`ConfigurationError` naming every fault, never a value."""
    found, faults = read_mapping(folder / FILE)
    if faults:
        raise ConfigurationError(FILE, *faults)
    return _checked(Peers, found)


def _checked(model: type[M], found: Mapping[str, Any]) -> M:
    try:
        return model.model_validate(found)
    except ValidationError as error:
        named = error.errors(include_url=False, include_input=False, include_context=False)
        faults = (Fault(dotted(tuple(map(str, one["loc"]))), _problem(one)) for one in named)
        raise ConfigurationError(FILE, *faults) from None


def _problem(fault: Any) -> str:
    # The message of a ValueError raised by a library may quote what was given; pydantic's own do not.
    return "cannot be read" if fault["type"] == "value_error" else str(fault["msg"])
