"""The table of customers."""

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

from counterfoil.customers.types import GRADES
from counterfoil.db.metadata import metadata


class CustomerColumns(TypedColumns):
    """A customer of one merchant, by the id that the merchant gave."""

    merchant_id = Column(Uuid, ForeignKey("merchants.id"), nullable=False)
    customer_id = Column(Text, nullable=False)
    grade = Column[str | None](Text, nullable=True)
    """Null: not graded yet."""
    attributes = Column[dict[str, Any]](JSONB, nullable=False, server_default="{}")
    recorded_at = Column(DateTime(timezone=True), nullable=False)


customers = Table(
    "customers",
    metadata,
    CustomerColumns,
    PrimaryKeyConstraint("merchant_id", "customer_id"),
    CheckConstraint(f"grade IN ({', '.join(repr(g) for g in GRADES)})", name="grade_known"),
)
