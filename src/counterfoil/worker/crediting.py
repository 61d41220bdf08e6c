"""The job that credits a partner's file: a worker takes batch after batch until none is left for it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg
import httpx
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil import clock
from counterfoil.db.outbox import waiting
from counterfoil.db.transactions import Tx, begin, begin_on, read, session
from counterfoil.errors import ConflictError, CounterfoilError, UnavailableError
from counterfoil.points import programs
from counterfoil.points.files import (
    batches,
    collecting,
    crediting,
    crediting_outside,
    events,
    files,
    outside,
    partners,
)
from counterfoil.points.files.batches import Batch
from counterfoil.points.files.files import File
from counterfoil.points.files.limiter import Observation
from counterfoil.points.files.partners import Partner
from counterfoil.points.programs import Program
from counterfoil.webhooks.addresses import PUBLIC, Guard

LONGEST_PAUSE: Final = 60.0
_DUE: Final = "SELECT file_no FROM points_files WHERE answer_after <= :now ORDER BY answer_after LIMIT 100"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Work:
    """A file that is credited, by which worker, and what that takes."""

    file: File
    partner: Partner
    program: Program | None
    worker: int
    db: asyncpg.Connection
    guard: Guard
    client: httpx.AsyncClient | None

    @property
    def expires_at(self) -> datetime | None:
        """When the points expire: those of a file all at once, whenever its batches are credited."""
        opened_at = self.file.opened_at
        assert opened_at is not None
        return self.program.expires_at(opened_at) if self.program else None


async def credit_job(
    engine: AsyncEngine, payload: dict[str, Any], *, guard: Guard = PUBLIC, stop: asyncio.Event | None = None
) -> None:
    """Be a worker of a file, if nobody is that one: until nothing is left, or the limiter wants fewer."""
    file_no, worker = payload["file_no"], payload["worker"]
    try:
        await _be_worker(engine, file_no, worker, guard, stop)
        async with begin(engine) as tx:
            now = clock.now()
            if await batches.decide(tx, file_no=file_no, now=now):
                file = await files.by_number(tx, file_no=file_no)
                await events.tell(tx, "partner_file.credited", file, now=now)
    except (UnavailableError, ConflictError) as error:
        # Whoever looks after files calls this worker again as soon as the database is there.
        _log.warning("a file's worker had to stop", file_no=file_no, worker=worker, error=error.detail)


async def _be_worker(
    engine: AsyncEngine, file_no: int, worker: int, guard: Guard, stop: asyncio.Event | None
) -> None:
    async with session(engine) as db:
        if not await batches.try_lock(db, file_no=file_no, worker=worker):
            return
        async with read(engine) as snapshot:
            file = await files.by_number(snapshot, file_no=file_no)
            partner = await partners.get(snapshot, merchant_id=file.merchant_id, partner_id=file.partner_id)
            program = await programs.find(snapshot, merchant_id=file.merchant_id)
        system = partner.terms.outside
        client = outside.new_client(system) if system else None
        try:
            if file.state == "crediting":
                await _work(Work(file, partner, program, worker, db, guard, client), stop)
        finally:
            if client is not None:
                await client.aclose()
        await batches.unlock(db, file_no=file_no, worker=worker)


async def _work(work: Work, stop: asyncio.Event | None) -> None:
    async with begin_on(work.db) as tx:
        batch = await batches.take(tx, file_no=work.file.file_no, worker=work.worker, now=clock.now())
    while batch is not None:
        seen, error = await _attempt(work, batch)
        async with begin_on(work.db) as tx:
            decision = await batches.observe(tx, batch=batch, seen=seen, error=error, now=clock.now())
            if (stop is not None and stop.is_set()) or (error is None and work.worker >= decision.workers):
                return
            batch = await batches.take(tx, file_no=work.file.file_no, worker=work.worker, now=clock.now())
        if error is not None:
            await _pause(decision.pause, stop)


async def _attempt(work: Work, batch: Batch) -> tuple[Observation, dict[str, Any] | None]:
    """Credit a batch; what was seen of it, and why it failed if it did: it is tried again."""
    began = time.perf_counter()

    def seen(outcome: Any, retry_after: float | None = None) -> Observation:
        seconds = time.perf_counter() - began
        return Observation(seconds, batch.to_n - batch.from_n, outcome, batch.running, retry_after)

    try:
        if work.client is None:
            async with begin_on(work.db) as tx:
                await crediting.credit(
                    tx, partner=work.partner, limit=work.program.max_balance if work.program else None,
                    expires_at=work.expires_at, batch=batch, now=clock.now(),
                )  # fmt: skip
        else:
            await _credit_outside(work, work.client, batch)
    except outside.TimedOutError as error:
        return seen("timed_out"), _said(error, work, batch)
    except outside.OverloadedError as error:
        return seen("overloaded", error.retry_after), _said(error, work, batch)
    except outside.OutsideError as error:
        wait = min(2.0 ** min(batch.attempts, 6), LONGEST_PAUSE)
        return seen("overloaded", wait), _said(error, work, batch)
    except ConflictError as error:
        if error.code != "busy":
            raise
        return seen("overloaded", 0.2), _said(error, work, batch)
    return seen("ok"), None


async def _credit_outside(work: Work, client: httpx.AsyncClient, batch: Batch) -> None:
    system = work.partner.terms.outside
    assert system is not None
    async with begin_on(work.db) as tx:
        asked = await crediting_outside.claim(tx, partner=work.partner, batch=batch)
    key = f"{work.file.file_id}-{batch.batch_no}"
    answers = await outside.credit(client, system, asked, key=key, guard=work.guard, now=clock.now())
    async with begin_on(work.db) as tx:
        await crediting_outside.note(tx, partner=work.partner, batch=batch, answers=answers, now=clock.now())


def _said(error: CounterfoilError, work: Work, batch: Batch) -> dict[str, Any]:
    _log.warning(
        "a batch was not credited; it will be tried again",
        file_no=work.file.file_no,
        batch_no=batch.batch_no,
        attempt=batch.attempts,
        error=error.detail,
    )
    return {"code": error.code, "detail": error.detail}


async def _pause(seconds: float, stop: asyncio.Event | None) -> None:
    wait = min(seconds, LONGEST_PAUSE)
    if stop is None:
        await asyncio.sleep(wait)
        return
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), timeout=wait)


async def look_after_files(engine: AsyncEngine) -> None:
    """Call workers where one is missing, and what else is due of files: answers, looks at servers."""
    async with begin(engine) as tx:
        now = clock.now()
        await _call_workers(tx)
        await _call_answers(tx, now)
        await collecting.call_due(tx, now=now)


async def _call_workers(tx: Tx) -> None:
    # What a worker had that died stays picked for a while; who holds its lock tells more.
    called = [(job["file_no"], job["worker"]) for job in await waiting(tx, "points.credit_file")]
    for file_no, worker in await batches.find_idle(await tx.driver()):
        if (file_no, worker) not in called:
            await batches.call_worker(tx, file_no=file_no, worker=worker)


async def _call_answers(tx: Tx, now: datetime) -> None:
    called = [job["file_no"] for job in await waiting(tx, "points.answer_file", or_running=True)]
    for row in await tx.all(_DUE, {"now": now}):
        if row.file_no not in called:
            await batches.call_answer(tx, file_no=row.file_no)
