"""What the merchant's programs are told of points: every transfer, what was voided, and what expires soon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from counterfoil.db import outbox
from counterfoil.db.transactions import Driven
from counterfoil.ids import format_id

EVENT: Final = "points.changed"

_FACTS: Final = """
    SELECT t.transfer_id, a.name AS customer_id, s.source, s.name AS source_name, t.reference, t.points,
           t.balance, t.version, t.order_id, t.amount_minor, t.note, t.expires_at, t.reverses, t.settles,
           coalesce(p.state, 'posted') AS state, p.due_at, p.voided_points, t.posted_at
    FROM points_transfers t
    JOIN points_accounts a ON a.account_no = t.member_no
    JOIN points_accounts s ON s.account_no = t.source_no
    LEFT JOIN points_pending p ON p.transfer_id = t.transfer_id
    WHERE t.transfer_id = ANY($1::uuid[])"""


async def listeners(tx: Driven, *, merchant_id: UUID) -> list[str]:
    """Who wants to be told. Asked before the locks are taken, so that nobody waits for the answer."""
    return await outbox.wanted(tx, EVENT, merchant_id)


async def tell(
    tx: Driven,
    subscribers: Sequence[str],
    *,
    merchant_id: UUID,
    transfers: Sequence[UUID | None] = (),
    voided: Mapping[str, UUID] | None = None,
    now: datetime,
) -> None:
    """Tell of transfers that were just made, and of pending ones that were voided, wholly or in part.

    `voided`: which ones, by the ids of the facts. An event's id comes from its fact, so that telling it
    twice is telling it once.
    """
    made = [transfer_id for transfer_id in transfers if transfer_id is not None]
    gone = voided or {}
    if not subscribers or not (made or gone):
        return
    db = await tx.driver()
    rows = {row["transfer_id"]: row for row in await db.fetch(_FACTS, [*made, *gone.values()])}
    events = [_event(rows[key], type_of(rows[key]), format_id("transfer", key), now) for key in made]
    events += [_event(rows[key], "points.voided", fact, now) for fact, key in gone.items()]
    await outbox.tell(tx, subscribers, EVENT, merchant_id, {"events": events})


async def tell_expiring(
    tx: Driven, *, merchant_id: UUID, lots: Sequence[Mapping[str, Any]], now: datetime
) -> None:
    """Tell of lots that are about to expire: `customer_id`, `expires_at` and `points` of each."""
    events = [
        {
            "id": f"expiring:{lot['customer_id']}:{lot['expires_at']}",
            "type": "points.expiring",
            "time": now.isoformat(),
            "subject": lot["customer_id"],
            "data": dict(lot),
        }
        for lot in lots
    ]
    await outbox.publish(tx, "points.changed", {"merchant_id": str(merchant_id), "events": events})


def type_of(row: asyncpg.Record) -> str:
    """What a transfer is called: what happened to the member."""
    if row["version"] is None:
        return "points.promised" if row["points"] > 0 else "points.held"
    if row["reverses"] is not None:
        return "points.reversed"
    if row["points"] > 0:
        return "points.credited"
    return "points.expired" if row["source"] == "expired" else "points.debited"


def _event(row: asyncpg.Record, event: str, fact: str, now: datetime) -> dict[str, Any]:
    return {
        "id": f"{event.partition('.')[2]}:{fact}",
        "type": event,
        "time": now.isoformat(),
        "subject": row["customer_id"],
        "data": {name: _said(value) for name, value in row.items()},
    }


def _said(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return format_id("transfer", value) if isinstance(value, UUID) else value
