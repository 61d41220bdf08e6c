"""The worker: jobs of committed transactions are done, once or more often, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import anyio
import pytest
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.app import App
from counterfoil.db import jobs, outbox
from counterfoil.db.transactions import Tx, begin, read
from counterfoil.subscriptions import SUBSCRIBERS
from counterfoil.worker.run import HANDLERS, run_worker
from tests.builders import NOW, at, load, make_merchant

SOON = timedelta(seconds=1)
"""After this time without a sign of life another worker takes a job over: much sooner than in earnest."""
BOUGHT = {"voucher_id": "v", "issued_at": at(0), "order_id": "o"}


@asynccontextmanager
async def _working(platform: App, *, workers: int = 1) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with anyio.create_task_group() as tasks:
        for _ in range(workers):
            tasks.start_soon(_run, platform, stop)
        yield
        stop.set()


async def _run(platform: App, stop: asyncio.Event) -> None:
    await run_worker(platform, stop, heartbeat_timeout=SOON)


async def _until(condition: Callable[[], Awaitable[Any]], seconds: float = 60) -> None:
    with anyio.fail_after(seconds):
        while True:
            if await condition():
                return
            await anyio.sleep(0.02)


async def _scalar(engine: AsyncEngine, statement: str) -> Any:
    async with read(engine) as tx:
        return await tx.scalar(statement)


async def _idle(engine: AsyncEngine) -> bool:
    return bool(await _scalar(engine, "SELECT count(*) = 0 FROM pgqueuer"))


async def _ask_for_analysis(tx: Tx, merchant: UUID) -> UUID:
    job = await jobs.create(tx, kind="analysis", merchant_id=merchant, request={"period": "week"}, now=NOW)
    await outbox.publish(tx, "analysis.requested", {"job_id": str(job.id)})
    return job.id


def test_every_event_has_a_handler() -> None:
    assert {job for subscribers in SUBSCRIBERS.values() for job in subscribers} == set(HANDLERS)


async def test_a_job_runs_if_and_only_if_its_transaction_committed(platform: App) -> None:
    engine = platform.engine
    async with begin(engine) as tx:
        lost, kept = await make_merchant(tx), await make_merchant(tx)
    async with _working(platform):
        with pytest.raises(ZeroDivisionError):  # noqa: PT012
            async with begin(engine) as tx:
                await load(tx, lost, "issuances", BOUGHT)
                raise ZeroDivisionError
        async with begin(engine) as tx:
            await load(tx, kept, "issuances", BOUGHT)
        await _until(lambda: _idle(engine))
    async with read(engine) as tx:
        found = await tx.all("SELECT merchant_id, kind FROM breaks")
    assert [(row.merchant_id, row.kind) for row in found] == [(kept, "missing_order")]


async def test_long_work_is_done_and_tells_its_end(platform: App) -> None:
    async with begin(platform.engine) as tx:
        merchant = await make_merchant(tx)
        await load(tx, merchant, "issuances", BOUGHT)
        job_id = await _ask_for_analysis(tx, merchant)
    async with _working(platform):
        await _until(lambda: _idle(platform.engine))
    async with read(platform.engine) as tx:
        assert (await jobs.get(tx, job_id=job_id, merchant_id=merchant)).state == "succeeded"


async def test_several_workers_do_each_job_and_leave_none(platform: App) -> None:
    engine = platform.engine
    async with begin(engine) as tx:
        merchant = await make_merchant(tx)
    for n in range(20):
        async with begin(engine) as tx:
            await load(tx, merchant, "issuances", {**BOUGHT, "voucher_id": f"v{n}", "order_id": f"o{n}"})
    async with _working(platform, workers=3):
        await _until(lambda: _idle(engine))
    assert await _scalar(engine, "SELECT count(*) FROM breaks WHERE kind = 'missing_order'") == 20


async def test_a_job_delivered_twice_changes_nothing(platform: App) -> None:
    engine = platform.engine
    async with begin(engine) as tx:
        merchant = await make_merchant(tx)
        await load(tx, merchant, "issuances", BOUGHT)
        await _ask_for_analysis(tx, merchant)
        await tx.execute(
            """INSERT INTO pgqueuer (priority, queue_manager_id, entrypoint, payload, status)
               SELECT priority, queue_manager_id, entrypoint, payload, status FROM pgqueuer"""
        )
    async with _working(platform, workers=2):
        await _until(lambda: _idle(engine))
    assert await _scalar(engine, "SELECT count(*) FROM breaks") == 1
    assert await _scalar(engine, "SELECT count(*) FROM analyses") == 1


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


async def _in_a_job(engine: AsyncEngine) -> int | None:
    """The server process of a job that waits for somebody's lock."""
    pid: int | None = await _scalar(
        engine,
        """SELECT pid FROM pg_stat_activity
           WHERE datname = current_database() AND wait_event_type = 'Lock'""",
    )
    return pid


async def test_a_job_whose_worker_was_killed_is_finished_by_another(platform: App, database: URL) -> None:
    engine = platform.engine
    async with begin(engine) as tx:
        merchant = await make_merchant(tx)
        await load(tx, merchant, "issuances", BOUGHT)
    address = database.render_as_string(hide_password=False)
    command = [sys.executable, "-c", _WORKER, address, str(platform.settings.home)]
    async with begin(engine) as blocking:
        await blocking.execute("LOCK TABLE breaks IN ACCESS EXCLUSIVE MODE")
        async with await anyio.open_process(command) as worker:
            await _until(lambda: _in_a_job(engine))
            os.kill(worker.pid, signal.SIGKILL)
        assert worker.returncode == -signal.SIGKILL
    assert await _scalar(engine, "SELECT status::text FROM pgqueuer") == "picked"
    assert await _scalar(engine, "SELECT count(*) FROM breaks") == 0
    async with _working(platform):
        await _until(lambda: _idle(engine))
    assert await _scalar(engine, "SELECT count(*) FROM breaks") == 1


