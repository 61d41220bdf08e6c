"""Health and metrics, for whatever watches the process."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from pydantic import BaseModel

from counterfoil.api.context import Platform
from counterfoil.api.problems import responses
from counterfoil.db.migrate import check_schema
from counterfoil.db.transactions import read

router = APIRouter(tags=["system"])


class Health(BaseModel):
    """It is well."""

    status: str = "ok"


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> Health:
    """Answers as long as the process does; asks nobody else."""
    return Health()


@router.get("/readyz", responses={503: responses()[503]}, summary="Can it serve?")
async def readyz(app: Platform) -> Health:
    """Answers 503 while the database is not there, or not of the version that this code needs."""
    async with read(app.engine) as tx:
        await tx.scalar("SELECT 1")
    await check_schema(app.engine)
    return Health()


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
async def metrics(request: Request) -> Response:
    """Requests, and what the process itself tells."""
    own = generate_latest(request.app.state.metrics.registry)
    return Response(own + generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)
