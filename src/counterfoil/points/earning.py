"""Earning: points for orders that were paid, and taking them back as money goes back.

An order earns once. What is taken back follows what is left of the payment, part by part: when all of it has
gone back, so have all of the points, whatever the roundings between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal, NamedTuple
from uuid import UUID

import asyncpg

from counterfoil.db.transactions import Driven
from counterfoil.points import accounts, ledger, pending, reversals
from counterfoil.points.ledger import Entry, Posted
from counterfoil.points.pending import Settlement
from counterfoil.points.programs import Program
from counterfoil.points.reversals import Reversal


@dataclass(frozen=True, slots=True)
class Paid:
    """An order that was paid."""

    order_id: str
    customer_id: str
    paid_minor: int
    paid_at: datetime


@dataclass(frozen=True, slots=True)
class Refund:
    """Money that went back."""

    order_id: str
    refund_id: str
    refunded_minor: int | None = None
    """None: all that is left of the payment."""


TakeBackCode = Literal[
    "taken_back", "nothing_to_take_back", "order_not_earned", "refund_too_large", "duplicate"
]
"""What became of a refund."""


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What became of a refund."""

    code: TakeBackCode
    points: int = 0
    """How many points the member has less, of the balance or of what was promised."""
    missing: int = 0
    """How many could not be taken back, because they have been burned."""
    balance: int | None = None
    repeated: bool = False
    transfer_id: UUID | None = None
    """The transfer that took them out of the balance."""
    promise_id: UUID | None = None
    """The pending transfer that promises less now; None: they were in the balance."""

    @property
    def ok(self) -> bool:
        """Whether nothing is left to do."""
        return self.code in {"taken_back", "nothing_to_take_back"}


_LOCK: Final = """
    SELECT coalesce(array_agg(account_no), '{}') FROM (
        SELECT a.account_no FROM points_accounts a
        WHERE a.account_no IN (SELECT t.member_no FROM points_transfers t
                               WHERE t.source_no = $1 AND t.reference = ANY($2::text[]))
        ORDER BY a.account_no FOR NO KEY UPDATE) locked"""
_EARNED: Final = """
    SELECT t.reference AS order_id, t.transfer_id, t.points, t.amount_minor, p.state, p.voided_points,
           CASE WHEN p.state = 'posted' THEN d.transfer_id END AS carried_out
    FROM points_transfers t
    LEFT JOIN points_pending p ON p.transfer_id = t.transfer_id
    LEFT JOIN points_transfers d ON d.settles = t.transfer_id
    WHERE t.source_no = $1 AND t.reference = ANY($2::text[]) AND t.points > 0
      AND t.member_no = ANY($3::bigint[])"""
_REFUNDS: Final = """
    SELECT order_id, refund_id, refunded_minor, points, missing FROM points_refunds
    WHERE merchant_id = $1 AND order_id = ANY($2::text[])"""
_KEEP: Final = """
    INSERT INTO points_refunds (merchant_id, order_id, refund_id, refunded_minor, points, missing,
                                recorded_at)
    SELECT $1, k.*, $2 FROM unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[]) AS k"""


async def earn(
    tx: Driven, *, merchant_id: UUID, program: Program, orders: Sequence[Paid], now: datetime
) -> list[Posted | None]:
    """Credit what orders earned, or promise it while they may be sent back; None: the order earns nothing."""
    source_no = await accounts.source_no(tx, merchant_id=merchant_id, source="earned", now=now)
    entries = [_entry(order, program, source_no, now) for order in orders]
    asked = [entry for entry in entries if entry is not None]
    posted = await ledger.post(tx, merchant_id=merchant_id, entries=asked, now=now, limit=program.max_balance)
    told = await ledger.read(await tx.driver(), [p.transfer_id for p in posted if p.code == "duplicate"])
    answers = iter([_known(entry, p, told) for entry, p in zip(asked, posted, strict=True)])
    return [None if entry is None else next(answers) for entry in entries]


def _known(entry: Entry, posted: Posted, told: Mapping[UUID, asyncpg.Record]) -> Posted:
    """The same payment again is no duplicate, though by now it would earn otherwise."""
    was = told.get(posted.transfer_id) if posted.code == "duplicate" and posted.transfer_id else None
    if was is None or (was["customer_id"], was["amount_minor"]) != (entry.customer_id, entry.amount_minor):
        return posted
    code: ledger.Code = "pending" if was["version"] is None else "posted"
    return Posted(code, True, was["transfer_id"], was["balance"], was["version"])


def _entry(order: Paid, program: Program, source_no: int, now: datetime) -> Entry | None:
    points = program.earn.points_for(order.paid_minor)
    if points <= 0:
        return None
    due_at = program.due_at(order.paid_at)
    promised = due_at is not None and due_at > now
    return Entry(
        customer_id=order.customer_id,
        source_no=source_no,
        reference=order.order_id,
        points=points,
        expires_at=program.expires_at(order.paid_at),
        pending=promised,
        due_at=due_at if promised else None,
        order_id=order.order_id,
        amount_minor=order.paid_minor,
    )


class _Answer(NamedTuple):
    """What became of a refund, and how much money it was about."""

    minor: int
    outcome: TakenBack

    def again(self, refund: Refund) -> TakenBack:
        """The first answer, if the same is asked."""
        if refund.refunded_minor not in {None, self.minor}:
            return TakenBack("duplicate", repeated=True)
        return replace(self.outcome, repeated=True)


