"""Campaigns that are run here: terms, counters, usage, reservations and reversals; vouchers with a state"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("vouchers", "issuances", "redemptions"):
        op.drop_constraint(f"fk_{table}_merchant_id", table, type_="foreignkey")
    op.add_column("redemptions", sa.Column("campaign_id", sa.Text(), nullable=True))
    op.add_column("redemptions", sa.Column("order_id", sa.Text(), nullable=True))
    op.add_column("redemptions", sa.Column("amount_minor", sa.BigInteger(), nullable=True))
    op.add_column("redemptions", sa.Column("lines", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column(
        "redemptions", sa.Column("reversed_minor", sa.BigInteger(), server_default="0", nullable=False)
    )
    op.add_column("redemptions", sa.Column("reversed_lines", postgresql.ARRAY(sa.Text()), nullable=True))
    op.add_column("redemptions", sa.Column("reversed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "uq_redemptions_reference",
        "redemptions",
        [sa.text("coalesce('o' || order_id, 't' || transaction_id)"), "merchant_id", "voucher_id"],
        unique=True,
        postgresql_where="campaign_id IS NOT NULL",
    )
    op.add_column("vouchers", sa.Column("state", sa.Text(), nullable=True))
    op.add_column("vouchers", sa.Column("customer_id", sa.Text(), nullable=True))
    op.add_column("vouchers", sa.Column("uses", sa.Integer(), server_default="0", nullable=False))
    op.add_column("vouchers", sa.Column("holds", sa.Integer(), server_default="0", nullable=False))
    op.add_column("vouchers", sa.Column("amount_minor", sa.BigInteger(), nullable=True))
    op.add_column("vouchers", sa.Column("balance_minor", sa.BigInteger(), nullable=True))
    op.add_column("vouchers", sa.Column("held_minor", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("vouchers", sa.Column("pool_position", sa.BigInteger(), nullable=True))
    op.add_column("vouchers", sa.Column("void_reason", sa.Text(), nullable=True))
    op.add_column("vouchers", sa.Column("changed_at", sa.DateTime(timezone=True), nullable=True))
    op.drop_index(op.f("ix_vouchers_campaign_id"), table_name="vouchers")
    op.create_index(
        "ix_vouchers_campaign_id",
        "vouchers",
        ["merchant_id", "campaign_id", "valid_until", "voucher_id"],
        unique=False,
    )
    op.create_index(
        "uq_vouchers_pool_position",
        "vouchers",
        ["merchant_id", "campaign_id", "pool_position"],
        unique=True,
        postgresql_where="pool_position IS NOT NULL",
    )
    op.create_check_constraint(
        op.f("ck_vouchers_state_known"),
        "vouchers",
        "state IN ('available', 'issued', 'reserved', 'redeemed', 'expired', 'voided')",
    )
    op.create_check_constraint(
        op.f("ck_vouchers_uses_hold"), "vouchers", "state IS NULL OR uses + holds <= max_redemptions"
    )
    op.create_check_constraint(op.f("ck_vouchers_uses_not_negative"), "vouchers", "uses >= 0 AND holds >= 0")
    op.create_check_constraint(
        op.f("ck_vouchers_balance_holds"), "vouchers", "held_minor BETWEEN 0 AND coalesce(balance_minor, 0)"
    )
    op.create_check_constraint(
        op.f("ck_vouchers_void_has_reason"), "vouchers", "(state = 'voided') = (void_reason IS NOT NULL)"
    )
    op.create_check_constraint(
        op.f("ck_redemptions_reversal_holds"),
        "redemptions",
        "reversed_minor = 0 OR reversed_minor BETWEEN 0 AND discount_minor",
    )
    op.execute("ALTER TABLE vouchers SET (fillfactor = 85)")
    op.create_table(
        "campaign_terms",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("terms", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["merchant_id", "campaign_id"],
            ["campaigns.merchant_id", "campaigns.campaign_id"],
            name=op.f("fk_campaign_terms_merchant_id_campaign_id"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "campaign_id", "version", name=op.f("pk_campaign_terms")),
    )
    op.create_table(
        "campaign_counters",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="draft", nullable=False),
        sa.Column("terms_version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("stock", sa.BigInteger(), nullable=True),
        sa.Column("handed_out", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("budget_minor", sa.BigInteger(), nullable=True),
        sa.Column("spent_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("held_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("max_redemptions", sa.BigInteger(), nullable=True),
        sa.Column("redemptions", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("holds", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("pool_made", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("pool_taken", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("pot_left_minor", sa.BigInteger(), nullable=True),
        sa.Column("available", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("issued", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("reserved", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("redeemed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("expired", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("voided", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("expired_through", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "state IN ('draft', 'active', 'paused', 'stopped', 'ended')",
            name=op.f("ck_campaign_counters_state_known"),
        ),
        sa.CheckConstraint("handed_out <= stock", name=op.f("ck_campaign_counters_stock_holds")),
        sa.CheckConstraint(
            "least(handed_out, spent_minor, held_minor, redemptions, holds, pool_made, pool_taken, available, issued, reserved, redeemed, expired, voided) >= 0",
            name=op.f("ck_campaign_counters_counts_not_negative"),
        ),
        sa.CheckConstraint("pool_taken <= pool_made", name=op.f("ck_campaign_counters_pool_holds")),
        sa.CheckConstraint("pot_left_minor >= 0", name=op.f("ck_campaign_counters_pot_holds")),
        sa.CheckConstraint(
            "redemptions + holds <= max_redemptions", name=op.f("ck_campaign_counters_redemptions_hold")
        ),
        sa.CheckConstraint(
            "spent_minor + held_minor <= budget_minor", name=op.f("ck_campaign_counters_budget_holds")
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "campaign_id", "terms_version"],
            ["campaign_terms.merchant_id", "campaign_terms.campaign_id", "campaign_terms.version"],
            name="fk_campaign_counters_terms",
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "campaign_id"],
            ["campaigns.merchant_id", "campaigns.campaign_id"],
            name=op.f("fk_campaign_counters_merchant_id_campaign_id"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "campaign_id", name=op.f("pk_campaign_counters")),
        postgresql_with={"fillfactor": "30"},
    )
    op.create_table(
        "campaign_usage",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("period_start", sa.Date(), nullable=False),
        sa.Column("claims", sa.Integer(), server_default="0", nullable=False),
        sa.Column("redemptions", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint(
            "period IN ('total', 'day', 'week', 'month')", name=op.f("ck_campaign_usage_period_known")
        ),
        sa.CheckConstraint(
            "claims >= 0 AND redemptions >= 0", name=op.f("ck_campaign_usage_counts_not_negative")
        ),
        sa.PrimaryKeyConstraint(
            "merchant_id",
            "campaign_id",
            "customer_id",
            "period",
            "period_start",
            name=op.f("pk_campaign_usage"),
        ),
        postgresql_with={"fillfactor": "85"},
    )
    op.create_table(
        "reservations",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("reservation_id", sa.Text(), nullable=False),
        sa.Column("voucher_id", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=True),
        sa.Column("discount_minor", sa.BigInteger(), nullable=False),
        sa.Column("lines", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("reserved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'held') = (ended_at IS NULL)", name=op.f("ck_reservations_end_has_time")
        ),
        sa.CheckConstraint(
            "state IN ('held', 'released', 'redeemed', 'expired')", name=op.f("ck_reservations_state_known")
        ),
        sa.CheckConstraint("discount_minor >= 0", name=op.f("ck_reservations_discount_not_negative")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "voucher_id"],
            ["vouchers.merchant_id", "vouchers.voucher_id"],
            name=op.f("fk_reservations_merchant_id_voucher_id"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "reservation_id", name=op.f("pk_reservations")),
    )
    op.create_table(
        "redemption_reversals",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("reversal_id", sa.Text(), nullable=False),
        sa.Column("redemption_id", sa.Text(), nullable=False),
        sa.Column("voucher_id", sa.Text(), nullable=False),
        sa.Column("line_ids", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("discount_minor", sa.BigInteger(), nullable=False),
        sa.Column("whole", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("reversed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("discount_minor >= 0", name=op.f("ck_redemption_reversals_discount_not_negative")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "redemption_id"],
            ["redemptions.merchant_id", "redemptions.redemption_id"],
            name=op.f("fk_redemption_reversals_merchant_id_redemption_id"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "reversal_id", name=op.f("pk_redemption_reversals")),
    )
    op.create_index(
        "ix_redemption_reversals_redemption_id",
        "redemption_reversals",
        ["merchant_id", "redemption_id"],
        unique=False,
    )
    op.create_index(
        "uq_redemption_reversals_whole",
        "redemption_reversals",
        ["merchant_id", "redemption_id"],
        unique=True,
        postgresql_where="whole",
    )
    op.create_index(
        "ix_reservations_expires_at",
        "reservations",
        ["expires_at"],
        unique=False,
        postgresql_where="state = 'held'",
    )
    op.create_index("ix_reservations_voucher_id", "reservations", ["voucher_id", "merchant_id"], unique=False)
    op.create_index(
        "ix_reservations_order_id", "reservations", ["order_id", "merchant_id", "voucher_id"], unique=False
    )
    op.create_index(
        "uq_reservations_held",
        "reservations",
        ["voucher_id", "merchant_id", "order_id"],
        unique=True,
        postgresql_where="state = 'held'",
    )
    op.create_table(
        "touched_vouchers",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("voucher_id", sa.Text(), nullable=False),
    )


def downgrade() -> None:
    for table in ("vouchers", "issuances", "redemptions"):
        op.create_foreign_key(f"fk_{table}_merchant_id", table, "merchants", ["merchant_id"], ["id"])
    op.drop_table("touched_vouchers")
    for table in (
        "redemption_reversals",
        "reservations",
        "campaign_usage",
        "campaign_counters",
        "campaign_terms",
    ):
        op.drop_table(table)
    op.drop_index("uq_redemptions_reference", table_name="redemptions")
    op.drop_index("uq_vouchers_pool_position", table_name="vouchers")
    op.drop_index("ix_vouchers_campaign_id", table_name="vouchers")
    op.execute("ALTER TABLE vouchers RESET (fillfactor)")
    for column in (
        "state",
        "customer_id",
        "uses",
        "holds",
        "amount_minor",
        "balance_minor",
        "held_minor",
        "pool_position",
        "void_reason",
        "changed_at",
    ):
        op.drop_column("vouchers", column)
    for column in (
        "campaign_id",
        "order_id",
        "amount_minor",
        "lines",
        "reversed_minor",
        "reversed_lines",
        "reversed_at",
    ):
        op.drop_column("redemptions", column)
    op.create_index("ix_vouchers_campaign_id", "vouchers", ["merchant_id", "campaign_id", "voucher_id"])
