"""Tables of what linkage found: breaks, and campaign analyses with the time they were taken."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypedColumns,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

from counterfoil.db.metadata import metadata

STORED_BREAK_KINDS: Final = (
    "orphan_redemption",
    "missing_order",
    "missing_transaction",
    "no_transaction_id",
    "redeemed_before_issued",
    "redeemed_twice",
    "amount_mismatch",
)
"""What can be wrong with a link in the platform; docs/linkage.md says what each means."""


class BreakColumns(TypedColumns):
    """Something about a voucher that does not fit together, until a late record mends it."""

    merchant_id = Column(Uuid, ForeignKey("merchants.id"), nullable=False)
    kind = Column(Text, nullable=False)
    source = Column(Text, nullable=False)
    """Which record it is about: an issuance (its `record_id` is the voucher's) or a redemption."""
    record_id = Column(Text, nullable=False)
    voucher_id = Column(Text, nullable=False)
    campaign_id = Column[str | None](Text, nullable=True)
    missing_id = Column[str | None](Text, nullable=True)
    """The id that leads nowhere, where that is what is wrong."""
    detail = Column[dict[str, Any]](JSONB, nullable=False, server_default="{}")
    occurred_at = Column(DateTime(timezone=True), nullable=False)
    """When the record says it happened: a break's age counts from here."""
    detected_at = Column(DateTime(timezone=True), nullable=False)
    resolved_at = Column[datetime | None](DateTime(timezone=True), nullable=True)
    """Null while it stands."""


breaks = Table(
    "breaks",
    metadata,
    BreakColumns,
    PrimaryKeyConstraint("merchant_id", "kind", "source", "record_id"),
    CheckConstraint(f"kind IN ({', '.join(map(repr, STORED_BREAK_KINDS))})", name="kind_known"),
    CheckConstraint("source IN ('issuances', 'redemptions')", name="source_known"),
    # A voucher's breaks, for its page and for joining again.
    Index("ix_breaks_voucher_id", "merchant_id", "voucher_id"),
    # What stands, oldest first.
    Index(
        "ix_breaks_open",
        "merchant_id",
        "occurred_at",
        "kind",
        "source",
        "record_id",
        postgresql_where="resolved_at IS NULL",
    ),
)


class AnalysisColumns(TypedColumns):
    """A campaign analysis as it was at one moment."""

    id = Column(Uuid, primary_key=True)
    merchant_id = Column(Uuid, ForeignKey("merchants.id"), nullable=False)
    taken_at = Column(DateTime(timezone=True), nullable=False)
    """The moment of the data: all tables were read in one snapshot."""
    totals = Column[dict[str, Any]](JSONB, nullable=False)
    """Row counts, link states, breaks by kind, and how they reconcile."""


class RejoinColumns(TypedColumns):
    """What the last full joining of a merchant's records saw."""

    merchant_id = Column(Uuid, ForeignKey("merchants.id"), primary_key=True)
    snapshot = Column(Text, nullable=False)
    """PostgreSQL's `pg_snapshot`: a load whose transaction is visible in it needs no joining of its own."""


rejoins = Table("rejoins", metadata, RejoinColumns)


analyses = Table(
    "analyses",
    metadata,
    AnalysisColumns,
    Index("ix_analyses_merchant_id", "merchant_id", "taken_at"),
)


class AnalysisRowColumns(TypedColumns):
    """One line of an analysis: a campaign, or a campaign in one store, period, channel or grade."""

    analysis_id = Column(Uuid, ForeignKey("analyses.id", ondelete="CASCADE"), nullable=False)
    breakdown = Column(Text, nullable=False)
    position = Column(Integer, nullable=False)
    campaign_id = Column[str | None](Text, nullable=True)
    """Null: redemptions whose campaign is not known."""
    figures = Column[dict[str, Any]](JSONB, nullable=False)


analysis_rows = Table(
    "analysis_rows",
    metadata,
    AnalysisRowColumns,
    PrimaryKeyConstraint("analysis_id", "breakdown", "position"),
    # One campaign's lines, for its page.
    Index("ix_analysis_rows_campaign_id", "analysis_id", "campaign_id"),
)
