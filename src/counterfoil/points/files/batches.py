"""Batches: a file's records are cut into them as workers ask for more, and each is done once.

A file is worked on by up to so many workers, numbered from 0, as the limiter allows. Who has a worker's
number has a lock of the session on it, so the number is free as soon as its owner is gone, however it went.
A batch belongs to a number: who takes the number over goes on with the batch that is open under it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from counterfoil.db.outbox import publish
from counterfoil.db.transactions import Driven
from counterfoil.points.files import limiter
from counterfoil.points.files.limiter import Bounds, Decision, Observation

_LOCK: Final = 0x50660000
"""With a worker's number, the first half of the key of its lock; the file's number is the other."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of a file that are credited together: from `from_n`, as far as before `to_n`."""

    file_no: int
    batch_no: int
    from_n: int
    to_n: int
    attempts: int
    running: int
    """How many batches of the file's partner are under way, itself among them."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the records of a batch that were to be credited, in records and in points."""

    credited: int
    credited_points: int
    rejected: int
    rejected_points: int
    duplicate: int
    duplicate_points: int


async def try_lock(db: asyncpg.Connection, *, file_no: int, worker: int) -> bool:
    """Become a worker of a file, for as long as the connection lives or until `unlock`."""
    got: bool = await db.fetchval("SELECT pg_try_advisory_lock($1, $2)", *_key(file_no, worker))
    return got


async def unlock(db: asyncpg.Connection, *, file_no: int, worker: int) -> None:
    """Be that worker no longer."""
    await db.execute("SELECT pg_advisory_unlock($1, $2)", *_key(file_no, worker))


def _key(file_no: int, worker: int) -> tuple[int, int]:
    return _LOCK + worker, file_no & 0x7FFFFFFF


async def find_idle(db: asyncpg.Connection) -> list[tuple[int, int]]:
    """Files that are credited and the numbers of their workers that nobody is: those that are allowed, and
    those with a batch that is not done.
    """
    rows = await db.fetch(
        """SELECT f.file_no, w.worker FROM points_files f
           JOIN points_partners p USING (merchant_id, partner_id)
           CROSS JOIN LATERAL (
               SELECT generate_series(0, coalesce((p.pressure->>'workers')::int, 1) - 1) AS worker
               WHERE f.cut_to < f.records OR f.records = 0
               UNION SELECT b.worker FROM points_batches b WHERE b.file_no = f.file_no AND b.state = 'open'
               UNION SELECT 0) w
           WHERE f.state = 'crediting' AND NOT EXISTS (
               SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.objsubid = 2
                 AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                 AND l.classid = ($1 + w.worker)::oid AND l.objid = (f.file_no & 2147483647)::oid)
           ORDER BY 1, 2""",
        _LOCK,
    )
    return [(row[0], row[1]) for row in rows]


async def take(tx: Driven, *, file_no: int, worker: int, now: datetime) -> Batch | None:
    """The worker's open batch, or else a new one; None where nothing is left to cut."""
    db = await tx.driver()
    row = await db.fetchrow(_TAKE, file_no, worker)
    if row is None:
        row = await _cut(db, file_no, worker, now)
    return None if row is None else Batch(**row)


async def _cut(db: asyncpg.Connection, file_no: int, worker: int, now: datetime) -> asyncpg.Record | None:
    file = await db.fetchrow(
        """SELECT f.cut_to, f.records, p.pressure, p.terms->'limiter' AS bounds
           FROM points_files f JOIN points_partners p USING (merchant_id, partner_id)
           WHERE f.file_no = $1 AND f.state = 'crediting' AND f.cut_to < f.records FOR UPDATE OF f""",
        file_no,
    )
    if file is None:
        return None
    size = _state(file["pressure"], _bounds(file["bounds"])).batch_size
    to_n = min(file["cut_to"] + size, file["records"])
    row: asyncpg.Record = await db.fetchrow(_CUT, file_no, file["cut_to"], to_n, worker, now)
    return row


