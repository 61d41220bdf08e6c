"""What tests of the platform make: merchants, and records with only what matters said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from counterfoil.app import RECORD_KINDS
from counterfoil.db import records
from counterfoil.db.records import LoadOutcome
from counterfoil.db.transactions import Tx
from counterfoil.ids import new_id
from counterfoil.merchants import merchants

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


def at(hours: float) -> datetime:
    """A moment `hours` after the first of May."""
    return datetime(2026, 5, 1, tzinfo=UTC) + timedelta(hours=hours)


async def make_merchant(
    tx: Tx, reference: str | None = None, *, time_zone: str = "UTC", currency: str = "CNY"
) -> UUID:
    made = await merchants.create(
        tx,
        reference=reference or f"m-{new_id().hex}",
        name="A merchant",
        time_zone=time_zone,
        currency=currency,
        now=NOW,
    )
    return made.id


async def load(
    tx: Tx, merchant_id: UUID, kind: str, *rows: dict[str, Any], now: datetime = NOW
) -> LoadOutcome:
    """Check and load rows as a bulk request does."""
    chosen = RECORD_KINDS[kind]
    checked = [chosen.record.model_validate(row) for row in rows]
    batch = records.to_batch(chosen, checked)
    return await records.load(tx, chosen, merchant_id=merchant_id, batches=[batch], now=now)
