"""Tables of webhooks: who is told, of what, and every attempt to tell them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypedColumns,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from counterfoil.db.metadata import metadata
from counterfoil.webhooks.rules import LONGEST_EXCERPT


class WebhookEndpointColumns(TypedColumns):
    """A URL of a merchant's program that is told of events."""

    id = Column(Uuid, primary_key=True)
    merchant_id = Column(Uuid, ForeignKey("merchants.id"), nullable=False)
    url = Column(Text, nullable=False)
    events = Column[list[str]](ARRAY(Text), nullable=False, server_default="{}")
    """The types that it wants; empty: all. Not checked here: the list of types grows with the code."""
    description = Column(Text, nullable=False, server_default="")
    secret = Column(Text, nullable=False)
    """As it is given to the receiver, because signing needs it: shown on creation and on rotation only."""
    previous_secret = Column[str | None](Text, nullable=True)
    """The one before the last rotation: both sign for a day, so that the receiver can change over."""
    previous_secret_until = Column[datetime | None](DateTime(timezone=True), nullable=True)
    disabled_at = Column[datetime | None](DateTime(timezone=True), nullable=True)
    disabled_reason = Column[str | None](Text, nullable=True)
    failing_since = Column[datetime | None](DateTime(timezone=True), nullable=True)
    """When the first attempt failed after which none has succeeded."""
    created_at = Column(DateTime(timezone=True), nullable=False)


webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    WebhookEndpointColumns,
    CheckConstraint("url ~ '^https?://'", name="url_is_http"),
    # What is off says since when and why, and what is on says neither.
    CheckConstraint("(disabled_at IS NULL) = (disabled_reason IS NULL)", name="disabled_has_reason"),
    CheckConstraint("disabled_reason IN ('failing', 'gone', 'by_hand')", name="disabled_reason_known"),
    # A former secret without an end would sign for ever.
    CheckConstraint(
        "(previous_secret IS NULL) = (previous_secret_until IS NULL)", name="previous_secret_ends"
    ),
    # A merchant's endpoints; and whether it has one at all, which is asked with every batch of events.
    Index("ix_webhook_endpoints_merchant_id", "merchant_id", "created_at", "id"),
)


class WebhookMessageColumns(TypedColumns):
    """An event, kept once however many endpoints are told of it."""

    merchant_id = Column(Uuid, ForeignKey("merchants.id"), nullable=False)
    id = Column(Text, nullable=False)
    """The CloudEvents id, given by the publisher, and the header webhook-id: receivers know repeats by it."""
    type = Column(Text, nullable=False)
    subject = Column(Text, nullable=False)
    occurred_at = Column(DateTime(timezone=True), nullable=False)
    data = Column[dict[str, Any]](JSONB, nullable=False)
    recorded_at = Column(DateTime(timezone=True), nullable=False)


webhook_messages = Table(
    "webhook_messages",
    metadata,
    WebhookMessageColumns,
    PrimaryKeyConstraint("merchant_id", "id"),
    # It is a header, and signed as `id.timestamp.body`: a dot in it would let two contents look the same.
    CheckConstraint(r"id ~ '^[!-\-/-~]{1,200}$'", name="id_can_be_signed"),
    # Old messages are deleted by age, and their deliveries with them.
    Index("ix_webhook_messages_recorded_at", "recorded_at"),
)


class WebhookDeliveryColumns(TypedColumns):
    """A message on its way to one endpoint."""

    id = Column(Uuid, primary_key=True)
    merchant_id = Column(Uuid, nullable=False)
    endpoint_id = Column(Uuid, ForeignKey("webhook_endpoints.id", ondelete="CASCADE"), nullable=False)
    message_id = Column(Text, nullable=False)
    state = Column(Text, nullable=False, server_default="waiting")
    attempts = Column(Integer, nullable=False, server_default="0")
    """Attempts begun. A worker that claims the delivery counts it up, and by it knows its claim again."""
    restarted_at_attempt = Column(Integer, nullable=False, server_default="0")
    """Attempts before the last replay: the schedule counts from there."""
    next_attempt_at = Column[datetime | None](DateTime(timezone=True), nullable=True)
    """When it is due; while an attempt runs: when its claim runs out, should the worker have died."""
    last_status = Column[int | None](Integer, nullable=True)
    last_error = Column[str | None](Text, nullable=True)
    last_milliseconds = Column[int | None](Integer, nullable=True)
    last_response = Column[str | None](Text, nullable=True)
    created_at = Column(DateTime(timezone=True), nullable=False)


webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    WebhookDeliveryColumns,
    ForeignKeyConstraint(
        ["merchant_id", "message_id"],
        ["webhook_messages.merchant_id", "webhook_messages.id"],
        ondelete="CASCADE",
        name="fk_webhook_deliveries_message",
    ),
    # An endpoint is told of a message once, however often the fan-out runs. It begins with the message's
    # key, so that deleting a message finds its deliveries.
    UniqueConstraint("merchant_id", "message_id", "endpoint_id", name="uq_webhook_deliveries_message"),
    CheckConstraint("state IN ('waiting', 'delivered', 'failed')", name="state_known"),
    # What waits has a time, or it would wait for ever; what has ended has none, or it would be sent again.
    CheckConstraint("(state = 'waiting') = (next_attempt_at IS NOT NULL)", name="waiting_has_time"),
    CheckConstraint("restarted_at_attempt BETWEEN 0 AND attempts", name="restart_is_past"),
    # What is due at an endpoint, the longest waiting first.
    Index(
        "ix_webhook_deliveries_due",
        "endpoint_id",
        "next_attempt_at",
        postgresql_where=text("state = 'waiting'"),
    ),
    # The log, newest first (the ids are ordered by time): all, of one endpoint, and what is not delivered.
    Index("ix_webhook_deliveries_merchant_id", "merchant_id", "id"),
    Index("ix_webhook_deliveries_endpoint_id", "endpoint_id", "id"),
    Index(
        "ix_webhook_deliveries_undelivered",
        "merchant_id",
        "id",
        postgresql_where=text("state <> 'delivered'"),
    ),
)


class WebhookAttemptColumns(TypedColumns):
    """An attempt that ended. Rows are only added."""

    delivery_id = Column(Uuid, ForeignKey("webhook_deliveries.id", ondelete="CASCADE"), nullable=False)
    number = Column(Integer, nullable=False)
    at = Column(DateTime(timezone=True), nullable=False)
    status = Column[int | None](Integer, nullable=True)
    error = Column[str | None](Text, nullable=True)
    milliseconds = Column(Integer, nullable=False)
    response = Column[str | None](Text, nullable=True)
    """How the answer's body began: enough to see what the receiver says, not enough to fill the disk."""


webhook_attempts = Table(
    "webhook_attempts",
    metadata,
    WebhookAttemptColumns,
    # An attempt is logged once, also where its worker reports late.
    PrimaryKeyConstraint("delivery_id", "number"),
    # It ended with an answer or with an error: there is no third way.
    CheckConstraint("num_nonnulls(status, error) = 1", name="answer_or_error"),
    CheckConstraint(f"length(response) <= {LONGEST_EXCERPT}", name="response_is_an_excerpt"),
)
