"""``/openapi.json`` is a sound OpenAPI 3.1 document, and says what the door does."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.producers.conftest import Front
from tests.producers.samples import FORMS, cloud, consent, visit


@pytest.fixture
async def document(front: Front) -> Any:
    async with front.http.get("/openapi.json") as answer:
        assert answer.status == 200
        return await answer.json()


async def test_it_is_sound(document: Any) -> None:
    OpenAPIV31SpecValidator(document).validate()


def schema_of(document: Any, path: str, kind: str = "application/json") -> Any:
    schema = document["paths"][path]["post"]["requestBody"]["content"][kind]["schema"]
    return {"components": document["components"], **schema}


async def test_the_samples_of_these_tests_fit_it(document: Any) -> None:
    for case, form in FORMS.items():
        jsonschema.validate(form, schema_of(document, f"/forms/{case}"))
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**form, "shoe_size": 44}, schema_of(document, f"/forms/{case}"))
    for said in (consent(), visit(), [consent(), visit()]):
        jsonschema.validate(said, schema_of(document, "/cookies"))
    asked = {"right": "access", "email": "ada@example.com", "language": "en"}
    jsonschema.validate(asked, schema_of(document, "/rights"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**asked, "shoe_size": 44}, schema_of(document, "/rights"))
    jsonschema.validate(cloud(), schema_of(document, "/events", "application/cloudevents+json"))
    jsonschema.validate([cloud()], schema_of(document, "/events", "application/cloudevents-batch+json"))


async def test_it_shows_no_inner_description_of_files(document: Any) -> None:
    application = document["components"]["schemas"]["form.job-application"]["properties"]["cv"]
    assert "#/components/schemas/Upload" in str(application)


async def test_every_path_of_it_answers(front: Front, document: Any) -> None:
    for path, methods in document["paths"].items():
        for method in methods.keys() - {"parameters"}:
            of_nobody = path.replace("{reference}", "R-2222-2222-2222").replace("{token}", "of-nobody")
            async with front.http.request(method, of_nobody) as answer:
                if of_nobody != path and answer.status == 404:  # there is no such case, but there is such a path
                    assert (await answer.json(content_type=None))["code"] == "unknown_token"
                else:
                    assert answer.status not in (404, 405, 500)
