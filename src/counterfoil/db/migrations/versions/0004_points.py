"""Points: programs, accounts, the ledger, what is pending, lots; and the scopes of points"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
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
    "webhooks:read",
    "webhooks:write",
    "campaigns:read",
    "campaigns:write",
    "vouchers:read",
    "vouchers:write",
]
_NEW_SCOPES = ["points:read", "points:write"]


def _allow_scopes(scopes: list[str]) -> None:
    op.drop_constraint(op.f("ck_api_keys_scopes_known"), "api_keys", type_="check")
    known = ", ".join(map(repr, scopes))
    op.create_check_constraint(
        op.f("ck_api_keys_scopes_known"), "api_keys", f"scopes <@ ARRAY[{known}]::text[]"
    )


def upgrade() -> None:
    _allow_scopes([*_SCOPES, *_NEW_SCOPES])
    op.create_table(
        "points_lot_uses",
        sa.Column("transfer_id", sa.Uuid(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("points > 0", name=op.f("ck_points_lot_uses_points_positive")),
        sa.PrimaryKeyConstraint("transfer_id", "expires_at", name=op.f("pk_points_lot_uses")),
    )
    op.create_table(
        "points_lots",
        sa.Column("member_no", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("notified_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("points > 0", name=op.f("ck_points_lots_points_positive")),
        sa.PrimaryKeyConstraint("member_no", "expires_at", name=op.f("pk_points_lots")),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index("ix_points_lots_expires_at", "points_lots", ["expires_at", "member_no"], unique=False)
    op.create_index(
        "ix_points_lots_untold",
        "points_lots",
        ["merchant_id", "expires_at"],
        unique=False,
        postgresql_where="notified_at IS NULL",
    )
    op.create_table(
        "points_refusals",
        sa.Column("source_no", sa.BigInteger(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("refused_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("source_no", "reference", name=op.f("pk_points_refusals")),
    )
    op.create_table(
        "points_transfers",
        sa.Column("transfer_id", sa.Uuid(), nullable=False),
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("member_no", sa.BigInteger(), nullable=False),
        sa.Column("source_no", sa.BigInteger(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("balance", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=True),
        sa.Column("order_id", sa.Text(), nullable=True),
        sa.Column("amount_minor", sa.BigInteger(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reverses", sa.Uuid(), nullable=True),
        sa.Column("settles", sa.Uuid(), nullable=True),
        sa.Column("posted_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(balance IS NULL) = (version IS NULL)", name=op.f("ck_points_transfers_posted_or_pending")
        ),
        sa.CheckConstraint("balance >= greatest(points, 0)", name=op.f("ck_points_transfers_balance_holds")),
        sa.CheckConstraint("member_no <> source_no", name=op.f("ck_points_transfers_two_sides")),
        sa.CheckConstraint("points <> 0", name=op.f("ck_points_transfers_moves_something")),
        sa.CheckConstraint(
            "settles IS NULL OR version IS NOT NULL", name=op.f("ck_points_transfers_settling_is_posted")
        ),
        sa.PrimaryKeyConstraint("transfer_id", name=op.f("pk_points_transfers")),
        sa.UniqueConstraint("member_no", "version", name="uq_points_transfers_version"),
        sa.UniqueConstraint("source_no", "reference", name="uq_points_transfers_reference"),
    )
    op.create_index(
        "ix_points_transfers_order_id",
        "points_transfers",
        ["merchant_id", "order_id"],
        unique=False,
        postgresql_where="order_id IS NOT NULL",
    )
    op.create_index(
        "uq_points_transfers_settles",
        "points_transfers",
        ["settles"],
        unique=True,
        postgresql_where="settles IS NOT NULL",
    )
    op.create_table(
        "points_accounts",
        sa.Column("account_no", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column("balance", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("held", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("pending", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'closed') = (closed_at IS NOT NULL)", name=op.f("ck_points_accounts_closed_has_time")
        ),
        sa.CheckConstraint(
            "source IN ('partner', 'earned', 'adjusted', 'burned', 'expired')",
            name=op.f("ck_points_accounts_source_known"),
        ),
        sa.CheckConstraint(
            "state = 'open' OR (balance = 0 AND pending = 0)", name=op.f("ck_points_accounts_closed_is_empty")
        ),
        sa.CheckConstraint("state IN ('open', 'closed')", name=op.f("ck_points_accounts_state_known")),
        sa.CheckConstraint("held BETWEEN 0 AND balance", name=op.f("ck_points_accounts_held_is_there")),
        sa.CheckConstraint("pending >= 0", name=op.f("ck_points_accounts_pending_not_negative")),
        sa.CheckConstraint(
            "source IS NULL OR (balance = 0 AND pending = 0)",
            name=op.f("ck_points_accounts_source_keeps_no_balance"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id"], ["merchants.id"], name=op.f("fk_points_accounts_merchant_id")
        ),
        sa.PrimaryKeyConstraint("account_no", name=op.f("pk_points_accounts")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_index(
        "uq_points_accounts_customer_id",
        "points_accounts",
        ["merchant_id", "name"],
        unique=True,
        postgresql_where="source IS NULL",
    )
    op.create_index(
        "uq_points_accounts_source",
        "points_accounts",
        ["merchant_id", "source", "name"],
        unique=True,
        postgresql_where="source IS NOT NULL",
    )
    op.create_table(
        "points_pending",
        sa.Column("transfer_id", sa.Uuid(), nullable=False),
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("member_no", sa.BigInteger(), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("posted_points", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("voided_points", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'pending') = (settled_at IS NULL)", name=op.f("ck_points_pending_settled_has_time")
        ),
        sa.CheckConstraint(
            "(state = 'posted') = (posted_points > 0)", name=op.f("ck_points_pending_posted_has_points")
        ),
        sa.CheckConstraint(
            "state = 'pending' OR posted_points + voided_points = abs(points)",
            name=op.f("ck_points_pending_settled_is_whole"),
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'posted', 'voided')", name=op.f("ck_points_pending_state_known")
        ),
        sa.CheckConstraint(
            "least(posted_points, voided_points) >= 0", name=op.f("ck_points_pending_parts_not_negative")
        ),
        sa.CheckConstraint("points <> 0", name=op.f("ck_points_pending_moves_something")),
        sa.CheckConstraint(
            "posted_points + voided_points <= abs(points)", name=op.f("ck_points_pending_parts_hold")
        ),
        sa.ForeignKeyConstraint(
            ["transfer_id"], ["points_transfers.transfer_id"], name=op.f("fk_points_pending_transfer_id")
        ),
        sa.PrimaryKeyConstraint("transfer_id", name=op.f("pk_points_pending")),
    )
    op.create_index(
        "ix_points_pending_due_at",
        "points_pending",
        ["due_at"],
        unique=False,
        postgresql_where="state = 'pending'",
    )
    op.create_index(
        "ix_points_pending_member_no",
        "points_pending",
        ["member_no"],
        unique=False,
        postgresql_where="state = 'pending'",
    )
    op.create_table(
        "points_programs",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("terms", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["merchant_id"], ["merchants.id"], name=op.f("fk_points_programs_merchant_id")
        ),
        sa.PrimaryKeyConstraint("merchant_id", name=op.f("pk_points_programs")),
    )
    op.create_table(
        "points_reversals",
        sa.Column("transfer_id", sa.Uuid(), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("reversed", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("reversed BETWEEN 0 AND points", name=op.f("ck_points_reversals_reversed_holds")),
        sa.ForeignKeyConstraint(
            ["transfer_id"], ["points_transfers.transfer_id"], name=op.f("fk_points_reversals_transfer_id")
        ),
        sa.PrimaryKeyConstraint("transfer_id", name=op.f("pk_points_reversals")),
    )
    op.create_table(
        "points_refunds",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("refund_id", sa.Text(), nullable=False),
        sa.Column("refunded_minor", sa.BigInteger(), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("missing", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "least(refunded_minor, points, missing) >= 0", name=op.f("ck_points_refunds_nothing_negative")
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id"], ["merchants.id"], name=op.f("fk_points_refunds_merchant_id")
        ),
        sa.PrimaryKeyConstraint("merchant_id", "order_id", "refund_id", name=op.f("pk_points_refunds")),
    )
    # What is free of a balance and how much room it has below its limit, entry by entry: what does not fit is
    # passed over. The state: free, room (null: no limit), and whether the last entry fitted.
    op.execute("""
        CREATE FUNCTION points_step(state bigint[], free bigint, room bigint, points bigint, pending boolean)
        RETURNS bigint[] LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
        BEGIN
            state := coalesce(state, ARRAY[free, room, 0]);
            IF points < 0 AND state[1] + points < 0 OR points > 0 AND state[2] < points THEN
                RETURN ARRAY[state[1], state[2], 0];
            ELSIF NOT pending THEN
                RETURN ARRAY[state[1] + points, state[2] - points, 1];
            ELSIF points < 0 THEN
                RETURN ARRAY[state[1] + points, state[2], 1];
            END IF;
            RETURN ARRAY[state[1], state[2] - points, 1];
        END $$""")
    op.execute(
        "CREATE AGGREGATE points_running(free bigint, room bigint, points bigint, pending boolean) "
        "(SFUNC = points_step, STYPE = bigint[], PARALLEL = SAFE)"
    )


def downgrade() -> None:
    op.execute("DROP AGGREGATE points_running(bigint, bigint, bigint, boolean)")
    op.execute("DROP FUNCTION points_step(bigint[], bigint, bigint, bigint, boolean)")
    for table in (
        "points_refunds",
        "points_reversals",
        "points_lot_uses",
        "points_lots",
        "points_refusals",
        "points_pending",
        "points_transfers",
        "points_accounts",
        "points_programs",
    ):
        op.drop_table(table)
    op.execute(
        """UPDATE api_keys SET scopes = array(SELECT s FROM unnest(scopes) s WHERE s NOT LIKE 'points:%')
           WHERE scopes && ARRAY['points:read', 'points:write']"""
    )
    _allow_scopes(_SCOPES)
