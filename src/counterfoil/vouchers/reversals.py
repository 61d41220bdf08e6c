"""Undoing redemptions, and making vouchers useless."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from counterfoil.db.transactions import Driven
from counterfoil.ids import format_id, new_id
from counterfoil.vouchers import batches
from counterfoil.vouchers.batches import Batch
from counterfoil.vouchers.books import Redemption, Reversal, Voucher
from counterfoil.vouchers.refusals import refused
from counterfoil.vouchers.requests import Asked, Outcome, ReversalAnswer, Reverse, Void
from counterfoil.vouchers.reservations import count, end


async def reverse(tx: Driven, asked: Sequence[Asked[Reverse]], *, now: datetime) -> list[Outcome]:
    """Give back what redemptions used: wholly, or the discount of some lines.

    The discount goes back to the budget, and to the balance of a stored value, at once; the use, the counts
    and the redemption's place come back when nothing of the redemption is left. Reversing again changes
    nothing and says so. Refusals: `redemption_not_found`, `line_unknown`.
    """
    keys = [(a.merchant_id, a.request.redemption_id) for a in asked]
    batch = await batches.lock(tx, keys, now=now, by=batches.LOCK_OF_REDEMPTIONS)
    await batches.read_redemptions(batch, keys)
    await batches.read_vouchers(batch, [(r.merchant_id, r.voucher_id) for r in batch.redemptions.values()])
    outcomes = [_reverse(batch, a) for a in asked]
    await batch.write()
    return outcomes


def _reverse(batch: Batch, a: Asked[Reverse]) -> Outcome:
    redemption = batch.redemptions.get((a.merchant_id, a.request.redemption_id))
    if redemption is None:
        return refused("redemption_not_found")
    voucher = batch.vouchers[a.merchant_id, redemption.voucher_id]
    wanted = a.request.line_ids
    if wanted is not None and not set(wanted) <= {line for line, _ in redemption.lines}:
        return refused("line_unknown")
    left = set(wanted or ()) - set(redemption.reversed_lines)
    if redemption.reversed_at is not None or (wanted is not None and not left):
        return Outcome(
            True, "reversed", repeated=True, voucher=voucher.answer(), redemption=redemption.answer()
        )
    made = _give_back(batch, redemption, voucher, None if wanted is None else left, a.request.reason)
    answer = ReversalAnswer(made.reversal_id, made.redemption_id, made.discount_minor, made.whole)
    return Outcome(
        True, "reversed", voucher=voucher.answer(), redemption=redemption.answer(), reversal=answer
    )


def _give_back(
    batch: Batch, redemption: Redemption, voucher: Voucher, lines: set[str] | None, reason: str | None
) -> Reversal:
    book = batch.book_of(redemption)
    everything = {line for line, _ in redemption.lines}
    ended = everything if lines is None else lines | set(redemption.reversed_lines)
    whole = lines is None or ended == everything
    if whole:
        back = redemption.discount_minor - redemption.reversed_minor
    else:
        assert lines is not None
        back = sum(minor for line, minor in redemption.lines if line in lines)
    redemption.reversed_minor += back
    redemption.reversed_lines = tuple(sorted(ended))
    redemption.reversed_at = batch.now if whole else None
    redemption.changed = voucher.changed = book.changed = True
    book.spent_minor -= back
    if voucher.balance_minor is not None:
        voucher.balance_minor += back
    if whole:
        voucher.uses -= 1
        book.redemptions -= 1
        count(batch, book, redemption.customer_id, -1, redemption.redeemed_at)
    book.settle(voucher, batch.now)
    made = Reversal(
        redemption.merchant_id,
        format_id("reversal", new_id()),
        redemption.redemption_id,
        redemption.voucher_id,
        None if lines is None else tuple(sorted(lines)),
        back,
        whole,
        reason,
    )
    batch.reversals.append(made)
    return made


async def void(tx: Driven, asked: Sequence[Asked[Void]], *, now: datetime) -> list[Outcome]:
    """Make vouchers useless, for a reason. What is reserved of them is given back; what was redeemed stays.

    With `restock`, the place of a voucher that was handed out and never used can be handed out again. Voiding
    again changes nothing and says so. Refusals: `voucher_not_found`, `voucher_redeemed`, `voucher_expired`,
    `restock_impossible`.
    """
    keys = [(a.merchant_id, a.request.voucher_id) for a in asked]
    batch = await batches.lock(tx, keys, now=now, by=batches.LOCK_OF_VOUCHERS)
    await batches.read_vouchers(batch, keys)
    await batches.read_held(batch, [key for key, voucher in batch.vouchers.items() if voucher.holds])
    outcomes = [_void(batch, a) for a in asked]
    await batch.write()
    return outcomes


def _void(batch: Batch, a: Asked[Void]) -> Outcome:
    voucher = batch.vouchers.get((a.merchant_id, a.request.voucher_id))
    if voucher is None:
        return refused("voucher_not_found")
    if voucher.state == "voided":
        return Outcome(True, "voided", repeated=True, voucher=voucher.answer())
    if voucher.state in {"redeemed", "expired"}:
        return refused(f"voucher_{voucher.state}")
    if a.request.restock and (voucher.uses or voucher.state == "available"):
        return refused("restock_impossible")
    book = batch.book_of(voucher)
    if a.request.restock:
        book.handed_out -= 1
        if book.pot_left_minor is not None:
            book.pot_left_minor += voucher.amount_minor or 0
    voucher.void_reason = a.request.reason
    # First: what is given back of a voucher whose validity is over would make it expired.
    book.move(voucher, "voided")
    key = a.merchant_id, voucher.voucher_id
    for reservation in batch.reservations.values():
        if (reservation.merchant_id, reservation.voucher_id) == key and reservation.state == "held":
            end(batch, reservation, "released")
    return Outcome(True, "voided", voucher=voucher.answer())
