"""Tables of orders and their lines, transactions and page views."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
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

from counterfoil.db.metadata import metadata


class OrderColumns(TypedColumns):
    """An order, as the merchant's order system describes it now."""

    merchant_id = Column(Uuid, ForeignKey("merchants.id"), nullable=False)
    order_id = Column(Text, nullable=False)
    customer_id = Column[str | None](Text, nullable=True)
    store_id = Column[str | None](Text, nullable=True)
    channel = Column[str | None](Text, nullable=True)
    ordered_at = Column(DateTime(timezone=True), nullable=False)
    amount_minor = Column[int | None](BigInteger, nullable=True)
    transaction_id = Column[str | None](Text, nullable=True)
    """The payment; null while it is not paid."""
    recorded_at = Column(DateTime(timezone=True), nullable=False)


orders = Table(
    "orders",
    metadata,
    OrderColumns,
    PrimaryKeyConstraint("merchant_id", "order_id"),
    # From a transaction to its orders.
    Index(
        "ix_orders_transaction_id",
        "merchant_id",
        "transaction_id",
        postgresql_where="transaction_id IS NOT NULL",
    ),
)


class OrderLineColumns(TypedColumns):
    """A line of an order. A fact: a change is another order event, not another line."""

    merchant_id = Column(Uuid, ForeignKey("merchants.id"), nullable=False)
    order_id = Column(Text, nullable=False)
    line_number = Column(Integer, nullable=False)
    product_id = Column(Text, nullable=False)
    quantity = Column(BigInteger, nullable=False, server_default="1")
    amount_minor = Column(BigInteger, nullable=False)
    """What the line cost before vouchers."""
    discount_minor = Column(BigInteger, nullable=False, server_default="0")
    """The shop's own price reductions, already inside `amount_minor`."""
    coupon_discount_minor = Column(BigInteger, nullable=False, server_default="0")
    """What vouchers took off this line."""
    recorded_at = Column(DateTime(timezone=True), nullable=False)


order_lines = Table(
    "order_lines", metadata, OrderLineColumns, PrimaryKeyConstraint("merchant_id", "order_id", "line_number")
)


class TransactionColumns(TypedColumns):
    """A payment that was made. A fact; negative where money went back."""

    merchant_id = Column(Uuid, ForeignKey("merchants.id"), nullable=False)
    transaction_id = Column(Text, nullable=False)
    customer_id = Column[str | None](Text, nullable=True)
    paid_at = Column(DateTime(timezone=True), nullable=False)
    amount_minor = Column(BigInteger, nullable=False)
    recorded_at = Column(DateTime(timezone=True), nullable=False)


transactions = Table(
    "transactions", metadata, TransactionColumns, PrimaryKeyConstraint("merchant_id", "transaction_id")
)


class PageViewColumns(TypedColumns):
    """Somebody saw a page of a campaign. A fact."""

    merchant_id = Column(Uuid, ForeignKey("merchants.id"), nullable=False)
    view_id = Column(Text, nullable=False)
    campaign_id = Column[str | None](Text, nullable=True)
    customer_id = Column[str | None](Text, nullable=True)
    """Null: not signed in."""
    session_id = Column[str | None](Text, nullable=True)
    page = Column[str | None](Text, nullable=True)
    channel = Column[str | None](Text, nullable=True)
    viewed_at = Column(DateTime(timezone=True), nullable=False)
    recorded_at = Column(DateTime(timezone=True), nullable=False)


page_views = Table(
    "page_views",
    metadata,
    PageViewColumns,
    PrimaryKeyConstraint("merchant_id", "view_id"),
    # A campaign's page log, in the order of time.
    Index("ix_page_views_campaign_id", "merchant_id", "campaign_id", "viewed_at"),
    # What one customer saw of a campaign before claiming.
    Index("ix_page_views_customer_id", "merchant_id", "customer_id", "viewed_at"),
)
