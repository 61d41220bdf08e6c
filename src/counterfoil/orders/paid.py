"""Orders that were paid, as those who reward them want to know them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from counterfoil.db.transactions import ReadTx

Kind = Literal["orders", "transactions"]


@dataclass(frozen=True, slots=True)
class PaidOrder:
    """An order with its payment: when, by whom, how much."""

    order_id: str
    customer_id: str
    paid_minor: int
    paid_at: datetime


_KEYS: Final[dict[Kind, str]] = {"orders": "order_id", "transactions": "transaction_id"}
# Key by key (OFFSET 0): joined as a whole, tables that were just filled would be scanned for each page.
_PAID: Final = """
    SELECT o.order_id, coalesce(o.customer_id, t.customer_id) AS customer_id,
           coalesce(o.amount_minor, t.amount_minor) AS paid_minor,
           coalesce(t.paid_at, o.ordered_at) AS paid_at
    FROM unnest(CAST(:keys AS text[])) k(key)
    CROSS JOIN LATERAL (
        SELECT * FROM orders o
        WHERE o.merchant_id = :merchant_id AND o.{key} = k.key AND o.transaction_id IS NOT NULL OFFSET 0) o
    LEFT JOIN LATERAL (
        SELECT * FROM transactions t
        WHERE t.merchant_id = :merchant_id AND t.transaction_id = o.transaction_id OFFSET 0) t ON true
    WHERE coalesce(o.customer_id, t.customer_id) IS NOT NULL
      -- An order without an amount has that of its payment, unless it shares the payment with another.
      AND (o.amount_minor IS NOT NULL OR t.amount_minor IS NOT NULL AND NOT EXISTS (
          SELECT FROM orders s WHERE s.merchant_id = :merchant_id
          AND s.transaction_id = o.transaction_id AND s.order_id <> o.order_id OFFSET 0))
    ORDER BY paid_at, o.order_id"""


async def find_paid(tx: ReadTx, *, merchant_id: UUID, kind: Kind, keys: Sequence[str]) -> list[PaidOrder]:
    """The paid ones of these orders, or the orders of these transactions, as they were paid.

    One whose payment is not recorded yet is there if it says itself who paid how much.
    """
    rows = await tx.all(_PAID.format(key=_KEYS[kind]), {"merchant_id": merchant_id, "keys": list(keys)})
    return [PaidOrder(**row._mapping) for row in rows]


async def find_recorded(
    tx: ReadTx, *, merchant_id: UUID, kind: Kind, recorded_at: datetime, after: str, limit: int
) -> list[str]:
    """The keys of orders or transactions that were last recorded at a moment, page by page."""
    key = _KEYS[kind]
    values: dict[str, Any] = {
        "merchant_id": merchant_id,
        "recorded_at": recorded_at,
        "after": after,
        "limit": limit,
    }
    rows = await tx.all(
        f"""SELECT {key} AS key FROM {kind}
            WHERE merchant_id = :merchant_id AND recorded_at = :recorded_at AND {key} > :after
            ORDER BY {key} LIMIT :limit""",
        values,
    )
    return [row.key for row in rows]
