"""Tables of campaigns, the people they addressed, vouchers, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    TypedColumns,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from counterfoil.db.metadata import metadata
from counterfoil.vouchers.types import ASSIGNMENTS, EVIDENCE_STATUSES, GROUPS, PRECISIONS, VOUCHER_STATES


def _one_of(column: str, values: Sequence[str]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(map(repr, values))})", name=f"{column}_known")


class CampaignColumns(TypedColumns):
    """A campaign, by the id that its merchant gave."""

    merchant_id = Column(Uuid, ForeignKey("merchants.id"), nullable=False)
    campaign_id = Column(Text, nullable=False)
    name = Column[str | None](Text, nullable=True)
    kind = Column[str | None](Text, nullable=True)
    """The merchant's own word for its sort of campaign."""
    starts_at = Column[datetime | None](DateTime(timezone=True), nullable=True)
    ends_at = Column[datetime | None](DateTime(timezone=True), nullable=True)
    """Exclusive."""
    attributes = Column[dict[str, Any]](JSONB, nullable=False, server_default="{}")
    recorded_at = Column(DateTime(timezone=True), nullable=False)


campaigns = Table(
    "campaigns",
    metadata,
    CampaignColumns,
    PrimaryKeyConstraint("merchant_id", "campaign_id"),
    CheckConstraint("starts_at < ends_at", name="period_not_empty"),
)


class TemplateColumns(TypedColumns):
    """What a voucher of a campaign is good for: many vouchers share one template."""

    merchant_id = Column(Uuid, ForeignKey("merchants.id"), nullable=False)
    template_id = Column(Text, nullable=False)
    campaign_id = Column(Text, nullable=False)
    name = Column[str | None](Text, nullable=True)
    attributes = Column[dict[str, Any]](JSONB, nullable=False, server_default="{}")
    recorded_at = Column(DateTime(timezone=True), nullable=False)


voucher_templates = Table(
    "voucher_templates",
    metadata,
    TemplateColumns,
    PrimaryKeyConstraint("merchant_id", "template_id"),
    Index("ix_voucher_templates_campaign_id", "merchant_id", "campaign_id"),
)


class TemplateProductColumns(TypedColumns):
    """A product that a voucher of this template can be used on."""

    merchant_id = Column(Uuid, ForeignKey("merchants.id"), nullable=False)
    template_id = Column(Text, nullable=False)
    product_id = Column(Text, nullable=False)
    recorded_at = Column(DateTime(timezone=True), nullable=False)


template_products = Table(
    "template_products",
    metadata,
    TemplateProductColumns,
    PrimaryKeyConstraint("merchant_id", "template_id", "product_id"),
)


class AudienceColumns(TypedColumns):
    """A customer whom a campaign addressed, or held out on purpose."""

    merchant_id = Column(Uuid, ForeignKey("merchants.id"), nullable=False)
    campaign_id = Column(Text, nullable=False)
    customer_id = Column(Text, nullable=False)
    group = Column(Text, nullable=False, server_default="treatment")
    assignment = Column(Text, nullable=False, server_default="targeted")
    channel = Column[str | None](Text, nullable=True)
    recorded_at = Column(DateTime(timezone=True), nullable=False)


audience = Table(
    "audience",
    metadata,
    AudienceColumns,
    PrimaryKeyConstraint("merchant_id", "campaign_id", "customer_id"),
    CheckConstraint(f'"group" IN ({", ".join(map(repr, GROUPS))})', name="group_known"),
    _one_of("assignment", ASSIGNMENTS),
)


class VoucherColumns(TypedColumns):
    """A voucher that exists, issued or not; its id is the code that people type."""

    merchant_id = Column(Uuid, nullable=False)
    """No foreign key: see docs/decisions/0006."""
    voucher_id = Column(Text, nullable=False)
    campaign_id = Column(Text, nullable=False)
    template_id = Column[str | None](Text, nullable=True)
    valid_from = Column[datetime | None](DateTime(timezone=True), nullable=True)
    valid_until = Column[datetime | None](DateTime(timezone=True), nullable=True)
    """Exclusive."""
    max_redemptions = Column[int | None](Integer, nullable=True)
    """Null: unlimited. One more is a break."""
    recorded_at = Column(DateTime(timezone=True), nullable=False)
    state = Column[str | None](Text, nullable=True)
    """Null: another system keeps its state. All that follows is of vouchers whose campaign is run here."""
    customer_id = Column[str | None](Text, nullable=True)
    """Who holds it; null: whoever has the code."""
    uses = Column(Integer, nullable=False, server_default="0")
    """Redemptions, without those wholly reversed."""
    holds = Column(Integer, nullable=False, server_default="0")
    """Reservations that hold."""
    amount_minor = Column[int | None](BigInteger, nullable=True)
    """What it was worth when it was handed out, where it has a value of its own (drawn, or a balance)."""
    balance_minor = Column[int | None](BigInteger, nullable=True)
    """What is left of a stored value."""
    held_minor = Column(BigInteger, nullable=False, server_default="0")
    """What reservations hold of the balance."""
    pool_position = Column[int | None](BigInteger, nullable=True)
    """Of a code that was generated or brought: its turn to be handed out."""
    void_reason = Column[str | None](Text, nullable=True)
    changed_at = Column[datetime | None](DateTime(timezone=True), nullable=True)
    """When its state last changed."""


