"""Tables of campaigns that are run here: their terms and counters, how often who took part, what is held.

Vouchers, issuances and redemptions themselves stand in `tables.py`, beside those of other systems: what
became of a voucher is told from the same rows, whoever ran its campaign.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypedColumns,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from counterfoil.db.metadata import metadata
from counterfoil.vouchers.types import CAMPAIGN_STATES, PERIODS, RESERVATION_STATES


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(map(repr, values))})", name=f"{column}_known")


def _campaign() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ("merchant_id", "campaign_id"), ("campaigns.merchant_id", "campaigns.campaign_id")
    )


class TermsColumns(TypedColumns):
    """A version of a campaign's terms (see `terms.py`). Never changed: other terms are another version."""

    merchant_id = Column(Uuid, nullable=False)
    campaign_id = Column(Text, nullable=False)
    version = Column(Integer, nullable=False)
    terms = Column[dict[str, Any]](JSONB, nullable=False)
    created_at = Column(DateTime(timezone=True), nullable=False)


campaign_terms = Table(
    "campaign_terms",
    metadata,
    TermsColumns,
    PrimaryKeyConstraint("merchant_id", "campaign_id", "version"),
    _campaign(),
)


class CounterColumns(TypedColumns):
    """A campaign that is run here: its state, its limits and what is used of them.

    The one hot row: whoever moves a voucher of the campaign locks it first, and adds up what it moved.
    """

    merchant_id = Column(Uuid, nullable=False)
    campaign_id = Column(Text, nullable=False)
    state = Column(Text, nullable=False, server_default="draft")
    terms_version = Column(Integer, nullable=False, server_default="1")
    stock = Column[int | None](BigInteger, nullable=True)
    """Vouchers that may be handed out. Null: unlimited."""
    handed_out = Column(BigInteger, nullable=False, server_default="0")
    """Vouchers that were handed out, without those whose place was given back."""
    budget_minor = Column[int | None](BigInteger, nullable=True)
    """What all discounts together may cost. Null: unlimited."""
    spent_minor = Column(BigInteger, nullable=False, server_default="0")
    """Discounts of redemptions, without what was reversed."""
    held_minor = Column(BigInteger, nullable=False, server_default="0")
    """Discounts of reservations that hold."""
    max_redemptions = Column[int | None](BigInteger, nullable=True)
    """Redemptions of all vouchers together. Null: unlimited."""
    redemptions = Column(BigInteger, nullable=False, server_default="0")
    """Redemptions, without those wholly reversed."""
    holds = Column(BigInteger, nullable=False, server_default="0")
    """Reservations that hold."""
    pool_made = Column(BigInteger, nullable=False, server_default="0")
    """Codes that were generated or brought: the last one's position."""
    pool_taken = Column(BigInteger, nullable=False, server_default="0")
    """No code up to this position is available any more."""
    pot_left_minor = Column[int | None](BigInteger, nullable=True)
    """Of a pot with random amounts: what is not yet drawn."""
    available = Column(BigInteger, nullable=False, server_default="0")
    issued = Column(BigInteger, nullable=False, server_default="0")
    reserved = Column(BigInteger, nullable=False, server_default="0")
    redeemed = Column(BigInteger, nullable=False, server_default="0")
    expired = Column(BigInteger, nullable=False, server_default="0")
    voided = Column(BigInteger, nullable=False, server_default="0")
    """Vouchers in each state."""
    expired_through = Column(DateTime(timezone=True), nullable=False)
    """Vouchers whose validity was over at this time have been looked at."""
    created_at = Column(DateTime(timezone=True), nullable=False)
    changed_at = Column(DateTime(timezone=True), nullable=False)


_COUNTS = [
    "handed_out",
    "spent_minor",
    "held_minor",
    "redemptions",
    "holds",
    "pool_made",
    "pool_taken",
    "available",
    "issued",
    "reserved",
    "redeemed",
    "expired",
    "voided",
]

campaign_counters = Table(
    "campaign_counters",
    metadata,
    CounterColumns,
    PrimaryKeyConstraint("merchant_id", "campaign_id"),
    _campaign(),
    ForeignKeyConstraint(
        ("merchant_id", "campaign_id", "terms_version"),
        ("campaign_terms.merchant_id", "campaign_terms.campaign_id", "campaign_terms.version"),
        name="fk_campaign_counters_terms",
    ),
    _one_of("state", CAMPAIGN_STATES),
    # The limits, whatever the code above does: never oversold, never overspent.
    CheckConstraint("handed_out <= stock", name="stock_holds"),
    CheckConstraint("spent_minor + held_minor <= budget_minor", name="budget_holds"),
    CheckConstraint("redemptions + holds <= max_redemptions", name="redemptions_hold"),
    CheckConstraint("pot_left_minor >= 0", name="pot_holds"),
    CheckConstraint("pool_taken <= pool_made", name="pool_holds"),
    CheckConstraint(f"least({', '.join(_COUNTS)}) >= 0", name="counts_not_negative"),
    # A third of each page stays free: the row changes with every batch, and its new version stays beside it.
    postgresql_with={"fillfactor": "30"},
)


