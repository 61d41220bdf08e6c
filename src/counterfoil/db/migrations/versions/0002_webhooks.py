"""Webhooks: endpoints, messages and their deliveries; and the scopes of webhooks, campaigns and vouchers"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_SCOPES = [
    "records:write",
    "linkage:read",
    "linkage:write",
    "jobs:read",
    "merchants:read",
    "merchants:write",
    "keys:write",
]
_NEW_SCOPES = [
    "webhooks:read",
    "webhooks:write",
    "campaigns:read",
    "campaigns:write",
    "vouchers:read",
    "vouchers:write",
]


def _allow_scopes(scopes: list[str]) -> None:
    op.drop_constraint(op.f("ck_api_keys_scopes_known"), "api_keys", type_="check")
    known = ", ".join(map(repr, scopes))
    op.create_check_constraint(
        op.f("ck_api_keys_scopes_known"), "api_keys", f"scopes <@ ARRAY[{known}]::text[]"
    )


def upgrade() -> None:
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("events", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("previous_secret", sa.Text(), nullable=True),
        sa.Column("previous_secret_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("url ~ '^https?://'", name=op.f("ck_webhook_endpoints_url_is_http")),
        sa.CheckConstraint(
            "(disabled_at IS NULL) = (disabled_reason IS NULL)",
            name=op.f("ck_webhook_endpoints_disabled_has_reason"),
        ),
        sa.CheckConstraint(
            "disabled_reason IN ('failing', 'gone', 'by_hand')",
            name=op.f("ck_webhook_endpoints_disabled_reason_known"),
        ),
        sa.CheckConstraint(
            "(previous_secret IS NULL) = (previous_secret_until IS NULL)",
            name=op.f("ck_webhook_endpoints_previous_secret_ends"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id"], ["merchants.id"], name=op.f("fk_webhook_endpoints_merchant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_endpoints")),
    )
    op.create_index(
        "ix_webhook_endpoints_merchant_id",
        "webhook_endpoints",
        ["merchant_id", "created_at", "id"],
        unique=False,
    )
    op.create_table(
        "webhook_messages",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(r"id ~ '^[!-\-/-~]{1,200}$'", name=op.f("ck_webhook_messages_id_can_be_signed")),
        sa.ForeignKeyConstraint(
            ["merchant_id"], ["merchants.id"], name=op.f("fk_webhook_messages_merchant_id")
        ),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_webhook_messages")),
    )
    op.create_index("ix_webhook_messages_recorded_at", "webhook_messages", ["recorded_at"], unique=False)
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("restarted_at_attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("last_milliseconds", sa.Integer(), nullable=True),
        sa.Column("last_response", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "state IN ('waiting', 'delivered', 'failed')", name=op.f("ck_webhook_deliveries_state_known")
        ),
        sa.CheckConstraint(
            "(state = 'waiting') = (next_attempt_at IS NOT NULL)",
            name=op.f("ck_webhook_deliveries_waiting_has_time"),
        ),
        sa.CheckConstraint(
            "restarted_at_attempt BETWEEN 0 AND attempts",
            name=op.f("ck_webhook_deliveries_restart_is_past"),
        ),
        sa.ForeignKeyConstraint(
            ["endpoint_id"],
            ["webhook_endpoints.id"],
            name=op.f("fk_webhook_deliveries_endpoint_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "message_id"],
            ["webhook_messages.merchant_id", "webhook_messages.id"],
            name="fk_webhook_deliveries_message",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
        sa.UniqueConstraint("merchant_id", "message_id", "endpoint_id", name="uq_webhook_deliveries_message"),
    )
    op.create_index(
        "ix_webhook_deliveries_due",
        "webhook_deliveries",
        ["endpoint_id", "next_attempt_at"],
        unique=False,
        postgresql_where="state = 'waiting'",
    )
    op.create_index(
        "ix_webhook_deliveries_merchant_id", "webhook_deliveries", ["merchant_id", "id"], unique=False
    )
    op.create_index(
        "ix_webhook_deliveries_endpoint_id", "webhook_deliveries", ["endpoint_id", "id"], unique=False
    )
    op.create_index(
        "ix_webhook_deliveries_undelivered",
        "webhook_deliveries",
        ["merchant_id", "id"],
        unique=False,
        postgresql_where="state <> 'delivered'",
    )
    op.create_table(
        "webhook_attempts",
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("milliseconds", sa.Integer(), nullable=False),
        sa.Column("response", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "num_nonnulls(status, error) = 1", name=op.f("ck_webhook_attempts_answer_or_error")
        ),
        sa.CheckConstraint(
            "length(response) <= 1000", name=op.f("ck_webhook_attempts_response_is_an_excerpt")
        ),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["webhook_deliveries.id"],
            name=op.f("fk_webhook_attempts_delivery_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("delivery_id", "number", name=op.f("pk_webhook_attempts")),
    )
    _allow_scopes([*_SCOPES, *_NEW_SCOPES])


def downgrade() -> None:
    # A key keeps what the older version knows of it.
    op.execute(
        "UPDATE api_keys SET scopes = ARRAY(SELECT s FROM unnest(scopes) s "
        f"WHERE s <> ALL (ARRAY[{', '.join(map(repr, _NEW_SCOPES))}]))"
    )
    _allow_scopes(_SCOPES)
    op.drop_table("webhook_attempts")
    op.drop_table("webhook_deliveries")
    op.drop_table("webhook_messages")
    op.drop_table("webhook_endpoints")
