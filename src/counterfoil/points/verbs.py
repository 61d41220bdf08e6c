"""The verbs of points for the edges: each does its work, and tells the merchant's programs what was done."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from counterfoil.db.transactions import Driven
from counterfoil.ids import format_id
from counterfoil.points import burning, earning, events, expiry, ledger, pending
from counterfoil.points import reversals as undoing
from counterfoil.points.burning import Burn, Burned
from counterfoil.points.earning import Paid, Refund, TakenBack
from counterfoil.points.ledger import Entry, Posted
from counterfoil.points.pending import Settled, Settlement
from counterfoil.points.programs import Program
from counterfoil.points.reversals import Reversal, Reversed


async def post(
    tx: Driven, *, merchant_id: UUID, entries: Sequence[Entry], now: datetime, limit: int | None = None
) -> list[Posted]:
    """As `ledger.post`."""
    told = await events.listeners(tx, merchant_id=merchant_id)
    outcomes = await ledger.post(tx, merchant_id=merchant_id, entries=entries, now=now, limit=limit)
    await events.tell(tx, told, merchant_id=merchant_id, transfers=_new(outcomes), now=now)
    return outcomes


async def reverse(
    tx: Driven, *, merchant_id: UUID, reversals: Sequence[Reversal], now: datetime
) -> list[Reversed]:
    """As `reversals.reverse`."""
    told = await events.listeners(tx, merchant_id=merchant_id)
    outcomes = await undoing.reverse(tx, merchant_id=merchant_id, reversals=reversals, now=now)
    await events.tell(tx, told, merchant_id=merchant_id, transfers=_new(outcomes), now=now)
    return outcomes


async def settle(
    tx: Driven, *, merchant_id: UUID, settlements: Sequence[Settlement], now: datetime
) -> list[Settled]:
    """As `pending.settle`."""
    told = await events.listeners(tx, merchant_id=merchant_id)
    outcomes = await pending.settle(tx, merchant_id=merchant_id, settlements=settlements, now=now)
    voided = {
        format_id("transfer", asked.transfer_id): asked.transfer_id
        for asked, outcome in zip(settlements, outcomes, strict=True)
        if outcome.code == "voided" and not outcome.repeated
    }
    await events.tell(tx, told, merchant_id=merchant_id, transfers=_new(outcomes), voided=voided, now=now)
    return outcomes


async def earn(
    tx: Driven, *, merchant_id: UUID, program: Program, orders: Sequence[Paid], now: datetime
) -> list[Posted | None]:
    """As `earning.earn`."""
    told = await events.listeners(tx, merchant_id=merchant_id)
    outcomes = await earning.earn(tx, merchant_id=merchant_id, program=program, orders=orders, now=now)
    await events.tell(
        tx, told, merchant_id=merchant_id, transfers=_new([o for o in outcomes if o is not None]), now=now
    )
    return outcomes


async def take_back(
    tx: Driven, *, merchant_id: UUID, refunds: Sequence[Refund], now: datetime
) -> list[TakenBack]:
    """As `earning.take_back`."""
    told = await events.listeners(tx, merchant_id=merchant_id)
    outcomes = await earning.take_back(tx, merchant_id=merchant_id, refunds=refunds, now=now)
    voided = {
        f"{format_id('transfer', outcome.promise_id)}:{refund.refund_id}": outcome.promise_id
        for refund, outcome in zip(refunds, outcomes, strict=True)
        if outcome.promise_id is not None and not outcome.repeated
    }
    await events.tell(tx, told, merchant_id=merchant_id, transfers=_new(outcomes), voided=voided, now=now)
    return outcomes


async def burn(
    tx: Driven, *, merchant_id: UUID, program: Program, burns: Sequence[Burn], now: datetime
) -> list[Burned]:
    """As `burning.burn`."""
    told = await events.listeners(tx, merchant_id=merchant_id)
    outcomes = await burning.burn(tx, merchant_id=merchant_id, program=program, burns=burns, now=now)
    await events.tell(
        tx, told, merchant_id=merchant_id, transfers=_new([o.posted for o in outcomes]), now=now
    )
    return outcomes


async def expire(tx: Driven, *, merchant_id: UUID, now: datetime, most: int) -> int:
    """As `expiry.expire`; gives how many members lost points."""
    told = await events.listeners(tx, merchant_id=merchant_id)
    transfers = await expiry.expire(tx, merchant_id=merchant_id, now=now, most=most)
    await events.tell(tx, told, merchant_id=merchant_id, transfers=transfers, now=now)
    return len(transfers)


def _new(
    outcomes: Sequence[Posted] | Sequence[Reversed] | Sequence[Settled] | Sequence[TakenBack],
) -> list[UUID | None]:
    """The transfers that were made by this call, not by an earlier one."""
    return [outcome.transfer_id for outcome in outcomes if outcome.ok and not outcome.repeated]