_RUNNING: Final = """(
    SELECT count(*) FROM points_batches o JOIN points_files f USING (file_no)
    WHERE o.state = 'open' AND f.state = 'crediting' AND (f.merchant_id, f.partner_id) = (
        SELECT merchant_id, partner_id FROM points_files WHERE file_no = $1))::int"""
_TAKE: Final = f"""
    UPDATE points_batches SET attempts = attempts + 1
    WHERE file_no = $1 AND worker = $2 AND state = 'open'
    RETURNING file_no, batch_no, from_n, to_n, attempts, {_RUNNING} AS running"""
_CUT: Final = f"""
    WITH cut AS MATERIALIZED (
        SELECT coalesce((
            SELECT b.n + 1 FROM points_records b
            WHERE b.file_no = $1 AND b.n >= $2 AND b.n < $3
              AND b.customer_id <> (SELECT customer_id FROM points_records WHERE file_no = $1 AND n = $3)
            ORDER BY b.n DESC LIMIT 1), $3) AS to_n),
    moved AS (UPDATE points_files SET cut_to = (SELECT to_n FROM cut) WHERE file_no = $1)
    INSERT INTO points_batches (file_no, batch_no, from_n, to_n, first_customer, last_customer, worker,
                                attempts, cut_at)
    SELECT $1, coalesce((SELECT max(batch_no) FROM points_batches WHERE file_no = $1), 0) + 1, $2, to_n,
           (SELECT customer_id FROM points_records WHERE file_no = $1 AND n = $2),
           (SELECT customer_id FROM points_records WHERE file_no = $1 AND n = to_n - 1), $4, 1, $5
    FROM cut
    RETURNING file_no, batch_no, from_n, to_n, attempts, {_RUNNING} + 1 AS running"""
"""Cut between members: two batches that share one would wait for each other. One with more records than
fit is cut all the same."""


async def finish(tx: Driven, *, batch: Batch, counts: Counts, transfers: UUID | None, now: datetime) -> None:
    """Note what became of a batch, in the transaction that credits it. Whoever locked it calls this.

    Those of its records that are not to be credited whatever happens are counted here.
    """
    db = await tx.driver()
    await db.execute(
        _FINISH,
        *(batch.file_no, batch.batch_no, batch.from_n, batch.to_n, now, transfers),
        *(counts.credited, counts.credited_points, counts.rejected, counts.rejected_points),
        *(counts.duplicate, counts.duplicate_points),
    )


_FINISH: Final = """
    UPDATE points_batches
    SET state = 'done', done_at = $5, transfers = $6, error = NULL, points = r.points, credited = $7,
        credited_points = $8, rejected = $9 + r.faults, rejected_points = $10 + r.fault_points,
        duplicate = $11 + r.doubles, duplicate_points = $12 + r.double_points
    FROM (SELECT count(*) FILTER (WHERE fault IS NOT NULL) AS faults,
                 coalesce(sum(points) FILTER (WHERE fault IS NOT NULL), 0) AS fault_points,
                 count(*) FILTER (WHERE fault IS NULL AND first_line IS NOT NULL) AS doubles,
                 coalesce(sum(points) FILTER (WHERE fault IS NULL AND first_line IS NOT NULL), 0)
                     AS double_points,
                 coalesce(sum(points), 0) AS points
          FROM points_records WHERE file_no = $1 AND n >= $3 AND n < $4) r
    WHERE file_no = $1 AND batch_no = $2"""


async def lock(tx: Driven, *, batch: Batch) -> bool:
    """Keep a batch from all others until the transaction ends; False where it is done."""
    db = await tx.driver()
    found: bool | None = await db.fetchval(
        "SELECT true FROM points_batches WHERE file_no = $1 AND batch_no = $2 AND state = 'open' FOR UPDATE",
        *(batch.file_no, batch.batch_no),
    )
    return found is True


