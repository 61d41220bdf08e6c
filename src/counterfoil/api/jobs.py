"""Long work: asked for with 202, followed here."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from counterfoil.api.context import Acting, Cursor, Limit, acting, page_body
from counterfoil.api.problems import responses
from counterfoil.db import jobs
from counterfoil.db.jobs import Job, JobState
from counterfoil.db.transactions import read
from counterfoil.ids import format_id, parse_id

router = APIRouter(prefix="/jobs", tags=["jobs"])


class Progress(BaseModel):
    """How far it is; `total` null while that is not known."""

    done: int
    total: int | None


class JobAnswer(BaseModel):
    """A piece of long work."""

    id: str
    kind: str = Field(examples=["analysis"])
    state: JobState
    progress: Progress
    request: dict[str, Any]
    result: dict[str, Any] | None = Field(description="When it succeeded: what it made.")
    error: dict[str, Any] | None = Field(description="When it failed: a stable `code` and a `detail`.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobPage(BaseModel):
    """A page of jobs."""

    data: list[JobAnswer]
    next_cursor: str | None


def answer(job: Job) -> JobAnswer:
    """A job as the API shows it."""
    return JobAnswer(
        id=format_id("job", job.id),
        kind=job.kind,
        state=job.state,
        progress=Progress(done=job.progress_done, total=job.progress_total),
        request=job.request,
        result=job.result,
        error=job.error,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


@router.get("/{job_id}", responses=responses(404), summary="Get a job")
async def get_job(job_id: str, act: Annotated[Acting, Depends(acting("jobs:read"))]) -> JobAnswer:
    """How far a piece of work is, and in the end what it made."""
    async with read(act.engine) as tx:
        return answer(await jobs.get(tx, job_id=parse_id("job", job_id), merchant_id=act.tenant_id))


@router.get("", responses=responses(404), summary="List jobs")
async def list_jobs(
    act: Annotated[Acting, Depends(acting("jobs:read"))], limit: Limit = 50, cursor: Cursor = None
) -> JobPage:
    """Jobs, the newest first."""
    merchant_id = None if act.merchant is None else act.merchant.id
    async with read(act.engine) as tx:
        page = await jobs.list_page(tx, merchant_id=merchant_id, limit=limit, cursor=cursor)
    return JobPage(**page_body(page, answer))
