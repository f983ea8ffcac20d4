"""A controller at the counter, by OpenDSR, from discovery to the end of a case."""

from __future__ import annotations

import base64
import json
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from structlog.testing import capture_logs

from schemas.errors import ConfigurationError
from schemas.keyring import revoke_api_key
from schemas.terms import Case
from tests.factories import form, someone
from tests.workers.cases.court import letters
from tests.workers.outside.certificates import Authority
from tests.workers.outside.conftest import InCourt
from workers.outside.seal import read_processor_key
from workers.rules.opendsr import moment
from workers.rules.signatures import check_signature

SHOP = {"Authorization": "Bearer gk_shop_shop-secret"}
CLUB = {"Authorization": "Bearer gk_club_club-secret"}


class Controller:
    """A controller's system: every answer's signature is checked by the certificate that discovery names."""

    def __init__(self, caller: InCourt) -> None:
        self.caller = caller
        self.certificate: x509.Certificate | None = None

    async def call(self, method: str, path: str, body: Any = None, key: dict[str, str] = SHOP) -> tuple[int, Any]:
        """Status and answer. ``body``: bytes as they are, else as JSON."""
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        async with self.caller.http.request(method, path, data=raw, headers=key) as answered:
            content = await answered.read()
            name = "X-OpenDSR" if path.startswith("/v2") else "X-OpenGDPR"
            if answered.status < 300 and answered.content_type == "application/json":
                assert answered.headers[f"{name}-Processor-Domain"] == "opendsr.example.com"
                check_signature(await self.known(), content, answered.headers[f"{name}-Signature"])
            is_json = answered.content_type == "application/json"
            return answered.status, json.loads(content) if is_json else content

    async def known(self) -> x509.Certificate:
        if self.certificate is None:
            async with self.caller.http.get("/v2/certificate.pem") as answered:
                self.certificate = x509.load_pem_x509_certificate(await answered.read())
        return self.certificate

    async def ask(self, path: str = "/v2/requests", **changed: Any) -> dict[str, Any]:
        """A request that is taken; what it said."""
        said = asked(**changed)
        status, told = await self.call("POST", path, said)
        assert status == 201, told
        return said

    async def status(self, request_id: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self.call("GET", f"/v2/requests/{request_id}"))[1]
        return found

    async def opened(self, request_id: str) -> str:
        """The case that the controller's group made of a request."""
        kept = self.caller.bench.collection("outside", "evidence")
        return await self.caller.opened(next(one["_id"] for one in kept if one["known_as"] == request_id))


def asked(email: str = "ada@example.com", **changed: Any) -> dict[str, Any]:
    identity = {"identity_type": "email", "identity_value": email, "identity_format": "raw"}
    said = {
        "regulation": "gdpr",
        "subject_request_id": str(uuid.uuid4()),
        "subject_request_type": "erasure",
        "submitted_time": "2026-11-20T08:30:00Z",
        "subject_identities": [identity],
        "api_version": "2.0",
        "status_callback_urls": ["https://shop.example.org/opendsr/callbacks"],
    }
    return said | changed


@pytest.fixture
def shop(caller: InCourt) -> Controller:
    return Controller(caller)


async def test_discovery_says_what_is_served(shop: Controller) -> None:
    status, told = await shop.call("GET", "/v2/discovery", key={})
    assert status == 200
    assert told["api_version"] == "2.0"
    assert told["supported_identities"] == [{"identity_type": "email", "identity_format": "raw"}]
    assert sorted(told["supported_subject_request_types"]) == ["access", "erasure", "portability"]
    assert told["processor_certificate"] == "https://opendsr.example.com/v2/certificate.pem"
    for place in ("/v1", ""):
        assert (await shop.call("GET", f"{place}/discovery", key={}))[1]["api_version"] == "1.0"