async def observe(
    tx: Driven, *, batch: Batch, seen: Observation, error: dict[str, Any] | None = None, now: datetime
) -> Decision:
    """Tell the limiter how a batch went; workers that are allowed from now on are called."""
    db = await tx.driver()
    partner = await db.fetchrow(
        """SELECT p.merchant_id, p.partner_id, p.pressure, p.terms->'limiter' AS bounds
           FROM points_partners p JOIN points_files f USING (merchant_id, partner_id)
           WHERE f.file_no = $1 FOR NO KEY UPDATE OF p""",
        batch.file_no,
    )
    bounds = _bounds(partner["bounds"])
    before = _state(partner["pressure"], bounds)
    state, decision = limiter.observe(before, seen, bounds)
    await db.execute(
        _OBSERVED,
        *(partner["merchant_id"], partner["partner_id"], msgspec.json.encode(state).decode()),
        *(batch.file_no, batch.batch_no, now),
        json.dumps({**msgspec.to_builtins(seen), **msgspec.to_builtins(decision)}),
        *(seen.seconds, error and json.dumps(error)),
    )
    for worker in range(before.workers, decision.workers):
        await call_worker(tx, file_no=batch.file_no, worker=worker)
    return decision


_OBSERVED: Final = """
    WITH partner AS (
        UPDATE points_partners SET pressure = $3 WHERE merchant_id = $1 AND partner_id = $2),
    decision AS (
        INSERT INTO points_decisions (file_no, batch_no, decided_at, decision) VALUES ($4, $5, $6, $7))
    UPDATE points_batches SET seconds = $8, error = $9 WHERE file_no = $4 AND batch_no = $5"""


async def call_worker(tx: Driven, *, file_no: int, worker: int) -> None:
    """Have a job be this worker of the file; one that is called twice does no harm."""
    await publish(tx, "points.file_opened", {"file_no": file_no, "worker": worker})


async def call_answer(tx: Driven, *, file_no: int) -> None:
    """Have the file answered; called twice, it is answered once."""
    await publish(tx, "points.file_decided", {"file_no": file_no})


async def decide(tx: Driven, *, file_no: int, now: datetime) -> bool:
    """Close a file whose batches are all done, and have it answered; False while some are not, or it is."""
    db = await tx.driver()
    # Two workers that end at once: the second one sees the first one's batch.
    await db.execute("SELECT FROM points_files WHERE file_no = $1 FOR UPDATE", file_no)
    closed = await db.fetchval(
        """UPDATE points_files f
           SET state = 'credited', decided_at = $2, answer_after = $2,
               credited = s.credited, credited_points = s.credited_points, rejected = s.rejected,
               rejected_points = s.rejected_points, duplicate = s.duplicate,
               duplicate_points = s.duplicate_points
           FROM (SELECT coalesce(sum(credited), 0) AS credited,
                        coalesce(sum(credited_points), 0) AS credited_points,
                        coalesce(sum(rejected), 0) AS rejected,
                        coalesce(sum(rejected_points), 0) AS rejected_points,
                        coalesce(sum(duplicate), 0) AS duplicate,
                        coalesce(sum(duplicate_points), 0) AS duplicate_points
                 FROM points_batches WHERE file_no = $1) s
           WHERE f.file_no = $1 AND f.state = 'crediting' AND f.cut_to = f.records
             AND NOT EXISTS (SELECT FROM points_batches b WHERE b.file_no = $1 AND b.state = 'open')
           RETURNING true""",
        *(file_no, now),
    )
    if closed:
        await call_answer(tx, file_no=file_no)
    return closed is True


def _bounds(bounds: dict[str, Any] | None) -> Bounds:
    return msgspec.convert(bounds or {}, Bounds)


def _state(pressure: dict[str, Any] | None, bounds: Bounds) -> limiter.State:
    if pressure is None:
        return limiter.start(bounds)
    return limiter.within(msgspec.convert(pressure, limiter.State), bounds)
