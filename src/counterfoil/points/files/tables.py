"""Tables of partners and their files: what came, its records, their batches, the answer."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypedColumns,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

from counterfoil.db.metadata import metadata
from counterfoil.points.files.types import (
    BATCH_STATES,
    FILE_STATES,
    KEY_KINDS,
    PART_KINDS,
    PARTNER_STATES,
    VIAS,
)


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(map(repr, values))})", name=f"{column}_known")


class PartnerColumns(TypedColumns):
    """Who sends files of points: how they look, what is allowed in them, and how they come and go."""

    merchant_id = Column(Uuid, ForeignKey("merchants.id"), nullable=False)
    partner_id = Column(Text, nullable=False)
    """The short name that people type, such as `citybank`."""
    name = Column(Text, nullable=False)
    state = Column(Text, nullable=False, server_default="open")
    terms = Column[dict[str, Any]](JSONB, nullable=False)
    layout = Column[dict[str, Any]](JSONB, nullable=False)
    """What a file looks like (see `layouts.py`)."""
    source_no = Column(BigInteger, ForeignKey("points_accounts.account_no"), nullable=False)
    """The account that its credits come from."""
    last_sequence = Column(BigInteger, nullable=False, server_default="0")
    """Of the last file that was accepted: the next one has the number after it."""
    pressure = Column[dict[str, Any] | None](JSONB, nullable=True)
    """What is known of the crediting interface (see `limiter.py`); null: nothing yet."""
    collected_at = Column[datetime | None](DateTime(timezone=True), nullable=True)
    """When its server was last looked at for files."""
    collect_error = Column[dict[str, Any] | None](JSONB, nullable=True)
    """Why that failed; null: it did not."""
    created_at = Column(DateTime(timezone=True), nullable=False)
    changed_at = Column(DateTime(timezone=True), nullable=False)


points_partners = Table(
    "points_partners",
    metadata,
    PartnerColumns,
    PrimaryKeyConstraint("merchant_id", "partner_id"),
    _one_of("state", PARTNER_STATES),
    CheckConstraint("partner_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name="partner_id_can_be_typed"),
    CheckConstraint("last_sequence >= 0", name="sequence_not_negative"),
)


class PartnerKeyColumns(TypedColumns):
    """A public key of a partner: what its files are signed with, or what it signs in with at our box."""

    merchant_id = Column(Uuid, nullable=False)
    partner_id = Column(Text, nullable=False)
    fingerprint = Column(Text, nullable=False)
    kind = Column(Text, nullable=False)
    public_key = Column(Text, nullable=False)
    added_at = Column(DateTime(timezone=True), nullable=False)
    retired_at = Column[datetime | None](DateTime(timezone=True), nullable=True)


points_partner_keys = Table(
    "points_partner_keys",
    metadata,
    PartnerKeyColumns,
    PrimaryKeyConstraint("merchant_id", "partner_id", "fingerprint"),
    ForeignKeyConstraint(
        ("merchant_id", "partner_id"), ("points_partners.merchant_id", "points_partners.partner_id")
    ),
    _one_of("kind", KEY_KINDS),
)


class OwnKeyColumns(TypedColumns):
    """A key of ours: the newest of a kind is used; older ones still open what was made for them."""

    merchant_id = Column(Uuid, ForeignKey("merchants.id"), nullable=False)
    fingerprint = Column(Text, nullable=False)
    kind = Column(Text, nullable=False)
    secret_key = Column(Text, nullable=False)
    public_key = Column(Text, nullable=False)
    made_at = Column(DateTime(timezone=True), nullable=False)
    retired_at = Column[datetime | None](DateTime(timezone=True), nullable=True)


points_own_keys = Table(
    "points_own_keys",
    metadata,
    OwnKeyColumns,
    PrimaryKeyConstraint("merchant_id", "fingerprint"),
    _one_of("kind", KEY_KINDS),
)


class FileColumns(TypedColumns):
    """A file of a partner, and what became of it."""

    file_no = Column(BigInteger, Identity(), nullable=False)
    file_id = Column(Uuid, nullable=False)
    merchant_id = Column(Uuid, nullable=False)
    partner_id = Column(Text, nullable=False)
    name = Column(Text, nullable=False)
    """As the partner called it."""
    via = Column(Text, nullable=False)
    state = Column(Text, nullable=False, server_default="received")
    received_at = Column(DateTime(timezone=True), nullable=False)
    size_bytes = Column(BigInteger, nullable=False)
    digest = Column(LargeBinary, nullable=False)
    """SHA-256 of what came."""
    modified_at = Column[datetime | None](DateTime(timezone=True), nullable=True)
    """When it was last changed on the partner's server: so it is not collected twice."""
    signer = Column[str | None](Text, nullable=True)
    """The key that it was signed with."""
    content_digest = Column[bytes | None](LargeBinary, nullable=True)
    """SHA-256 of what was in it: another encryption of the same is the same file."""
    repeats = Column[int | None](BigInteger, nullable=True)
    """The file that it is a repetition of."""
    reason = Column[str | None](Text, nullable=True)
    """Why it was rejected."""
    detail = Column[str | None](Text, nullable=True)
    problems = Column[list[dict[str, Any]] | None](JSONB, nullable=True)
    """The first faults that were found in it: line, field, code."""
    broken = Column[dict[str, int] | None](JSONB, nullable=True)
    """How many of its records break which rule by themselves."""
    header = Column[dict[str, Any] | None](JSONB, nullable=True)
    sequence = Column[int | None](BigInteger, nullable=True)
    expected_sequence = Column[int | None](BigInteger, nullable=True)
    """Of a rejected file: the number that the next one must have."""
    records = Column[int | None](Integer, nullable=True)
    points = Column[int | None](BigInteger, nullable=True)
    """Of all records whose points could be read."""
    hash_total = Column[int | None](BigInteger, nullable=True)
    cut_to = Column(Integer, nullable=False, server_default="0")
    """How many records were put into batches."""
    credited = Column[int | None](Integer, nullable=True)
    credited_points = Column[int | None](BigInteger, nullable=True)
    rejected = Column[int | None](Integer, nullable=True)
    rejected_points = Column[int | None](BigInteger, nullable=True)
    duplicate = Column[int | None](Integer, nullable=True)
    duplicate_points = Column[int | None](BigInteger, nullable=True)
    opened_at = Column[datetime | None](DateTime(timezone=True), nullable=True)
    """When it was decrypted, verified and stored; from then on it is credited."""
    decided_at = Column[datetime | None](DateTime(timezone=True), nullable=True)
    """When it was rejected, or its last record decided."""
    answered_at = Column[datetime | None](DateTime(timezone=True), nullable=True)
    """When its response was made."""
    response_name = Column[str | None](Text, nullable=True)
    response_bytes = Column[int | None](BigInteger, nullable=True)
    answer_after = Column[datetime | None](DateTime(timezone=True), nullable=True)
    """When the response is to be made and sent, or tried again; null: nothing is to be done."""
    answer_attempts = Column(Integer, nullable=False, server_default="0")
    answer_error = Column[dict[str, Any] | None](JSONB, nullable=True)
    """Why the last attempt failed."""
    sent_at = Column[datetime | None](DateTime(timezone=True), nullable=True)
    """When the response was put on the partner's server; null: the partner fetches it."""
    confirmed_at = Column[datetime | None](DateTime(timezone=True), nullable=True)
    """When the partner fetched it, or said that it has it."""


