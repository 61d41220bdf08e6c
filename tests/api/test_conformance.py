"""The API does what its OpenAPI document says, for requests that nobody thought of."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.from_thread
import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import Case, GenerationMode, checks

from counterfoil.api import create_api
from counterfoil.app import App
from counterfoil.db.engine import create_engine
from counterfoil.settings import Settings
from tests.api.conftest import Caller


def _operations() -> list[Any]:
    nowhere = create_engine("postgresql://nobody@127.0.0.1:1/none")
    api = create_api(App(Settings(), nowhere, "none", embedded=False))
    schema = schemathesis.openapi.from_dict(api.openapi())
    return [found.ok() for found in schema.get_all_operations()]  # type: ignore[union-attr]


OPERATIONS = _operations()
ENDLESS = {"/v1/campaigns/{campaign_id}/counters/stream"}
"""Answers that go on until somebody leaves: the transport of these tests waits for their end."""
POSITIVE, NEGATIVE = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
# Nothing can be wrong with a request that has neither parameters nor a body.
TRIED = [
    (o, mode)
    for o in OPERATIONS
    for mode in (POSITIVE, NEGATIVE)
    if (mode is POSITIVE or "/v1" in o.path) and o.path not in ENDLESS
]
CHECKS: list[Any] = [
    checks.not_a_server_error,
    checks.CHECKS.get_one("status_code_conformance"),
    checks.CHECKS.get_one("content_type_conformance"),
    checks.CHECKS.get_one("response_headers_conformance"),
    checks.CHECKS.get_one("response_schema_conformance"),
]


@pytest.mark.parametrize(("operation", "mode"), TRIED, ids=lambda it: getattr(it, "label", None) or it.value)
async def test_no_request_is_answered_otherwise_than_the_document_says(
    operation: Any, mode: GenerationMode, operator: httpx.AsyncClient, grocer: Caller
) -> None:
    async def ask(case: Case[Any]) -> httpx.Response:
        wanted = case.as_transport_kwargs(base_url="http://test")
        wanted["headers"] = {
            **{name: value.encode("latin-1", "replace") for name, value in wanted["headers"].items()},
            "authorization": operator.headers["authorization"],
            "counterfoil-merchant": "grocer",
        }
        if isinstance(wanted.get("data"), (bytes, str)):
            wanted["content"] = wanted.pop("data")
        names = ("method", "url", "params", "headers", "content", "json", "data", "cookies")
        request = operator.build_request(**{n: wanted[n] for n in names if wanted.get(n) is not None})
        return await operator.send(request)

    @seed(20260501)
    @settings(
        max_examples=10,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def conforms(case: Case[Any]) -> None:
        answer = anyio.from_thread.run(ask, case)
        case.validate_response(answer, checks=CHECKS)

    await anyio.to_thread.run_sync(conforms)
