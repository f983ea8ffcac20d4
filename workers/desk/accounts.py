"""Who calls, and that it is written down. Source: R8, R30; ASVS 16.2."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import structlog
from aiohttp import web

from schemas.desk_accounts import Account, Accounts, read_accounts
from schemas.errors import ConfigurationError
from workers.stores.calls import Calls
from workers.web import Handler, Refused

log = structlog.get_logger("greffier.desk")

ACCOUNT = web.RequestKey("account", Account)


class Staff:
    """The accounts, read again whenever their file changes: a revoked one is dead at the next call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = self._look()
        self._accounts: Accounts = read_accounts(path)

    def of(self, request: web.BaseRequest, today: date) -> Account:
        """The account behind a call. Raises :class:`Refused` 401."""
        given = request.headers.getall("Authorization", ())
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        account = self._known().find(token.strip(), today) if scheme.lower() == "bearer" and token.isascii() else None
        if account is None:
            raise Refused(401, "unknown_account", "A desk account is needed.", {"WWW-Authenticate": "Bearer"})
        return account

    def _known(self) -> Accounts:
        stamp = self._look()
        if stamp is not None and stamp != self._stamp:
            try:
                self._accounts, self._stamp = read_accounts(self._path), stamp
            except ConfigurationError:
                log.error("desk accounts unreadable")  # the last good list stays in force
        return self._accounts

    def _look(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino


def known_and_recorded(staff: Staff, calls: Calls, clock: Callable[[], datetime]) -> object:
    """The middleware: no call under ``/api`` without an account, none that is not written down first."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith("/api/"):
            return await handler(request)
        now = clock()
        account = staff.of(request, now.date())
        allowed = account.decides or request.method in ("GET", "HEAD")
        resource = request.match_info.route.resource
        await calls.record(
            name=account.name,
            department=account.department,
            what=f"{request.method} {resource.canonical if resource else 'unknown'}",
            case=request.match_info.get("reference"),
            outcome="asked" if allowed else "may_not_decide",
            at=now,
        )
        if not allowed:
            raise Refused(403, "may_not_decide", "This account may look, not decide.")
        request[ACCOUNT] = account
        return await handler(request)

    return check
