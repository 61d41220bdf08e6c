"""The API as one ASGI application."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi_offline import FastAPIOffline

from counterfoil import __version__
from counterfoil.api import (
    jobs,
    keys,
    linkage,
    merchants,
    points_files,
    problems,
    records,
    system,
    verb_docs,
)
from counterfoil.api.campaign_codes import router as campaign_codes_router
from counterfoil.api.campaigns import router as campaigns_router
from counterfoil.api.guessing import Guesses
from counterfoil.api.middleware import Metrics, RequestMiddleware
from counterfoil.api.points import router as points_router
from counterfoil.api.problems import Problem
from counterfoil.api.verbs import VerbRoutes
from counterfoil.api.vouchers import router as vouchers_router
from counterfoil.api.webhook_deliveries import router as webhook_deliveries_router
from counterfoil.api.webhooks import router as webhooks_router
from counterfoil.app import App

DESCRIPTION = """
Marketing vouchers and loyalty points, and for every single one what became of it.

* Send `Authorization: Bearer cfk_...`. A merchant's key acts for that merchant; an operator's key names one
  in `Counterfoil-Merchant`.
* Amounts are integers in minor units (`amount_minor`); times have an offset and are answered in UTC.
* Errors are `application/problem+json` (RFC 9457) with a stable `code`, and all field errors at once.
* Lists are pages: pass `next_cursor` back as `cursor`. Long work answers 202 with a job.
* A request with an `Idempotency-Key` can be repeated: it gives the first answer again.
"""


def create_api(platform: App) -> FastAPI:
    """The API over an opened platform, with documentation at `/docs` that needs no network."""
    api: FastAPI = FastAPIOffline(
        title="Counterfoil",
        version=__version__,
        description=DESCRIPTION,
        docs_url="/docs",
        redoc_url=None,
        static_url="/docs/static",
        openapi_url="/openapi.json",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    api.state.platform = platform
    api.state.metrics = Metrics()
    api.state.guesses = Guesses()
    problems.install(api)
    v1 = APIRouter(prefix="/v1")
    for router in (linkage.router, records.create_router(), jobs.router, merchants.router, keys.router):
        v1.include_router(router)
    # After the full link, whose path a voucher's would take.
    for router in (campaigns_router, campaign_codes_router, vouchers_router):
        v1.include_router(router)
    v1.include_router(points_router)
    v1.include_router(webhooks_router)
    v1.include_router(webhook_deliveries_router)
    api.include_router(v1)
    api.include_router(system.router)
    api.add_middleware(
        RequestMiddleware,
        metrics=api.state.metrics,
        max_body_bytes=platform.settings.max_body_bytes,
        larger=points_files.BODIES,
    )
    _document_problems(api)
    return api


def with_verbs(api: FastAPI) -> VerbRoutes:
    """The API with the verbs' routes before it: they pass through nothing of FastAPI's."""
    return VerbRoutes(api, state=api.state)


def _document_problems(api: FastAPI) -> None:
    """Replace FastAPI's own shape of a validation error, which we never answer, by ours."""
    original = api.openapi

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            schema = original()
            schemas = schema.setdefault("components", {}).setdefault("schemas", {})
            schemas.pop("HTTPValidationError", None)
            schemas.pop("ValidationError", None)
            problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(problem.pop("$defs", {}))
            schemas["Problem"] = problem
            verb_docs.add_to(schema)
            for path in schema["paths"].values():
                for operation in path.values():
                    for status, response in operation["responses"].items():
                        if int(status) >= 400:
                            response["content"] = {
                                "application/problem+json": {
                                    "schema": {"$ref": "#/components/schemas/Problem"}
                                }
                            }
            api.openapi_schema = schema
        return api.openapi_schema

    api.openapi = openapi  # type: ignore[method-assign]
