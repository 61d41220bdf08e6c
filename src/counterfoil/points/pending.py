"""Pending transfers: points promised to a member, and points of a member held for an order.

They are made by `ledger.post`. Each is settled once: carried out, wholly or in part, or voided; by whoever
says so, or by time: promised points are credited when they are due, holds are released.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import asyncpg

from counterfoil.db.transactions import Driven
from counterfoil.points import ledger
from counterfoil.points.ledger import Entry
from counterfoil.points.types import PendingState

Code = Literal["posted", "voided", "not_found", "already_posted", "already_voided", "too_many_points"]
"""What became of a settlement."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What shall become of a pending transfer."""

    transfer_id: UUID
    points: int | None = None
    """How many of its points are carried out, without sign; 0: none, it is voided; None: all that is left."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of it. The rest of what was held or promised is voided."""

    code: Code
    points: int = 0
    """How many points were carried out."""
    transfer_id: UUID | None = None
    """The transfer that carried it out."""
    balance: int | None = None
    """The member's balance after it."""
    repeated: bool = False

    @property
    def ok(self) -> bool:
        """Whether it was done, now or before."""
        return self.code in {"posted", "voided"}


_LOCK: Final = """
    SELECT count(*) FROM (
        SELECT a.account_no FROM points_accounts a
        WHERE a.account_no IN (SELECT p.member_no FROM points_pending p
                               WHERE p.merchant_id = $1 AND p.transfer_id = ANY($2::uuid[]))
        ORDER BY a.account_no FOR NO KEY UPDATE) locked"""
_READ: Final = """
    SELECT p.transfer_id, p.state, abs(p.points) AS points, p.posted_points, p.voided_points,
           p.points < 0 AS hold,
           t.source_no, a.name AS customer_id, t.order_id, t.amount_minor, t.note, t.expires_at,
           d.transfer_id AS done_id, d.balance AS done_balance
    FROM points_pending p
    JOIN points_transfers t ON t.transfer_id = p.transfer_id
    JOIN points_accounts a ON a.account_no = p.member_no
    LEFT JOIN points_transfers d ON d.settles = p.transfer_id
    WHERE p.merchant_id = $1 AND p.transfer_id = ANY($2::uuid[])"""
_SETTLE: Final = """
    WITH k AS (SELECT * FROM unnest($1::uuid[], $2::bigint[]) AS k(transfer_id, posted)),
    settled AS (
        UPDATE points_pending p
        SET state = CASE WHEN k.posted > 0 THEN 'posted' ELSE 'voided' END, posted_points = k.posted,
            voided_points = abs(p.points) - k.posted, settled_at = $3
        FROM k WHERE p.transfer_id = k.transfer_id
        RETURNING p.member_no, p.points, k.transfer_id),
    open AS (
        SELECT s.member_no, s.points, abs(s.points) - before.voided_points AS left_points
        FROM settled s JOIN points_pending before USING (transfer_id))
    UPDATE points_accounts a SET held = a.held - o.held, pending = a.pending - o.pending
    FROM (SELECT member_no, coalesce(sum(left_points) FILTER (WHERE points < 0), 0) AS held,
                 coalesce(sum(left_points) FILTER (WHERE points > 0), 0) AS pending
          FROM open GROUP BY member_no) o
    WHERE a.account_no = o.member_no"""
_REDUCE: Final = """
    WITH k AS (SELECT * FROM unnest($1::uuid[], $2::bigint[]) AS k(transfer_id, less)),
    reduced AS (
        UPDATE points_pending p SET voided_points = p.voided_points + k.less
        FROM k WHERE p.transfer_id = k.transfer_id RETURNING p.member_no, p.points, k.less)
    UPDATE points_accounts a SET held = a.held - o.held, pending = a.pending - o.pending
    FROM (SELECT member_no, coalesce(sum(less) FILTER (WHERE points < 0), 0) AS held,
                 coalesce(sum(less) FILTER (WHERE points > 0), 0) AS pending
          FROM reduced GROUP BY member_no) o
    WHERE a.account_no = o.member_no"""
