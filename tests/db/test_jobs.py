from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.db import jobs
from counterfoil.db.jobs import Job
from counterfoil.db.transactions import Tx, begin, read
from counterfoil.errors import CounterfoilError, InvalidError, NotFoundError
from counterfoil.ids import new_id
from tests.builders import NOW, at


async def _job(tx: Tx, *, merchant_id: UUID | None = None, hours: float = 0) -> Job:
    return await jobs.create(tx, kind="analysis", merchant_id=merchant_id, request={"a": 1}, now=at(hours))


async def test_a_job_is_queued_then_running_then_succeeded(tx: Tx) -> None:
    job = await _job(tx)
    assert (job.state, job.started_at, job.finished_at) == ("queued", None, None)
    started = await jobs.start(tx, job_id=job.id, now=NOW)
    assert started is not None
    assert (started.state, started.started_at) == ("running", NOW)
    await jobs.progress(tx, job_id=job.id, done=2, total=5)
    half = await jobs.get(tx, job_id=job.id, merchant_id=None)
    assert (half.progress_done, half.progress_total) == (2, 5)
    assert await jobs.succeed(tx, job_id=job.id, result={"x": 1}, now=NOW)
    done = await jobs.get(tx, job_id=job.id, merchant_id=None)
    assert (done.state, done.result, done.finished_at) == ("succeeded", {"x": 1}, NOW)
    assert (done.progress_done, done.progress_total) == (5, 5)


async def test_a_job_that_has_ended_stays_as_it_ended(tx: Tx) -> None:
    error = CounterfoilError("No.", code="no")
    for ends in ("succeed", "fail"):
        job = await _job(tx)
        await jobs.start(tx, job_id=job.id, now=NOW)
        if ends == "succeed":
            assert await jobs.succeed(tx, job_id=job.id, result={}, now=NOW)
        else:
            await jobs.fail(tx, job_id=job.id, error=error, now=NOW)
        before = await jobs.get(tx, job_id=job.id, merchant_id=None)
        assert await jobs.start(tx, job_id=job.id, now=at(1)) is None
        assert not await jobs.succeed(tx, job_id=job.id, result={"other": 1}, now=at(1))
        await jobs.fail(tx, job_id=job.id, error=error, now=at(1))
        await jobs.progress(tx, job_id=job.id, done=99, total=100)
        assert await jobs.get(tx, job_id=job.id, merchant_id=None) == before


async def test_a_failure_says_why(tx: Tx) -> None:
    job = await _job(tx)
    await jobs.fail(tx, job_id=job.id, error=CounterfoilError("No.", code="no"), now=NOW)
    failed = await jobs.get(tx, job_id=job.id, merchant_id=None)
    assert (failed.state, failed.error) == ("failed", {"code": "no", "detail": "No."})


async def test_a_job_that_was_delivered_again_begins_anew(tx: Tx) -> None:
    job = await _job(tx)
    await jobs.start(tx, job_id=job.id, now=at(0))
    await jobs.progress(tx, job_id=job.id, done=3, total=5)
    again = await jobs.start(tx, job_id=job.id, now=at(1))
    assert again is not None
    assert (again.state, again.progress_done, again.started_at) == ("running", 0, at(1))


@pytest.mark.parametrize(
    "change",
    ["state = 'lost'", "state = 'succeeded'", "finished_at = now()", "state = 'failed', finished_at = now()"],
)
async def test_no_job_can_be_half_finished(engine: AsyncEngine, change: str) -> None:
    async with begin(engine) as tx:
        await _job(tx)
    with pytest.raises(InvalidError):
        async with begin(engine) as tx:
            await tx.execute(f"UPDATE jobs SET {change}")


async def test_another_merchants_job_is_not_there(tx: Tx) -> None:
    mine, other = new_id(), new_id()
    job = await _job(tx, merchant_id=other)
    errors = []
    for job_id in (job.id, new_id()):
        with pytest.raises(NotFoundError) as caught:
            await jobs.get(tx, job_id=job_id, merchant_id=mine)
        errors.append(caught.value)
    assert errors[0].code == errors[1].code == "job_not_found"
    assert (await jobs.get(tx, job_id=job.id, merchant_id=None)).id == job.id


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_pages_give_every_job_once_and_the_newest_first(engine: AsyncEngine, limit: int) -> None:
    merchant, other = new_id(), new_id()
    async with begin(engine) as tx:
        # Several in one moment: time alone does not order them.
        made = [await _job(tx, merchant_id=merchant, hours=n // 3) for n in range(8)]
        await _job(tx, merchant_id=other)
    for tenant, count in ((merchant, 8), (None, 9)):
        seen: list[Job] = []
        cursor = None
        while True:
            async with read(engine) as tx:
                page = await jobs.list_page(tx, merchant_id=tenant, limit=limit, cursor=cursor)
            seen += page.data
            cursor = page.next_cursor
            if cursor is None:
                break
        assert len(seen) == len({job.id for job in seen}) == count
        assert seen == sorted(seen, key=lambda job: (job.created_at, job.id), reverse=True)
        assert {job.id for job in made} <= {job.id for job in seen}
