"""Jobs of this room: unpack, open the transaction, call the verb."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil import clock
from counterfoil.db import jobs
from counterfoil.db.transactions import begin, read
from counterfoil.errors import RETRYABLE, CounterfoilError, UnavailableError
from counterfoil.ids import format_id, new_id
from counterfoil.linkage import campaigns
from counterfoil.linkage.extract import extract
from counterfoil.linkage.rejoin import rejoin
from counterfoil.merchants import merchants

REJOIN_SECONDS = 600
"""A full joining of a large merchant takes longer than a request may."""


async def rejoin_job(engine: AsyncEngine, payload: dict[str, Any]) -> None:
    """After records were loaded: bring the breaks that they touch up to date."""
    async with begin(engine, statement_timeout_seconds=REJOIN_SECONDS) as tx:
        await rejoin(
            tx,
            merchant_id=UUID(payload["merchant_id"]),
            kind=payload["kind"],
            keys=payload["keys"],
            former=payload.get("former", ()),
            transaction=payload["transaction"],
            now=clock.now(),
        )


async def analyse_job(engine: AsyncEngine, payload: dict[str, Any]) -> None:
    """Take a campaign analysis that somebody asked for, and say how far it is."""
    job_id = UUID(payload["job_id"])
    async with begin(engine) as tx:
        job = await jobs.start(tx, job_id=job_id, now=clock.now())
    if job is None or job.merchant_id is None:
        return
    try:
        await _analyse(engine, job_id, job.merchant_id, job.request)
    except CounterfoilError as error:
        if error.kind in RETRYABLE:
            raise
        await _fail(engine, job_id, error)
    except Exception:
        # A bug: trying again would not mend it, and whoever waits must not wait for ever.
        await _fail(engine, job_id, CounterfoilError("Something went wrong on our side.", code="internal"))
        raise


async def give_up_analysis(engine: AsyncEngine, payload: dict[str, Any]) -> None:
    """After the last attempt: whoever waits must not wait for ever."""
    error = UnavailableError("It was tried many times without success; ask again later.", code="gave_up")
    await _fail(engine, UUID(payload["job_id"]), error)


async def _fail(engine: AsyncEngine, job_id: UUID, error: CounterfoilError) -> None:
    async with begin(engine) as tx:
        await jobs.fail(tx, job_id=job_id, error=error, now=clock.now())


async def _analyse(engine: AsyncEngine, job_id: UUID, merchant_id: UUID, request: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()

    async def tell(done: int, total: int) -> None:
        async with begin(engine) as tx:
            await jobs.progress(tx, job_id=job_id, done=done, total=total)

    def told(done: int, total: int) -> None:
        asyncio.run_coroutine_threadsafe(tell(done, total), loop).result(timeout=30)

    with tempfile.TemporaryDirectory(prefix="counterfoil-") as place:
        directory = Path(place)
        async with read(engine) as snapshot:
            merchant = await merchants.get_by_id(snapshot, merchant_id=merchant_id)
            taken_at = await snapshot.scalar("SELECT now()")
            await extract(snapshot, merchant_id=merchant_id, directory=directory)
        computed = await asyncio.to_thread(
            campaigns.compute, directory, period=request["period"], time_zone=merchant.time_zone, told=told
        )
    analysis_id = new_id()
    async with begin(engine) as tx:
        # Whoever ends the job stores the analysis: a second delivery that raced with this one stores none.
        if await jobs.succeed(
            tx, job_id=job_id, result={"analysis_id": format_id("analysis", analysis_id)}, now=clock.now()
        ):
            await campaigns.store(
                tx, analysis_id=analysis_id, merchant_id=merchant_id, taken_at=taken_at, computed=computed
            )
