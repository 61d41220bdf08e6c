"""Codes in bulk: as many as were asked for, whatever dies meanwhile, and all of them different."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import anyio
import pytest
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.app import App
from counterfoil.db import jobs as db_jobs
from counterfoil.db.jobs import Job
from counterfoil.db.transactions import Tx, begin, read
from counterfoil.errors import CounterfoilError, InvalidError
from counterfoil.vouchers import campaigns, counters, jobs, pool
from counterfoil.vouchers.campaigns import Limits
from counterfoil.vouchers.codes import CodeFormat, is_whole
from counterfoil.vouchers.terms import Terms
from counterfoil.vouchers.types import CampaignState
from counterfoil.worker.run import run_worker
from tests.builders import NOW, make_merchant

TERMS = Terms.model_validate({"discount": {"kind": "amount", "amount_minor": 500}, "time_zone": "UTC"})
SMALL = TERMS.model_copy(update={"codes": CodeFormat(charset="ABCDEFGHIJKLMNOPQRSTUVWXYZ012345", length=7)})
"""Codes of 30 random bits: as few as there may be."""


async def _campaign(tx: Tx, terms: Terms = TERMS, *, active: bool = False) -> UUID:
    merchant = await make_merchant(tx)
    await campaigns.create(
        tx,
        merchant_id=merchant,
        campaign_id="spring",
        name=None,
        kind=None,
        attributes={},
        terms=terms,
        limits=Limits(),
        now=NOW,
    )
    if active:
        await campaigns.move(tx, merchant_id=merchant, campaign_id="spring", to="active", now=NOW)
    return merchant


async def _ask(tx: Tx, merchant: UUID, count: int) -> Job:
    return await jobs.request_codes(tx, merchant_id=merchant, campaign_id="spring", count=count, now=NOW)


async def _do(engine: AsyncEngine, job: Job) -> None:
    await jobs.generate_job(engine, {"job_id": str(job.id)})


async def _job(engine: AsyncEngine, job: Job) -> Job:
    async with read(engine) as tx:
        return await db_jobs.get(tx, job_id=job.id, merchant_id=None)


async def _all_codes(engine: AsyncEngine) -> list[Any]:
    async with read(engine) as tx:
        assert not [
            difference
            for (merchant,) in await tx.all("SELECT merchant_id FROM campaign_counters")
            for difference in await counters.verify(tx, merchant_id=merchant, campaign_id="spring")
        ]
        return list(await tx.all("SELECT * FROM vouchers ORDER BY pool_position"))


async def _until(condition: Callable[[], Awaitable[Any]], seconds: float = 60) -> None:
    with anyio.fail_after(seconds):
        while True:
            if await condition():
                return
            await anyio.sleep(0.01)


async def _begun(engine: AsyncEngine, job: Job) -> bool:
    return (await _job(engine, job)).progress_done > 0


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "CHUNK", 500)


async def test_the_codes_asked_for_are_made_whole_and_each_has_its_turn(engine: AsyncEngine) -> None:
    async with begin(engine) as tx:
        merchant = await _campaign(tx, active=True)
        job = await _ask(tx, merchant, 2 * pool.CHUNK + 7)
    await _do(engine, job)
    done = await _job(engine, job)
    assert (done.state, done.result) == ("succeeded", {"campaign_id": "spring", "count": 2 * pool.CHUNK + 7})
    assert done.progress_done == done.progress_total == 2 * pool.CHUNK + 7
    rows = await _all_codes(engine)
    assert [row.pool_position for row in rows] == list(range(1, 2 * pool.CHUNK + 8))
    assert all(is_whole(row.voucher_id, TERMS.codes) for row in rows)
    assert {(row.state, row.max_redemptions, row.changed_at, row.recorded_at) for row in rows} == {
        ("available", 1, row.changed_at, row.recorded_at) for row in rows
    }
    # In the order of their turns they are in no order: the next code says nothing of the one after it.
    first = [row.voucher_id for row in rows[:100]]
    assert first != sorted(first)


async def test_times_and_null_are_written_as_they_are_meant(engine: AsyncEngine) -> None:
    form = CodeFormat(pattern="SÜN-########".replace("Ü", "U"))
    now = NOW.replace(microsecond=123_456)
    for uses in (None, 0, 2**31 - 1):
        async with begin(engine) as tx:
            merchant = await _campaign(tx, TERMS.model_copy(update={"uses_per_voucher": uses, "codes": form}))
            await pool.add_generated(tx, merchant_id=merchant, campaign_id="spring", count=3, now=now)
            rows = await tx.all("SELECT * FROM vouchers WHERE merchant_id = :m", {"m": merchant})
        assert [(r.max_redemptions, r.recorded_at, r.changed_at, r.campaign_id) for r in rows] == [
            (uses, now, now, "spring")
        ] * 3
        assert all(is_whole(row.voucher_id, form) for row in rows)


async def test_a_second_delivery_makes_nothing_more(engine: AsyncEngine) -> None:
    async with begin(engine) as tx:
        job = await _ask(tx, await _campaign(tx), 20)
    await _do(engine, job)
    await _do(engine, job)
    assert len(await _all_codes(engine)) == 20


async def test_two_deliveries_at_once_share_the_work(engine: AsyncEngine) -> None:
    async with begin(engine) as tx:
        job = await _ask(tx, await _campaign(tx, active=True), 5 * pool.CHUNK + 1)
    await asyncio.gather(*(_do(engine, job) for _ in range(3)))
    assert len(await _all_codes(engine)) == 5 * pool.CHUNK + 1
    assert (await _job(engine, job)).state == "succeeded"


async def test_what_was_made_before_an_interruption_stays_and_the_rest_is_made(engine: AsyncEngine) -> None:
    async with begin(engine) as tx:
        job = await _ask(tx, await _campaign(tx, active=True), 3 * pool.CHUNK)
    working = asyncio.create_task(_do(engine, job))
    await _until(lambda: _begun(engine, job))
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    before = await _job(engine, job)
    assert before.state == "running"
    assert len(await _all_codes(engine)) == before.progress_done < 3 * pool.CHUNK
    await _do(engine, job)
    assert len(await _all_codes(engine)) == 3 * pool.CHUNK


async def test_a_code_that_is_there_already_is_drawn_anew(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A draw that begins with a code of before, as happens by chance with short codes."""
    async with begin(engine) as tx:
        merchant = await _campaign(tx, SMALL)
        job = await _ask(tx, merchant, 10)
    await _do(engine, job)
    taken = [row.voucher_id for row in await _all_codes(engine)]
    real = pool.draw
    unlucky = lambda form, count: replace_codes(real(form, count), taken)  # noqa: E731
    monkeypatch.setattr(pool, "draw", unlucky)
    async with begin(engine) as tx:
        second = await _ask(tx, merchant, 25)
    await _do(engine, second)
    rows = await _all_codes(engine)
    assert len({row.voucher_id for row in rows}) == len(rows) == 35
    assert (await _job(engine, second)).state == "succeeded"


