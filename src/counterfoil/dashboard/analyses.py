"""Asking for an analysis, and watching it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Final, Literal, get_args
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response, StreamingResponse

from counterfoil.dashboard.labels import JOBS
from counterfoil.dashboard.visits import Visit
from counterfoil.db import jobs, outbox
from counterfoil.db.jobs import Job
from counterfoil.db.transactions import ReadTx, begin, read
from counterfoil.ids import format_id, parse_id

Period = Literal["day", "week", "month"]
PERIODS: Final[tuple[Period, ...]] = get_args(Period)
KIND: Final = "analysis"
ENDED: Final = frozenset({"succeeded", "failed"})
GIVEN_UP_AFTER: Final = timedelta(hours=1)
"""A job whose worker failed for good must not keep everybody from asking for another."""
_LOOKED_AT: Final = 20
_EVERY_SECONDS: Final = 0.5
_STREAM_SECONDS: Final = 15
"""Then the browser asks again: a server that stops is not held up by those who watch."""


async def find_running(tx: ReadTx, visit: Visit) -> Job | None:
    """An analysis of this merchant that has not ended yet, and is not so old that it never will."""
    latest = await jobs.list_page(tx, merchant_id=visit.merchant.id, limit=_LOOKED_AT, cursor=None)
    for job in latest.data:
        fresh = visit.now - (job.started_at or job.created_at) < GIVEN_UP_AFTER
        if job.kind == KIND and job.state not in ENDED and fresh:
            return job
    return None


async def submit(visit: Visit) -> Response:
    """Ask for an analysis; one that is under way is shown instead of starting another."""
    period = visit.form.get("period")
    request = {"period": period if period in PERIODS else "week"}
    async with begin(visit.engine) as tx:
        job = await find_running(tx, visit)
        if job is None:
            job = await jobs.create(
                tx, kind=KIND, merchant_id=visit.merchant.id, request=request, now=visit.now
            )
            await outbox.publish(tx, "analysis.requested", {"job_id": str(job.id)})
    return RedirectResponse(f"{visit.home}/jobs/{format_id('job', job.id)}", status_code=303)


async def _job(visit: Visit) -> Job:
    job_id = parse_id("job", visit.request.path_params["job_id"])
    async with read(visit.engine) as tx:
        return await jobs.get(tx, job_id=job_id, merchant_id=visit.merchant.id)


async def show(visit: Visit) -> Response:
    """How far it is. Without script the page asks again by itself."""
    job = await _job(visit)
    words = JOBS.get(job.kind, JOBS[KIND])
    done = _after(visit, job)
    if job.state == "succeeded" and job.kind in JOBS:
        return RedirectResponse(done, status_code=303)
    return visit.render(
        "job.html",
        job=job,
        job_id=format_id("job", job.id),
        percent=_percent(job),
        words_of=words,
        done=done,
        back=done.partition("?")[0],
    )


def _after(visit: Visit, job: Job) -> str:
    """Where what the job made is seen."""
    if job.kind != "codes":
        return visit.home
    return f"{visit.home}/campaigns/{quote(str(job.request['campaign_id']), safe='')}?done=generated"


def _percent(job: Job) -> int | None:
    return None if not job.progress_total else round(100 * job.progress_done / job.progress_total)


async def events(visit: Visit) -> Response:
    """The same as a stream of server-sent events."""
    await _job(visit)
    return StreamingResponse(_stream(visit), media_type="text/event-stream")


async def _stream(visit: Visit) -> AsyncIterator[str]:
    yield "retry: 1000\n\n"
    for _ in range(int(_STREAM_SECONDS / _EVERY_SECONDS)):
        job = await _job(visit)
        yield f"event: progress\ndata: {json.dumps(_told(visit, job))}\n\n"
        if job.state in ENDED or await visit.request.is_disconnected():
            return
        await asyncio.sleep(_EVERY_SECONDS)


def _told(visit: Visit, job: Job) -> dict[str, Any]:
    return {
        "state": job.state,
        "text": visit.words.say(JOBS.get(job.kind, JOBS[KIND]).states[job.state]),
        "percent": _percent(job),
    }
