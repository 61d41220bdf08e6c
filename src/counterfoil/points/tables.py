"""Tables of points: accounts, the transfers between them, and what members still have of each lot."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypedColumns,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

from counterfoil.db.metadata import metadata
from counterfoil.points.types import ACCOUNT_STATES, PENDING_STATES, SOURCES


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(map(repr, values))})", name=f"{column}_known")


class ProgramColumns(TypedColumns):
    """How a merchant's members earn points and what they are worth (see `programs.py`)."""

    merchant_id = Column(Uuid, ForeignKey("merchants.id"), nullable=False)
    terms = Column[dict[str, Any]](JSONB, nullable=False)
    changed_at = Column(DateTime(timezone=True), nullable=False)


points_programs = Table("points_programs", metadata, ProgramColumns, PrimaryKeyConstraint("merchant_id"))


class AccountColumns(TypedColumns):
    """A member's account, or a source on the other side: a partner, what was earned, burned or expired.

    Whoever moves a member's points locks this row first. A source keeps no balance: it would be the one row
    that every batch waits for. What it gave or took is the sum of its transfers.
    """

    account_no = Column(BigInteger, Identity(), nullable=False)
    merchant_id = Column(Uuid, ForeignKey("merchants.id"), nullable=False)
    source = Column[str | None](Text, nullable=True)
    """Null: a member's account."""
    name = Column(Text, nullable=False)
    """The member's `customer_id`; which partner."""
    state = Column(Text, nullable=False, server_default="open")
    balance = Column(BigInteger, nullable=False, server_default="0")
    held = Column(BigInteger, nullable=False, server_default="0")
    """Of the balance: kept for orders that are not paid yet."""
    pending = Column(BigInteger, nullable=False, server_default="0")
    """Promised, and not in the balance yet."""
    version = Column(BigInteger, nullable=False, server_default="0")
    """How many transfers the account has had."""
    opened_at = Column(DateTime(timezone=True), nullable=False)
    closed_at = Column[datetime | None](DateTime(timezone=True), nullable=True)


points_accounts = Table(
    "points_accounts",
    metadata,
    AccountColumns,
    PrimaryKeyConstraint("account_no"),
    _one_of("state", ACCOUNT_STATES),
    _one_of("source", SOURCES),
    CheckConstraint("held BETWEEN 0 AND balance", name="held_is_there"),
    CheckConstraint("pending >= 0", name="pending_not_negative"),
    CheckConstraint("source IS NULL OR (balance = 0 AND pending = 0)", name="source_keeps_no_balance"),
    CheckConstraint("(state = 'closed') = (closed_at IS NOT NULL)", name="closed_has_time"),
    # A closed account holds nothing that anybody could miss.
    CheckConstraint("state = 'open' OR (balance = 0 AND pending = 0)", name="closed_is_empty"),
    Index(
        "uq_points_accounts_customer_id",
        "merchant_id",
        "name",
        unique=True,
        postgresql_where="source IS NULL",
    ),
    Index(
        "uq_points_accounts_source",
        "merchant_id",
        "source",
        "name",
        unique=True,
        postgresql_where="source IS NOT NULL",
    ),
    # A balance changes no index, and finds room beside the old row.
    postgresql_with={"fillfactor": "50"},
)


