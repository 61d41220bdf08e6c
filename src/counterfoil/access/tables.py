"""Tables of API keys, operators and their sessions."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    Table,
    Text,
    TypedColumns,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from counterfoil.access.types import OPERATOR_SCOPES, SCOPES
from counterfoil.db.metadata import metadata


class ApiKeyColumns(TypedColumns):
    """A key that a program sends."""

    id = Column(Uuid, primary_key=True)
    name = Column(Text, nullable=False)
    merchant_id = Column[UUID | None](Uuid, ForeignKey("merchants.id"), nullable=True)
    """Null: an operator's key, that may act for any merchant."""
    scopes = Column[list[str]](ARRAY(Text), nullable=False)
    hash = Column(LargeBinary, nullable=False, unique=True)
    """SHA-256 of the secret. The secret is 160 random bits, so a slow hash would add nothing."""
    hint = Column(Text, nullable=False)
    """The first characters of the key, so that people can tell their keys apart."""
    created_at = Column(DateTime(timezone=True), nullable=False)
    expires_at = Column[datetime | None](DateTime(timezone=True), nullable=True)
    revoked_at = Column[datetime | None](DateTime(timezone=True), nullable=True)


def _texts(values: tuple[str, ...]) -> str:
    return f"ARRAY[{', '.join(map(repr, values))}]::text[]"


api_keys = Table(
    "api_keys",
    metadata,
    ApiKeyColumns,
    CheckConstraint(f"scopes <@ {_texts(SCOPES)}", name="scopes_known"),
    # A merchant's key can never act for the operator, whatever the code above does.
    CheckConstraint(
        f"merchant_id IS NULL OR NOT scopes && {_texts(tuple(sorted(OPERATOR_SCOPES)))}",
        name="operator_scopes_are_the_operators",
    ),
    Index("ix_api_keys_merchant_id", "merchant_id", "created_at"),
)


class OperatorColumns(TypedColumns):
    """A person who runs the platform and signs in to its pages."""

    id = Column(Uuid, primary_key=True)
    email = Column(Text, nullable=False)
    name = Column(Text, nullable=False)
    password_hash = Column(Text, nullable=False)
    """argon2id, with its parameters."""
    created_at = Column(DateTime(timezone=True), nullable=False)
    disabled_at = Column[datetime | None](DateTime(timezone=True), nullable=True)


operators = Table(
    "operators",
    metadata,
    OperatorColumns,
    # One address is one person, however they capitalise it.
    Index("uq_operators_email", text("lower(email)"), unique=True),
)


class SessionColumns(TypedColumns):
    """A signed-in browser."""

    hash = Column(LargeBinary, primary_key=True)
    """SHA-256 of the cookie: a copy of this table signs nobody in."""
    operator_id = Column(Uuid, ForeignKey("operators.id", ondelete="CASCADE"), nullable=False)
    csrf_token = Column(Text, nullable=False)
    created_at = Column(DateTime(timezone=True), nullable=False)
    expires_at = Column(DateTime(timezone=True), nullable=False)


sessions = Table(
    "sessions",
    metadata,
    SessionColumns,
    Index("ix_sessions_expires_at", "expires_at"),
    Index("ix_sessions_operator_id", "operator_id"),
)


class SignInAttemptColumns(TypedColumns):
    """Sign-ins that failed, so that guessing slows down; one row for each address and e-mail."""

    subject = Column(Text, primary_key=True)
    failures = Column[int](BigInteger, nullable=False)
    last_at = Column(DateTime(timezone=True), nullable=False)


sign_in_attempts = Table("sign_in_attempts", metadata, SignInAttemptColumns)
