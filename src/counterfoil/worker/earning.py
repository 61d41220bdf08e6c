"""Orders that were recorded and paid earn points by themselves, where the merchant's program says so."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil import clock
from counterfoil.db.transactions import Tx, begin, read
from counterfoil.errors import InvalidError
from counterfoil.orders import paid
from counterfoil.orders.paid import Kind
from counterfoil.points import from_orders, programs, verbs
from counterfoil.points.earning import Paid

AT_ONCE: Final = 5_000
"""Orders of one transaction."""
_KINDS: Final[dict[str, Kind]] = {"orders": "orders", "transactions": "transactions"}
_log = structlog.get_logger(__name__)


async def earn_job(engine: AsyncEngine, payload: dict[str, Any]) -> None:
    """After orders or payments were recorded: those that are paid earn, each once, whatever comes twice."""
    kind = _KINDS.get(payload["kind"])
    if kind is None:
        return
    merchant_id = UUID(payload["merchant_id"])
    async for keys in _keys(engine, merchant_id, kind, payload):
        await _earn(engine, merchant_id, kind, keys)


async def _earn(engine: AsyncEngine, merchant_id: UUID, kind: Kind, keys: Sequence[str]) -> None:
    """Let them earn; where something among them cannot be, all but that."""
    try:
        async with begin(engine, statement_timeout_seconds=60) as tx:
            await earn_paid(tx, merchant_id=merchant_id, kind=kind, keys=keys, now=clock.now())
    except InvalidError as error:
        if len(keys) == 1:
            _log.warning(
                "it cannot earn points", merchant=str(merchant_id), kind=kind, key=keys[0], error=error.detail
            )
            return
        middle = len(keys) // 2
        for half in (keys[:middle], keys[middle:]):
            await _earn(engine, merchant_id, kind, half)


async def _keys(
    engine: AsyncEngine, merchant_id: UUID, kind: Kind, payload: dict[str, Any]
) -> AsyncIterator[list[str]]:
    """Which ones were recorded, so many at a time: as the event says, or found where they were too many."""
    if payload["keys"] is not None:
        yield payload["keys"]
        return
    after = ""
    while True:
        async with read(engine) as tx:
            keys = await paid.find_recorded(
                tx,
                merchant_id=merchant_id,
                kind=kind,
                recorded_at=datetime.fromisoformat(payload["recorded_at"]),
                after=after,
                limit=AT_ONCE,
            )
        if not keys:
            return
        yield keys
        after = keys[-1]


async def earn_paid(tx: Tx, *, merchant_id: UUID, kind: Kind, keys: Sequence[str], now: datetime) -> int:
    """Let the paid ones of these orders, or the orders of these transactions, earn; gives how many did.

    Nothing where the merchant has no program, or one that wants to be told of each order.
    """
    program = await programs.find(tx, merchant_id=merchant_id)
    if program is None or not program.earn_from_orders:
        return 0
    found = await paid.find_paid(tx, merchant_id=merchant_id, kind=kind, keys=keys)
    earned = 0
    for start in range(0, len(found), AT_ONCE):
        orders = [
            Paid(o.order_id, o.customer_id, o.paid_minor, o.paid_at) for o in found[start : start + AT_ONCE]
        ]
        earning = await from_orders.find_earning(tx, merchant_id=merchant_id, orders=orders, now=now)
        outcomes = await verbs.earn(tx, merchant_id=merchant_id, program=program, orders=earning, now=now)
        earned += sum(o is not None and o.ok for o in outcomes)
    return earned