class TransferColumns(TypedColumns):
    """Points that moved between a member and a source. A fact: never changed, never removed.

    One row is both sides: positive points debit the source and credit the member, negative ones debit the
    member and credit the source. So the debits are the credits, whatever is summed.
    """

    transfer_id = Column(Uuid, nullable=False)
    merchant_id = Column(Uuid, nullable=False)
    member_no = Column(BigInteger, nullable=False)
    source_no = Column(BigInteger, nullable=False)
    reference = Column[str | None](Text, nullable=True)
    """What the source calls it; null for what follows from another transfer."""
    points = Column(BigInteger, nullable=False)
    balance = Column[int | None](BigInteger, nullable=True)
    """The member's balance after it; null: pending, it has not moved anything."""
    version = Column[int | None](BigInteger, nullable=True)
    """The how-manieth transfer of the account it is; null: pending."""
    order_id = Column[str | None](Text, nullable=True)
    amount_minor = Column[int | None](BigInteger, nullable=True)
    """What was paid for them, or what they took off; null: it was not about money."""
    note = Column[str | None](Text, nullable=True)
    expires_at = Column[datetime | None](DateTime(timezone=True), nullable=True)
    """When credited points expire. Null: never, or as the lots say that they came from."""
    reverses = Column[UUID | None](Uuid, nullable=True)
    """The transfer that this one undoes, wholly or in part."""
    settles = Column[UUID | None](Uuid, nullable=True)
    """The pending transfer that this one carries out."""
    posted_at = Column(DateTime(timezone=True), nullable=False)


points_transfers = Table(
    "points_transfers",
    metadata,
    TransferColumns,
    PrimaryKeyConstraint("transfer_id"),
    CheckConstraint("points <> 0", name="moves_something"),
    CheckConstraint("member_no <> source_no", name="two_sides"),
    CheckConstraint("(balance IS NULL) = (version IS NULL)", name="posted_or_pending"),
    CheckConstraint("balance >= greatest(points, 0)", name="balance_holds"),
    CheckConstraint("settles IS NULL OR version IS NOT NULL", name="settling_is_posted"),
    # A credit or debit happens once, whoever repeats it, and when.
    UniqueConstraint("source_no", "reference", name="uq_points_transfers_reference"),
    # The statement of a member; and no two transfers follow the same balance.
    UniqueConstraint("member_no", "version", name="uq_points_transfers_version"),
    # A pending transfer is carried out once.
    Index("uq_points_transfers_settles", "settles", unique=True, postgresql_where="settles IS NOT NULL"),
    # What an order earned and burned.
    Index("ix_points_transfers_order_id", "merchant_id", "order_id", postgresql_where="order_id IS NOT NULL"),
)


class PendingColumns(TypedColumns):
    """What becomes of a pending transfer: a hold of a member's points, or points promised to one."""

    transfer_id = Column(Uuid, ForeignKey("points_transfers.transfer_id"), nullable=False)
    merchant_id = Column(Uuid, nullable=False)
    member_no = Column(BigInteger, nullable=False)
    points = Column(BigInteger, nullable=False)
    """As in the transfer: negative for a hold."""
    state = Column(Text, nullable=False, server_default="pending")
    due_at = Column[datetime | None](DateTime(timezone=True), nullable=True)
    """When a hold is released or promised points are credited; null: only when somebody says so."""
    posted_points = Column(BigInteger, nullable=False, server_default="0")
    """How much of it was carried out, without sign."""
    voided_points = Column(BigInteger, nullable=False, server_default="0")
    """How much of it will not be, without sign."""
    settled_at = Column[datetime | None](DateTime(timezone=True), nullable=True)


points_pending = Table(
    "points_pending",
    metadata,
    PendingColumns,
    PrimaryKeyConstraint("transfer_id"),
    _one_of("state", PENDING_STATES),
    CheckConstraint("points <> 0", name="moves_something"),
    CheckConstraint("least(posted_points, voided_points) >= 0", name="parts_not_negative"),
    CheckConstraint("posted_points + voided_points <= abs(points)", name="parts_hold"),
    CheckConstraint("(state = 'posted') = (posted_points > 0)", name="posted_has_points"),
    # What was settled is settled whole.
    CheckConstraint(
        "state = 'pending' OR posted_points + voided_points = abs(points)", name="settled_is_whole"
    ),
    CheckConstraint("(state = 'pending') = (settled_at IS NULL)", name="settled_has_time"),
    # What is due, for all merchants.
    Index("ix_points_pending_due_at", "due_at", postgresql_where="state = 'pending'"),
    # What a member waits for, and what is held.
    Index("ix_points_pending_member_no", "member_no", postgresql_where="state = 'pending'"),
)