points_files = Table(
    "points_files",
    metadata,
    FileColumns,
    PrimaryKeyConstraint("file_no"),
    UniqueConstraint("file_id", name="uq_points_files_file_id"),
    ForeignKeyConstraint(
        ("merchant_id", "partner_id"), ("points_partners.merchant_id", "points_partners.partner_id")
    ),
    _one_of("via", VIAS),
    _one_of("state", FILE_STATES),
    CheckConstraint("(state = 'rejected') = (reason IS NOT NULL)", name="rejected_has_reason"),
    CheckConstraint("(state = 'repeated') = (repeats IS NOT NULL)", name="repeated_says_what"),
    CheckConstraint(
        "state NOT IN ('crediting', 'credited') OR (sequence IS NOT NULL AND records IS NOT NULL)",
        name="opened_is_known",
    ),
    CheckConstraint("cut_to BETWEEN 0 AND coalesce(records, 0)", name="cut_holds"),
    # Nothing is answered before all of it is decided, and every record and point is accounted for.
    CheckConstraint(
        "state <> 'credited' OR (cut_to = records AND credited + rejected + duplicate = records"
        " AND credited_points + rejected_points + duplicate_points = points) IS TRUE",
        name="nothing_lost",
    ),
    # A sequence number is accepted once, and so is a content.
    Index(
        "uq_points_files_sequence",
        "merchant_id",
        "partner_id",
        "sequence",
        unique=True,
        postgresql_where="state IN ('crediting', 'credited')",
    ),
    # A content is decided once: what comes again repeats it.
    Index(
        "uq_points_files_content",
        "merchant_id",
        "partner_id",
        "content_digest",
        unique=True,
        postgresql_where="state IN ('crediting', 'credited')",
    ),
    Index("ix_points_files_received", "merchant_id", "file_no"),
    # What was collected from a partner's server before, and which files repeat a name.
    Index("ix_points_files_name", "merchant_id", "partner_id", "name"),
    # What is at work, for all merchants.
    Index("ix_points_files_at_work", "state", postgresql_where="state IN ('received', 'crediting')"),
    Index(
        "ix_points_files_to_answer",
        "answer_after",
        postgresql_where="answer_after IS NOT NULL",
    ),
    # A file has its row changed a few times by each batch's end.
    postgresql_with={"fillfactor": "50"},
)