async def test_stopping_lets_a_running_job_finish(platform: App) -> None:
    engine = platform.engine
    async with begin(engine) as tx:
        merchant = await make_merchant(tx)
        await load(tx, merchant, "issuances", BOUGHT)
    stop = asyncio.Event()
    async with begin(engine) as blocking:
        await blocking.execute("LOCK TABLE breaks IN ACCESS EXCLUSIVE MODE")
        working = asyncio.create_task(run_worker(platform, stop))
        await _until(lambda: _in_a_job(engine))
        stop.set()
        await asyncio.sleep(0.1)
        assert not working.done()
    await working
    assert await _idle(engine)
    assert await _scalar(engine, "SELECT count(*) FROM breaks") == 1


async def test_a_worker_that_stops_takes_no_further_jobs(platform: App) -> None:
    stop = asyncio.Event()
    stop.set()
    async with begin(platform.engine) as tx:
        await load(tx, await make_merchant(tx), "issuances", BOUGHT)
    await run_worker(platform, stop)
    assert not await _idle(platform.engine)


async def _cut_all_connections(engine: AsyncEngine) -> None:
    async with begin(engine) as tx:
        await tx.execute(
            """SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()"""
        )


async def test_a_worker_survives_that_the_database_restarts(platform: App) -> None:
    engine = platform.engine
    async with begin(engine) as tx:
        merchant = await make_merchant(tx)
    async with _working(platform):
        for n in range(3):
            async with begin(engine) as tx:
                await load(tx, merchant, "issuances", {**BOUGHT, "voucher_id": f"v{n}"})
            await _until(lambda: _idle(engine))
            await _cut_all_connections(engine)
    assert await _scalar(engine, "SELECT count(*) FROM breaks") == 3


async def test_a_job_that_the_restart_interrupted_is_done_afterwards(platform: App) -> None:
    engine = platform.engine
    async with begin(engine) as tx:
        merchant = await make_merchant(tx)
    async with _working(platform):
        async with engine.connect() as blocking:
            await blocking.exec_driver_sql("LOCK TABLE breaks IN ACCESS EXCLUSIVE MODE")
            async with begin(engine) as tx:
                await load(tx, merchant, "issuances", BOUGHT)
            await _until(lambda: _in_a_job(engine))
            await _cut_all_connections(engine)
            await blocking.invalidate()
        await _until(lambda: _idle(engine))
    assert await _scalar(engine, "SELECT count(*) FROM breaks") == 1


async def test_a_job_that_was_put_aside_too_early_is_taken_up_again(platform: App) -> None:
    engine = platform.engine
    async with begin(engine) as tx:
        merchant = await make_merchant(tx)
        await load(tx, merchant, "issuances", BOUGHT)
        # As the queue leaves it when the database goes away while a retry is being noted.
        await tx.execute("UPDATE pgqueuer SET status = 'failed', attempts = 3")
    async with _working(platform):
        await _until(lambda: _idle(engine))
    assert await _scalar(engine, "SELECT count(*) FROM breaks") == 1


async def test_a_job_that_failed_is_tried_again_later(
    platform: App, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    engine = platform.engine
    async with begin(engine) as tx:
        merchant = await make_merchant(tx)
        await load(tx, merchant, "issuances", BOUGHT)
        await tx.execute("ALTER TABLE breaks RENAME TO elsewhere")
    async with _working(platform):
        await _until(lambda: _scalar(engine, "SELECT attempts > 0 FROM pgqueuer"))
        async with begin(engine) as tx:
            await tx.execute("ALTER TABLE elsewhere RENAME TO breaks")
        await _until(lambda: _idle(engine))
    assert await _scalar(engine, "SELECT count(*) FROM breaks") == 1


async def test_after_the_last_attempt_a_job_is_kept_and_whoever_waits_is_told(platform: App) -> None:
    engine = platform.engine
    async with begin(engine) as tx:
        merchant = await make_merchant(tx)
        job_id = await _ask_for_analysis(tx, merchant)
        await tx.execute("UPDATE pgqueuer SET attempts = 20")
        # The last attempt meets a database that is never ready for it.
        await tx.execute("ALTER TABLE audience RENAME TO elsewhere")
        await tx.execute(
            """CREATE FUNCTION audience_is_away() RETURNS int LANGUAGE plpgsql AS
               $$ BEGIN RAISE 'away' USING ERRCODE = '57P03'; END $$"""
        )
        await tx.execute("CREATE VIEW audience AS SELECT *, audience_is_away() AS x FROM elsewhere")
        await tx.execute(
            "INSERT INTO elsewhere VALUES (:m, 'c', 'u', DEFAULT, DEFAULT, NULL, now())", {"m": merchant}
        )
    async with _working(platform):
        await _until(lambda: _scalar(engine, "SELECT status = 'failed' FROM pgqueuer"))
    async with read(engine) as tx:
        job = await jobs.get(tx, job_id=job_id, merchant_id=merchant)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error["code"] in {"gave_up", "internal"}


async def test_a_job_from_before_an_upgrade_is_understood(platform: App) -> None:
    """The payload of an older version has fewer names in it."""
    async with begin(platform.engine) as tx:
        merchant = await make_merchant(tx)
        await load(tx, merchant, "orders", {"order_id": "o", "ordered_at": at(0)})
        payload = json.loads(await tx.scalar("SELECT payload FROM pgqueuer"))
        del payload["former"]
        await tx.execute("UPDATE pgqueuer SET payload = :p", {"p": json.dumps(payload).encode()})
    async with _working(platform):
        await _until(lambda: _idle(platform.engine))
