"""Jobs of this room: codes made in bulk."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil import clock
from counterfoil.db import jobs
from counterfoil.db.jobs import Job
from counterfoil.db.outbox import publish
from counterfoil.db.transactions import Tx, begin, read
from counterfoil.errors import RETRYABLE, CounterfoilError, RefusedError, UnavailableError
from counterfoil.vouchers import campaigns, pool
from counterfoil.vouchers.pool import Drawn

KIND: Final = "codes"
"""The kind of the job, as `/v1/jobs` shows it."""


async def request_codes(tx: Tx, *, merchant_id: UUID, campaign_id: str, count: int, now: datetime) -> Job:
    """Ask for `count` new codes of a campaign: the job that a worker does.

    Raises `RefusedError` for a campaign that takes none any more (`campaign_stopped`, `campaign_ended`),
    `InvalidError` where so many codes could be guessed (`codes_too_dense`).
    """
    campaign = await campaigns.get(tx, merchant_id=merchant_id, campaign_id=campaign_id)
    if campaign.state in {"stopped", "ended"}:
        raise RefusedError(
            f"The campaign is {campaign.state}: it takes no more codes.", code="campaign_" + campaign.state
        )
    have = campaign.counters
    there = have.available + have.issued + have.reserved + have.redeemed + have.expired + have.voided
    pool.check_density(campaign.terms.codes, there + count)
    request = {"campaign_id": campaign_id, "count": count}
    job = await jobs.create(tx, kind=KIND, merchant_id=merchant_id, request=request, now=now)
    await publish(tx, "codes.requested", {"job_id": str(job.id)})
    return job


async def generate_job(engine: AsyncEngine, payload: dict[str, Any]) -> None:
    """Make the codes that somebody asked for, a chunk a transaction, and say how far it is.

    A chunk counts as done in the transaction that stores it, under the lock of the job's row: delivered
    again, or to two workers at once, the job makes what is left and not a code more.
    """
    job_id = UUID(payload["job_id"])
    async with begin(engine) as tx:
        job = await jobs.start(tx, job_id=job_id, now=clock.now(), resume=True)
    if job is None or job.merchant_id is None:
        return
    try:
        await _generate(engine, job_id, job.merchant_id, job.request["campaign_id"], job.request["count"])
    except CounterfoilError as error:
        if error.kind in RETRYABLE or error.code == "busy":
            raise
        await _fail(engine, job_id, error)
    except Exception:
        # A bug: trying again would not mend it, and whoever waits must not wait for ever.
        await _fail(engine, job_id, CounterfoilError("Something went wrong on our side.", code="internal"))
        raise


async def give_up_codes(engine: AsyncEngine, payload: dict[str, Any]) -> None:
    """After the last attempt: whoever waits must not wait for ever. What was made stays."""
    error = UnavailableError("It was tried many times without success; ask again later.", code="gave_up")
    await _fail(engine, UUID(payload["job_id"]), error)


async def _fail(engine: AsyncEngine, job_id: UUID, error: CounterfoilError) -> None:
    async with begin(engine) as tx:
        await jobs.fail(tx, job_id=job_id, error=error, now=clock.now())


async def _generate(
    engine: AsyncEngine, job_id: UUID, merchant_id: UUID, campaign_id: str, total: int
) -> None:
    async with read(engine) as snapshot:
        campaign = await campaigns.get(snapshot, merchant_id=merchant_id, campaign_id=campaign_id)
    form = campaign.terms.codes
    size = min(total, pool.DRAFT_CHUNK if campaign.state == "draft" else pool.CHUNK)
    key, careful = (merchant_id, campaign_id), False
    drawn = await asyncio.to_thread(pool.draw, form, size)
    while True:
        # The next codes are drawn while the database stores these.
        more, following = await asyncio.gather(
            _add_chunk(engine, job_id, key, total, drawn, careful=careful),
            asyncio.to_thread(pool.draw, form, size),
            return_exceptions=True,
        )
        if isinstance(following, BaseException):
            raise following
        if isinstance(more, asyncpg.UniqueViolationError):
            careful = True
        elif isinstance(more, BaseException):
            raise more
        elif not more:
            return
        drawn = following


async def _add_chunk(
    engine: AsyncEngine, job_id: UUID, key: tuple[UUID, str], total: int, drawn: Drawn, *, careful: bool
) -> bool:
    """Store a chunk and count it as done; whether there is more to do."""
    merchant_id, campaign_id = key
    async with begin(engine) as tx:
        job = await jobs.lock(tx, job_id=job_id)
        if job is None:
            return False
        left = total - job.progress_done
        state = await tx.scalar(
            "SELECT state FROM campaign_counters WHERE merchant_id = :m AND campaign_id = :c",
            {"m": merchant_id, "c": campaign_id},
        )
        count = min(left, pool.DRAFT_CHUNK if state == "draft" else pool.CHUNK)
        now = clock.now()
        await pool.add_generated(
            tx,
            merchant_id=merchant_id,
            campaign_id=campaign_id,
            count=count,
            now=now,
            drawn=drawn,
            careful=careful,
        )
        await jobs.progress(tx, job_id=job_id, done=total - left + count, total=total)
        if count == left:
            await jobs.succeed(tx, job_id=job_id, result=job.request, now=now)
    return count < left
