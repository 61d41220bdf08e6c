"""Tables of merchants, stores and products."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypedColumns,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

from counterfoil.db.metadata import metadata


class MerchantColumns(TypedColumns):
    """A tenant. Everything else belongs to one, and is seen by nobody else's keys."""

    id = Column(Uuid, primary_key=True)
    reference = Column(Text, nullable=False, unique=True)
    """The short name that people type, such as `grocer`."""
    name = Column(Text, nullable=False)
    time_zone = Column(Text, nullable=False)
    """IANA name: where a day begins and ends for this merchant."""
    currency = Column(Text, nullable=False)
    """ISO 4217: every amount of this merchant is in its minor unit."""
    created_at = Column(DateTime(timezone=True), nullable=False)


merchants = Table(
    "merchants",
    metadata,
    MerchantColumns,
    CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_is_iso_4217"),
    CheckConstraint("reference ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name="reference_can_be_typed"),
)


class StoreColumns(TypedColumns):
    """A place, or an online shop, where a merchant sells."""

    merchant_id = Column(Uuid, ForeignKey("merchants.id"), nullable=False)
    store_id = Column(Text, nullable=False)
    name = Column[str | None](Text, nullable=True)
    attributes = Column[dict[str, Any]](JSONB, nullable=False, server_default="{}")
    recorded_at = Column(DateTime(timezone=True), nullable=False)


stores = Table("stores", metadata, StoreColumns, PrimaryKeyConstraint("merchant_id", "store_id"))


class ProductColumns(TypedColumns):
    """Something that a merchant sells."""

    merchant_id = Column(Uuid, ForeignKey("merchants.id"), nullable=False)
    product_id = Column(Text, nullable=False)
    name = Column[str | None](Text, nullable=True)
    category = Column[str | None](Text, nullable=True)
    department = Column[str | None](Text, nullable=True)
    brand = Column[str | None](Text, nullable=True)
    attributes = Column[dict[str, Any]](JSONB, nullable=False, server_default="{}")
    recorded_at = Column(DateTime(timezone=True), nullable=False)


products = Table("products", metadata, ProductColumns, PrimaryKeyConstraint("merchant_id", "product_id"))
