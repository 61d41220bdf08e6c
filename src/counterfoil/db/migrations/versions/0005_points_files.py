"""Partners, their files, and the records, batches and answers of them"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "points_partners",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("partner_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column("terms", postgresql.JSONB(), nullable=False),
        sa.Column("layout", postgresql.JSONB(), nullable=False),
        sa.Column("source_no", sa.BigInteger(), nullable=False),
        sa.Column("last_sequence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("pressure", postgresql.JSONB(), nullable=True),
        sa.Column("collected_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("collect_error", postgresql.JSONB(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "partner_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'",
            name=op.f("ck_points_partners_partner_id_can_be_typed"),
        ),
        sa.CheckConstraint("state IN ('open', 'closed')", name=op.f("ck_points_partners_state_known")),
        sa.CheckConstraint("last_sequence >= 0", name=op.f("ck_points_partners_sequence_not_negative")),
        sa.ForeignKeyConstraint(
            ["merchant_id"], ["merchants.id"], name=op.f("fk_points_partners_merchant_id")
        ),
        sa.ForeignKeyConstraint(
            ["source_no"], ["points_accounts.account_no"], name=op.f("fk_points_partners_source_no")
        ),
        sa.PrimaryKeyConstraint("merchant_id", "partner_id", name=op.f("pk_points_partners")),
    )
    op.create_table(
        "points_partner_keys",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("partner_id", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('openpgp', 'ssh')", name=op.f("ck_points_partner_keys_kind_known")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "partner_id"],
            ["points_partners.merchant_id", "points_partners.partner_id"],
            name=op.f("fk_points_partner_keys_merchant_id_partner_id"),
        ),
        sa.PrimaryKeyConstraint(
            "merchant_id", "partner_id", "fingerprint", name=op.f("pk_points_partner_keys")
        ),
    )
    op.create_table(
        "points_own_keys",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("secret_key", sa.Text(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('openpgp', 'ssh')", name=op.f("ck_points_own_keys_kind_known")),
        sa.ForeignKeyConstraint(
            ["merchant_id"], ["merchants.id"], name=op.f("fk_points_own_keys_merchant_id")
        ),
        sa.PrimaryKeyConstraint("merchant_id", "fingerprint", name=op.f("pk_points_own_keys")),
    )
    op.create_table(
        "points_files",
        sa.Column("file_no", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("file_id", sa.Uuid(), nullable=False),
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("partner_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("via", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="received", nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("signer", sa.Text(), nullable=True),
        sa.Column("content_digest", sa.LargeBinary(), nullable=True),
        sa.Column("repeats", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("problems", postgresql.JSONB(), nullable=True),
        sa.Column("broken", postgresql.JSONB(), nullable=True),
        sa.Column("header", postgresql.JSONB(), nullable=True),
        sa.Column("sequence", sa.BigInteger(), nullable=True),
        sa.Column("expected_sequence", sa.BigInteger(), nullable=True),
        sa.Column("records", sa.Integer(), nullable=True),
        sa.Column("points", sa.BigInteger(), nullable=True),
        sa.Column("hash_total", sa.BigInteger(), nullable=True),
        sa.Column("cut_to", sa.Integer(), server_default="0", nullable=False),
        sa.Column("credited", sa.Integer(), nullable=True),
        sa.Column("credited_points", sa.BigInteger(), nullable=True),
        sa.Column("rejected", sa.Integer(), nullable=True),
        sa.Column("rejected_points", sa.BigInteger(), nullable=True),
        sa.Column("duplicate", sa.Integer(), nullable=True),
        sa.Column("duplicate_points", sa.BigInteger(), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("response_name", sa.Text(), nullable=True),
        sa.Column("response_bytes", sa.BigInteger(), nullable=True),
        sa.Column("answer_after", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answer_attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("answer_error", postgresql.JSONB(), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'rejected') = (reason IS NOT NULL)", name=op.f("ck_points_files_rejected_has_reason")
        ),
        sa.CheckConstraint(
            "(state = 'repeated') = (repeats IS NOT NULL)", name=op.f("ck_points_files_repeated_says_what")
        ),
        sa.CheckConstraint(
            "state <> 'credited' OR (cut_to = records AND credited + rejected + duplicate = records AND credited_points + rejected_points + duplicate_points = points) IS TRUE",
            name=op.f("ck_points_files_nothing_lost"),
        ),
        sa.CheckConstraint(
            "state IN ('received', 'crediting', 'credited', 'rejected', 'repeated')",
            name=op.f("ck_points_files_state_known"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('crediting', 'credited') OR (sequence IS NOT NULL AND records IS NOT NULL)",
            name=op.f("ck_points_files_opened_is_known"),
        ),
        sa.CheckConstraint("via IN ('api', 'sftp', 'dropbox')", name=op.f("ck_points_files_via_known")),
        sa.CheckConstraint(
            "cut_to BETWEEN 0 AND coalesce(records, 0)", name=op.f("ck_points_files_cut_holds")
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "partner_id"],
            ["points_partners.merchant_id", "points_partners.partner_id"],
            name=op.f("fk_points_files_merchant_id_partner_id"),
        ),
        sa.PrimaryKeyConstraint("file_no", name=op.f("pk_points_files")),
        sa.UniqueConstraint("file_id", name="uq_points_files_file_id"),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_index(
        "ix_points_files_at_work",
        "points_files",
        ["state"],
        unique=False,
        postgresql_where="state IN ('received', 'crediting')",
    )
    op.create_index(
        "ix_points_files_name", "points_files", ["merchant_id", "partner_id", "name"], unique=False
    )
    op.create_index("ix_points_files_received", "points_files", ["merchant_id", "file_no"], unique=False)
    op.create_index(
        "ix_points_files_to_answer",
        "points_files",
        ["answer_after"],
        unique=False,
        postgresql_where="answer_after IS NOT NULL",
    )
    op.create_index(
        "uq_points_files_content",
        "points_files",
        ["merchant_id", "partner_id", "content_digest"],
        unique=True,
        postgresql_where="state IN ('crediting', 'credited')",
    )
    op.create_index(
        "uq_points_files_sequence",
        "points_files",
        ["merchant_id", "partner_id", "sequence"],
        unique=True,
        postgresql_where="state IN ('crediting', 'credited')",
    )
    op.create_table(
        "points_file_parts",
        sa.Column("file_no", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("part_no", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("kind IN ('received', 'response')", name=op.f("ck_points_file_parts_kind_known")),
        sa.ForeignKeyConstraint(
            ["file_no"], ["points_files.file_no"], name=op.f("fk_points_file_parts_file_no")
        ),
        sa.PrimaryKeyConstraint("file_no", "kind", "part_no", name=op.f("pk_points_file_parts")),
    )
    op.create_table(
        "points_records",
        sa.Column("file_no", sa.BigInteger(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("customer_id", sa.Text(collation="C"), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=True),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("occurred_on", sa.Date(), nullable=True),
        sa.Column("offer_code", sa.Text(), nullable=True),
        sa.Column("fault", sa.Text(), nullable=True),
        sa.Column("field", sa.Text(), nullable=True),
        sa.Column("first_line", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("file_no", "n", name=op.f("pk_points_records")),
    )
    op.create_table(
        "points_batches",
        sa.Column("file_no", sa.BigInteger(), nullable=False),
        sa.Column("batch_no", sa.Integer(), nullable=False),
        sa.Column("from_n", sa.Integer(), nullable=False),
        sa.Column("to_n", sa.Integer(), nullable=False),
        sa.Column("first_customer", sa.Text(collation="C"), nullable=False),
        sa.Column("last_customer", sa.Text(collation="C"), nullable=False),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column("worker", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("error", postgresql.JSONB(), nullable=True),
        sa.Column("transfers", sa.Uuid(), nullable=True),
        sa.Column("credited", sa.Integer(), nullable=True),
        sa.Column("credited_points", sa.BigInteger(), nullable=True),
        sa.Column("rejected", sa.Integer(), nullable=True),
        sa.Column("rejected_points", sa.BigInteger(), nullable=True),
        sa.Column("duplicate", sa.Integer(), nullable=True),
        sa.Column("duplicate_points", sa.BigInteger(), nullable=True),
        sa.Column("points", sa.BigInteger(), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("cut_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'done') = (done_at IS NOT NULL)", name=op.f("ck_points_batches_done_has_time")
        ),
        sa.CheckConstraint(
            "state <> 'done' OR (credited + rejected + duplicate = to_n - from_n AND credited_points + rejected_points + duplicate_points = points) IS TRUE",
            name=op.f("ck_points_batches_nothing_lost"),
        ),
        sa.CheckConstraint("state IN ('open', 'done')", name=op.f("ck_points_batches_state_known")),
        sa.CheckConstraint("from_n >= 0 AND to_n > from_n", name=op.f("ck_points_batches_has_records")),
        sa.ForeignKeyConstraint(
            ["file_no"], ["points_files.file_no"], name=op.f("fk_points_batches_file_no")
        ),
        sa.PrimaryKeyConstraint("file_no", "batch_no", name=op.f("pk_points_batches")),
        sa.UniqueConstraint("file_no", "from_n", name="uq_points_batches_from_n"),
    )
    op.create_index(
        "ix_points_batches_customers",
        "points_batches",
        ["file_no", "last_customer", "first_customer"],
        unique=False,
    )
    op.create_index(
        "ix_points_batches_open",
        "points_batches",
        ["file_no"],
        unique=False,
        postgresql_where="state = 'open'",
    )
    op.create_index(
        "uq_points_batches_transfers",
        "points_batches",
        ["transfers"],
        unique=True,
        postgresql_where="transfers IS NOT NULL",
    )
    op.create_table(
        "points_results",
        sa.Column("file_no", sa.BigInteger(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("transfer_id", sa.Uuid(), nullable=True),
        sa.Column("outside_reference", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "status IN ('accepted', 'rejected', 'duplicate')", name=op.f("ck_points_results_status_known")
        ),
        sa.PrimaryKeyConstraint("file_no", "n", name=op.f("pk_points_results")),
    )
    op.create_table(
        "points_sent",
        sa.Column("source_no", sa.BigInteger(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("file_no", sa.BigInteger(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("source_no", "reference", name=op.f("pk_points_sent")),
    )
    op.create_table(
        "points_decisions",
        sa.Column("file_no", sa.BigInteger(), nullable=False),
        sa.Column("decision_no", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("batch_no", sa.Integer(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decision", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(
            ["file_no"], ["points_files.file_no"], name=op.f("fk_points_decisions_file_no")
        ),
        sa.PrimaryKeyConstraint("file_no", "decision_no", name=op.f("pk_points_decisions")),
    )
    # What is encrypted does not get smaller: it is kept beside the row as it is.
    op.execute("ALTER TABLE points_file_parts ALTER COLUMN content SET STORAGE EXTERNAL")


def downgrade() -> None:
    for table in (
        "points_decisions",
        "points_sent",
        "points_results",
        "points_batches",
        "points_records",
        "points_file_parts",
        "points_files",
        "points_own_keys",
        "points_partner_keys",
        "points_partners",
    ):
        op.drop_table(table)