async def test_an_erasure_from_the_request_to_its_completion(shop: Controller) -> None:
    court, whom = shop.caller.court, someone()
    await shop.caller.bench.send(form(Case.CONTACT, whom))
    said = asked(whom.email)
    raw = json.dumps(said, indent=3).encode()
    with capture_logs() as logged:
        status, told = await shop.call("POST", "/v2/requests", raw)
    assert status == 201
    assert base64.b64decode(told.pop("encoded_request")) == raw
    assert told["controller_id"] == "shop"
    assert told["subject_request_id"] == said["subject_request_id"]
    everything = json.dumps(shop.caller.bench.collection("outside", "evidence"), default=str) + json.dumps(logged)
    assert whom.email not in everything
    assert base64.b64encode(raw).decode() not in everything
    assert any(len(one.get("sha256", "")) == 64 for one in logged)

    request_id = said["subject_request_id"]
    reference = await shop.opened(request_id)
    case = await court.case(reference)
    assert (case["channel"], case["peer"]) == ("controller", "opendsr:shop")
    assert told["expected_completion_time"] == moment(case["answer_by"] - timedelta(seconds=1))
    assert "through a company that we process data for" in (await letters(court, reference))["confirmation-1"]
    assert (await shop.status(request_id))["request_status"] == "pending"
    await court.confirm(reference)
    assert (await shop.status(request_id))["request_status"] == "in_progress"
    await court.run(reference)
    done = await shop.status(request_id)
    assert done["request_status"] == "completed"
    assert "results_url" not in done


async def test_known_and_unknown_are_told_the_same(shop: Controller) -> None:
    known, unknown = someone(), someone()
    await shop.caller.bench.send(form(Case.CONTACT, known))
    told = []
    for whom in (known, unknown):
        said = asked(whom.email)
        first = (await shop.call("POST", "/v2/requests", said))[1]
        reference = await shop.opened(said["subject_request_id"])
        states = [first, await shop.status(said["subject_request_id"])]
        await shop.caller.court.confirm(reference)
        await shop.caller.court.run(reference)
        states.append(await shop.status(said["subject_request_id"]))
        own = ("subject_request_id", "received_time", "encoded_request")
        told.append([{name: one[name] for name in one if name not in own} for one in states])
    assert told[0] == told[1]


@pytest.mark.parametrize("word", ["access", "portability"])
async def test_results_are_handed_over_once_to_who_asked(shop: Controller, word: str) -> None:
    whom = someone()
    await shop.caller.bench.send(form(Case.JOB_APPLICATION, whom))
    said = await shop.ask(email=whom.email, subject_request_type=word)
    reference = await shop.opened(said["subject_request_id"])
    await shop.caller.court.confirm(reference)
    await shop.caller.court.run(reference)
    url = (await shop.status(said["subject_request_id"]))["results_url"]
    path = url.removeprefix("https://opendsr.example.com")
    assert (await shop.call("GET", path, key=CLUB))[0] == 404
    assert (await shop.call("GET", path, key={}))[0] == 401
    status, package = await shop.call("GET", path)
    assert (status, package[:2]) == (200, b"PK")
    assert (await shop.call("GET", path))[0] == 410


async def test_version_1_is_honoured(shop: Controller) -> None:
    for place in ("/v1", ""):
        said = asked(api_version="1.0", regulation=None)
        del said["regulation"]
        path = f"{place}/opengdpr_requests"
        assert (await shop.call("POST", path, said))[0] == 201
        own = f"{path}/{said['subject_request_id']}"
        assert (await shop.call("GET", own))[1]["request_status"] == "pending"
        assert (await shop.call("DELETE", own))[0] == 202
    assert (await shop.call("POST", "/v2/requests", said))[1]["error"]["errors"][0]["reason"] == "bad_regulation"


async def test_the_shape_of_3_is_read(shop: Controller) -> None:
    identities = {"email": {"value": "ada@example.com", "encoding": "raw"}}
    said = await shop.ask(api_version="3.0", subject_identities=identities, group_id="7")
    assert await shop.opened(said["subject_request_id"])


async def test_the_same_request_again_gets_the_same_and_another_409(shop: Controller) -> None:
    said = asked()
    first = await shop.call("POST", "/v2/requests", said)
    assert await shop.call("POST", "/v2/requests", said) == first
    status, told = await shop.call("POST", "/v2/requests", said | {"subject_request_type": "access"})
    assert (status, told["error"]["code"]) == (409, 409)
    assert (await shop.call("POST", "/v2/requests", said, key=CLUB))[0] == 400  # its callback is not on club's hosts
    own = {name: value for name, value in said.items() if name != "status_callback_urls"}
    assert (await shop.call("POST", "/v2/requests", own, key=CLUB))[0] == 201  # ids are each controller's own
    assert len(shop.caller.bench.collection("outside", "evidence")) == 2


