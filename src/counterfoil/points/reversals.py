"""Reversals: undoing a transfer, wholly or in part, and never more than it moved.

What a debit took is given back to the lots that it came from, those that live longest first. What a credit
gave is taken back as far as it is there: points that were burned meanwhile cannot be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

import asyncpg

from counterfoil.db.transactions import Driven
from counterfoil.points import ledger, lots
from counterfoil.points.ledger import Entry

GRACE: Final = timedelta(days=30)
"""How long points live at least that are given back."""

Code = Literal[
    "posted",
    "not_found",
    "not_reversible",
    "reversed_already",
    "too_many_points",
    "insufficient",
    "closed",
    "duplicate",
]
"""What became of a reversal. `not_reversible`: it is a reversal itself, or is pending: settle that."""


@dataclass(frozen=True, slots=True)
class Reversal:
    """A transfer to undo."""

    transfer_id: UUID
    reference: str | None = None
    """What the source calls it: the same again gives the first answer."""
    points: int | None = None
    """How many of its points, without sign; None: all that are left."""
    as_far_as_there: bool = False
    """Take back what the member still has, and no more, instead of refusing."""
    amount_minor: int | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Reversed:
    """What became of it."""

    code: Code
    points: int = 0
    """How many points were moved back."""
    missing: int = 0
    """How many could not be taken back, because the member has burned them."""
    transfer_id: UUID | None = None
    balance: int | None = None
    repeated: bool = False

    @property
    def ok(self) -> bool:
        """Whether it was done, now or before."""
        return self.code == "posted"


_LOCK: Final = """
    SELECT count(*) FROM (
        SELECT a.account_no FROM points_accounts a
        WHERE a.account_no IN (SELECT t.member_no FROM points_transfers t
                               WHERE t.merchant_id = $1 AND t.transfer_id = ANY($2::uuid[]))
        ORDER BY a.account_no FOR NO KEY UPDATE) locked"""
_READ: Final = """
    SELECT t.transfer_id, t.points, t.source_no, t.order_id, a.name AS customer_id,
           a.balance - a.held AS available, coalesce(r.reversed, 0) AS reversed,
           t.reverses IS NULL AND t.version IS NOT NULL AS reversible
    FROM points_transfers t
    JOIN points_accounts a ON a.account_no = t.member_no
    LEFT JOIN points_reversals r ON r.transfer_id = t.transfer_id
    WHERE t.merchant_id = $1 AND t.transfer_id = ANY($2::uuid[])"""
_BEFORE: Final = """
    SELECT k.original, k.reference, t.transfer_id, abs(t.points) AS points, t.balance,
           t.reverses IS NOT DISTINCT FROM k.original AS same
    FROM unnest($1::uuid[], $2::bigint[], $3::text[]) AS k(original, source_no, reference)
    JOIN points_transfers t ON t.source_no = k.source_no AND t.reference = k.reference"""
_COUNT: Final = """
    INSERT INTO points_reversals AS r (transfer_id, points, reversed)
    SELECT transfer_id, max(points), sum(reversed)
    FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS k(transfer_id, points, reversed) GROUP BY 1
    ON CONFLICT (transfer_id) DO UPDATE SET reversed = r.reversed + excluded.reversed"""


@dataclass(slots=True)
class _Original:
    """A transfer to undo, and what is left of it as the batch goes on."""

    transfer_id: UUID
    points: int
    source_no: int
    order_id: str | None
    customer_id: str
    reversed: int
    reversible: bool

    @property
    def left(self) -> int:
        return abs(self.points) - self.reversed


async def reverse(
    tx: Driven, *, merchant_id: UUID, reversals: Sequence[Reversal], now: datetime
) -> list[Reversed]:
    """Undo transfers, in their order; one outcome for each. See `Code` for the refusals."""
    db = await tx.driver()
    ids = [r.transfer_id for r in reversals]
    await db.execute(_LOCK, merchant_id, ids)
    rows = await db.fetch(_READ, merchant_id, ids)
    originals = {
        row["transfer_id"]: _Original(
            row["transfer_id"],
            row["points"],
            row["source_no"],
            row["order_id"],
            row["customer_id"],
            row["reversed"],
            row["reversible"],
        )
        for row in rows
    }
    available: dict[str, int] = {row["customer_id"]: row["available"] for row in rows}
    before = await _before(db, reversals, originals)
    outcomes: list[Reversed] = []
    doing: list[tuple[int, _Original, int, Entry]] = []
    for n, asked in enumerate(reversals):
        original = originals.get(asked.transfer_id)
        known = before.get((asked.transfer_id, asked.reference))
        if known is not None:
            outcomes.append(known)
            continue
        outcome = _decide(asked, original, available)
        outcomes.append(outcome)
        if original is None or not outcome.points:
            continue
        already, sign = original.reversed, -1 if original.points > 0 else 1
        original.reversed += outcome.points
        available[original.customer_id] += sign * outcome.points
        doing.append((n, original, already, _entry(asked, original, sign * outcome.points)))
        if asked.reference is not None:
            before[asked.transfer_id, asked.reference] = Reversed(
                "posted", outcome.points, outcome.missing, repeated=True
            )
    posted = await ledger.post(tx, merchant_id=merchant_id, entries=[e for *_, e in doing], now=now)
    done: list[tuple[_Original, int, int]] = []
    for (n, original, already, entry), p in zip(doing, posted, strict=True):
        if p.code == "posted" and not p.repeated:
            outcomes[n] = Reversed(
                "posted", outcomes[n].points, outcomes[n].missing, p.transfer_id, p.balance
            )
            done.append((original, already, abs(entry.points)))
        else:
            outcomes[n] = Reversed("duplicate" if p.code in {"posted", "pending"} else _refusal(p.code))
    if done:
        totals = [abs(o.points) for o, _, _ in done]
        await db.execute(_COUNT, [o.transfer_id for o, _, _ in done], totals, [points for *_, points in done])
    returned = [(o.transfer_id, already, points) for o, already, points in done if o.points < 0]
    await lots.give_back(db, returned, soonest=now + GRACE)
    return outcomes


async def _before(
    db: asyncpg.Connection, reversals: Sequence[Reversal], originals: dict[UUID, _Original]
) -> dict[tuple[UUID, str | None], Reversed]:
    """What was answered to these references before."""
    asked = [(r.transfer_id, r.reference) for r in reversals if r.reference and r.transfer_id in originals]
    if not asked:
        return {}
    sources = [originals[transfer_id].source_no for transfer_id, _ in asked]
    rows = await db.fetch(_BEFORE, [a for a, _ in asked], sources, [b for _, b in asked])
    return {
        (row["original"], row["reference"]): Reversed(
            "posted", row["points"], 0, row["transfer_id"], row["balance"], repeated=True
        )
        if row["same"]
        else Reversed("duplicate", repeated=True)
        for row in rows
    }


def _decide(asked: Reversal, original: _Original | None, available: dict[str, int]) -> Reversed:
    if original is None:
        return Reversed("not_found")
    if not original.reversible:
        return Reversed("not_reversible")
    if not original.left:
        return Reversed("reversed_already")
    points = original.left if asked.points is None else asked.points
    if points > original.left:
        return Reversed("too_many_points")
    if original.points > 0 and points > available[original.customer_id]:
        there = available[original.customer_id] if asked.as_far_as_there else 0
        return Reversed("posted" if there else "insufficient", there, points - there)
    return Reversed("posted", points)


def _entry(asked: Reversal, original: _Original, points: int) -> Entry:
    return Entry(
        customer_id=original.customer_id,
        source_no=original.source_no,
        reference=asked.reference,
        points=points,
        order_id=original.order_id,
        amount_minor=asked.amount_minor,
        note=asked.note,
        reverses=original.transfer_id,
    )


def _refusal(code: ledger.Code) -> Code:
    return "closed" if code == "closed" else "insufficient"
