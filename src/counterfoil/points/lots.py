"""Lots: which of a member's points expire when. Whoever changes them holds the member's account."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

_TAKE: Final = """
    WITH debits AS (
        SELECT transfer_id, member_no, -points AS points,
               sum(-points) OVER (PARTITION BY member_no ORDER BY version) AS upto
        FROM points_transfers WHERE transfer_id = ANY($1::uuid[])),
    -- Lots and debits laid end to end, each in its order: a debit takes where the two overlap.
    taken AS (
        SELECT d.transfer_id, d.member_no, l.expires_at,
               least(d.upto, l.upto) - greatest(d.upto - d.points, l.upto - l.points) AS points
        FROM debits d CROSS JOIN LATERAL (
            SELECT expires_at, points, sum(points) OVER (ORDER BY expires_at) AS upto
            FROM points_lots WHERE member_no = d.member_no) l
        WHERE l.upto > d.upto - d.points AND l.upto - l.points < d.upto),
    uses AS (
        INSERT INTO points_lot_uses (transfer_id, expires_at, points)
        SELECT transfer_id, expires_at, points FROM taken)
    MERGE INTO points_lots l
    USING (SELECT member_no, expires_at, sum(points) AS points FROM taken GROUP BY 1, 2) t
    ON l.member_no = t.member_no AND l.expires_at = t.expires_at
    WHEN MATCHED AND l.points = t.points THEN DELETE
    WHEN MATCHED THEN UPDATE SET points = l.points - t.points"""

_GIVE_BACK: Final = """
    INSERT INTO points_lots AS l (member_no, expires_at, merchant_id, points)
    SELECT t.member_no, greatest(u.expires_at, $4), t.merchant_id,
           sum(least(b.already + b.points, u.upto) - greatest(b.already, u.upto - u.points))
    FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS b(transfer_id, already, points)
    JOIN points_transfers t ON t.transfer_id = b.transfer_id
    -- What a debit took, laid end to end the other way round: what never expires, then what lives longest.
    CROSS JOIN LATERAL (
        SELECT expires_at, points,
               -t.points - sum(points) OVER () + sum(points) OVER (ORDER BY expires_at DESC) AS upto
        FROM points_lot_uses WHERE transfer_id = t.transfer_id) u
    WHERE u.upto > b.already AND u.upto - u.points < b.already + b.points
    GROUP BY 1, 2, 3 ORDER BY 1, 2
    ON CONFLICT (member_no, expires_at) DO UPDATE SET points = l.points + excluded.points"""


async def give_back(
    db: asyncpg.Connection, back: Sequence[tuple[UUID, int, int]], *, soonest: datetime
) -> None:
    """Put back into the lots what debits took: of each so many points, after so many given back already.

    What would expire before `soonest` expires then.
    """
    if back:
        await db.execute(_GIVE_BACK, *zip(*back, strict=True), soonest)


async def take(db: asyncpg.Connection, debits: Sequence[UUID | None]) -> None:
    """Take what these debits took from the members' lots, the soonest to expire first."""
    if debits:
        await db.execute(_TAKE, debits)