class UsageColumns(TypedColumns):
    """How often a customer took part in a calendar period; customer '': all of them together."""

    merchant_id = Column(Uuid, nullable=False)
    campaign_id = Column(Text, nullable=False)
    customer_id = Column(Text, nullable=False)
    period = Column(Text, nullable=False)
    period_start = Column[date](Date, nullable=False)
    claims = Column(Integer, nullable=False, server_default="0")
    redemptions = Column(Integer, nullable=False, server_default="0")


campaign_usage = Table(
    "campaign_usage",
    metadata,
    UsageColumns,
    PrimaryKeyConstraint("merchant_id", "campaign_id", "customer_id", "period", "period_start"),
    _one_of("period", PERIODS),
    CheckConstraint("claims >= 0 AND redemptions >= 0", name="counts_not_negative"),
    postgresql_with={"fillfactor": "85"},
)


class ReservationColumns(TypedColumns):
    """A use of a voucher, and its discount of the budget, kept for one order for a while."""

    merchant_id = Column(Uuid, nullable=False)
    reservation_id = Column(Text, nullable=False)
    voucher_id = Column(Text, nullable=False)
    campaign_id = Column(Text, nullable=False)
    order_id = Column(Text, nullable=False)
    customer_id = Column[str | None](Text, nullable=True)
    state = Column(Text, nullable=False)
    amount_minor = Column[int | None](BigInteger, nullable=True)
    """What the order was to cost."""
    discount_minor = Column(BigInteger, nullable=False)
    lines = Column[list[Any] | None](JSONB, nullable=True)
    """The discount of each line: [[line id, minor units], ...]."""
    reserved_at = Column(DateTime(timezone=True), nullable=False)
    expires_at = Column(DateTime(timezone=True), nullable=False)
    ended_at = Column[datetime | None](DateTime(timezone=True), nullable=True)


reservations = Table(
    "reservations",
    metadata,
    ReservationColumns,
    PrimaryKeyConstraint("merchant_id", "reservation_id"),
    ForeignKeyConstraint(("merchant_id", "voucher_id"), ("vouchers.merchant_id", "vouchers.voucher_id")),
    _one_of("state", RESERVATION_STATES),
    CheckConstraint("(state = 'held') = (ended_at IS NULL)", name="end_has_time"),
    CheckConstraint("discount_minor >= 0", name="discount_not_negative"),
    # An order holds a voucher once. Also: what is held of a voucher.
    Index(
        "uq_reservations_held",
        "voucher_id",
        "merchant_id",
        "order_id",
        unique=True,
        postgresql_where="state = 'held'",
    ),
    # What ran out, for the job that gives it back.
    Index("ix_reservations_expires_at", "expires_at", postgresql_where="state = 'held'"),
    # An order's reservations, and a voucher's history.
    Index("ix_reservations_order_id", "order_id", "merchant_id", "voucher_id"),
    Index("ix_reservations_voucher_id", "voucher_id", "merchant_id"),
)


class ReversalColumns(TypedColumns):
    """A redemption was undone, wholly or for some lines. A fact."""

    merchant_id = Column(Uuid, nullable=False)
    reversal_id = Column(Text, nullable=False)
    redemption_id = Column(Text, nullable=False)
    voucher_id = Column(Text, nullable=False)
    line_ids = Column[list[str] | None](ARRAY(Text), nullable=True)
    """Null: all that was left of it."""
    discount_minor = Column(BigInteger, nullable=False)
    """What went back to the budget."""
    whole = Column(Boolean, nullable=False)
    """Whether nothing of the redemption is left: the voucher got its use back."""
    reason = Column[str | None](Text, nullable=True)
    reversed_at = Column(DateTime(timezone=True), nullable=False)


redemption_reversals = Table(
    "redemption_reversals",
    metadata,
    ReversalColumns,
    PrimaryKeyConstraint("merchant_id", "reversal_id"),
    ForeignKeyConstraint(
        ("merchant_id", "redemption_id"), ("redemptions.merchant_id", "redemptions.redemption_id")
    ),
    CheckConstraint("discount_minor >= 0", name="discount_not_negative"),
    Index("ix_redemption_reversals_redemption_id", "merchant_id", "redemption_id"),
    # A use is given back once, whatever happens.
    Index(
        "uq_redemption_reversals_whole",
        "merchant_id",
        "redemption_id",
        unique=True,
        postgresql_where="whole",
    ),
)


class TouchedColumns(TypedColumns):
    """A voucher that something happened to: linkage joins it again within seconds, many at a time.

    No index and no key: a queue that is written by every batch and emptied from the front.
    """

    merchant_id = Column(Uuid, nullable=False)
    voucher_id = Column(Text, nullable=False)


touched_vouchers = Table("touched_vouchers", metadata, TouchedColumns)