vouchers = Table(
    "vouchers",
    metadata,
    VoucherColumns,
    PrimaryKeyConstraint("merchant_id", "voucher_id"),
    CheckConstraint("max_redemptions >= 0", name="max_redemptions_not_negative"),
    CheckConstraint("valid_from < valid_until", name="validity_not_empty"),
    CheckConstraint(f"state IN ({', '.join(map(repr, VOUCHER_STATES))})", name="state_known"),
    # A single-use voucher is redeemed once, whatever the code above does.
    CheckConstraint("state IS NULL OR uses + holds <= max_redemptions", name="uses_hold"),
    CheckConstraint("uses >= 0 AND holds >= 0", name="uses_not_negative"),
    CheckConstraint("held_minor BETWEEN 0 AND coalesce(balance_minor, 0)", name="balance_holds"),
    CheckConstraint("(state = 'voided') = (void_reason IS NOT NULL)", name="void_has_reason"),
    # A campaign's vouchers, and those of them whose validity is over. No state stands in an index: a voucher
    # that is redeemed then changes no index at all.
    Index("ix_vouchers_campaign_id", "merchant_id", "campaign_id", "valid_until", "voucher_id"),
    # The next codes to hand out.
    Index(
        "uq_vouchers_pool_position",
        "merchant_id",
        "campaign_id",
        "pool_position",
        unique=True,
        postgresql_where="pool_position IS NOT NULL",
    ),
    postgresql_with={"fillfactor": "85"},
)


class IssuanceColumns(TypedColumns):
    """A voucher came into somebody's hands: given, or bought with an order. A fact; one per voucher."""

    merchant_id = Column(Uuid, nullable=False)
    """No foreign key: see docs/decisions/0006."""
    voucher_id = Column(Text, nullable=False)
    campaign_id = Column[str | None](Text, nullable=True)
    customer_id = Column[str | None](Text, nullable=True)
    issued_at = Column(DateTime(timezone=True), nullable=False)
    issued_at_precision = Column(Text, nullable=False, server_default="second")
    channel = Column[str | None](Text, nullable=True)
    store_id = Column[str | None](Text, nullable=True)
    order_id = Column[str | None](Text, nullable=True)
    """The order that bought the voucher; null: it was given."""
    recorded_at = Column(DateTime(timezone=True), nullable=False)


issuances = Table(
    "issuances",
    metadata,
    IssuanceColumns,
    PrimaryKeyConstraint("merchant_id", "voucher_id"),
    _one_of("issued_at_precision", PRECISIONS),
    # From a late order to the vouchers it bought.
    Index("ix_issuances_order_id", "merchant_id", "order_id", postgresql_where="order_id IS NOT NULL"),
    # A customer's vouchers, for the search.
    Index("ix_issuances_customer_id", "merchant_id", "customer_id", "voucher_id"),
    # A campaign's issuances, in the order of time.
    Index("ix_issuances_campaign_id", "merchant_id", "campaign_id", "issued_at"),
)


class RedemptionColumns(TypedColumns):
    """A voucher was used. A fact; a voucher may have several."""

    merchant_id = Column(Uuid, nullable=False)
    """No foreign key: see docs/decisions/0006."""
    redemption_id = Column(Text, nullable=False)
    voucher_id = Column(Text, nullable=False)
    customer_id = Column[str | None](Text, nullable=True)
    redeemed_at = Column(DateTime(timezone=True), nullable=False)
    redeemed_at_precision = Column(Text, nullable=False, server_default="second")
    transaction_id = Column[str | None](Text, nullable=True)
    store_id = Column[str | None](Text, nullable=True)
    discount_minor = Column[int | None](BigInteger, nullable=True)
    """Null: the source does not say."""
    evidence_level = Column[int | None](SmallInteger, nullable=True)
    """0 to 4, where the transaction was named by evidence and not by the source; see docs/evidence.md."""
    evidence_status = Column[str | None](Text, nullable=True)
    recorded_at = Column(DateTime(timezone=True), nullable=False)
    campaign_id = Column[str | None](Text, nullable=True)
    """Null: recorded from another system. All that follows is of vouchers whose campaign is run here."""
    order_id = Column[str | None](Text, nullable=True)
    amount_minor = Column[int | None](BigInteger, nullable=True)
    """What the order cost before the discount."""
    lines = Column[list[Any] | None](JSONB, nullable=True)
    """The discount of each line: [[line id, minor units], ...]."""
    reversed_minor = Column(BigInteger, nullable=False, server_default="0")
    """What of the discount was reversed."""
    reversed_lines = Column[list[str] | None](ARRAY(Text), nullable=True)
    reversed_at = Column[datetime | None](DateTime(timezone=True), nullable=True)
    """When nothing was left of it; null: it stands."""


redemptions = Table(
    "redemptions",
    metadata,
    RedemptionColumns,
    PrimaryKeyConstraint("merchant_id", "redemption_id"),
    _one_of("redeemed_at_precision", PRECISIONS),
    _one_of("evidence_status", EVIDENCE_STATUSES),
    CheckConstraint("evidence_level BETWEEN 0 AND 4", name="evidence_level_in_range"),
    # Never more is given back than was given.
    CheckConstraint(
        "reversed_minor = 0 OR reversed_minor BETWEEN 0 AND discount_minor", name="reversal_holds"
    ),
    # The same voucher for the same order, or payment, is the same redemption. Also: an order's redemptions.
    Index(
        "uq_redemptions_reference",
        text("coalesce('o' || order_id, 't' || transaction_id)"),
        "merchant_id",
        "voucher_id",
        unique=True,
        postgresql_where="campaign_id IS NOT NULL",
    ),
    # A voucher's redemptions, first one first.
    Index("ix_redemptions_voucher_id", "merchant_id", "voucher_id", "redeemed_at"),
    # A customer's vouchers, for the search, where no issuance names them.
    Index("ix_redemptions_customer_id", "merchant_id", "customer_id", "voucher_id"),
    # From a late transaction to the redemptions on it.
    Index(
        "ix_redemptions_transaction_id",
        "merchant_id",
        "transaction_id",
        postgresql_where="transaction_id IS NOT NULL",
    ),
)
