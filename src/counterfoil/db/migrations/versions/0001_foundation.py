"""The foundation: tenants, records, links, access and jobs"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("caller", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("merchant_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="queued", nullable=False),
        sa.Column("progress_done", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("progress_total", sa.BigInteger(), nullable=True),
        sa.Column("request", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("error", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'failed') = (error IS NOT NULL)", name=op.f("ck_jobs_failure_has_error")
        ),
        sa.CheckConstraint(
            "(state IN ('succeeded', 'failed')) = (finished_at IS NOT NULL)",
            name=op.f("ck_jobs_end_has_time"),
        ),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'succeeded', 'failed')", name=op.f("ck_jobs_state_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index("ix_jobs_created_at", "jobs", ["created_at", "id"], unique=False)
    op.create_index(
        "ix_jobs_merchant_id_created_at", "jobs", ["merchant_id", "created_at", "id"], unique=False
    )
    op.create_table(
        "merchants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name=op.f("ck_merchants_currency_is_iso_4217")),
        sa.CheckConstraint(
            "reference ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name=op.f("ck_merchants_reference_can_be_typed")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_merchants")),
        sa.UniqueConstraint("reference", name=op.f("uq_merchants_reference")),
    )
    op.create_table(
        "operators",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operators")),
    )
    op.create_index("uq_operators_email", "operators", [sa.literal_column("lower(email)")], unique=True)
    op.create_table(
        "sign_in_attempts",
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_sign_in_attempts")),
    )
    op.create_table(
        "analyses",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("totals", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_analyses_merchant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_analyses")),
    )
    op.create_index("ix_analyses_merchant_id", "analyses", ["merchant_id", "taken_at"], unique=False)
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Uuid(), nullable=True),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "merchant_id IS NULL OR NOT scopes && ARRAY['keys:write', 'merchants:write']::text[]",
            name=op.f("ck_api_keys_operator_scopes_are_the_operators"),
        ),
        sa.CheckConstraint(
            "scopes <@ ARRAY['records:write', 'linkage:read', 'linkage:write', 'jobs:read', 'merchants:read', 'merchants:write', 'keys:write']::text[]",
            name=op.f("ck_api_keys_scopes_known"),
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_api_keys_merchant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("hash", name=op.f("uq_api_keys_hash")),
    )
    op.create_index("ix_api_keys_merchant_id", "api_keys", ["merchant_id", "created_at"], unique=False)
    op.create_table(
        "audience",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("group", sa.Text(), server_default="treatment", nullable=False),
        sa.Column("assignment", sa.Text(), server_default="targeted", nullable=False),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("assignment IN ('random', 'targeted')", name=op.f("ck_audience_assignment_known")),
        sa.CheckConstraint("\"group\" IN ('treatment', 'holdout')", name=op.f("ck_audience_group_known")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_audience_merchant_id")),
        sa.PrimaryKeyConstraint("merchant_id", "campaign_id", "customer_id", name=op.f("pk_audience")),
    )
    op.create_table(
        "breaks",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("record_id", sa.Text(), nullable=False),
        sa.Column("voucher_id", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=True),
        sa.Column("missing_id", sa.Text(), nullable=True),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("detected_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "kind IN ('orphan_redemption', 'missing_order', 'missing_transaction', 'no_transaction_id', 'redeemed_before_issued', 'redeemed_twice', 'amount_mismatch')",
            name=op.f("ck_breaks_kind_known"),
        ),
        sa.CheckConstraint("source IN ('issuances', 'redemptions')", name=op.f("ck_breaks_source_known")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_breaks_merchant_id")),
        sa.PrimaryKeyConstraint("merchant_id", "kind", "source", "record_id", name=op.f("pk_breaks")),
    )
    op.create_index(
        "ix_breaks_open",
        "breaks",
        ["merchant_id", "occurred_at", "kind", "source", "record_id"],
        unique=False,
        postgresql_where="resolved_at IS NULL",
    )
    op.create_index("ix_breaks_voucher_id", "breaks", ["merchant_id", "voucher_id"], unique=False)
    op.create_table(
        "campaigns",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("starts_at < ends_at", name=op.f("ck_campaigns_period_not_empty")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_campaigns_merchant_id")),
        sa.PrimaryKeyConstraint("merchant_id", "campaign_id", name=op.f("pk_campaigns")),
    )
    op.create_table(
        "customers",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("grade", sa.Text(), nullable=True),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "grade IN ('vip', 'regular', 'key_prospect', 'prospect', 'weak_prospect', 'non_prospect')",
            name=op.f("ck_customers_grade_known"),
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_customers_merchant_id")),
        sa.PrimaryKeyConstraint("merchant_id", "customer_id", name=op.f("pk_customers")),
    )
    op.create_table(
        "issuances",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("voucher_id", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=True),
        sa.Column("customer_id", sa.Text(), nullable=True),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("issued_at_precision", sa.Text(), server_default="second", nullable=False),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("store_id", sa.Text(), nullable=True),
        sa.Column("order_id", sa.Text(), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "issued_at_precision IN ('second', 'day')", name=op.f("ck_issuances_issued_at_precision_known")
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_issuances_merchant_id")),
        sa.PrimaryKeyConstraint("merchant_id", "voucher_id", name=op.f("pk_issuances")),
    )
    op.create_index(
        "ix_issuances_campaign_id", "issuances", ["merchant_id", "campaign_id", "issued_at"], unique=False
    )
    op.create_index(
        "ix_issuances_customer_id", "issuances", ["merchant_id", "customer_id", "voucher_id"], unique=False
    )
    op.create_index(
        "ix_issuances_order_id",
        "issuances",
        ["merchant_id", "order_id"],
        unique=False,
        postgresql_where="order_id IS NOT NULL",
    )
    op.create_table(
        "order_lines",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("line_number", sa.Integer(), nullable=False),
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("discount_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("coupon_discount_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_order_lines_merchant_id")),
        sa.PrimaryKeyConstraint("merchant_id", "order_id", "line_number", name=op.f("pk_order_lines")),
    )
    op.create_table(
        "orders",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=True),
        sa.Column("store_id", sa.Text(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("ordered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=True),
        sa.Column("transaction_id", sa.Text(), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_orders_merchant_id")),
        sa.PrimaryKeyConstraint("merchant_id", "order_id", name=op.f("pk_orders")),
    )
    op.create_index(
        "ix_orders_transaction_id",
        "orders",
        ["merchant_id", "transaction_id"],
        unique=False,
        postgresql_where="transaction_id IS NOT NULL",
    )
    op.create_table(
        "page_views",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("view_id", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=True),
        sa.Column("customer_id", sa.Text(), nullable=True),
        sa.Column("session_id", sa.Text(), nullable=True),
        sa.Column("page", sa.Text(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("viewed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_page_views_merchant_id")),
        sa.PrimaryKeyConstraint("merchant_id", "view_id", name=op.f("pk_page_views")),
    )
    op.create_index(
        "ix_page_views_campaign_id", "page_views", ["merchant_id", "campaign_id", "viewed_at"], unique=False
    )
    op.create_index(
        "ix_page_views_customer_id", "page_views", ["merchant_id", "customer_id", "viewed_at"], unique=False
    )
    op.create_table(
        "products",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("category", sa.Text(), nullable=True),
        sa.Column("department", sa.Text(), nullable=True),
        sa.Column("brand", sa.Text(), nullable=True),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_products_merchant_id")),
        sa.PrimaryKeyConstraint("merchant_id", "product_id", name=op.f("pk_products")),
    )
    op.create_table(
        "redemptions",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("redemption_id", sa.Text(), nullable=False),
        sa.Column("voucher_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=True),
        sa.Column("redeemed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("redeemed_at_precision", sa.Text(), server_default="second", nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=True),
        sa.Column("store_id", sa.Text(), nullable=True),
        sa.Column("discount_minor", sa.BigInteger(), nullable=True),
        sa.Column("evidence_level", sa.SmallInteger(), nullable=True),
        sa.Column("evidence_status", sa.Text(), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "evidence_status IN ('linked', 'ambiguous', 'unmatched')",
            name=op.f("ck_redemptions_evidence_status_known"),
        ),
        sa.CheckConstraint(
            "redeemed_at_precision IN ('second', 'day')",
            name=op.f("ck_redemptions_redeemed_at_precision_known"),
        ),
        sa.CheckConstraint(
            "evidence_level BETWEEN 0 AND 4", name=op.f("ck_redemptions_evidence_level_in_range")
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_redemptions_merchant_id")),
        sa.PrimaryKeyConstraint("merchant_id", "redemption_id", name=op.f("pk_redemptions")),
    )
    op.create_index(
        "ix_redemptions_customer_id",
        "redemptions",
        ["merchant_id", "customer_id", "voucher_id"],
        unique=False,
    )
    op.create_index(
        "ix_redemptions_transaction_id",
        "redemptions",
        ["merchant_id", "transaction_id"],
        unique=False,
        postgresql_where="transaction_id IS NOT NULL",
    )
    op.create_index(
        "ix_redemptions_voucher_id", "redemptions", ["merchant_id", "voucher_id", "redeemed_at"], unique=False
    )
    op.create_table(
        "rejoins",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("snapshot", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_rejoins_merchant_id")),
        sa.PrimaryKeyConstraint("merchant_id", name=op.f("pk_rejoins")),
    )
    op.create_table(
        "sessions",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("operator_id", sa.Uuid(), nullable=False),
        sa.Column("csrf_token", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["operator_id"], ["operators.id"], name=op.f("fk_sessions_operator_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_sessions")),
    )
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"], unique=False)
    op.create_index("ix_sessions_operator_id", "sessions", ["operator_id"], unique=False)
    op.create_table(
        "stores",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("store_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_stores_merchant_id")),
        sa.PrimaryKeyConstraint("merchant_id", "store_id", name=op.f("pk_stores")),
    )
    op.create_table(
        "template_products",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("template_id", sa.Text(), nullable=False),
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["merchant_id"], ["merchants.id"], name=op.f("fk_template_products_merchant_id")
        ),
        sa.PrimaryKeyConstraint(
            "merchant_id", "template_id", "product_id", name=op.f("pk_template_products")
        ),
    )
    op.create_table(
        "transactions",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=True),
        sa.Column("paid_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_transactions_merchant_id")),
        sa.PrimaryKeyConstraint("merchant_id", "transaction_id", name=op.f("pk_transactions")),
    )
    op.create_table(
        "voucher_templates",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("template_id", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["merchant_id"], ["merchants.id"], name=op.f("fk_voucher_templates_merchant_id")
        ),
        sa.PrimaryKeyConstraint("merchant_id", "template_id", name=op.f("pk_voucher_templates")),
    )
    op.create_index(
        "ix_voucher_templates_campaign_id", "voucher_templates", ["merchant_id", "campaign_id"], unique=False
    )
    op.create_table(
        "vouchers",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("voucher_id", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("template_id", sa.Text(), nullable=True),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("max_redemptions", sa.Integer(), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("max_redemptions >= 0", name=op.f("ck_vouchers_max_redemptions_not_negative")),
        sa.CheckConstraint("valid_from < valid_until", name=op.f("ck_vouchers_validity_not_empty")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_vouchers_merchant_id")),
        sa.PrimaryKeyConstraint("merchant_id", "voucher_id", name=op.f("pk_vouchers")),
    )
    op.create_index(
        "ix_vouchers_campaign_id", "vouchers", ["merchant_id", "campaign_id", "voucher_id"], unique=False
    )
    op.create_table(
        "analysis_rows",
        sa.Column("analysis_id", sa.Uuid(), nullable=False),
        sa.Column("breakdown", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=True),
        sa.Column("figures", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["analysis_id"], ["analyses.id"], name=op.f("fk_analysis_rows_analysis_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("analysis_id", "breakdown", "position", name=op.f("pk_analysis_rows")),
    )
    op.create_index(
        "ix_analysis_rows_campaign_id", "analysis_rows", ["analysis_id", "campaign_id"], unique=False
    )


def downgrade() -> None:
    op.drop_index("ix_analysis_rows_campaign_id", table_name="analysis_rows")
    op.drop_table("analysis_rows")
    op.drop_index("ix_vouchers_campaign_id", table_name="vouchers")
    op.drop_table("vouchers")
    op.drop_index("ix_voucher_templates_campaign_id", table_name="voucher_templates")
    op.drop_table("voucher_templates")
    op.drop_table("transactions")
    op.drop_table("template_products")
    op.drop_table("stores")
    op.drop_index("ix_sessions_operator_id", table_name="sessions")
    op.drop_index("ix_sessions_expires_at", table_name="sessions")
    op.drop_table("sessions")
    op.drop_table("rejoins")
    op.drop_index("ix_redemptions_voucher_id", table_name="redemptions")
    op.drop_index(
        "ix_redemptions_transaction_id",
        table_name="redemptions",
        postgresql_where="transaction_id IS NOT NULL",
    )
    op.drop_index("ix_redemptions_customer_id", table_name="redemptions")
    op.drop_table("redemptions")
    op.drop_table("products")
    op.drop_index("ix_page_views_customer_id", table_name="page_views")
    op.drop_index("ix_page_views_campaign_id", table_name="page_views")
    op.drop_table("page_views")
    op.drop_index(
        "ix_orders_transaction_id", table_name="orders", postgresql_where="transaction_id IS NOT NULL"
    )
    op.drop_table("orders")
    op.drop_table("order_lines")
    op.drop_index("ix_issuances_order_id", table_name="issuances", postgresql_where="order_id IS NOT NULL")
    op.drop_index("ix_issuances_campaign_id", table_name="issuances")
    op.drop_index("ix_issuances_customer_id", table_name="issuances")
    op.drop_table("issuances")
    op.drop_table("customers")
    op.drop_table("campaigns")
    op.drop_index("ix_breaks_voucher_id", table_name="breaks")
    op.drop_index("ix_breaks_open", table_name="breaks", postgresql_where="resolved_at IS NULL")
    op.drop_table("breaks")
    op.drop_table("audience")
    op.drop_index("ix_api_keys_merchant_id", table_name="api_keys")
    op.drop_table("api_keys")
    op.drop_index("ix_analyses_merchant_id", table_name="analyses")
    op.drop_table("analyses")
    op.drop_table("sign_in_attempts")
    op.drop_index("uq_operators_email", table_name="operators")
    op.drop_table("operators")
    op.drop_table("merchants")
    op.drop_index("ix_jobs_merchant_id_created_at", table_name="jobs")
    op.drop_index("ix_jobs_created_at", table_name="jobs")
    op.drop_table("jobs")
    op.drop_index("ix_idempotency_keys_created_at", table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
