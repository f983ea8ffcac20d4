"""Keys, accounts and Redis users of an installation for looking: made for one data folder, tokens in clear beside them.

Never for production: `greffier keys` and `greffier register acl` make those of a real one.
Source: design § 6.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from schemas.acl import EVERYTHING, acl_file, redis_users
from schemas.desk_accounts import FILE as DESK_ACCOUNTS
from schemas.desk_accounts import add_account, new_account
from schemas.errors import ConfigurationError, Fault
from schemas.keyring import add_api_key, generate_keys, new_api_key
from schemas.register import load_register
from schemas.terms import Department


def make_keys(folder: Path) -> str:
    """Every key of this folder's installation, made once; returns the sample CRM's key.

    The sample's token stands beside the keys in clear, which no real installation does: this one is for looking.
    """
    sample = folder / "sample-crm-api-key"
    if not folder.exists():
        unfinished = folder.with_name(f"{folder.name}.unfinished-{os.getpid()}")
        generate_keys(unfinished)
        token, entry = new_api_key()
        add_api_key(unfinished / "door", entry)
        (unfinished / sample.name).touch(mode=0o600)
        (unfinished / sample.name).write_text(token)
        _open_desk_accounts(unfinished)
        unfinished.rename(folder)  # whole or not at all: a start that was cut off leaves no half set
    try:
        return sample.read_text()
    except OSError:
        fault = Fault(str(sample), "is missing: these keys were not made by `greffier up`; name another data folder")
        raise ConfigurationError("data folder", fault) from None


def make_redis_users(file: Path, register: Path, users: Iterable[str]) -> dict[str, str]:
    """Write an embedded Redis's users: these with passwords, everything for whoever sits at this machine.

    Returns the passwords by user, new ones at every start.
    """
    passwords = {user: secrets.token_urlsafe(32) for user in users}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(acl_file(redis_users(load_register(register)), passwords, EVERYTHING))
    return passwords


def _open_desk_accounts(folder: Path) -> None:
    """One that decides, and one for a mailing tool; their tokens stand beside the keys in clear, like the CRM's."""
    for file, name, department, decides in (
        ("sample-desk-token", "sample.officer", Department.ADMINISTRATION, True),
        ("sample-mailer-token", "sample.mailer", Department.MARKETING_SALES, False),
    ):
        token, account = new_account(name, department, decides=decides)
        add_account(folder / DESK_ACCOUNTS, account)
        (folder / file).touch(mode=0o600)
        (folder / file).write_text(token)
