"""Running jobs: which function handles which, what is tried again, and how the worker stops."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, Final

import asyncpg
import structlog
from pgqueuer import AsyncpgPoolDriver, DatabaseRetryEntrypointExecutor, Job, Queries, QueueManager
from pgqueuer.domain.models import HealthCheckEvent
from pgqueuer.errors import FailingListenerError
from prometheus_client import Counter, Histogram
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.app import App
from counterfoil.db.engine import SERVER_SETTINGS, parse_url
from counterfoil.linkage.jobs import analyse_job, give_up_analysis, rejoin_job
from counterfoil.vouchers.jobs import generate_job, give_up_codes
from counterfoil.webhooks.addresses import guard
from counterfoil.webhooks.jobs import fan_out_job, send_webhooks
from counterfoil.worker.answering import answer_job
from counterfoil.worker.beats import beat
from counterfoil.worker.collecting import collect_job
from counterfoil.worker.crediting import credit_job
from counterfoil.worker.earning import earn_job
from counterfoil.worker.housekeeping import keep_house
from counterfoil.worker.opening import open_job

Handler = Callable[[AsyncEngine, dict[str, Any]], Awaitable[None]]

HANDLERS: Final[dict[str, Handler]] = {
    "linkage.rejoin": rejoin_job,
    "linkage.analyse": analyse_job,
    "points.earn": earn_job,
    "points.open_file": open_job,
    "points.credit_file": credit_job,
    "points.answer_file": answer_job,
    "points.collect_files": collect_job,
    "vouchers.generate": generate_job,
    "webhooks.fan_out": fan_out_job,
}
"""Every job in `subscriptions.py`, and the function that does it; `_handlers` gives some of them more."""

GIVEN_UP: Final[dict[str, Handler]] = {
    "linkage.analyse": give_up_analysis,
    "vouchers.generate": give_up_codes,
}
"""What to do when the last attempt at a job has failed, where somebody waits for it."""

CONCURRENCY: Final = 2
"""Jobs of one kind at a time, over all workers: they are set-based, and the database has few cores."""
MORE_AT_ONCE: Final = {"points.credit_file": 0, "points.collect_files": 8}
"""Of these kinds more; looking at a server is waiting. 0: as many as there are, because a job counts for a
while after its worker died, and others are to go on at once with what that one credited."""
CREDITING_AT_ONCE: Final = 4
"""Workers of files in one process: each keeps a connection."""
ATTEMPTS: Final = 20

_jobs = Counter("counterfoil_jobs_total", "Jobs run.", ("job", "outcome"))
_seconds = Histogram("counterfoil_job_seconds", "Time a job took.", ("job",))
_log = structlog.get_logger(__name__)


class _Queue(QueueManager):
    """pgqueuer's own, which asks its listener for a sign of life from its first moment."""

    async def listener_healthy(
        self,
        timeout: timedelta = timedelta(seconds=10),  # noqa: ASYNC109 - it is theirs
    ) -> HealthCheckEvent:
        """Asked twice: the first question can be put before anybody listens, and is lost then."""
        try:
            return await super().listener_healthy(timeout)
        except FailingListenerError:
            return await super().listener_healthy(timeout)


async def run_worker(
    app: App, stop: asyncio.Event, *, heartbeat_timeout: timedelta = timedelta(seconds=10)
) -> None:
    """Take jobs until `stop` is set; then finish those that are running.

    A job whose worker has given no sign of life for `heartbeat_timeout` is taken over by another.
    """
    tidying = asyncio.create_task(keep_house(app.engine, stop))
    beating = asyncio.create_task(beat(app.engine, stop))
    sending = asyncio.create_task(send_webhooks(app.engine, stop, guard=guard(app.settings.webhook_allow)))
    while not stop.is_set():
        try:
            await _run_once(app, stop, heartbeat_timeout)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, FailingListenerError) as error:
            _log.warning("the worker lost the database; it will try again", error=repr(error))
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), timeout=1)
    await asyncio.gather(tidying, beating, sending)


async def _run_once(app: App, stop: asyncio.Event, heartbeat_timeout: timedelta) -> None:
    url = parse_url(app.engine.url.render_as_string(hide_password=False)).set(drivername="postgresql")
    async with asyncpg.create_pool(
        url.render_as_string(hide_password=False),
        min_size=2,
        max_size=4,
        server_settings={**SERVER_SETTINGS, "application_name": "counterfoil worker"},
    ) as pool:
        queries = Queries(AsyncpgPoolDriver(pool))
        await _take_back(queries)
        queue = _Queue(queries)
        for name, handler in _handlers(app, stop).items():
            _register(queue, name, handler, app.engine)
        stopping = asyncio.create_task(_stop_when(stop, queue))
        try:
            await queue.run(
                dequeue_timeout=min(timedelta(seconds=5), heartbeat_timeout),
                shutdown_on_listener_failure=True,
                heartbeat_timeout=heartbeat_timeout,
            )
        finally:
            stopping.cancel()


def _handlers(app: App, stop: asyncio.Event) -> dict[str, Handler]:
    """Every job, with what it needs of this process."""
    around = guard(app.settings.webhook_allow)
    seats = asyncio.Semaphore(CREDITING_AT_ONCE)

    async def credit(engine: AsyncEngine, payload: dict[str, Any]) -> None:
        async with seats:
            await credit_job(engine, payload, guard=around, stop=stop)

    return {
        **HANDLERS,
        "points.credit_file": credit,
        "points.answer_file": partial(answer_job, guard=around),
        "points.collect_files": partial(collect_job, guard=around),
    }


async def _take_back(queries: Queries) -> None:
    """Queue jobs again that were put aside before their attempts were used up.

    That happens where the database went away while the queue wanted to note that a job is to be tried again.
    """
    held = [job.id for job in await queries.list_failed_jobs(limit=1000) if job.attempts < ATTEMPTS]
    if held:
        await queries.requeue_jobs(held)


async def _stop_when(stop: asyncio.Event, queue: QueueManager) -> None:
    await stop.wait()
    queue.shutdown.set()


def _register(queue: QueueManager, name: str, handler: Handler, engine: AsyncEngine) -> None:
    @queue.entrypoint(
        name,
        concurrency_limit=MORE_AT_ONCE.get(name, CONCURRENCY),
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
                if job.attempts >= ATTEMPTS and name in GIVEN_UP:
                    await GIVEN_UP[name](engine, json.loads(job.payload or b"{}"))
                raise
        _jobs.labels(name, "succeeded").inc()
