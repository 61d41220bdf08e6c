"""Reservations: a use of a voucher, and its discount of the budget, kept for one order for a while."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from counterfoil.db.transactions import Driven
from counterfoil.ids import format_id, new_id
from counterfoil.vouchers import batches, calendar, use
from counterfoil.vouchers.batches import Batch
from counterfoil.vouchers.books import Book, Key, Redemption, Reservation, Voucher
from counterfoil.vouchers.discounts import Given
from counterfoil.vouchers.refusals import refused
from counterfoil.vouchers.requests import (
    Asked,
    DiscountAnswer,
    LineDiscount,
    Outcome,
    Release,
    Reserve,
)
from counterfoil.vouchers.types import ReservationState
from counterfoil.vouchers.use import Use, UseRequest


async def open_for_use(
    tx: Driven, asked: Sequence[Asked[UseRequest]], *, now: datetime
) -> tuple[Batch, list[Use]]:
    """Lock and read all that the use of these vouchers on these orders is decided on."""
    uses = [use.use_of(a.request) for a in asked]
    references = [
        (a.merchant_id, u.reference) for a, u in zip(asked, uses, strict=True) if u.reference is not None
    ]
    await batches.lock_orders(tx, references)
    keys = [(a.merchant_id, a.request.voucher_id) for a in asked]
    batch = await batches.lock(tx, keys, now=now, by=batches.LOCK_OF_VOUCHERS)
    lapsed = await batches.read_lapsed(batch)
    await batches.read_vouchers(batch, [*keys, *((r.merchant_id, r.voucher_id) for r in lapsed)])
    for reservation in lapsed:
        end(batch, reservation, "expired")
    await batches.read_orders(batch, references)
    wanted = []
    for key, u in zip(keys, uses, strict=True):
        voucher = batch.vouchers.get(key)
        if voucher is not None:
            limits = use.usage_keys(batch.book_of(voucher), use.user_of(voucher, u))
            wanted += [usage_key for usage_key, _ in limits]
    await batches.read_usage(batch, wanted)
    return batch, uses


def end(batch: Batch, reservation: Reservation, state: ReservationState) -> None:
    """End a reservation that holds, give back what it held, and settle the voucher."""
    book, voucher = (
        batch.book_of(reservation),
        batch.vouchers[reservation.merchant_id, reservation.voucher_id],
    )
    hold(batch, book, voucher, reservation, -1)
    reservation.state = state
    reservation.changed = True
    book.settle(voucher, batch.now)


def hold(batch: Batch, book: Book, voucher: Voucher, reservation: Reservation, sign: int) -> None:
    """Hold a use, the discount and the counts of a reservation (`sign` 1), or give them back (-1)."""
    voucher.holds += sign
    if voucher.balance_minor is not None:
        voucher.held_minor += sign * reservation.discount_minor
    voucher.changed = book.changed = True
    book.holds += sign
    book.held_minor += sign * reservation.discount_minor
    count(batch, book, reservation.customer_id, sign, reservation.reserved_at)


def count(batch: Batch, book: Book, customer_id: str | None, sign: int, moment: datetime) -> None:
    """Count a redemption, or one less, in the periods that it fell into."""
    day = book.today if moment == batch.now else calendar.local(moment, book.terms.time_zone).date()
    changes = batch.usage_changes
    if customer_id is not None:
        changes[book.usage_key(customer_id, "total", calendar.EVER)][1] += sign
        for period, _, _ in book.use_limits:
            if period != "total":
                start = calendar.period_start(period, day)
                changes[book.usage_key(customer_id, period, start)][1] += sign
    if book.terms.redemptions_per_day is not None:
        changes[book.usage_key("", "day", day)][1] += sign


def told(given: Given) -> DiscountAnswer:
    """A discount as it is told."""
    return DiscountAnswer(given.total_minor, tuple(LineDiscount(line, minor) for line, minor in given.lines))


def find_held(batch: Batch, voucher: Voucher, reference: str | None) -> Reservation | None:
    """The reservation of this voucher that holds for this order."""
    for other in batch.by_order.get((voucher.merchant_id, reference or ""), ()):
        if (
            isinstance(other, Reservation)
            and other.voucher_id == voucher.voucher_id
            and other.state == "held"
        ):
            return other
    return None


def find_before(batch: Batch, voucher: Voucher, reference: str | None) -> Redemption | None:
    """The redemption of this voucher by this order, whether it stands or was reversed."""
    for other in batch.by_order.get((voucher.merchant_id, reference or ""), ()):
        if isinstance(other, Redemption) and other.voucher_id == voucher.voucher_id:
            return other
    return None


async def reserve(tx: Driven, asked: Sequence[Asked[Reserve]], *, now: datetime) -> list[Outcome]:
    """Hold a use of each voucher for its order. The same order again gives the first reservation.

    Refusals: those of `validate`, and where this order has redeemed it already `voucher_redeemed` or, if it
    was reversed, `redemption_reversed`.
    """
    batch, uses = await open_for_use(tx, asked, now=now)
    outcomes = [_reserve(batch, a, u) for a, u in zip(asked, uses, strict=True)]
    await batch.write()
    return outcomes


def _reserve(batch: Batch, a: Asked[Reserve], u: Use) -> Outcome:
    voucher = batch.vouchers.get((a.merchant_id, a.request.voucher_id))
    if voucher is None:
        return refused("voucher_not_found")
    held = find_held(batch, voucher, u.reference)
    if held is not None:
        if u.total_minor is not None and u.total_minor != held.amount_minor:
            return refused("order_differs")
        return Outcome(
            True, "reserved", repeated=True, voucher=voucher.answer(), reservation=held.answer(),
            discount=told(Given(held.discount_minor, held.lines)),
        )  # fmt: skip
    before = find_before(batch, voucher, u.reference)
    if before is not None:
        return refused("voucher_redeemed" if before.reversed_at is None else "redemption_reversed")
    why, given = use.decide(batch, voucher, u, verb="reserve")
    if why:
        return refused(why)
    book = batch.book_of(voucher)
    seconds = a.request.seconds or book.terms.reservation_seconds
    assert u.order_id is not None
    made = Reservation(
        a.merchant_id,
        format_id("reservation", new_id()),
        voucher.voucher_id,
        voucher.campaign_id,
        u.order_id,
        use.user_of(voucher, u),
        "held",
        u.total_minor,
        given.total_minor,
        given.lines,
        batch.now,
        batch.now + timedelta(seconds=seconds),
        new=True,
    )
    batch.reservations[a.merchant_id, made.reservation_id] = made
    batch.by_order[a.merchant_id, "o" + u.order_id].append(made)
    hold(batch, book, voucher, made, 1)
    book.settle(voucher, batch.now)
    return Outcome(
        True, "reserved", voucher=voucher.answer(), reservation=made.answer(), discount=told(given)
    )


async def release(tx: Driven, asked: Sequence[Asked[Release]], *, now: datetime) -> list[Outcome]:
    """Give back what reservations hold. Releasing again, or what ran out, changes nothing and says so.

    Refusals: `reservation_not_found`, `reservation_redeemed`.
    """
    keys = [(a.merchant_id, a.request.reservation_id) for a in asked]
    batch = await batches.lock(tx, keys, now=now, by=batches.LOCK_OF_RESERVATIONS)
    await batches.read_reservations(batch, keys)
    held = batch.reservations.values()
    await batches.read_vouchers(batch, [(r.merchant_id, r.voucher_id) for r in held])
    outcomes = [_release(batch, a) for a in asked]
    await batch.write()
    return outcomes


def _release(batch: Batch, a: Asked[Release]) -> Outcome:
    reservation = batch.reservations.get((a.merchant_id, a.request.reservation_id))
    if reservation is None:
        return refused("reservation_not_found")
    if reservation.state == "redeemed":
        return refused("reservation_redeemed")
    repeated = reservation.state != "held"
    if not repeated:
        end(batch, reservation, "released")
    voucher = batch.vouchers[a.merchant_id, reservation.voucher_id]
    note = "reservation_expired" if reservation.state == "expired" else None
    return Outcome(
        True,
        "released",
        repeated=repeated,
        note=note,
        voucher=voucher.answer(),
        reservation=reservation.answer(),
    )


async def lapse(tx: Driven, keys: Sequence[Key], *, now: datetime) -> int:
    """Give back what ran out in these campaigns; how many reservations there were."""
    batch = await batches.lock(tx, keys, now=now)
    lapsed = await batches.read_lapsed(batch)
    await batches.read_vouchers(batch, [(r.merchant_id, r.voucher_id) for r in lapsed])
    for reservation in lapsed:
        end(batch, reservation, "expired")
    await batch.write()
    return len(lapsed)
