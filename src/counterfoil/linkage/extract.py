"""From the platform's tables to frames: one snapshot, streamed to disk, opened by DuckDB.

The library functions of this room then work on it as on anybody's files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import duckdb

from counterfoil.db.transactions import ReadTx

_TEXT, _TIME, _NUMBER = "VARCHAR", "TIMESTAMPTZ", "BIGINT"


@dataclass(frozen=True, slots=True)
class _Extract:
    """A query on our tables, and the columns that it gives."""

    columns: dict[str, str]
    query: str


EXTRACTS: Final[dict[str, _Extract]] = {
    "issuances": _Extract(
        {
            "voucher_id": _TEXT,
            "campaign_id": _TEXT,
            "customer_id": _TEXT,
            "issued_at": _TIME,
            "channel": _TEXT,
            "store_id": _TEXT,
            "order_id": _TEXT,
        },
        """SELECT voucher_id, campaign_id, customer_id, issued_at, channel, store_id, order_id
           FROM issuances WHERE merchant_id = $1""",
    ),
    "redemptions": _Extract(
        {
            "redemption_id": _TEXT,
            "voucher_id": _TEXT,
            "campaign_id": _TEXT,
            "customer_id": _TEXT,
            "redeemed_at": _TIME,
            "transaction_id": _TEXT,
            "store_id": _TEXT,
            "discount": _NUMBER,
            "evidence_level": _NUMBER,
            "evidence_status": _TEXT,
        },
        # A voucher of which no issuance is recorded still says of which campaign it is. What was reversed did
        # not happen; a redemption that names its order alone is of that order's payment.
        """SELECT r.redemption_id, r.voucher_id, v.campaign_id, r.customer_id, r.redeemed_at,
                  coalesce(r.transaction_id, o.transaction_id) AS transaction_id, r.store_id,
                  r.discount_minor - r.reversed_minor AS discount_minor, r.evidence_level, r.evidence_status
           FROM redemptions r LEFT JOIN vouchers v USING (merchant_id, voucher_id)
           LEFT JOIN orders o ON o.merchant_id = r.merchant_id AND o.order_id = r.order_id
           WHERE r.merchant_id = $1 AND r.reversed_at IS NULL""",
    ),
    "orders": _Extract(
        {
            "order_id": _TEXT,
            "transaction_id": _TEXT,
            "customer_id": _TEXT,
            "ordered_at": _TIME,
            "amount": _NUMBER,
            "store_id": _TEXT,
            "channel": _TEXT,
        },
        # Only what a voucher leads to: the other orders cannot be in a link.
        """SELECT o.order_id, o.transaction_id, o.customer_id, o.ordered_at, o.amount_minor,
                  o.store_id, o.channel FROM orders o WHERE o.merchant_id = $1 AND (
               o.transaction_id IN (SELECT transaction_id FROM redemptions WHERE merchant_id = $1)
               OR o.transaction_id IN (SELECT b.transaction_id FROM orders b JOIN issuances i
                                       USING (merchant_id, order_id) WHERE b.merchant_id = $1)
               OR o.order_id IN (SELECT order_id FROM redemptions WHERE merchant_id = $1)
               OR o.order_id IN (SELECT order_id FROM issuances WHERE merchant_id = $1))""",
    ),
    "transactions": _Extract(
        {"transaction_id": _TEXT, "paid_at": _TIME, "amount": _NUMBER, "customer_id": _TEXT},
        """SELECT t.transaction_id, t.paid_at, t.amount_minor, t.customer_id
           FROM transactions t WHERE t.merchant_id = $1 AND (
               t.transaction_id IN (SELECT transaction_id FROM redemptions WHERE merchant_id = $1)
               OR t.transaction_id IN (SELECT o.transaction_id FROM orders o JOIN redemptions r
                                       USING (merchant_id, order_id) WHERE o.merchant_id = $1)
               OR t.transaction_id IN (SELECT o.transaction_id FROM orders o JOIN issuances i
                                       USING (merchant_id, order_id) WHERE o.merchant_id = $1))""",
    ),
    "held_out_campaigns": _Extract(
        {"campaign_id": _TEXT, "starts_at": _TIME, "ends_at": _TIME},
        # Only where somebody was held out is there anything to compare with.
        """SELECT c.campaign_id, c.starts_at, c.ends_at FROM campaigns c
           WHERE c.merchant_id = $1 AND c.starts_at IS NOT NULL AND c.ends_at IS NOT NULL
             AND EXISTS (SELECT FROM audience a WHERE a.merchant_id = $1 AND a.campaign_id = c.campaign_id
                         AND a."group" = 'holdout')""",
    ),
    "audience_transactions": _Extract(
        {"transaction_id": _TEXT, "paid_at": _TIME, "amount": _NUMBER, "customer_id": _TEXT},
        """SELECT t.transaction_id, t.paid_at, t.amount_minor, t.customer_id FROM transactions t
           WHERE t.merchant_id = $1 AND t.customer_id IN (
               SELECT customer_id FROM audience WHERE merchant_id = $1 AND campaign_id IN (
                   SELECT campaign_id FROM audience WHERE merchant_id = $1 AND "group" = 'holdout'))""",
    ),
    "page_views": _Extract(
        {
            "campaign_id": _TEXT,
            "viewed_at": _TIME,
            "customer_id": _TEXT,
            "session_id": _TEXT,
            "channel": _TEXT,
        },
        """SELECT campaign_id, viewed_at, customer_id, session_id, channel
           FROM page_views WHERE merchant_id = $1 AND campaign_id IS NOT NULL""",
    ),
    "audience": _Extract(
        {"campaign_id": _TEXT, "customer_id": _TEXT, "group": _TEXT, "assignment": _TEXT, "channel": _TEXT},
        """SELECT campaign_id, customer_id, "group", assignment, channel
           FROM audience WHERE merchant_id = $1""",
    ),
    "customers": _Extract(
        {"customer_id": _TEXT, "grade": _TEXT},
        "SELECT customer_id, grade FROM customers WHERE merchant_id = $1",
    ),
    "breaks": _Extract(
        {"kind": _TEXT, "source": _TEXT, "record_id": _TEXT, "voucher_id": _TEXT, "occurred_at": _TIME},
        """SELECT kind, source, record_id, voucher_id, occurred_at
           FROM breaks WHERE merchant_id = $1 AND resolved_at IS NULL""",
    ),
}
"""What is taken out. Amounts are in minor units, times in UTC."""


async def extract(tx: ReadTx, *, merchant_id: UUID, directory: Path) -> None:
    """Write a merchant's records into `directory`, one CSV file a table: streamed, in one snapshot."""
    driver = await tx.driver()
    for name, wanted in EXTRACTS.items():
        await driver.copy_from_query(
            wanted.query, merchant_id, output=directory / f"{name}.csv", format="csv", timeout=600
        )


def open_extract(
    directory: Path, *, memory_limit: str = "1GB"
) -> tuple[duckdb.DuckDBPyConnection, dict[str, Any]]:
    """What `extract` wrote as DuckDB relations, on a connection that spills to `directory`."""
    connection = duckdb.connect(
        config={
            "memory_limit": memory_limit,
            "temp_directory": str(directory / "spill"),
            "TimeZone": "UTC",
            "autoinstall_known_extensions": "false",
        }
    )
    frames = {
        name: connection.read_csv(
            str(directory / f"{name}.csv"),
            header=False,
            columns=wanted.columns,
            delimiter=",",
            quotechar='"',
            escapechar='"',
            auto_detect=False,
            allow_quoted_nulls=False,
        )
        for name, wanted in EXTRACTS.items()
    }
    return connection, frames
