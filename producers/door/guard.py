"""Who may come in: web sites by their origin, publishers by their key; and where a visit came from, roughly.

Browsers hold no secret, so a form is only ever an anonymous person's own words; the origin list keeps other sites'
scripts out, it proves nothing. Source: R4, R27; design § 6; reliability § 8.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web

from producers.door.problems import BASE_HEADERS, Handler, Refused
from producers.settings import Network
from schemas.errors import ConfigurationError
from schemas.keyring import ApiKey, ApiKeys, read_api_keys

MAX_HOPS: Final = 20
_KEPT_BITS: Final = {4: 24, 6: 48}
"""What is kept of an address: enough for a region, too little for a household."""

log = structlog.get_logger("greffier.door")


class Origins:
    """The web sites whose pages may post here."""

    HEADERS: Final = {
        "Access-Control-Allow-Methods": "POST",
        "Access-Control-Allow-Headers": "Content-Type, Idempotency-Key, traceparent",
        "Access-Control-Max-Age": "3600",
    }

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = frozenset(allowed)

    def check(self, request: web.BaseRequest) -> None:
        """Raises :class:`Refused` 403 for a browser's request from a site that is not listed."""
        found = request.headers.getall("Origin", ())
        if found and (len(found) != 1 or found[0].lower() not in self._allowed):
            raise Refused(403, "foreign_origin", "This web site may not post here.")

    def cors(self, request: web.BaseRequest) -> dict[str, str]:
        """What lets a listed site's script read the answer."""
        origin = request.headers.get("Origin")
        if origin is None or origin.lower() not in self._allowed:
            return {}
        return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}

    async def preflight(self, request: web.Request) -> web.Response:
        """``OPTIONS`` of a route that browsers post to."""
        self.check(request)
        return web.Response(status=204, headers={**BASE_HEADERS, **self.HEADERS})

    @property
    def middleware(self) -> object:
        """Adds the headers of :meth:`cors` to every answer, refusals included."""

        @web.middleware
        async def add_cors(request: web.Request, handler: Handler) -> web.StreamResponse:
            answer = await handler(request)
            if "Origin" in request.headers:
                answer.headers.update(self.cors(request))
            return answer

        return add_cors


class Publishers:
    """The API keys, read again whenever their file changes: a revoked key is dead at the next request."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "api-keys.json"
        self._keys = ApiKeys()
        self._stamp: tuple[int, int] | None = None
        self._keys = read_api_keys(folder)
        self._stamp = self._look()

    def of(self, request: web.BaseRequest, today: date) -> ApiKey:
        """The publisher behind a request. Raises :class:`Refused` 401."""
        given = request.headers.getall("Authorization", ())
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        key = self._known().find(token.strip(), today) if scheme.lower() == "bearer" and token.isascii() else None
        if key is None:
            raise Refused(401, "unknown_key", "A valid API key is needed.", headers={"WWW-Authenticate": "Bearer"})
        return key

    def _known(self) -> ApiKeys:
        stamp = self._look()
        if stamp is not None and stamp != self._stamp:
            try:
                self._keys = read_api_keys(self._file.parent)
                self._stamp = stamp
            except ConfigurationError:
                log.error("api_keys_unreadable")  # the last good list stays in force
        return self._keys

    def _look(self) -> tuple[int, int] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino


class Networks:
    """Where a request came from, truncated. ``trusted``: proxies whose ``X-Forwarded-For`` is believed."""

    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted = tuple(trusted)

    def of(self, request: web.BaseRequest) -> str | None:
        """``192.0.2.0/24`` or ``2001:db8::/48``; None where there is no address (a Unix socket)."""
        remote = request.remote
        if remote is None:
            return None
        if not self._trusted:
            return truncated(remote)
        address = _address(remote)
        if address is None or not self._trusts(address):
            return truncated(remote)
        return truncated(str(self._behind(address, request)))

    def _behind(self, proxy: IPv4Address | IPv6Address, request: web.BaseRequest) -> IPv4Address | IPv6Address:
        """The nearest hop that no trusted proxy vouches for: everything beyond it is that hop's own invention."""
        nearest = proxy
        hops = ",".join(request.headers.getall("X-Forwarded-For", ())).split(",")
        for hop in reversed(hops[-MAX_HOPS:]):
            address = _address(hop.strip())
            if address is None:
                break
            nearest = address
            if not self._trusts(address):
                break
        return nearest

    def _trusts(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address.version == network.version and address in network for network in self._trusted)


@lru_cache(maxsize=4096)
def truncated(text: str) -> str | None:
    """The network an address belongs to. Source: R4 "the IP is truncated on arrival"."""
    address = _address(text)
    if address is None:
        return None
    return str(ip_network((address, _KEPT_BITS[address.version]), strict=False))


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
