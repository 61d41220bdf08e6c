"""Burning: points that take something off an order; at once, or held at the checkout until it is paid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from counterfoil.db.transactions import Driven
from counterfoil.points import accounts, ledger
from counterfoil.points.ledger import Entry, Posted
from counterfoil.points.programs import Program


@dataclass(frozen=True, slots=True)
class Burn:
    """Points that a member wants to use on an order."""

    customer_id: str
    order_id: str
    points: int
    hold_until: datetime | None = None
    """Hold them only, until then; None: burn them at once."""
    reference: str | None = None
    """Which attempt it is; None: `order_id`. What was refused or released is tried again as another."""


@dataclass(frozen=True, slots=True)
class Burned:
    """What became of it, and what the points take off the order."""

    posted: Posted
    amount_minor: int


async def burn(
    tx: Driven, *, merchant_id: UUID, program: Program, burns: Sequence[Burn], now: datetime
) -> list[Burned]:
    """Burn or hold points, each reference once; one outcome for each. Refusals: as of `ledger.post`."""
    source_no = await accounts.source_no(tx, merchant_id=merchant_id, source="burned", now=now)
    worth = [program.burn.worth_minor(b.points) for b in burns]
    entries = [
        Entry(
            customer_id=b.customer_id,
            source_no=source_no,
            reference=b.reference or b.order_id,
            points=-b.points,
            pending=b.hold_until is not None,
            due_at=b.hold_until,
            order_id=b.order_id,
            amount_minor=minor,
        )
        for b, minor in zip(burns, worth, strict=True)
    ]
    posted = await ledger.post(tx, merchant_id=merchant_id, entries=entries, now=now)
    before = await _worth_before(tx, [p.transfer_id for p in posted if p.ok and p.repeated])
    return [
        Burned(p, before.get(p.transfer_id, minor) if p.ok else 0)
        for p, minor in zip(posted, worth, strict=True)
    ]


async def _worth_before(tx: Driven, transfer_ids: Sequence[UUID | None]) -> dict[UUID | None, int]:
    """What earlier burns took off their orders, whatever a point is worth now."""
    if not transfer_ids:
        return {}
    db = await tx.driver()
    rows = await db.fetch(
        """SELECT transfer_id, amount_minor FROM points_transfers
           WHERE transfer_id = ANY($1::uuid[]) AND amount_minor IS NOT NULL""",
        transfer_ids,
    )
    return {row["transfer_id"]: row["amount_minor"] for row in rows}
