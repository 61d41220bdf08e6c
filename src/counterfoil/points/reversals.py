"""Reversals: undoing a transfer, wholly or in part, and never more than it moved.

What a debit took is given back to the lots that it came from, those that live longest first. What a credit
gave is taken back as far as it is there: points that were burned meanwhile cannot be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple
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
    """Take back what is left of it and the member still has, and no more, instead of refusing."""
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
           a.state = 'closed' AS closed, a.balance - a.held AS available, coalesce(r.reversed, 0) AS reversed,
           t.reverses IS NULL AND t.version IS NOT NULL AS reversible
    FROM points_transfers t
    JOIN points_accounts a ON a.account_no = t.member_no
    LEFT JOIN points_reversals r ON r.transfer_id = t.transfer_id
    WHERE t.merchant_id = $1 AND t.transfer_id = ANY($2::uuid[])"""
_BEFORE: Final = """
    SELECT k.source_no, k.reference, t.transfer_id, t.reverses, abs(t.points) AS points, t.balance, f.code
    FROM unnest($1::bigint[], $2::text[]) AS k(source_no, reference)
    LEFT JOIN points_transfers t ON t.source_no = k.source_no AND t.reference = k.reference
    LEFT JOIN points_refusals f ON f.source_no = k.source_no AND f.reference = k.reference
    WHERE t.transfer_id IS NOT NULL OR f.code IS NOT NULL"""
_REMEMBER: Final = """
    INSERT INTO points_refusals (source_no, reference, merchant_id, customer_id, points, code, refused_at)
    SELECT k.source_no, k.reference, $1, k.customer_id, k.points, k.code, $2
    FROM unnest($3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::text[])
         AS k(source_no, reference, customer_id, points, code)
    ON CONFLICT DO NOTHING"""
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
    closed: bool
    available: int
    """What its member had when the batch began."""
    reversed: int
    reversible: bool

    @property
    def left(self) -> int:
        return abs(self.points) - self.reversed


class _Answer(NamedTuple):
    """What became of a reference, and which transfer it was to undo."""

    undoes: UUID | None
    outcome: Reversed


_Key = tuple[int, str]
"""A source and its reference."""


async def reverse(
    tx: Driven, *, merchant_id: UUID, reversals: Sequence[Reversal], now: datetime
) -> list[Reversed]:
    """Undo transfers, in their order; one outcome for each. See `Code` for the refusals.

    A reference that was refused stays refused, as in `ledger.post`.
    """
    db = await tx.driver()
    ids = [r.transfer_id for r in reversals]
    await db.execute(_LOCK, merchant_id, ids)
    rows = await db.fetch(_READ, merchant_id, ids)
    originals = {row["transfer_id"]: _Original(**row) for row in rows}
    available = {original.customer_id: original.available for original in originals.values()}
    keys = [_key(asked, originals.get(asked.transfer_id)) for asked in reversals]
    before = await _before(db, [key for key in keys if key is not None])
    first: dict[_Key, int] = {}
    outcomes: list[Reversed] = []
    doing: list[_Doing] = []
    for n, (asked, key) in enumerate(zip(reversals, keys, strict=True)):
        if key is not None and (key in before or first.setdefault(key, n) != n):
            outcomes.append(_again(asked, before[key]) if key in before else Reversed("duplicate"))
            continue
        original = originals.get(asked.transfer_id)
        outcome = _decide(asked, original, available)
        outcomes.append(outcome)
        if original is not None and outcome.points:
            sign = -1 if original.points > 0 else 1
            doing.append(_Doing(n, original, original.reversed, sign * outcome.points))
            original.reversed += outcome.points
            available[original.customer_id] += sign * outcome.points
    await _do(tx, merchant_id, doing, reversals, outcomes, now)
    refused = [n for n in first.values() if not outcomes[n].points]
    await _remember(db, merchant_id, now, [(originals[ids[n]], reversals[n], outcomes[n]) for n in refused])
    for n, key in enumerate(keys):
        if key is not None and first.get(key, n) != n:
            outcomes[n] = _again(reversals[n], _Answer(ids[first[key]], outcomes[first[key]]))
    return outcomes


