"""What screens read of stores."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import select

from counterfoil.db.transactions import ReadTx
from counterfoil.merchants.tables import stores


async def store_names(tx: ReadTx, *, merchant_id: UUID, store_ids: Collection[str]) -> dict[str, str]:
    """The names of those of these stores that have one."""
    statement = select(stores.c.store_id, stores.c.name).where(
        stores.c.merchant_id == merchant_id, stores.c.store_id.in_(store_ids), stores.c.name.is_not(None)
    )
    return {row.store_id: row.name for row in await tx.all(statement)}