@dataclass(slots=True)
class _Order:
    """What an order earned, and what is left of it as the batch goes on."""

    transfer_id: UUID
    """What a reversal undoes: the credit, however it came."""
    points: int
    paid_minor: int
    pending: bool
    voided: bool
    refunded_minor: int

    @property
    def left(self) -> int:
        """Points that what is left of the payment is worth."""
        left = self.paid_minor - self.refunded_minor
        return self.points * left // self.paid_minor if self.paid_minor else 0


async def take_back(
    tx: Driven, *, merchant_id: UUID, refunds: Sequence[Refund], now: datetime
) -> list[TakenBack]:
    """Take points back as money goes back, each refund once; one outcome for each.

    Promised points become fewer; credited ones are taken from the balance as far as they are there
    (`missing` says how many were burned). Refusals: `order_not_earned` (asked again later it may have),
    `refund_too_large`, `duplicate` (the `refund_id` was used for another amount).
    """
    db = await tx.driver()
    source_no = await accounts.source_no(tx, merchant_id=merchant_id, source="earned", now=now)
    orders, before = await _read(db, merchant_id, source_no, list({r.order_id for r in refunds}))
    outcomes: list[TakenBack] = []
    reversing: list[tuple[int, Reversal]] = []
    voiding: dict[UUID, int] = {}
    first: dict[_Key, tuple[int, int]] = {}
    for n, refund in enumerate(refunds):
        key = refund.order_id, refund.refund_id
        if key in before or key in first:
            outcomes.append(before[key].again(refund) if key in before else TakenBack("duplicate"))
            continue
        order = orders.get(refund.order_id)
        outcome, minor = _decide(refund, order)
        outcomes.append(outcome)
        if order is None or not outcome.ok:
            continue
        first[key] = n, minor
        order.refunded_minor += minor
        if outcome.points and order.pending:
            voiding[order.transfer_id] = voiding.get(order.transfer_id, 0) + outcome.points
            outcomes[n] = replace(outcome, promise_id=order.transfer_id)
        elif outcome.points:
            reversing.append((n, _reversal(order, outcome.points, minor)))
    await _void(tx, merchant_id, orders.values(), voiding, now)
    done = await reversals.reverse(tx, merchant_id=merchant_id, reversals=[r for _, r in reversing], now=now)
    for (n, _), was in zip(reversing, done, strict=True):
        code = _code(was.points, was.missing)
        outcomes[n] = TakenBack(code, was.points, was.missing, was.balance, transfer_id=was.transfer_id)
    kept = [(*key, minor, outcomes[n].points, outcomes[n].missing) for key, (n, minor) in first.items()]
    if kept:
        await db.execute(_KEEP, merchant_id, now, *zip(*kept, strict=True))
    for n, refund in enumerate(refunds):
        at, minor = first.get((refund.order_id, refund.refund_id), (n, 0))
        if n > at:
            outcomes[n] = _Answer(minor, outcomes[at]).again(refund)
    return outcomes


_Key = tuple[str, str]
"""An order and one of its refunds."""


async def _read(
    db: asyncpg.Connection, merchant_id: UUID, source_no: int, order_ids: list[str]
) -> tuple[dict[str, _Order], dict[_Key, _Answer]]:
    """What orders earned and what of it was taken back, with their members' accounts locked."""
    # An order that earns between the two statements has not earned yet: its member is not locked.
    locked: list[int] = await db.fetchval(_LOCK, source_no, order_ids)
    orders = {row["order_id"]: _order(row) for row in await db.fetch(_EARNED, source_no, order_ids, locked)}
    before: dict[_Key, _Answer] = {}
    for row in await db.fetch(_REFUNDS, merchant_id, order_ids):
        order = orders.get(row["order_id"])
        if order is None:
            continue
        order.refunded_minor += row["refunded_minor"]
        outcome = TakenBack(_code(row["points"], row["missing"]), row["points"], row["missing"])
        before[row["order_id"], row["refund_id"]] = _Answer(row["refunded_minor"], outcome)
    return orders, before


def _reversal(order: _Order, points: int, minor: int) -> Reversal:
    return Reversal(order.transfer_id, points=points, as_far_as_there=True, amount_minor=minor)


def _order(row: asyncpg.Record) -> _Order:
    state = row["state"]
    return _Order(
        transfer_id=row["carried_out"] or row["transfer_id"],
        points=row["points"],
        paid_minor=row["amount_minor"],
        pending=state == "pending",
        voided=state == "voided",
        refunded_minor=0,
    )


def _code(points: int, missing: int) -> TakeBackCode:
    """What is told of a refund, now and whenever it is asked again."""
    return "taken_back" if points or missing else "nothing_to_take_back"


def _decide(refund: Refund, order: _Order | None) -> tuple[TakenBack, int]:
    """The outcome, and how much money it is about."""
    if order is None:
        return TakenBack("order_not_earned"), 0
    left = order.paid_minor - order.refunded_minor
    minor = left if refund.refunded_minor is None else refund.refunded_minor
    if minor > left:
        return TakenBack("refund_too_large"), 0
    after = replace(order, refunded_minor=order.refunded_minor + minor)
    points = 0 if order.voided else order.left - after.left
    return TakenBack(_code(points, 0), points), minor


async def _void(
    tx: Driven, merchant_id: UUID, orders: Iterable[_Order], voiding: dict[UUID, int], now: datetime
) -> None:
    """Promise less; what was promised and is all gone is settled."""
    whole = {o.transfer_id for o in orders if o.transfer_id in voiding and not o.left}
    await pending.reduce(tx, {key: less for key, less in voiding.items() if key not in whole})
    settlements = [Settlement(key, 0) for key in whole]
    if settlements:
        await pending.settle(tx, merchant_id=merchant_id, settlements=settlements, now=now)
