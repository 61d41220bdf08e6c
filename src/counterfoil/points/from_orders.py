"""Orders that earn by themselves: which of those that are known shall."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from counterfoil.db.transactions import Driven
from counterfoil.points import accounts
from counterfoil.points.earning import Paid

# Key by key (OFFSET 0): joined as a whole, all history would be scanned where the tables were just filled.
_EARNING: Final = """
    SELECT k.n - 1 FROM unnest($3::text[], $4::text[]) WITH ORDINALITY AS k(order_id, customer_id, n)
    WHERE EXISTS (SELECT FROM points_accounts a WHERE a.merchant_id = $1 AND a.source IS NULL
                  AND a.name = k.customer_id AND a.state = 'open' OFFSET 0)
      AND NOT EXISTS (SELECT FROM points_transfers t
                      WHERE t.source_no = $2 AND t.reference = k.order_id OFFSET 0)
      AND NOT EXISTS (SELECT FROM points_refusals r
                      WHERE r.source_no = $2 AND r.reference = k.order_id OFFSET 0)
    ORDER BY k.n"""


async def find_earning(tx: Driven, *, merchant_id: UUID, orders: Sequence[Paid], now: datetime) -> list[Paid]:
    """Those of members with an open account that have not earned yet.

    An order of nobody, or of somebody who is no member, is left alone: refused once, it could never earn.
    """
    source_no = await accounts.source_no(tx, merchant_id=merchant_id, source="earned", now=now)
    db = await tx.driver()
    names = [order.order_id for order in orders], [order.customer_id for order in orders]
    return [orders[row[0]] for row in await db.fetch(_EARNING, merchant_id, source_no, *names)]