@pytest.mark.parametrize("opened", [False, True])
async def test_what_is_pending_is_cancelled(shop: Controller, opened: bool) -> None:
    said = await shop.ask()
    if opened:
        reference = await shop.opened(said["subject_request_id"])
    path = f"/v2/requests/{said['subject_request_id']}"
    first = await shop.call("DELETE", path)
    assert first[0] == 202
    assert first[1].keys() == {"controller_id", "received_time", "subject_request_id", "api_version"}
    assert await shop.call("DELETE", path) == first
    assert (await shop.status(said["subject_request_id"]))["request_status"] == "cancelled"
    if opened:
        assert (await shop.caller.court.case(reference))["answer"] == "withdrawn"


async def test_what_is_running_is_not_cancelled(shop: Controller) -> None:
    said = await shop.ask()
    reference = await shop.opened(said["subject_request_id"])
    await shop.caller.court.confirm(reference)
    status, told = await shop.call("DELETE", f"/v2/requests/{said['subject_request_id']}")
    assert (status, told["error"]["errors"][0]["reason"]) == (400, "not_pending")
    assert (await shop.caller.court.run(reference))["answer"] == "answered"


async def test_every_bad_request_has_its_code_and_leaves_nothing(shop: Controller) -> None:
    hashed = {"identity_type": "email", "identity_value": "a" * 64, "identity_format": "sha256"}
    for body, status in (
        (b"{", 400),
        (b"A" * 70_000, 413),
        (asked("nobody"), 400),
        (asked(subject_identities=[hashed]), 400),
        (asked(subject_request_type="rectification"), 400),
        (asked(status_callback_urls=["https://10.0.0.1/"]), 400),
    ):
        found, told = await shop.call("POST", "/v2/requests", body)
        assert (found, told["error"]["code"]) == (status, status)
    unknown = str(uuid.uuid4())
    assert (await shop.call("GET", f"/v2/requests/{unknown}"))[0] == 404
    assert (await shop.call("DELETE", f"/v2/requests/{unknown}"))[0] == 404
    assert (await shop.call("GET", "/v2/requests/not-a-uuid"))[0] == 400
    assert not shop.caller.bench.collection("outside", "evidence")


async def test_who_shows_no_good_key_is_401(shop: Controller, outside_keys: Path) -> None:
    for shown in ({}, {"Authorization": "Bearer gk_shop_wrong"}, {"Authorization": "Basic gk_shop_shop-secret"}):
        status, told = await shop.call("POST", "/v2/requests", asked(), key=shown)
        assert (status, told["error"]["code"]) == (401, 401)
    before = (outside_keys / "api-keys.json").read_text()
    try:
        revoke_api_key(outside_keys, "shop")
        assert (await shop.call("POST", "/v2/requests", asked()))[0] == 401  # at once, without a restart
    finally:
        (outside_keys / "api-keys.json").unlink()
        (outside_keys / "api-keys.json").write_text(before)


def test_a_key_that_cannot_sign_for_the_domain_stops_the_start(tmp_path: Path, authority: Authority) -> None:
    def fault(domain: str = "opendsr.example.com") -> str:
        with pytest.raises(ConfigurationError) as caught:
            read_processor_key(tmp_path, domain)
        return str(caught.value)

    key, certificate = tmp_path / "opendsr.key.pem", tmp_path / "opendsr.cert.pem"
    assert "opendsr.key.pem: No such file" in fault()
    issued = authority.issue("opendsr.example.com")
    key.write_bytes(issued.key_pem)
    certificate.write_bytes(b"nothing")
    assert "opendsr.cert.pem: is not a readable key file" in fault()
    certificate.write_bytes(authority.own.pem)
    assert "is not of the key" in fault()
    certificate.write_bytes(issued.pem)
    assert "does not name opendsr.domain" in fault("rights.example.com")
    assert read_processor_key(tmp_path, "opendsr.example.com").pem == issued.pem
    key.write_bytes(authority.own.key_pem)
    certificate.write_bytes(authority.own.pem)
    assert "is signed by itself" in fault()