def replace_codes(drawn: pool.Drawn, taken: list[str]) -> pool.Drawn:
    return drawn._replace(codes=[*taken, *drawn.codes[len(taken) :]])


async def test_codes_that_could_be_guessed_are_refused_with_those_that_there_are(engine: AsyncEngine) -> None:
    most = 2**30 // 1000
    async with begin(engine) as tx:
        merchant = await _campaign(tx, SMALL)
        with pytest.raises(InvalidError) as refused:
            await _ask(tx, merchant, most + 1)
        assert refused.value.code == "codes_too_dense"
        await pool.add_generated(tx, merchant_id=merchant, campaign_id="spring", count=10, now=NOW)
        await _ask(tx, merchant, most - 10)
        with pytest.raises(InvalidError):
            await _ask(tx, merchant, most - 9)


@pytest.mark.parametrize("state", ["stopped", "ended"])
async def test_a_campaign_that_is_over_takes_no_codes_asked_for_before_or_after(
    engine: AsyncEngine, state: CampaignState
) -> None:
    async with begin(engine) as tx:
        merchant = await _campaign(tx, active=True)
        job = await _ask(tx, merchant, 10)
        await campaigns.move(tx, merchant_id=merchant, campaign_id="spring", to=state, now=NOW)
        with pytest.raises(CounterfoilError) as refused:
            await _ask(tx, merchant, 10)
        assert refused.value.code == f"campaign_{state}"
    await _do(engine, job)
    failed = await _job(engine, job)
    assert failed.error is not None
    assert (failed.state, failed.error["code"]) == ("failed", f"campaign_{state}")
    assert await _all_codes(engine) == []


async def test_whoever_waits_is_told_when_it_is_given_up(engine: AsyncEngine) -> None:
    async with begin(engine) as tx:
        job = await _ask(tx, await _campaign(tx), 10)
    await jobs.give_up_codes(engine, {"job_id": str(job.id)})
    failed = await _job(engine, job)
    assert failed.error is not None
    assert (failed.state, failed.error["code"]) == ("failed", "gave_up")


_WORKER = """
import asyncio, sys
from pathlib import Path
from counterfoil.app import open_app
from counterfoil.settings import Settings
from counterfoil.worker import run_worker

async def main():
    settings = Settings(DATABASE_URL=sys.argv[1], home=Path(sys.argv[2]))
    async with open_app(settings) as app:
        await run_worker(app, asyncio.Event())

asyncio.run(main())
"""


async def test_a_worker_that_is_killed_has_made_no_code_too_many_and_another_makes_the_rest(
    platform: App, database: URL
) -> None:
    engine, count = platform.engine, 60_000
    async with begin(engine) as tx:
        job = await _ask(tx, await _campaign(tx, active=True), count)
    address = database.render_as_string(hide_password=False)
    command = [sys.executable, "-c", _WORKER, address, str(platform.settings.home)]

    async with await anyio.open_process(command) as worker:
        await _until(lambda: _begun(engine, job))
        os.kill(worker.pid, signal.SIGKILL)
    assert (await _job(engine, job)).progress_done < count
    stop = asyncio.Event()

    async def ended() -> bool:
        return (await _job(engine, job)).state == "succeeded"

    async with anyio.create_task_group() as tasks:

        async def work() -> None:
            await run_worker(platform, stop, heartbeat_timeout=timedelta(seconds=1))

        tasks.start_soon(work)
        await _until(ended)
        stop.set()
    assert len(await _all_codes(engine)) == count


CSV = {
    "code\nA1\n\nB2 \n": ["A1", "B2"],
    "A1\nB2\n": ["A1", "B2"],
    "name,Code\nx,A1\ny\n": ["A1", ""],
    '"code"\n"A,1"\n': ["A,1"],
    "": [],
    "code\n": [],
}


@pytest.mark.parametrize("text", CSV)
def test_codes_are_read_from_csv_with_or_without_a_heading(text: str) -> None:
    assert list(pool.codes_of_csv(text.splitlines(keepends=True))) == CSV[text]


def test_a_csv_without_a_column_of_codes_is_refused() -> None:
    with pytest.raises(InvalidError) as refused:
        list(pool.codes_of_csv(["name,price\n", "A,1\n"]))
    assert refused.value.code == "columns_invalid"