class FilePartColumns(TypedColumns):
    """A file as it came, and its response as it went: encrypted both, in parts."""

    file_no = Column(BigInteger, ForeignKey("points_files.file_no"), nullable=False)
    kind = Column(Text, nullable=False)
    part_no = Column(Integer, nullable=False)
    content = Column(LargeBinary, nullable=False)


points_file_parts = Table(
    "points_file_parts",
    metadata,
    FilePartColumns,
    PrimaryKeyConstraint("file_no", "kind", "part_no"),
    _one_of("kind", PART_KINDS),
)


class RecordColumns(TypedColumns):
    """A line of a file. A fact: never changed. Sorted by member, so that a batch has few of them."""

    file_no = Column(BigInteger, nullable=False)
    n = Column(Integer, nullable=False)
    """Its place in the order of members, from 0."""
    line = Column(Integer, nullable=False)
    """Its line in the file, from 1."""
    customer_id = Column(Text(collation="C"), nullable=False)
    points = Column[int | None](BigInteger, nullable=True)
    reference = Column[str | None](Text, nullable=True)
    occurred_on = Column[date | None](Date, nullable=True)
    offer_code = Column[str | None](Text, nullable=True)
    fault = Column[str | None](Text, nullable=True)
    """The rule that it breaks by itself; null: none."""
    field = Column[str | None](Text, nullable=True)
    """The field at fault."""
    first_line = Column[int | None](Integer, nullable=True)
    """The first line with the same reference, where it is another one."""


points_records = Table("points_records", metadata, RecordColumns, PrimaryKeyConstraint("file_no", "n"))