def _key(asked: Reversal, original: _Original | None) -> _Key | None:
    return None if original is None or asked.reference is None else (original.source_no, asked.reference)


def _again(asked: Reversal, before: _Answer) -> Reversed:
    """The first answer to a reference, if the same is asked."""
    outcome = before.outcome
    if not outcome.ok:
        return replace(outcome, repeated=True)
    points = outcome.points if asked.points is None else asked.points
    more = points > outcome.points and not asked.as_far_as_there
    if before.undoes != asked.transfer_id or more or points < outcome.points:
        return Reversed("duplicate", repeated=True)
    return replace(outcome, missing=max(outcome.missing, points - outcome.points), repeated=True)


async def _before(db: asyncpg.Connection, keys: Sequence[_Key]) -> dict[_Key, _Answer]:
    """What was answered to these references before."""
    if not keys:
        return {}
    rows = await db.fetch(_BEFORE, *zip(*keys, strict=True))
    return {
        (row["source_no"], row["reference"]): _Answer(
            row["reverses"],
            Reversed(row["code"])
            if row["transfer_id"] is None
            else Reversed("posted", row["points"], 0, row["transfer_id"], row["balance"]),
        )
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
        if not asked.as_far_as_there:
            return Reversed("too_many_points")
        points = original.left
    if original.points > 0 and points > available[original.customer_id]:
        there = available[original.customer_id] if asked.as_far_as_there else 0
        return Reversed("posted" if there else "insufficient", there, points - there)
    return Reversed("closed") if original.closed else Reversed("posted", points)


class _Doing(NamedTuple):
    """A reversal that was granted: its place in the batch, and how much was undone before it."""

    n: int
    original: _Original
    already: int
    points: int

    def entry(self, asked: Reversal) -> Entry:
        return Entry(
            customer_id=self.original.customer_id,
            source_no=self.original.source_no,
            reference=asked.reference,
            points=self.points,
            order_id=self.original.order_id,
            amount_minor=asked.amount_minor,
            note=asked.note,
            reverses=self.original.transfer_id,
        )


async def _do(
    tx: Driven,
    merchant_id: UUID,
    doing: Sequence[_Doing],
    reversals: Sequence[Reversal],
    outcomes: list[Reversed],
    now: datetime,
) -> None:
    """Post what was granted, count it, and give back to the lots what debits took from them."""
    db = await tx.driver()
    entries = [d.entry(reversals[d.n]) for d in doing]
    posted = await ledger.post(tx, merchant_id=merchant_id, entries=entries, now=now, take=False)
    done: list[_Doing] = []
    for d, p in zip(doing, posted, strict=True):
        if p.ok and not p.repeated:
            outcomes[d.n] = replace(outcomes[d.n], transfer_id=p.transfer_id, balance=p.balance)
            done.append(d)
        else:
            # Somebody has used the reference for another member meanwhile.
            outcomes[d.n] = Reversed("duplicate", repeated=True)
    if done:
        moved = [(d.original.transfer_id, abs(d.original.points), abs(d.points)) for d in done]
        await db.execute(_COUNT, *zip(*moved, strict=True))
    returned = [(d.original.transfer_id, d.already, d.points) for d in done if d.points > 0]
    # Before anything is taken: a debit of this batch may need what another reversal gives back.
    await lots.give_back(db, returned, soonest=now + GRACE)
    await lots.take(db, [outcomes[d.n].transfer_id for d in done if d.points < 0])


async def _remember(
    db: asyncpg.Connection,
    merchant_id: UUID,
    now: datetime,
    refused: Sequence[tuple[_Original, Reversal, Reversed]],
) -> None:
    """Keep what was refused: it stays so."""
    rows = [
        (original.source_no, asked.reference, original.customer_id, -original.points, outcome.code)
        for original, asked, outcome in refused
        if not outcome.repeated
    ]
    if rows:
        await db.execute(_REMEMBER, merchant_id, now, *zip(*rows, strict=True))