_DUE: Final = """
    SELECT p.merchant_id, p.transfer_id, p.points < 0 AS hold FROM points_pending p
    WHERE p.state = 'pending' AND p.due_at <= $1 ORDER BY p.due_at LIMIT $2"""


async def settle(
    tx: Driven, *, merchant_id: UUID, settlements: Sequence[Settlement], now: datetime
) -> list[Settled]:
    """Carry out or void pending transfers, in their order; one outcome for each.

    The same settlement again gives the first outcome. Refusals: `not_found`, `already_posted` (otherwise
    than now asked), `already_voided`, `too_many_points`.
    """
    db = await tx.driver()
    ids = [s.transfer_id for s in settlements]
    await db.execute(_LOCK, merchant_id, ids)
    known = {row["transfer_id"]: row for row in await db.fetch(_READ, merchant_id, ids)}
    outcomes: list[Settled] = []
    first: dict[UUID, int] = {}
    for n, asked in enumerate(settlements):
        outcome = _decide(asked, known.get(asked.transfer_id))
        outcomes.append(outcome)
        if outcome.ok and not outcome.repeated:
            first.setdefault(asked.transfer_id, n)
    if first:
        await db.execute(_SETTLE, list(first), [outcomes[n].points for n in first.values()], now)
    posting = [n for n in first.values() if outcomes[n].points]
    entries = [_entry(known[settlements[n].transfer_id], outcomes[n].points) for n in posting]
    # What was promised was granted: no limit is asked again, and what was held is there.
    posted = await ledger.post(tx, merchant_id=merchant_id, entries=entries, now=now)
    for n, done in zip(posting, posted, strict=True):
        assert done.ok, done
        outcomes[n] = Settled("posted", outcomes[n].points, done.transfer_id, done.balance)
    for n, asked in enumerate(settlements):
        at = first.get(asked.transfer_id, n)
        if n > at:
            outcomes[n] = _again(asked, outcomes[at])
    return outcomes


def _decide(asked: Settlement, row: asyncpg.Record | None) -> Settled:
    if row is None:
        return Settled("not_found")
    state: PendingState = row["state"]
    whole = row["points"] - row["voided_points"]
    if state == "voided":
        return Settled("voided", repeated=True) if asked.points == 0 else Settled("already_voided")
    if state == "posted":
        same = asked.points is None or asked.points == row["posted_points"]
        if not same:
            return Settled("already_posted")
        return Settled("posted", row["posted_points"], row["done_id"], row["done_balance"], repeated=True)
    points = whole if asked.points is None else asked.points
    if points > whole:
        return Settled("too_many_points")
    return Settled("posted" if points else "voided", points)


def _again(asked: Settlement, before: Settled) -> Settled:
    """Asked twice in one batch: the first answer, if it asks for the same."""
    if before.points > 0 if asked.points is None else asked.points == before.points:
        return replace(before, repeated=True)
    return Settled("already_posted" if before.points else "already_voided")


def _entry(row: asyncpg.Record, points: int) -> Entry:
    return Entry(
        customer_id=row["customer_id"],
        source_no=row["source_no"],
        reference=None,
        points=-points if row["hold"] else points,
        expires_at=row["expires_at"],
        order_id=row["order_id"],
        amount_minor=row["amount_minor"],
        note=row["note"],
        settles=row["transfer_id"],
    )


async def reduce(tx: Driven, less: dict[UUID, int]) -> None:
    """Void a part of what is pending. The caller holds the accounts and knows what is left."""
    db = await tx.driver()
    await db.execute(_REDUCE, list(less), list(less.values()))


async def find_due(tx: Driven, *, now: datetime, limit: int) -> dict[UUID, list[Settlement]]:
    """What is due, by merchant: promised points to credit, holds to release."""
    db = await tx.driver()
    due: dict[UUID, list[Settlement]] = {}
    row: Any
    for row in await db.fetch(_DUE, now, limit):
        due.setdefault(row["merchant_id"], []).append(
            Settlement(row["transfer_id"], 0 if row["hold"] else None)
        )
    return due
