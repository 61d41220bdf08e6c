"""Whether a voucher can be used on an order, and what it takes off: every reason why not, and the discount.

Pure: it reads the books of a batch and changes nothing. `validate` tells all reasons; `reserve` and `redeem`
act only where there are none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from counterfoil.vouchers import calendar
from counterfoil.vouchers.batches import Batch, reference_of
from counterfoil.vouchers.books import Book, Redemption, Reservation, UsageKey, Voucher
from counterfoil.vouchers.discounts import NOTHING, Given, Line, discount, eligible_lines
from counterfoil.vouchers.requests import Redeem, Reserve, Validate
from counterfoil.vouchers.states import ALLOWED_IN
from counterfoil.vouchers.terms import ProductOff, Terms
from counterfoil.vouchers.types import Verb

UseRequest = Validate | Reserve | Redeem


@dataclass(frozen=True, slots=True)
class Use:
    """An order that a voucher is to be used on, as a request tells of it."""

    order_id: str | None
    transaction_id: str | None
    customer_id: str | None
    store_id: str | None
    amount_minor: int | None
    lines: Sequence[Line] | None

    @property
    def reference(self) -> str | None:
        """What makes two uses of a voucher the same."""
        return reference_of(self.order_id, self.transaction_id)

    @property
    def total_minor(self) -> int | None:
        """What the order costs; None where that was not said."""
        if self.amount_minor is not None or self.lines is None:
            return self.amount_minor
        return sum(line.amount_minor for line in self.lines)


def use_of(request: UseRequest) -> Use:
    """The order of a request."""
    return Use(
        request.order_id,
        request.transaction_id if isinstance(request, Redeem) else None,
        request.customer_id,
        request.store_id,
        request.amount_minor,
        None if request.lines is None else [
            Line(line.line_id, line.amount_minor, line.product_id, line.category, line.quantity)
            for line in request.lines
        ],
    )  # fmt: skip


def user_of(voucher: Voucher, use: Use) -> str | None:
    """Who uses it: who says so, or who holds it."""
    return use.customer_id or voucher.customer_id


def usage_keys(book: Book, customer_id: str | None) -> list[tuple[UsageKey, int]]:
    """Where a redemption is counted against a limit, and the limit."""
    keys = []
    if customer_id is not None:
        keys = [(book.usage_key(customer_id, period, start), most) for period, start, most in book.use_limits]
    if book.terms.redemptions_per_day is not None:
        keys.append((book.usage_key("", "day", book.today), book.terms.redemptions_per_day))
    return keys


def decide(
    batch: Batch,
    voucher: Voucher,
    use: Use,
    *,
    verb: Verb,
    promised: Reservation | None = None,
) -> tuple[list[str], Given]:
    """Every reason why not (none: it can be used), and the discount.

    `promised`: this order's reservation, whose hold the caller has given back for the moment. What was true
    when it was made is not asked again: neither the hour, nor the campaign's state, nor the voucher's
    validity.
    """
    book = batch.book_of(voucher)
    why: list[str] = []
    if promised is None:
        _when(batch, book, voucher, verb, why)
    _whose(book, voucher, use, why)
    given = _what(book.terms, voucher, use, promised, why)
    if promised is None:
        _how_often(batch, book, voucher, use, why)
    if (
        book.budget_minor is not None
        and given.total_minor > book.budget_minor - book.spent_minor - book.held_minor
    ):
        why.append("budget_exhausted")
    if use.reference is not None:
        _beside_what(batch, book, voucher, use.reference, why)
    return why, given


def _when(batch: Batch, book: Book, voucher: Voucher, verb: Verb, why: list[str]) -> None:
    if book.state not in ALLOWED_IN[verb]:
        why.append(f"campaign_{book.state}")
    if voucher.state == "available":
        why.append("voucher_not_issued")
    elif voucher.state != "issued":
        why.append(f"voucher_{voucher.state}")
    elif voucher.max_redemptions == 0:
        why.append("voucher_redeemed")
    if voucher.state != "expired" and voucher.valid_until is not None and voucher.valid_until <= batch.now:
        why.append("voucher_expired")
    if voucher.valid_from is not None and batch.now < voucher.valid_from:
        why.append("voucher_not_yet_valid")
    if not calendar.in_windows(book.terms.redemption_windows, book.local_now):
        why.append("outside_redemption_window")


def _whose(book: Book, voucher: Voucher, use: Use, why: list[str]) -> None:
    if (
        not book.terms.transferable
        and voucher.customer_id is not None
        and use.customer_id is not None
        and use.customer_id != voucher.customer_id
    ):
        why.append("not_the_holder")
    stores = book.terms.scope.stores
    if stores is not None and use.store_id not in stores:
        why.append("store_not_in_scope" if use.store_id is not None else "store_required")


def _what(terms: Terms, voucher: Voucher, use: Use, promised: Reservation | None, why: list[str]) -> Given:
    """The discount, or why there is none. An order of the reserved amount gets what it was told then."""
    if promised is not None and use.total_minor in {None, promised.amount_minor}:
        return Given(promised.discount_minor, promised.lines)
    exchange = isinstance(terms.discount, ProductOff) and terms.discount.value_minor is not None
    if use.total_minor is None and not exchange:
        why.append("amount_required")
        return NOTHING
    if use.lines is None and (
        terms.scope.by_line or (isinstance(terms.discount, ProductOff) and terms.discount.value_minor is None)
    ):
        why.append("lines_required")
        return NOTHING
    lines = eligible_lines(terms, use.lines or ())
    eligible = sum(line.amount_minor for line in lines) if use.lines is not None else use.total_minor or 0
    if use.lines and not lines:
        why.append("nothing_eligible")
    elif eligible < terms.minimum_spend_minor:
        why.append("minimum_not_met")
    value = voucher.amount_minor
    if voucher.balance_minor is not None:
        value = voucher.balance_minor - voucher.held_minor
    given = discount(terms, eligible_minor=eligible, lines=lines, value_minor=value)
    if isinstance(terms.discount, ProductOff) and terms.discount.value_minor is None and not given.lines:
        why.append("product_missing")
    return given


def _how_often(batch: Batch, book: Book, voucher: Voucher, use: Use, why: list[str]) -> None:
    customer_id = user_of(voucher, use)
    if customer_id is None and book.use_limits:
        why.append("customer_required")
    for key, limit in usage_keys(book, customer_id):
        if batch.uses(key) >= limit:
            why.append("redemption_limit_reached" if key[2] else "redemptions_per_day_reached")
    if book.max_redemptions is not None and book.redemptions + book.holds >= book.max_redemptions:
        why.append("redemptions_used_up")


def _beside_what(batch: Batch, book: Book, voucher: Voucher, reference: str, why: list[str]) -> None:
    """Whether it may stand beside the other vouchers of the order, and they beside it."""
    for other in batch.by_order.get((voucher.merchant_id, reference), ()):
        if other.voucher_id == voucher.voucher_id or not stands(other, batch.now):
            continue
        theirs = batch.stacking.get((other.merchant_id, other.campaign_id), "one_per_campaign")
        same = other.campaign_id == voucher.campaign_id
        if "alone" in {book.terms.stacking, theirs} or (same and book.terms.stacking == "one_per_campaign"):
            why.append("not_stackable")
            return


def stands(other: Reservation | Redemption, now: datetime) -> bool:
    """Whether it still counts: a reservation that holds, a redemption of which something is left.

    What ran out in a campaign that is not locked here may not have been ended yet.
    """
    if isinstance(other, Reservation):
        return other.state == "held" and other.expires_at > now
    return other.reversed_at is None
