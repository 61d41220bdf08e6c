"""Redemptions: could a voucher be used, and that it was. Both decide by the same rules, in `use.py`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from counterfoil.db.transactions import Driven
from counterfoil.ids import format_id, new_id
from counterfoil.vouchers import use
from counterfoil.vouchers.batches import Batch
from counterfoil.vouchers.books import Redemption, Reservation, Voucher
from counterfoil.vouchers.discounts import Given
from counterfoil.vouchers.refusals import refused
from counterfoil.vouchers.requests import Asked, Outcome, Redeem, Validate
from counterfoil.vouchers.reservations import count, find_before, find_held, hold, open_for_use, told
from counterfoil.vouchers.use import Use


async def validate(tx: Driven, asked: Sequence[Asked[Validate]], *, now: datetime) -> list[Outcome]:
    """Whether vouchers could be used now, with every reason why not and the discount. Changes nothing.

    It takes the same locks as a redemption, so that what it says was true at one moment.
    """
    batch, uses = await open_for_use(tx, asked, now=now)
    outcomes = []
    for a, u in zip(asked, uses, strict=True):
        voucher = batch.vouchers.get((a.merchant_id, a.request.voucher_id))
        if voucher is None:
            outcomes.append(refused("voucher_not_found"))
            continue
        held = find_held(batch, voucher, u.reference)
        why, given = _with_hold_back(batch, voucher, u, held)
        if why:
            outcomes.append(refused(why))
        else:
            outcomes.append(Outcome(True, "valid", voucher=voucher.answer(), discount=told(given)))
    return outcomes


def _with_hold_back(
    batch: Batch, voucher: Voucher, u: Use, held: Reservation | None
) -> tuple[list[str], Given]:
    """Decide as if this order's own reservation did not stand in the way."""
    if held is None:
        return use.decide(batch, voucher, u, verb="validate")
    book = batch.book_of(voucher)
    hold(batch, book, voucher, held, -1)
    why, given = use.decide(batch, voucher, u, verb="validate", promised=held)
    hold(batch, book, voucher, held, 1)
    return why, given


async def redeem(tx: Driven, asked: Sequence[Asked[Redeem]], *, now: datetime) -> list[Outcome]:
    """Use each voucher on its order. The same voucher for the same order again gives the first redemption.

    An order that reserved the voucher uses what it reserved, and is not asked again what was asked then.
    Comes it after the reservation ran out, it is redeemed if that is still possible (`note`:
    `reservation_expired`), and otherwise refused as anybody else. Refusals: those of `validate`,
    `reference_required`, `order_differs`, `redemption_reversed`.
    """
    batch, uses = await open_for_use(tx, asked, now=now)
    outcomes = [_redeem(batch, a, u) for a, u in zip(asked, uses, strict=True)]
    await batch.write()
    return outcomes


def _redeem(batch: Batch, a: Asked[Redeem], u: Use) -> Outcome:
    voucher = batch.vouchers.get((a.merchant_id, a.request.voucher_id))
    if voucher is None:
        return refused("voucher_not_found")
    if u.reference is None:
        return refused("reference_required")
    before = find_before(batch, voucher, u.reference)
    if before is not None:
        return _again(voucher, before, u)
    held = find_held(batch, voucher, u.reference)
    book = batch.book_of(voucher)
    if held is not None:
        hold(batch, book, voucher, held, -1)
    why, given = use.decide(batch, voucher, u, verb="redeem", promised=held)
    if why:
        if held is not None:
            hold(batch, book, voucher, held, 1)
        return refused(why)
    note = None if held is not None else _late(batch, voucher, u.reference)
    if held is not None:
        held.state, held.changed = "redeemed", True
        u = _completed(u, held)
    made = _use_up(batch, voucher, u, given)
    return Outcome(
        True, "redeemed", note=note, voucher=voucher.answer(), redemption=made.answer(), discount=told(given)
    )


def _completed(u: Use, held: Reservation) -> Use:
    """What the payment's request leaves out is as the reservation said."""
    amount = u.total_minor if u.total_minor is not None else held.amount_minor
    return Use(u.order_id, u.transaction_id, u.customer_id or held.customer_id, u.store_id, amount, u.lines)


def _again(voucher: Voucher, before: Redemption, u: Use) -> Outcome:
    if u.total_minor is not None and u.total_minor != before.amount_minor:
        return refused("order_differs")
    if before.reversed_at is not None:
        return refused("redemption_reversed")
    given = Given(before.discount_minor, before.lines)
    return Outcome(
        True,
        "redeemed",
        repeated=True,
        voucher=voucher.answer(),
        redemption=before.answer(),
        discount=told(given),
    )


def _late(batch: Batch, voucher: Voucher, reference: str) -> str | None:
    """Whether this order had a reservation of the voucher that is over; its last one tells how."""
    mine = [
        other
        for other in batch.by_order.get((voucher.merchant_id, reference), ())
        if isinstance(other, Reservation) and other.voucher_id == voucher.voucher_id
    ]
    if not mine:
        return None
    last = max(mine, key=lambda other: other.reservation_id)
    return "reservation_expired" if last.state == "expired" else "reservation_released"


def _use_up(batch: Batch, voucher: Voucher, u: Use, given: Given) -> Redemption:
    book = batch.book_of(voucher)
    customer_id = use.user_of(voucher, u)
    made = Redemption(
        voucher.merchant_id,
        format_id("redemption", new_id()),
        voucher.voucher_id,
        voucher.campaign_id,
        customer_id,
        u.order_id,
        u.transaction_id,
        u.store_id,
        u.total_minor,
        given.total_minor,
        given.lines,
        batch.now,
        new=True,
    )
    batch.redemptions[voucher.merchant_id, made.redemption_id] = made
    assert u.reference is not None
    batch.by_order[voucher.merchant_id, u.reference].append(made)
    voucher.uses += 1
    if voucher.balance_minor is not None:
        voucher.balance_minor -= given.total_minor
    voucher.changed = True
    book.redemptions += 1
    book.spent_minor += given.total_minor
    book.changed = True
    count(batch, book, customer_id, 1, batch.now)
    book.settle(voucher, batch.now)
    return made
