"""Points that expire: lot by lot, the soonest first, with notice before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from counterfoil.db.transactions import Driven
from counterfoil.points import accounts, ledger
from counterfoil.points.ledger import Entry

_DUE: Final = """
    SELECT DISTINCT l.merchant_id FROM points_lots l JOIN points_accounts a ON a.account_no = l.member_no
    WHERE l.expires_at <= $1 AND a.balance > a.held"""
_MEMBERS: Final = """
    SELECT DISTINCT a.name FROM points_lots l JOIN points_accounts a ON a.account_no = l.member_no
    WHERE l.merchant_id = $1 AND l.expires_at <= $2 AND a.balance > a.held LIMIT $3"""
_EXPIRED: Final = """
    SELECT a.name AS customer_id, least(sum(l.points), a.balance - a.held)::bigint AS points
    FROM points_accounts a JOIN points_lots l ON l.member_no = a.account_no
    WHERE a.merchant_id = $1 AND a.source IS NULL AND a.name = ANY($2::text[])
      AND l.expires_at <= $3 AND a.balance > a.held
    GROUP BY a.account_no ORDER BY a.account_no"""
_NOTICE: Final = """
    WITH soon AS (
        SELECT u.* FROM points_programs p, LATERAL (
            SELECT l.member_no, l.expires_at FROM points_lots l
            WHERE l.merchant_id = p.merchant_id AND l.notified_at IS NULL AND l.expires_at > $1
              AND l.expires_at <= $1 + make_interval(days => (p.terms->>'notice_days')::int)
            ORDER BY l.expires_at LIMIT $2 FOR UPDATE SKIP LOCKED) u
        LIMIT $2)
    UPDATE points_lots l SET notified_at = $1 FROM soon s JOIN points_accounts a ON a.account_no = s.member_no
    WHERE l.member_no = s.member_no AND l.expires_at = s.expires_at
    RETURNING l.merchant_id, a.name AS customer_id, l.expires_at, l.points"""


async def find_due(tx: Driven, *, now: datetime) -> list[UUID]:
    """Merchants with members whose points expired."""
    db = await tx.driver()
    return [row[0] for row in await db.fetch(_DUE, now)]


async def expire(tx: Driven, *, merchant_id: UUID, now: datetime, most: int) -> list[UUID]:
    """Expire what is due of at most so many members; gives the transfers.

    Points that are held for an order stay until that is settled.
    """
    db = await tx.driver()
    source_no = await accounts.source_no(tx, merchant_id=merchant_id, source="expired", now=now)
    members = [row[0] for row in await db.fetch(_MEMBERS, merchant_id, now, most)]
    await ledger.lock(tx, merchant_id=merchant_id, customer_ids=members)
    entries = [
        Entry(customer_id=row["customer_id"], source_no=source_no, reference=None, points=-row["points"])
        for row in await db.fetch(_EXPIRED, merchant_id, members, now)
    ]
    posted = await ledger.post(tx, merchant_id=merchant_id, entries=entries, now=now)
    return [p.transfer_id for p in posted if p.transfer_id is not None]


async def find_expiring(tx: Driven, *, now: datetime, most: int) -> dict[UUID, Sequence[dict[str, Any]]]:
    """Lots that are about to expire and of which nobody was told yet, by merchant; they count as told now."""
    db = await tx.driver()
    found: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    for row in await db.fetch(_NOTICE, now, most):
        found[row["merchant_id"]].append(
            {
                "customer_id": row["customer_id"],
                "expires_at": row["expires_at"].isoformat(),
                "points": row["points"],
            }
        )
    return dict(found)