class RefusalColumns(TypedColumns):
    """A transfer that was refused. It stays refused: the same reference never succeeds later."""

    source_no = Column(BigInteger, nullable=False)
    reference = Column(Text, nullable=False)
    merchant_id = Column(Uuid, nullable=False)
    customer_id = Column(Text, nullable=False)
    points = Column(BigInteger, nullable=False)
    code = Column(Text, nullable=False)
    refused_at = Column(DateTime(timezone=True), nullable=False)


points_refusals = Table(
    "points_refusals", metadata, RefusalColumns, PrimaryKeyConstraint("source_no", "reference")
)


class LotColumns(TypedColumns):
    """Points of a member that expire at the same moment, as many as are left of them; none left, no row.

    What a balance has beyond its lots does not expire.
    """

    member_no = Column(BigInteger, nullable=False)
    expires_at = Column(DateTime(timezone=True), nullable=False)
    merchant_id = Column(Uuid, nullable=False)
    points = Column(BigInteger, nullable=False)
    notified_at = Column[datetime | None](DateTime(timezone=True), nullable=True)
    """When the member's shop was told that they are about to expire."""


points_lots = Table(
    "points_lots",
    metadata,
    LotColumns,
    PrimaryKeyConstraint("member_no", "expires_at"),
    CheckConstraint("points > 0", name="points_positive"),
    # What expired, for all merchants.
    Index("ix_points_lots_expires_at", "expires_at", "member_no"),
    # What expires soon, and nobody was told.
    Index("ix_points_lots_untold", "merchant_id", "expires_at", postgresql_where="notified_at IS NULL"),
    # Points come and go without a change of any index, and find room beside the old row.
    postgresql_with={"fillfactor": "70"},
)


class LotUseColumns(TypedColumns):
    """Which lots a debit took its points from. A fact; what it took beyond them did not expire."""

    transfer_id = Column(Uuid, nullable=False)
    expires_at = Column(DateTime(timezone=True), nullable=False)
    points = Column(BigInteger, nullable=False)


points_lot_uses = Table(
    "points_lot_uses",
    metadata,
    LotUseColumns,
    PrimaryKeyConstraint("transfer_id", "expires_at"),
    CheckConstraint("points > 0", name="points_positive"),
)


class ReversalColumns(TypedColumns):
    """How much of a transfer was undone by others: never more than it moved."""

    transfer_id = Column(Uuid, ForeignKey("points_transfers.transfer_id"), nullable=False)
    points = Column(BigInteger, nullable=False)
    """What the transfer moved, without sign."""
    reversed = Column(BigInteger, nullable=False)


points_reversals = Table(
    "points_reversals",
    metadata,
    ReversalColumns,
    PrimaryKeyConstraint("transfer_id"),
    CheckConstraint("reversed BETWEEN 0 AND points", name="reversed_holds"),
)


class RefundColumns(TypedColumns):
    """Money that went back of an order that earned points, and how many went back with it. A fact."""

    merchant_id = Column(Uuid, ForeignKey("merchants.id"), nullable=False)
    order_id = Column(Text, nullable=False)
    refund_id = Column(Text, nullable=False)
    refunded_minor = Column(BigInteger, nullable=False)
    points = Column(BigInteger, nullable=False)
    missing = Column(BigInteger, nullable=False)
    """Points that could not be taken back, because they had been burned."""
    recorded_at = Column(DateTime(timezone=True), nullable=False)


points_refunds = Table(
    "points_refunds",
    metadata,
    RefundColumns,
    PrimaryKeyConstraint("merchant_id", "order_id", "refund_id"),
    CheckConstraint("least(refunded_minor, points, missing) >= 0", name="nothing_negative"),
)
