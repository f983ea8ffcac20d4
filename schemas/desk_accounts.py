"""Who may use the desk: accounts of staff and of tools, by name and department, as digests in one file.

======================== ========= ===============================================================
file                     held by   what it can do
======================== ========= ===============================================================
desk-accounts.json       desk      tell an account's token: only SHA-256 digests stand here
======================== ========= ===============================================================

An account reads cases; one that ``decides`` may also decide. Source: R8, R30; ASVS 13.3.1.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final

from schemas.errors import InvalidMessage
from schemas.keyfiles import naming, read_json, write_json
from schemas.terms import Department

FILE: Final = "desk-accounts.json"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
"""An account's name stands in evidence: no person's full name, no address."""

_SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Account:
    """One account as the desk keeps it."""

    id: str
    name: str
    department: Department
    sha256: str
    decides: bool = False
    expires: str | None = None
    revoked: bool = False

    def usable(self, today: date) -> bool:
        return not self.revoked and (self.expires is None or today <= date.fromisoformat(self.expires))


@dataclass(frozen=True, slots=True)
class Accounts:
    """The accounts a desk knows, by id."""

    accounts: Mapping[str, Account]

    def find(self, token: str, today: date) -> Account | None:
        """The live account behind a bearer token ``gd_<id>_<secret>``, compared in constant time."""
        parts = token.split("_", 2)
        if len(parts) != 3 or parts[0] != "gd":
            return None
        account = self.accounts.get(parts[1])
        digest = hashlib.sha256(parts[2].encode()).hexdigest()
        if not hmac.compare_digest(digest, account.sha256 if account else "0" * 64) or account is None:
            return None
        return account if account.usable(today) else None


def new_account(name: str, department: Department, *, decides: bool = False) -> tuple[str, Account]:
    """A fresh token, shown once, and the entry that stands for it. Raises :class:`InvalidMessage` ``not_a_name``."""
    if not NAME.fullmatch(name):
        raise InvalidMessage("not_a_name")
    account_id, secret = secrets.token_hex(6), secrets.token_urlsafe(_SECRET_BYTES)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    return f"gd_{account_id}_{secret}", Account(account_id, name, department, digest, decides)


def read_accounts(path: Path) -> Accounts:
    """Raises :class:`schemas.errors.ConfigurationError`."""
    entries = read_json(path)
    with naming(path.name):
        found = [Account(**{**one, "department": Department(one["department"])}) for one in entries["accounts"]]
        return Accounts({account.id: account for account in found})


def add_account(path: Path, account: Account) -> None:
    """Add one entry; the file is made where there is none."""
    known = read_accounts(path).accounts.values() if path.exists() else ()
    _write(path, (*known, account))


def revoke_account(path: Path, account_id: str) -> bool:
    """Mark an account as revoked; ``False`` when there is none of that id."""
    known = read_accounts(path).accounts
    if account_id not in known:
        return False
    _write(path, (replace(one, revoked=one.revoked or one.id == account_id) for one in known.values()))
    return True


def _write(path: Path, accounts: Iterable[Account]) -> None:
    write_json(path, {"accounts": [asdict(account) for account in accounts]})
