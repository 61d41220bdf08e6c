"""What screens read of orders."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from counterfoil.db.transactions import ReadTx

_LINES: Final = """
    SELECT l.order_id, count(*) AS lines, sum(l.amount_minor)::bigint AS amount_minor,
           sum(l.coupon_discount_minor)::bigint AS coupon_discount_minor,
           (array_agg(to_jsonb(l) - 'merchant_id' ORDER BY l.line_number))[1:CAST(:most AS int)] AS first
    FROM order_lines l
    WHERE l.merchant_id = :merchant_id AND l.order_id = ANY(CAST(:order_ids AS text[]))
    GROUP BY l.order_id"""

MOST_LINES_SHOWN: Final = 50


@dataclass(frozen=True, slots=True)
class OrderLines:
    """The lines of an order, summed up."""

    lines: int
    amount_minor: int
    coupon_discount_minor: int
    first: list[dict[str, Any]]
    """The first lines as they are stored, at most `MOST_LINES_SHOWN`."""


async def order_lines(tx: ReadTx, *, merchant_id: UUID, order_ids: Collection[str]) -> dict[str, OrderLines]:
    """The lines of these orders, by order; an order of which no lines are known is not in it."""
    rows = await tx.all(
        _LINES, {"merchant_id": merchant_id, "order_ids": list(order_ids), "most": MOST_LINES_SHOWN}
    )
    return {
        row.order_id: OrderLines(row.lines, row.amount_minor, row.coupon_discount_minor, row.first)
        for row in rows
    }
