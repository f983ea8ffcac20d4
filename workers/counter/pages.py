"""The counter's few pages, in French and English: no script, no cookie, nothing from elsewhere."""

from __future__ import annotations

from html import escape
from typing import Final

from aiohttp import web

from workers.web import BASE_HEADERS

_PAGE: Final = """<!doctype html>
<html lang="{lang}"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><main><h1>{title}</h1>{body}</main></html>
"""
_FORM: Final = '<form method="post"><button>{button}</button></form>'

_WORDS: Final = {
    "fr": {
        "download": (
            "Vos données",
            "Le fichier ne peut être téléchargé qu'une fois, jusqu'à l'expiration du lien.",
            "Télécharger",
        ),
        "gone": (
            "Lien expiré",
            "Ce lien a expiré ou a déjà servi. Vous pouvez présenter votre demande à nouveau.",
            "",
        ),
        "status": ("Votre demande", "", ""),
    },
    "en": {
        "download": ("Your data", "The file can be downloaded once, until the link expires.", "Download"),
        "gone": ("Link expired", "This link has expired or was used. You may make your request again.", ""),
        "status": ("Your request", "", ""),
    },
}
_STATUS: Final = {
    "fr": {
        "reference": "Référence",
        "right": "Droit",
        "state": "État",
        "received_on": "Reçue le",
        "due_on": "Réponse au plus tard le",
        "extended": "Délai prolongé",
        "answered_on": "Réponse envoyée le",
    },
    "en": {
        "reference": "Reference",
        "right": "Right",
        "state": "State",
        "received_on": "Received on",
        "due_on": "Answer due by",
        "extended": "Period extended",
        "answered_on": "Answer sent on",
    },
}
_STATES: Final = {
    "fr": {
        "received": "reçue, à confirmer par le lien envoyé",
        "identity_pending": "en attente d'une preuve d'identité",
        "accepted": "en cours de traitement",
        "answered": "réponse envoyée",
        "refused": "refusée, motifs envoyés",
        "withdrawn": "sans suite",
    },
    "en": {
        "received": "received, to be confirmed by the mailed link",
        "identity_pending": "waiting for proof of identity",
        "accepted": "being handled",
        "answered": "answer sent",
        "refused": "refused, reasons sent",
        "withdrawn": "withdrawn",
    },
}


def language_of(request: web.Request) -> str:
    """English where it is asked for first, French otherwise."""
    return "en" if request.headers.get("Accept-Language", "fr").lower().startswith("en") else "fr"


def page(request: web.Request, kind: str, status: int = 200) -> web.Response:
    """One of the pages that say the same to everybody."""
    language = language_of(request)
    title, text, button = _WORDS[language][kind]
    form = _FORM.format(button=escape(button)) if button else ""
    return html(language, title, f"<p>{escape(text)}</p>{form}", status)


def status_page(request: web.Request, told: dict[str, object]) -> web.Response:
    """What :func:`workers.counter.app.status_of` tells, as a page."""
    language = language_of(request)
    rows = []
    for name, value in told.items():
        shown = _STATES[language].get(str(value), value) if name == "state" else value
        rows.append(f"<dt>{escape(_STATUS[language][name])}</dt><dd>{escape(_plain(shown, language))}</dd>")
    return html(language, _WORDS[language]["status"][0], f"<dl>{''.join(rows)}</dl>", 200)


def _plain(value: object, language: str) -> str:
    if isinstance(value, bool):
        return {"fr": ("non", "oui"), "en": ("no", "yes")}[language][value]
    return str(value)


def html(language: str, title: str, body: str, status: int) -> web.Response:
    """A whole page. ``body``: HTML, whose every word from outside was escaped."""
    return web.Response(
        text=_PAGE.format(lang=language, title=escape(title), body=body),
        status=status,
        content_type="text/html",
        charset="utf-8",
        headers={**BASE_HEADERS, "Content-Language": language},
    )
