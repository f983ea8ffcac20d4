"""The door described in OpenAPI 3.1, drawn from the very shapes that judge what comes in.

Source: design § 6 ``/openapi.json``.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

from pydantic_core import to_json

from producers.door.events import BATCH, STRUCTURED
from producers.door.form_data import FORM, MULTIPART
from producers.door.problems import JSON, PROBLEM_JSON
from producers.door.unsubscribe import ONE_CLICK
from producers.intake import FILE_FIELDS, PUBLISHABLE
from schemas import routes
from schemas.envelope import MAX_EVENTS
from schemas.rights import ASKED, REFERENCE_PATTERN
from schemas.routes import Route, form_type
from schemas.shapes import Shape
from schemas.submissions import FORM_CASES

_PROBLEM: Final = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "errors"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "a stable short word for programs"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"$ref": "#/components/schemas/Fault"}},
    },
}
_FAULT: Final = {
    "type": "object",
    "required": ["detail", "pointer"],
    "properties": {
        "detail": {"type": "string", "description": "a fixed sentence; never what was submitted"},
        "pointer": {"type": "string", "description": "RFC 6901, into what was submitted"},
    },
}
_OUTCOME: Final = {
    "type": "object",
    "required": ["accepted", "refused"],
    "properties": {
        "accepted": {"type": "integer"},
        "refused": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["index", "id", "errors"],
                "properties": {
                    "index": {"type": "integer"},
                    "id": {"type": ["string", "null"]},
                    "errors": {"type": "array", "items": {"$ref": "#/components/schemas/Fault"}},
                },
            },
        },
    },
}
_RECEIVED: Final = {
    "type": "object",
    "required": ["id", "received_at"],
    "properties": {"id": {"type": "string"}, "received_at": {"type": "string", "format": "date-time"}},
}
_ASKED: Final = {
    "type": "object",
    "required": ["reference"],
    "properties": {"reference": {"type": "string", "pattern": REFERENCE_PATTERN}},
}
_HTML: Final = {"text/html": {"schema": {"type": "string"}}}
_UPLOAD: Final = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "content"],
    "properties": {"name": {"type": "string"}, "content": {"type": "string", "contentEncoding": "base64"}},
}


def describe(known: dict[str, Route]) -> bytes:
    """The document as JSON. ``known``: every type by its route, as the intake has them."""
    schemas: dict[str, Any] = {
        "Problem": _PROBLEM,
        "Fault": _FAULT,
        "Outcome": _OUTCOME,
        "Received": _RECEIVED,
        "Upload": _UPLOAD,
        "Asked": _ASKED,
    }
    paths: dict[str, Any] = {f"/forms/{case}": _form(known[form_type(case)], schemas) for case in FORM_CASES}
    paths["/events"] = _events(known, schemas)
    paths["/cookies"] = _cookies(known, schemas)
    paths["/rights"], paths["/rights/{reference}/confirm"] = _rights(schemas), _confirm()
    paths["/unsubscribe/{token}"] = _unsubscribe()
    paths["/preferences/{token}"] = _preferences(known[routes.PREFERENCE_CHANGED], schemas)
    for path, about in (("/livez", "Whether this process answers"), ("/readyz", "Whether it can accept now")):
        paths[path] = {"get": {"summary": about, "responses": {"200": {"description": "yes"}, **_refusals("503")}}}
    return to_json(
        {
            "openapi": "3.1.0",
            "info": {"title": "greffier: the door", "version": version("greffier")},
            "paths": paths,
            "components": {
                "schemas": schemas,
                "securitySchemes": {"publisher": {"type": "http", "scheme": "bearer"}},
            },
        }
    )


def _form(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    body = _component(route.shape, schemas)
    content = {kind: {"schema": {"$ref": f"#/components/schemas/{body}"}} for kind in (JSON, FORM, MULTIPART)}
    return {
        "post": {
            "operationId": f"post.{route.type}",
            "summary": f"Hand in the form {route.case}",
            "parameters": [_IDEMPOTENCY],
            "requestBody": {"required": True, "content": content},
            "responses": {
                "202": _answer("kept", "Received"),
                "303": {"description": "kept; a browser that posted a plain form is led to a page"},
                **_refusals("400", "403", "408", "409", "413", "415", "422", "503"),
            },
        }
    }


_IDEMPOTENCY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "maxLength": 257},
    "description": "the same key and body within 24 hours is one event",
}


def _events(known: dict[str, Route], schemas: dict[str, Any]) -> dict[str, Any]:
    events = [_cloud_event(known[name], schemas) for name in sorted(PUBLISHABLE)]
    schemas["CloudEvent"] = {"oneOf": events}
    one, all_data = {"$ref": "#/components/schemas/CloudEvent"}, [event["properties"]["data"] for event in events]
    content = {
        STRUCTURED: {"schema": one},
        BATCH: {"schema": {"type": "array", "minItems": 1, "maxItems": MAX_EVENTS, "items": one}},
        JSON: {"schema": {"anyOf": all_data}},
    }
    return {
        "post": {
            "operationId": "post.events",
            "summary": "Publish CloudEvents: structured, in a batch, or binary (attributes in ce-* headers)",
            "security": [{"publisher": []}],
            "parameters": [_IDEMPOTENCY],
            "requestBody": {"required": True, "content": content},
            "responses": {
                "202": _answer("what was accepted is kept; what was refused is named", "Outcome"),
                **_refusals("400", "401", "403", "408", "413", "415", "422", "503"),
            },
        }
    }


def _cloud_event(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["specversion", "id", "source", "type", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {"type": "string"},
            "source": {"type": "string"},
            "type": {"const": route.type},
            "time": {"type": "string", "format": "date-time"},
            "data": {"$ref": f"#/components/schemas/{_component(route.shape, schemas)}"},
        },
    }


def _cookies(known: dict[str, Route], schemas: dict[str, Any]) -> dict[str, Any]:
    kinds = []
    for name in (routes.COOKIE_CONSENT, routes.COOKIE_VISIT):
        component = schemas[_component(known[name].shape, schemas)]
        component["properties"] = {"id": {"type": "string"}, **component["properties"]}
        component["properties"].pop("network", None)
        component["required"] = ["id", *component["required"]]
        kinds.append({"$ref": f"#/components/schemas/{known[name].shape.name}"})
    body = {"oneOf": [*kinds, {"type": "array", "minItems": 1, "maxItems": MAX_EVENTS, "items": {"oneOf": kinds}}]}
    content = {kind: {"schema": body} for kind in (JSON, "text/plain")}
    return {
        "post": {
            "operationId": "post.cookies",
            "summary": "Report consents and visits",
            "requestBody": {"required": True, "content": content},
            "responses": {
                "202": _answer("what was accepted is kept; what was refused is named", "Outcome"),
                **_refusals("400", "403", "408", "413", "415", "422", "503"),
            },
        }
    }


def _rights(schemas: dict[str, Any]) -> dict[str, Any]:
    name = _component(ASKED, schemas)
    content = {kind: {"schema": {"$ref": f"#/components/schemas/{name}"}} for kind in (JSON, FORM, MULTIPART)}
    return {
        "post": {
            "operationId": "post.rights",
            "summary": "Ask for a right, or object; but for an objection, a link to the address given confirms it",
            "requestBody": {"required": True, "content": content},
            "responses": {
                "202": _answer("kept; the same for everybody, known or unknown", "Asked"),
                **_refusals("400", "403", "408", "413", "415", "422", "503"),
            },
        }
    }


def _confirm() -> dict[str, Any]:
    token = {"type": "object", "required": ["token"], "properties": {"token": {"type": "string"}}}
    reference = {"name": "reference", "in": "path", "required": True, "schema": {"type": "string"}}
    given = {"name": "token", "in": "query", "required": True, "schema": {"type": "string"}}
    expired = {"410": {"description": "the link has ended", "content": _HTML}}
    return {
        "parameters": [reference],
        "get": {
            "operationId": "get.rights.confirm",
            "summary": "What the mailed link opens: a page with one button; it changes nothing",
            "parameters": [given],
            "responses": {"200": {"description": "a page", "content": _HTML}, **expired, **_refusals("404")},
        },
        "post": {
            "operationId": "post.rights.confirm",
            "summary": "Confirm the address; the token is good once",
            "requestBody": {"required": True, "content": {kind: {"schema": token} for kind in (JSON, FORM, MULTIPART)}},
            "responses": {
                "202": _answer("the token is ours, of this case, and in time", "Asked"),
                **expired,
                **_refusals("400", "404", "408", "413", "415", "503"),
            },
        },
    }


def _unsubscribe() -> dict[str, Any]:
    name, value = ONE_CLICK
    said = {"type": "object", "required": [name], "properties": {name: {"const": value}}}
    expired = {"410": {"description": "the link has ended", "content": _HTML}}
    return {
        "parameters": [{"name": "token", "in": "path", "required": True, "schema": {"type": "string"}}],
        "get": {
            "operationId": "get.unsubscribe",
            "summary": "What the link in a mail opens: a page with one button; it changes nothing",
            "responses": {"200": {"description": "a page", "content": _HTML}, **expired, **_refusals("404")},
        },
        "post": {
            "operationId": "post.unsubscribe",
            "summary": "Unsubscribe with one click (RFC 8058); may be repeated",
            "requestBody": {"required": True, "content": {kind: {"schema": said} for kind in (FORM, MULTIPART)}},
            "responses": {
                "202": {"description": "kept; the same for everybody, the first time and each other", "content": _HTML},
                **expired,
                **_refusals("400", "404", "408", "413", "415", "422", "503"),
            },
        },
    }


def _preferences(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    whole = route.shape.json_schema()
    for name in ("list", "reference"):  # what the link says
        del whole["properties"][name]
        whole["required"].remove(name)
    schemas[route.shape.name] = _rehung(whole)
    content = {JSON: {"schema": {"$ref": f"#/components/schemas/{route.shape.name}"}}}
    return {
        "parameters": [{"name": "token", "in": "path", "required": True, "schema": {"type": "string"}}],
        "post": {
            "operationId": "post.preferences",
            "summary": "Purposes accepted or refused by a mailed link, as the counter hands them on",
            "requestBody": {"required": True, "content": content},
            "responses": {
                "202": {"description": "kept; the same for everybody"},
                **_refusals("400", "404", "408", "410", "413", "415", "422", "503"),
            },
        },
    }


def _component(shape: Shape, schemas: dict[str, Any]) -> str:
    """Put a shape's JSON Schema among the components, its inner definitions beside it; its name there."""
    name = shape.name
    if name not in schemas:
        own = _rehung(shape.json_schema())
        for inner, schema in own.pop("$defs", {}).items():
            schemas.setdefault(inner, schema)
        for field in FILE_FIELDS:
            _replace_stored_file(own["properties"].get(field))
        schemas[name] = own
    return name


def _replace_stored_file(field: Any) -> None:
    """From outside a file is handed in; how it is described inside is nobody's business."""
    for schema in (field, *field.get("anyOf", ())) if field else ():
        if schema.get("$ref", "").endswith("/stored_file"):
            schema["$ref"] = "#/components/schemas/Upload"


def _rehung(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {
            key: value.replace("#/$defs/", "#/components/schemas/") if key == "$ref" else _rehung(value)
            for key, value in schema.items()
        }
    return [_rehung(item) for item in schema] if isinstance(schema, list) else schema


def _answer(description: str, schema: str) -> dict[str, Any]:
    return {"description": description, "content": {JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}


def _refusals(*statuses: str) -> dict[str, Any]:
    content = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": "not accepted", "content": content} for status in statuses}
