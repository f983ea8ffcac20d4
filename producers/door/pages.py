"""What a mailed link shows a person: a small page in French or English, whole in itself, with one button or none.

It loads nothing, runs nothing, and tells no other site where the reader came from: the link is a secret.
Source: design § 5.2, § 6; reliability § 8.7.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Final

from aiohttp import web

from producers.door.problems import BASE_HEADERS

Words = Mapping[str, Mapping[str, tuple[str, str, str]]]
"""Language → kind of page → title, text, and the button's word (empty where there is no button)."""

_PAGE: Final = """<!doctype html>
<html lang="{lang}"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><main><h1>{title}</h1><p>{text}</p>{form}</main></html>
"""
_FORM: Final = '<form method="post"><input type="hidden" name="{name}" value="{value}"><button>{button}</button></form>'
_SECURITY: Final = {
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


def page(
    request: web.Request, words: Words, kind: str, status: int, hidden: tuple[str, str] | None = None
) -> web.Response:
    """A page in the reader's language. ``hidden``: name and value that its button posts back to this address."""
    language = "en" if request.headers.get("Accept-Language", "fr").lower().startswith("en") else "fr"
    title, text, button = words[language][kind]
    name, value = (escape(part, quote=True) for part in hidden or ("", ""))
    form = _FORM.format(name=name, value=value, button=button) if hidden else ""
    return web.Response(
        text=_PAGE.format(lang=language, title=title, text=text, form=form),
        status=status,
        content_type="text/html",
        charset="utf-8",
        headers={**BASE_HEADERS, **_SECURITY, "Content-Language": language},
    )
