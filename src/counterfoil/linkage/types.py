"""The words of linkage: sources, fields, stages, statuses and kinds of breaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

Frame: TypeAlias = Any
"""A DuckDB relation, Polars DataFrame or LazyFrame, pandas DataFrame, PyArrow Table or PySpark DataFrame."""

FrameKind = Literal["duckdb", "polars", "polars_lazy", "pandas", "pyarrow", "pyspark"]
Source = Literal[
    "issuances",
    "redemptions",
    "orders",
    "transactions",
    "page_views",
    "audience",
    "full_link",
    "customers",
    "breaks",
    "campaigns",
]
Role = Literal["key", "time", "amount", "attribute"]

IssuanceStage = Literal["given", "bought", "order_missing", "transaction_missing", "issuance_missing"]
RedemptionStage = Literal["none", "paid", "ordered", "transaction_missing", "no_transaction_id"]
LinkStatus = Literal["complete", "open", "incomplete", "orphan"]
BreakKind = Literal[
    "duplicate_issuance",
    "duplicate_redemption",
    "duplicate_order",
    "duplicate_transaction",
    "null_voucher_id",
    "orphan_redemption",
    "missing_order",
    "missing_transaction",
    "no_transaction_id",
    "redeemed_before_issued",
    "redeemed_twice",
    "amount_mismatch",
    "customer_mismatch",
]
Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Field:
    """One canonical column of a source: what it is for, and whether the source is useless without it."""

    name: str
    role: Role
    required: bool = False


FIELDS: Final[dict[Source, tuple[Field, ...]]] = {
    "issuances": (
        Field("voucher_id", "key", required=True),
        Field("issued_at", "time", required=True),
        Field("campaign_id", "key"),
        Field("customer_id", "key"),
        Field("channel", "attribute"),
        Field("store_id", "attribute"),
        Field("order_id", "key"),
    ),
    "redemptions": (
        Field("voucher_id", "key", required=True),
        Field("redeemed_at", "time", required=True),
        Field("redemption_id", "key"),
        Field("campaign_id", "key"),
        Field("transaction_id", "key"),
        Field("customer_id", "key"),
        Field("store_id", "attribute"),
        Field("discount", "amount"),
    ),
    "orders": (
        Field("order_id", "key", required=True),
        Field("transaction_id", "key", required=True),
        Field("customer_id", "key"),
        Field("ordered_at", "time"),
        Field("amount", "amount"),
        Field("store_id", "attribute"),
        Field("channel", "attribute"),
    ),
    "transactions": (
        Field("transaction_id", "key", required=True),
        Field("paid_at", "time"),
        Field("amount", "amount"),
        Field("customer_id", "key"),
    ),
    "page_views": (
        Field("campaign_id", "key", required=True),
        Field("viewed_at", "time", required=True),
        Field("customer_id", "key"),
        Field("session_id", "attribute"),
        Field("channel", "attribute"),
    ),
    "audience": (
        Field("campaign_id", "key", required=True),
        Field("customer_id", "key", required=True),
        Field("group", "attribute"),
        Field("channel", "attribute"),
        Field("assignment", "attribute"),
    ),
    "full_link": (
        Field("voucher_id", "key", required=True),
        Field("campaign_id", "key", required=True),
        Field("customer_id", "key"),
        Field("channel", "attribute"),
        Field("issued_at", "time", required=True),
        Field("issuance_store_id", "attribute"),
        Field("redemption_id", "key"),
        Field("redeemed_at", "time", required=True),
        Field("redemption_number", "amount", required=True),
        Field("redemption_store_id", "attribute"),
        Field("redemption_customer_id", "key"),
        Field("discount", "amount"),
        Field("purchase_amount_allocated", "amount", required=True),
        Field("transaction_amount_allocated", "amount", required=True),
        Field("issuance_stage", "attribute", required=True),
        Field("redemption_stage", "attribute", required=True),
        Field("link_status", "attribute", required=True),
    ),
    "customers": (
        Field("customer_id", "key", required=True),
        Field("grade", "attribute"),
    ),
    "breaks": (
        Field("voucher_id", "key", required=True),
        Field("kind", "attribute"),
        Field("occurred_at", "time"),
        Field("age_seconds", "amount"),
    ),
    "campaigns": (
        Field("campaign_id", "key", required=True),
        Field("starts_at", "time", required=True),
        Field("ends_at", "time", required=True),
    ),
}
"""The canonical columns of every source, in the order in which they are read."""

LINK_COLUMNS: Final[tuple[str, ...]] = (
    "voucher_id",
    "campaign_id",
    "customer_id",
    "channel",
    "issued_at",
    "issuance_store_id",
    "purchase_order_id",
    "purchase_ordered_at",
    "purchase_order_amount",
    "purchase_transaction_id",
    "purchase_paid_at",
    "purchase_amount",
    "redemption_id",
    "redeemed_at",
    "redemption_number",
    "redemption_store_id",
    "redemption_customer_id",
    "discount",
    "transaction_id",
    "paid_at",
    "transaction_amount",
    "order_id",
    "ordered_at",
    "order_amount",
    "order_count",
    "purchase_amount_allocated",
    "transaction_amount_allocated",
    "issuance_stage",
    "redemption_stage",
    "link_status",
)
"""The columns of a full-link table, in order. `docs/linkage.md` says what each means."""

BREAK_COLUMNS: Final[tuple[str, ...]] = (
    "kind",
    "severity",
    "is_primary",
    "source",
    "voucher_id",
    "redemption_id",
    "missing_id",
    "occurred_at",
    "age_seconds",
    "transaction_amount",
    "orders_amount",
)
"""The columns of a table of breaks, in order. `docs/linkage.md` says what each means."""

WARNINGS: Final[frozenset[BreakKind]] = frozenset(
    {
        "duplicate_redemption",
        "duplicate_order",
        "duplicate_transaction",
        "redeemed_twice",
        "redeemed_before_issued",
        "amount_mismatch",
        "customer_mismatch",
    }
)
"""Kinds of breaks whose record is linked all the same, or is not needed; all others are errors."""


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What became of the records of one source: every record is linked without a break, or has breaks."""

    source: Source
    rows_in: int
    rows_linked: int
    rows_in_breaks: int
