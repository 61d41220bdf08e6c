"""Errors: one shape, every field at once, and never more than the caller should know."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from counterfoil.api import create_api
from counterfoil.app import App
from counterfoil.db.engine import create_engine
from counterfoil.db.transactions import begin
from tests.api.conftest import Caller

JSON = {"content-type": "application/json"}


def check_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """It is an RFC 9457 problem with this status and code; returns its body."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert set(body) == {"type", "title", "status", "code", "detail", "request_id", "errors"}
    assert (body["status"], body["code"], body["type"]) == (status, code, f"urn:counterfoil:problem:{code}")
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["detail"]
    return body


async def test_no_key_is_401_with_a_challenge(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/breaks")
    check_problem(answer, 401, "api_key_missing")
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_an_unknown_route_is_404(client: httpx.AsyncClient) -> None:
    check_problem(await client.get("/v1/nothing"), 404, "route_not_found")
    check_problem(await client.get("/else"), 404, "route_not_found")


async def test_a_wrong_method_is_405_and_says_which_is_right(client: httpx.AsyncClient) -> None:
    answer = await client.delete("/v1/breaks")
    check_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET"


async def test_a_merchant_that_exists_is_409(operator: httpx.AsyncClient) -> None:
    merchant = {"reference": "twice", "name": "Twice", "time_zone": "UTC", "currency": "CNY"}
    assert (await operator.post("/v1/merchants", json=merchant)).status_code == 201
    check_problem(await operator.post("/v1/merchants", json=merchant), 409, "merchant_exists")


async def test_a_missing_scope_is_403(operator: httpx.AsyncClient, grocer: Caller) -> None:
    check_problem(await grocer.client.get("/v1/keys"), 403, "scope_missing")


async def test_all_that_is_wrong_is_said_at_once(grocer: Caller, operator: httpx.AsyncClient) -> None:
    rows = [{"order_id": "", "amount_minor": "x", "unknown": 1} for _ in range(40)]
    body = check_problem(await grocer.client.post("/v1/orders/bulk", json={"records": rows}), 422, "invalid")
    assert "160 values are wrong (the first 100 are named)" in body["detail"]
    assert len(body["errors"]) == 100
    assert {e["pointer"] for e in body["errors"][:4]} == {
        f"/records/0/{name}" for name in ("order_id", "ordered_at", "amount_minor", "unknown")
    }
    assert all(set(e) == {"pointer", "code", "detail"} for e in body["errors"])
    answer = await grocer.client.get("/v1/breaks?limit=0&kind=x&resolved=maybe")
    body = check_problem(answer, 422, "invalid")
    assert {e["parameter"] for e in body["errors"]} == {"limit", "kind", "resolved"}
    merchant = {"reference": "NO", "name": "x", "time_zone": "Mars/Base", "currency": "cny"}
    body = check_problem(await operator.post("/v1/merchants", json=merchant), 422, "merchant_invalid")
    assert {e["pointer"] for e in body["errors"]} == {"/reference", "/time_zone", "/currency"}


async def test_a_pointer_leads_to_a_name_with_slashes(grocer: Caller) -> None:
    rows = [{"store_id": "s", "a/b~c": 1}]
    answer = await grocer.client.post("/v1/stores/bulk", json={"records": rows})
    assert answer.json()["errors"][0]["pointer"] == "/records/0/a~1b~0c"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"nothing",
        b'{"records": [}',
        b"\xff\xfe",
        b'{"records": "\xff"}',
        b'{"records":' + b"[" * 100_000,
        b'{"records": [' + b"9" * 5_000 + b"]}",
    ],
    ids=lambda content: repr(content[:20]),
)
async def test_a_body_that_is_no_json_is_400_or_says_that_it_is_missing(
    grocer: Caller, content: bytes
) -> None:
    answer = await grocer.client.post("/v1/orders/bulk", content=content, headers=JSON)
    if content:
        check_problem(answer, 400, "json_invalid")
    else:
        check_problem(answer, 422, "invalid")


