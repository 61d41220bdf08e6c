"""What a verb decides on: campaigns, vouchers, reservations and redemptions as they are under the lock.

Plain, changeable objects. A verb changes them as it goes through its requests, so that the second request of
a batch sees what the first one did; `batches.py` reads them and writes back what changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from counterfoil.vouchers import calendar
from counterfoil.vouchers.requests import (
    RedemptionAnswer,
    ReservationAnswer,
    VoucherAnswer,
)
from counterfoil.vouchers.states import voucher_may
from counterfoil.vouchers.terms import Terms
from counterfoil.vouchers.types import CampaignState, Period, ReservationState, VoucherState

Key = tuple[UUID, str]
"""A merchant, and one of its campaigns, vouchers or orders."""


@dataclass
class Book:
    """A campaign's row of `campaign_counters`, locked, and its terms."""

    merchant_id: UUID
    campaign_id: str
    state: CampaignState
    terms_version: int
    stock: int | None
    handed_out: int
    budget_minor: int | None
    spent_minor: int
    held_minor: int
    max_redemptions: int | None
    redemptions: int
    holds: int
    pool_made: int
    pool_taken: int
    pot_left_minor: int | None
    available: int
    issued: int
    reserved: int
    redeemed: int
    expired: int
    voided: int
    changed: bool = False

    def open(self, terms: Terms, now: datetime) -> None:
        """Attach the terms, and work out once for the batch what day it is there and what is limited."""
        self.terms = terms
        self.local_now = calendar.local(now, terms.time_zone)
        self.claim_limits = self._limits(terms.claims_per_customer.items())
        self.use_limits = self._limits(terms.redemptions_per_customer.items())
        self.today = calendar.period_start("day", self.local_now.date())

    def _limits(self, limits: list[tuple[Period, int]]) -> list[tuple[Period, date, int]]:
        """Each limit of a customer with the period, and its first day, that it counts in now."""
        day = self.local_now.date()
        return [(period, calendar.period_start(period, day), limit) for period, limit in limits]

    def row(self) -> dict[str, Any]:
        """What is written back of it."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @property
    def key(self) -> Key:
        """Merchant and campaign."""
        return self.merchant_id, self.campaign_id

    @property
    def stock_left(self) -> int | None:
        """Vouchers that may still be handed out; None: unlimited."""
        return None if self.stock is None else self.stock - self.handed_out

    def usage_key(self, customer_id: str, period: Period, start: date) -> UsageKey:
        """Where it is counted what a customer ('': everybody) does in a period."""
        return self.merchant_id, self.campaign_id, customer_id, period, start

    def count(self, state: VoucherState, difference: int) -> None:
        """One voucher more, or less, in this state."""
        setattr(self, state, getattr(self, state) + difference)
        self.changed = True

    def move(self, voucher: Voucher, state: VoucherState) -> None:
        """Bring a voucher into a state, and keep count."""
        if voucher.state == state:
            return
        if not voucher_may(voucher.state, state):
            raise AssertionError(f"a voucher cannot go from {voucher.state} to {state}")
        self.count(voucher.state, -1)
        self.count(state, 1)
        voucher.state = state
        voucher.moved = voucher.changed = True

    def settle(self, voucher: Voucher, now: datetime) -> None:
        """Bring a voucher that was handed out into the state that its uses, holds and validity say."""
        if voucher.state in {"voided", "expired", "available"}:
            return
        self.move(voucher, voucher.settled_state(now))


UsageKey = tuple[UUID, str, str, Period, date]
"""Merchant, campaign, customer, period and its first day."""


@dataclass(slots=True)
class Voucher:
    """A row of `vouchers` whose campaign is run here."""

    merchant_id: UUID
    voucher_id: str
    campaign_id: str
    state: VoucherState
    customer_id: str | None
    valid_from: datetime | None
    valid_until: datetime | None
    max_redemptions: int | None
    uses: int = 0
    holds: int = 0
    amount_minor: int | None = None
    balance_minor: int | None = None
    held_minor: int = 0
    void_reason: str | None = None
    new: bool = False
    changed: bool = False
    moved: bool = False

    def settled_state(self, now: datetime) -> VoucherState:
        """What it is by its uses: used up, all held, over, or open."""
        if self.balance_minor is not None:
            used_up, all_held = self.balance_minor == 0, self.balance_minor == self.held_minor
        else:
            most = self.max_redemptions
            used_up = most is not None and self.uses >= most
            all_held = most is not None and self.uses + self.holds >= most
        if used_up and self.uses:
            return "redeemed"
        if all_held and self.holds:
            return "reserved"
        if not self.holds and self.valid_until is not None and self.valid_until <= now:
            return "expired"
        return "issued"

    def answer(self) -> VoucherAnswer:
        """As it is told."""
        return VoucherAnswer(
            self.voucher_id,
            self.campaign_id,
            self.state,
            self.customer_id,
            self.valid_from,
            self.valid_until,
            self.uses,
            self.max_redemptions,
            self.amount_minor,
            self.balance_minor,
        )


@dataclass(slots=True)
class Reservation:
    """A row of `reservations`."""

    merchant_id: UUID
    reservation_id: str
    voucher_id: str
    campaign_id: str
    order_id: str
    customer_id: str | None
    state: ReservationState
    amount_minor: int | None
    discount_minor: int
    lines: tuple[tuple[str, int], ...]
    reserved_at: datetime
    expires_at: datetime
    new: bool = False
    changed: bool = False

    def answer(self) -> ReservationAnswer:
        """As it is told."""
        return ReservationAnswer(
            self.reservation_id, self.order_id, self.state, self.discount_minor, self.expires_at
        )


@dataclass(slots=True)
class Redemption:
    """A row of `redemptions`."""

    merchant_id: UUID
    redemption_id: str
    voucher_id: str
    campaign_id: str
    customer_id: str | None
    order_id: str | None
    transaction_id: str | None
    store_id: str | None
    amount_minor: int | None
    discount_minor: int
    lines: tuple[tuple[str, int], ...]
    redeemed_at: datetime
    reversed_minor: int = 0
    reversed_lines: tuple[str, ...] = ()
    reversed_at: datetime | None = None
    new: bool = False
    changed: bool = False

    def answer(self) -> RedemptionAnswer:
        """As it is told."""
        return RedemptionAnswer(
            self.redemption_id,
            self.order_id,
            self.transaction_id,
            self.discount_minor,
            self.redeemed_at,
            self.reversed_minor,
        )


@dataclass(slots=True)
class Reversal:
    """A new row of `redemption_reversals`."""

    merchant_id: UUID
    reversal_id: str
    redemption_id: str
    voucher_id: str
    line_ids: tuple[str, ...] | None
    discount_minor: int
    whole: bool
    reason: str | None


@dataclass(slots=True)
class UsageRow:
    """How much more there is in a row of `campaign_usage`."""

    merchant_id: UUID
    campaign_id: str
    customer_id: str
    period: Period
    period_start: date
    claims: int = 0
    redemptions: int = 0


@dataclass(slots=True)
class Issuance:
    """A new row of `issuances`."""

    merchant_id: UUID
    voucher_id: str
    campaign_id: str
    customer_id: str | None
    channel: str | None
    store_id: str | None
    order_id: str | None
