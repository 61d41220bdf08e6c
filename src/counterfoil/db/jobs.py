"""Long work that a caller asked for: its record, which `/v1/jobs/{id}` shows with its progress."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Row, func, insert, select, tuple_, update

from counterfoil.db.paging import Page, cursor_time, decode_cursor, invalid_cursor, page_of
from counterfoil.db.tables import jobs
from counterfoil.db.transactions import ReadTx, Tx
from counterfoil.errors import CounterfoilError, NotFoundError
from counterfoil.ids import format_id, new_id

JobState = Literal["queued", "running", "succeeded", "failed"]


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of long work and how far it is; `error` has `code` and `detail` when it failed."""

    id: UUID
    merchant_id: UUID | None
    kind: str
    state: JobState
    progress_done: int
    progress_total: int | None
    request: dict[str, Any]
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


def _job(row: Row[Any]) -> Job:
    return Job(**row._mapping)


async def create(
    tx: Tx, *, kind: str, merchant_id: UUID | None, request: dict[str, Any], now: datetime
) -> Job:
    """Record that work is wanted. Publish the event that starts it in the same transaction."""
    values = {"id": new_id(), "merchant_id": merchant_id, "kind": kind, "request": request, "created_at": now}
    return _job((await tx.execute(insert(jobs).values(values).returning(jobs))).one())


async def start(tx: Tx, *, job_id: UUID, now: datetime, resume: bool = False) -> Job | None:
    """Mark it running and return it; None when it has ended already, so that a repeated delivery stops.

    `resume`: what was done stays done, for work that stores its parts with its progress.
    """
    statement = (
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.state.in_(("queued", "running")))
        .values(state="running", started_at=now, progress_done=jobs.c.progress_done if resume else 0)
        .returning(jobs)
    )
    row = await tx.first(statement)
    return None if row is None else _job(row)


async def lock(tx: Tx, *, job_id: UUID) -> Job | None:
    """A job that is running, kept from all others until this transaction ends; None when it has ended."""
    statement = select(jobs).where(jobs.c.id == job_id, jobs.c.state == "running").with_for_update()
    row = await tx.first(statement)
    return None if row is None else _job(row)


async def progress(tx: Tx, *, job_id: UUID, done: int, total: int | None) -> None:
    """Tell how far it is."""
    await tx.execute(
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.state == "running")
        .values(progress_done=done, progress_total=total)
    )


async def succeed(tx: Tx, *, job_id: UUID, result: dict[str, Any], now: datetime) -> bool:
    """Mark it done, in the transaction that stores what it made; False if it has ended already."""
    statement = (
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.state == "running")
        .values(
            state="succeeded",
            result=result,
            finished_at=now,
            progress_done=func.coalesce(jobs.c.progress_total, jobs.c.progress_done),
        )
        .returning(jobs.c.id)
    )
    return await tx.first(statement) is not None


async def fail(tx: Tx, *, job_id: UUID, error: CounterfoilError, now: datetime) -> None:
    """Mark it failed with what the caller can do about it."""
    await tx.execute(
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.state.in_(("queued", "running")))
        .values(state="failed", error={"code": error.code, "detail": error.detail}, finished_at=now)
    )


async def get(tx: ReadTx, *, job_id: UUID, merchant_id: UUID | None) -> Job:
    """A job; a tenant's (`merchant_id`) sees only its own, the operator (None) sees all."""
    statement = select(jobs).where(jobs.c.id == job_id)
    if merchant_id is not None:
        statement = statement.where(jobs.c.merchant_id == merchant_id)
    row = await tx.first(statement)
    if row is None:
        raise NotFoundError(f"There is no job {format_id('job', job_id)!r}.", code="job_not_found")
    return _job(row)


async def list_page(tx: ReadTx, *, merchant_id: UUID | None, limit: int, cursor: str | None) -> Page[Job]:
    """Jobs, newest first."""
    statement = select(jobs).order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit + 1)
    if merchant_id is not None:
        statement = statement.where(jobs.c.merchant_id == merchant_id)
    if cursor is not None:
        created_at, job_id = _after(cursor)
        statement = statement.where(tuple_(jobs.c.created_at, jobs.c.id) < tuple_(created_at, job_id))
    rows = [_job(row) for row in await tx.all(statement)]
    return page_of(rows, limit=limit, key=lambda job: (job.created_at.isoformat(), str(job.id)))


def _after(cursor: str) -> tuple[datetime, UUID]:
    created_at, job_id = decode_cursor(cursor, kinds=(str, str))
    try:
        return cursor_time(created_at), UUID(job_id)
    except ValueError as error:
        raise invalid_cursor() from error
