"""Tables of the platform itself: long work that a caller waits for, and answers that were given."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypedColumns,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

from counterfoil.db.metadata import metadata


class JobColumns(TypedColumns):
    """Long work that somebody asked for, as they see it."""

    id = Column(Uuid, primary_key=True)
    merchant_id = Column[UUID | None](Uuid, nullable=True)
    """Whose it is; null: the operator's."""
    kind = Column(Text, nullable=False)
    state = Column(Text, nullable=False, server_default="queued")
    progress_done = Column(BigInteger, nullable=False, server_default="0")
    progress_total = Column[int | None](BigInteger, nullable=True)
    """Null while it is not known how much there is to do."""
    request = Column[dict[str, Any]](JSONB, nullable=False)
    result = Column[dict[str, Any] | None](JSONB, nullable=True)
    error = Column[dict[str, Any] | None](JSONB, nullable=True)
    created_at = Column(DateTime(timezone=True), nullable=False)
    started_at = Column(DateTime(timezone=True), nullable=True)
    finished_at = Column(DateTime(timezone=True), nullable=True)


jobs = Table(
    "jobs",
    metadata,
    JobColumns,
    CheckConstraint("state IN ('queued', 'running', 'succeeded', 'failed')", name="state_known"),
    # An end has a time, and what has no end has none: nothing is half finished.
    CheckConstraint("(state IN ('succeeded', 'failed')) = (finished_at IS NOT NULL)", name="end_has_time"),
    CheckConstraint("(state = 'failed') = (error IS NOT NULL)", name="failure_has_error"),
    # The list of a tenant's jobs, and of the operator's, both read backwards: newest first.
    Index("ix_jobs_merchant_id_created_at", "merchant_id", "created_at", "id"),
    Index("ix_jobs_created_at", "created_at", "id"),
)


class IdempotencyKeyColumns(TypedColumns):
    """The answer to a request that carried an `Idempotency-Key`, to be given again."""

    caller = Column(Text, nullable=False)
    """Whose key it is: two tenants may use the same one."""
    key = Column(Text, nullable=False)
    request_hash = Column(LargeBinary, nullable=False)
    """SHA-256 over method, path and body: the same key with another content is refused."""
    status = Column(Integer, nullable=False)
    body = Column(LargeBinary, nullable=False)
    created_at = Column(DateTime(timezone=True), nullable=False)


idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    IdempotencyKeyColumns,
    PrimaryKeyConstraint("caller", "key"),
    # Old answers are deleted by age.
    Index("ix_idempotency_keys_created_at", "created_at"),
)