class BatchColumns(TypedColumns):
    """Records that are credited together, in one transaction, and what came of them."""

    file_no = Column(BigInteger, ForeignKey("points_files.file_no"), nullable=False)
    batch_no = Column(Integer, nullable=False)
    from_n = Column(Integer, nullable=False)
    to_n = Column(Integer, nullable=False)
    """Half-open: the first record that is not in it."""
    first_customer = Column(Text(collation="C"), nullable=False)
    last_customer = Column(Text(collation="C"), nullable=False)
    """Records of members up to and with this one; no other batch between has any of theirs."""
    state = Column(Text, nullable=False, server_default="open")
    worker = Column(Integer, nullable=False)
    """Which of the file's workers has it."""
    attempts = Column(Integer, nullable=False, server_default="0")
    error = Column[dict[str, Any] | None](JSONB, nullable=True)
    """Why the last attempt failed."""
    transfers = Column[UUID | None](Uuid, nullable=True)
    """The id that its transfers count on from: of the record `n`, this plus `n - from_n`."""
    credited = Column[int | None](Integer, nullable=True)
    credited_points = Column[int | None](BigInteger, nullable=True)
    rejected = Column[int | None](Integer, nullable=True)
    rejected_points = Column[int | None](BigInteger, nullable=True)
    duplicate = Column[int | None](Integer, nullable=True)
    duplicate_points = Column[int | None](BigInteger, nullable=True)
    points = Column[int | None](BigInteger, nullable=True)
    """Of all its records."""
    seconds = Column[float | None](Double, nullable=True)
    """How long crediting took."""
    cut_at = Column(DateTime(timezone=True), nullable=False)
    done_at = Column[datetime | None](DateTime(timezone=True), nullable=True)


points_batches = Table(
    "points_batches",
    metadata,
    BatchColumns,
    PrimaryKeyConstraint("file_no", "batch_no"),
    _one_of("state", BATCH_STATES),
    UniqueConstraint("file_no", "from_n", name="uq_points_batches_from_n"),
    CheckConstraint("from_n >= 0 AND to_n > from_n", name="has_records"),
    CheckConstraint("(state = 'done') = (done_at IS NOT NULL)", name="done_has_time"),
    CheckConstraint(
        "state <> 'done' OR (credited + rejected + duplicate = to_n - from_n"
        " AND credited_points + rejected_points + duplicate_points = points) IS TRUE",
        name="nothing_lost",
    ),
    # Where a member's records are.
    Index("ix_points_batches_customers", "file_no", "last_customer", "first_customer"),
    Index("ix_points_batches_open", "file_no", postgresql_where="state = 'open'"),
    # Which batch a transfer came from.
    Index(
        "uq_points_batches_transfers",
        "transfers",
        unique=True,
        postgresql_where="transfers IS NOT NULL",
    ),
)


class ResultColumns(TypedColumns):
    """What became of a record, where it is not simply credited. A fact: never changed."""

    file_no = Column(BigInteger, nullable=False)
    n = Column(Integer, nullable=False)
    status = Column(Text, nullable=False)
    code = Column(Text, nullable=False)
    """Why it was rejected; of a duplicate: the first result."""
    transfer_id = Column[UUID | None](Uuid, nullable=True)
    """Of a duplicate: what the first one was credited by."""
    outside_reference = Column[str | None](Text, nullable=True)
    """What an outside system calls it."""


points_results = Table(
    "points_results",
    metadata,
    ResultColumns,
    PrimaryKeyConstraint("file_no", "n"),
    CheckConstraint("status IN ('accepted', 'rejected', 'duplicate')", name="status_known"),
)


class SentColumns(TypedColumns):
    """Which record was the first with a reference, where an outside system credits: only that one is sent."""

    source_no = Column(BigInteger, nullable=False)
    reference = Column(Text, nullable=False)
    file_no = Column(BigInteger, nullable=False)
    n = Column(Integer, nullable=False)


points_sent = Table("points_sent", metadata, SentColumns, PrimaryKeyConstraint("source_no", "reference"))


class DecisionColumns(TypedColumns):
    """What the limiter decided after a batch, and what it saw (see `limiter.py`)."""

    file_no = Column(BigInteger, ForeignKey("points_files.file_no"), nullable=False)
    decision_no = Column(BigInteger, Identity(), nullable=False)
    batch_no = Column(Integer, nullable=False)
    decided_at = Column(DateTime(timezone=True), nullable=False)
    decision = Column[dict[str, Any]](JSONB, nullable=False)


points_decisions = Table(
    "points_decisions", metadata, DecisionColumns, PrimaryKeyConstraint("file_no", "decision_no")
)
