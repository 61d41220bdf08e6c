"""Figures of the pages: how many members there are, and what of their points expires when."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final
from uuid import UUID

from counterfoil.db.transactions import ReadTx

_EXPIRING: Final = """
    SELECT date_trunc('month', (l.expires_at - interval '1 microsecond') AT TIME ZONE :zone)::date AS month,
           sum(l.points)::bigint AS points
    FROM points_lots l
    WHERE l.merchant_id = :merchant_id AND l.expires_at > :now
    GROUP BY 1 ORDER BY 1 LIMIT :most"""


async def count_members(tx: ReadTx, *, merchant_id: UUID) -> int:
    """How many accounts of members there are, the closed ones too."""
    found: int = await tx.scalar(
        "SELECT count(*) FROM points_accounts WHERE merchant_id = :merchant_id AND source IS NULL",
        {"merchant_id": merchant_id},
    )
    return found


async def expiring_by_month(
    tx: ReadTx, *, merchant_id: UUID, zone: str, now: datetime, most: int = 24
) -> dict[date, int]:
    """Points of all members by the month in which their last good day is, by the merchant's clock."""
    rows = await tx.all(_EXPIRING, {"merchant_id": merchant_id, "zone": zone, "now": now, "most": most})
    return {row.month: row.points for row in rows}