@pytest.mark.parametrize(
    "content",
    [
        b"null",
        b"[]",
        b"1",
        b'"text"',
        b"{}",
        b'{"records": []}',
        b'{"records": {}}',
        b'{"records": [null]}',
        b'{"records": [{"store_id": "\\ud800"}]}',
        b'{"records": [{"store_id": "s", "\\ud800": 1}]}',
        b'{"records": [{"store_id": "s", "attributes": {"\\ud800": 1}}]}',
        b'{"records": [{"store_id": "s", "attributes": {"a": "\\udfff"}}]}',
        b'{"records": [{"store_id": "s", "attributes": {"a": NaN}}]}',
        b'{"records": [{"store_id": "s", "attributes": {"a": -Infinity}}]}',
        b'{"records": [{"store_id": "s", "attributes": {"a": 1e999}}]}',
        b'{"records": [{"store_id": "s", "attributes": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}]}",
        b'{"records": [{"store_id": ' + b"[" * 800 + b"]" * 800 + b"}]}",
        b'{"records": [{"store_id": "s"}], "more": 1}',
    ],
    ids=lambda content: repr(content[:70]),
)
async def test_json_of_another_shape_is_422(grocer: Caller, content: bytes) -> None:
    answer = await grocer.client.post("/v1/stores/bulk", content=content, headers=JSON)
    check_problem(answer, 422, "invalid")


async def test_too_many_records_are_named_as_such(grocer: Caller) -> None:
    rows = [{"store_id": "s"}] * 10_001
    body = check_problem(await grocer.client.post("/v1/stores/bulk", json={"records": rows}), 422, "invalid")
    assert body["errors"][0]["pointer"] == "/records"


@pytest.fixture
async def small(platform: App) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a platform whose bodies are at most 2,000 bytes."""
    settings = platform.settings.model_copy(update={"max_body_bytes": 2_000})
    api = create_api(App(settings, platform.engine, platform.server_version, embedded=False))
    transport = httpx.ASGITransport(api, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as made:
        yield made


async def test_a_body_that_is_too_large_is_413_whether_it_says_so_or_not(
    small: httpx.AsyncClient, grocer: Caller
) -> None:
    small.headers["authorization"] = grocer.client.headers["authorization"]
    large = json.dumps({"records": [{"store_id": "s" * 100} for _ in range(50)]}).encode()

    async def in_pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(large), 500):
            yield large[start : start + 500]

    said = await small.post("/v1/stores/bulk", content=large, headers=JSON)
    check_problem(said, 413, "body_too_large")
    not_said = await small.post("/v1/stores/bulk", content=in_pieces(), headers=JSON)
    assert "content-length" not in not_said.request.headers
    check_problem(not_said, 413, "body_too_large")
    assert (await small.post("/v1/stores/bulk", json={"records": [{"store_id": "s"}]})).status_code == 200


@pytest.fixture
async def far(platform: App) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a platform whose database is not there."""
    engine = create_engine("postgresql://nobody@127.0.0.1:1/none")
    api = create_api(App(platform.settings, engine, "none", embedded=False))
    transport = httpx.ASGITransport(api, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as made:
        yield made


async def test_without_a_database_all_is_503_and_tells_when_to_try_again(far: httpx.AsyncClient) -> None:
    key = {"authorization": "Bearer cfk_x"}
    for answer in (
        await far.get("/v1/breaks", headers=key),
        await far.post("/v1/stores/bulk", json={"records": [{"store_id": "s"}]}, headers=key),
        await far.get("/readyz"),
    ):
        check_problem(answer, 503, "database_unavailable")
        assert answer.headers["retry-after"] == "1"
    assert (await far.get("/healthz")).status_code == 200


async def test_an_outdated_database_is_not_ready(platform: App, client: httpx.AsyncClient) -> None:
    assert (await client.get("/readyz")).status_code == 200
    async with begin(platform.engine) as tx:
        await tx.execute("UPDATE alembic_version SET version_num = '0000'")
    check_problem(await client.get("/readyz"), 503, "schema_outdated")


async def test_a_bug_is_500_and_tells_only_where_to_look(platform: App, grocer: Caller) -> None:
    async with begin(platform.engine) as tx:
        await tx.execute("ALTER TABLE breaks RENAME TO secret_name")
    with capture_logs() as logs:
        answer = await grocer.client.get("/v1/breaks")
    body = check_problem(answer, 500, "internal")
    assert "secret" not in answer.text
    assert "breaks" not in answer.text
    (logged,) = [entry for entry in logs if entry["event"] == "a request failed"]
    assert logged["request_id"] == body["request_id"]
    assert "exc_info" in logged


async def test_every_answer_has_a_request_id_of_its_own(client: httpx.AsyncClient) -> None:
    ids = {(await client.get("/healthz")).headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5
