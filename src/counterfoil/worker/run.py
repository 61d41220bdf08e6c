"""Running jobs: which function handles which, what is tried again, and how the worker stops."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

import asyncpg
import structlog
from pgqueuer import AsyncpgPoolDriver, DatabaseRetryEntrypointExecutor, Job, Queries, QueueManager
from prometheus_client import Counter, Histogram
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.app import App
from counterfoil.db.engine import SERVER_SETTINGS, parse_url
from counterfoil.linkage.jobs import analyse_job, rejoin_job

Handler = Callable[[AsyncEngine, dict[str, Any]], Awaitable[None]]

HANDLERS: Final[dict[str, Handler]] = {
    "linkage.rejoin": rejoin_job,
    "linkage.analyse": analyse_job,
}
"""Every job in `subscriptions.py`, and the function that does it."""

CONCURRENCY: Final = 2
"""Jobs of one kind at a time, over all workers: they are set-based, and the database has few cores."""
ATTEMPTS: Final = 20

_jobs = Counter("counterfoil_jobs_total", "Jobs run.", ("job", "outcome"))
_seconds = Histogram("counterfoil_job_seconds", "Time a job took.", ("job",))
_log = structlog.get_logger(__name__)


async def run_worker(app: App, stop: asyncio.Event) -> None:
    """Take jobs until `stop` is set; then finish those that are running."""
    while not stop.is_set():
        try:
            await _run_once(app, stop)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            _log.warning("the worker lost the database; it will try again", error=str(error))
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), timeout=1)


async def _run_once(app: App, stop: asyncio.Event) -> None:
    url = parse_url(app.engine.url.render_as_string(hide_password=False)).set(drivername="postgresql")
    async with asyncpg.create_pool(
        url.render_as_string(hide_password=False),
        min_size=2,
        max_size=4,
        server_settings={**SERVER_SETTINGS, "application_name": "counterfoil worker"},
    ) as pool:
        queue = QueueManager(Queries(AsyncpgPoolDriver(pool)))
        for name, handler in HANDLERS.items():
            _register(queue, name, handler, app.engine)
        stopping = asyncio.create_task(_stop_when(stop, queue))
        try:
            await queue.run(dequeue_timeout=timedelta(seconds=5), shutdown_on_listener_failure=True)
        finally:
            stopping.cancel()


async def _stop_when(stop: asyncio.Event, queue: QueueManager) -> None:
    await stop.wait()
    queue.shutdown.set()


def _register(queue: QueueManager, name: str, handler: Handler, engine: AsyncEngine) -> None:
    @queue.entrypoint(
        name,
        concurrency_limit=CONCURRENCY,
        # A job that fails is kept, and tried again later; one that never succeeds stays to be looked at.
        on_failure="hold",
        executor_factory=lambda parameters: DatabaseRetryEntrypointExecutor(
            parameters=parameters,
            max_attempts=ATTEMPTS,
            initial_delay=timedelta(seconds=1),
            max_delay=timedelta(minutes=10),
        ),
    )
    async def run(job: Job) -> None:
        with _seconds.labels(name).time():
            try:
                await handler(engine, json.loads(job.payload or b"{}"))
            except Exception as error:
                _jobs.labels(name, "failed").inc()
                _log.warning("a job failed", job=name, attempt=job.attempts, exc_info=error)
                raise
        _jobs.labels(name, "succeeded").inc()
