"""Addresses that strangers give us to call: plain https, on a host that somebody here has named. Pure.

Source: ASVS 1.3.6; messaging-standards § 6 "guard against SSRF".
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

_LONGEST: Final = 2048


def is_https(url: str, hosts: frozenset[str]) -> bool:
    """Whether this is a plain https URL on one of these hosts."""
    try:
        found = urlsplit(url)
        found.port  # noqa: B018 - looks at it, and raises ValueError where it is none
    except ValueError:
        return False
    printable = len(url) <= _LONGEST and url.isascii() and url.isprintable() and " " not in url
    return printable and found.scheme == "https" and "@" not in found.netloc and found.hostname in hosts
