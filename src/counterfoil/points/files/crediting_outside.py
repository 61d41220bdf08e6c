"""Crediting a batch in an outside system: claimed, asked over the network, then noted.

Which record is the first one with its reference is decided here, before anything is sent, so that a
repetition is known from an attempt that has to be made again: the system answers the same reference with its
first result, and only one record is ever sent for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from counterfoil.db.transactions import Driven
from counterfoil.errors import ConflictError
from counterfoil.points.files import batches
from counterfoil.points.files.batches import Batch, Counts
from counterfoil.points.files.outside import Credit, Credited
from counterfoil.points.files.partners import Partner

_CLAIM: Final = """
    INSERT INTO points_sent (source_no, reference, file_no, n)
    SELECT $4, reference, file_no, n FROM points_records
    WHERE file_no = $1 AND n >= $2 AND n < $3 AND fault IS NULL AND first_line IS NULL
    ORDER BY reference
    ON CONFLICT (source_no, reference) DO NOTHING"""
_OURS: Final = """
    SELECT r.reference, r.customer_id, r.points, r.occurred_on, r.offer_code
    FROM points_records r
    JOIN points_sent s ON s.source_no = $4 AND s.reference = r.reference AND s.file_no = $1 AND s.n = r.n
    WHERE r.file_no = $1 AND r.n >= $2 AND r.n < $3 AND r.fault IS NULL AND r.first_line IS NULL
    ORDER BY r.n"""
_UNDECIDED: Final = """
    SELECT count(*)
    FROM points_records r
    JOIN points_sent s ON s.source_no = $4 AND s.reference = r.reference AND (s.file_no, s.n) <> ($1, r.n)
    JOIN points_batches b ON b.file_no = s.file_no AND b.from_n <= s.n AND b.to_n > s.n
    WHERE r.file_no = $1 AND r.n >= $2 AND r.n < $3 AND r.fault IS NULL AND r.first_line IS NULL
      AND b.state = 'open'"""
_NOTE: Final = """
    WITH answers AS (
        SELECT * FROM unnest($5::text[], $6::text[], $7::text[], $8::text[])
            AS a(reference, status, code, outside_reference)),
    noted AS (
        SELECT r.n, r.points,
               CASE WHEN s.n = r.n AND s.file_no = $1 THEN a.status ELSE 'duplicate' END AS status,
               CASE WHEN s.n = r.n AND s.file_no = $1 THEN
                        coalesce(a.code, CASE a.status WHEN 'accepted' THEN 'credited' ELSE a.status END)
                    WHEN (f.customer_id, f.points) = (r.customer_id, r.points) THEN e.code
                    ELSE 'reference_reused' END AS code,
               CASE WHEN s.n = r.n AND s.file_no = $1 THEN a.outside_reference
                    ELSE e.outside_reference END AS outside_reference
        FROM points_records r
        JOIN points_sent s ON s.source_no = $4 AND s.reference = r.reference
        LEFT JOIN answers a ON a.reference = r.reference
        LEFT JOIN points_records f ON f.file_no = s.file_no AND f.n = s.n
        LEFT JOIN points_results e ON e.file_no = s.file_no AND e.n = s.n
        WHERE r.file_no = $1 AND r.n >= $2 AND r.n < $3 AND r.fault IS NULL AND r.first_line IS NULL),
    results AS (
        INSERT INTO points_results (file_no, n, status, code, outside_reference)
        SELECT $1, n, status, code, outside_reference FROM noted)
    SELECT count(*) FILTER (WHERE status = 'accepted') AS credited,
           coalesce(sum(points) FILTER (WHERE status = 'accepted'), 0)::bigint AS credited_points,
           count(*) FILTER (WHERE status = 'rejected') AS rejected,
           coalesce(sum(points) FILTER (WHERE status = 'rejected'), 0)::bigint AS rejected_points,
           count(*) FILTER (WHERE status = 'duplicate') AS duplicate,
           coalesce(sum(points) FILTER (WHERE status = 'duplicate'), 0)::bigint AS duplicate_points
    FROM noted"""


async def claim(tx: Driven, *, partner: Partner, batch: Batch) -> list[Credit]:
    """The credits of a batch to ask for: its records whose reference no other record had before."""
    db = await tx.driver()
    key = batch.file_no, batch.from_n, batch.to_n, partner.source_no
    await db.execute(_CLAIM, *key)
    return [Credit(**row) for row in await db.fetch(_OURS, *key)]


async def note(
    tx: Driven, *, partner: Partner, batch: Batch, answers: Sequence[Credited], now: datetime
) -> None:
    """Note what the outside system answered, unless the batch is done already.

    Raises `ConflictError` (`busy`) while another file has a reference first whose result is not known yet.
    """
    if not await batches.lock(tx, batch=batch):
        return
    db = await tx.driver()
    key = batch.file_no, batch.from_n, batch.to_n, partner.source_no
    if await db.fetchval(_UNDECIDED, *key):
        raise ConflictError("The first result of a reference is not known yet; try again.", code="busy")
    columns = [
        [getattr(answer, name) for answer in answers]
        for name in ("reference", "status", "code", "their_reference")
    ]
    row = await db.fetchrow(_NOTE, *key, *columns)
    await batches.finish(tx, batch=batch, counts=Counts(**row), transfers=None, now=now)
