"""The Complete Journey through the door that all records take: kind by kind, by the verb that all use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import duckdb
import pyarrow as pa

from counterfoil.app import RECORD_KINDS
from counterfoil.db.records import RecordKind
from counterfoil.demo.complete_journey import TIME_ZONE, CompleteJourney

ORDER: Final = (
    "stores",
    "products",
    "customers",
    "campaigns",
    "voucher_templates",
    "template_products",
    "audience",
    "vouchers",
    "issuances",
    "orders",
    "order_lines",
    "transactions",
    "redemptions",
)
"""The kinds in the order in which they are loaded. Any other would do as well."""


def records_of(journey: CompleteJourney) -> Iterator[tuple[RecordKind, pa.Table]]:
    """Every kind of record with all its records, in the platform's columns."""
    for name in ORDER:
        kind = RECORD_KINDS[name]
        yield kind, _fitted(kind, _table(journey, name))


def _table(journey: CompleteJourney, name: str) -> pa.Table:
    if name == "vouchers":
        return _vouchers(journey)
    if name == "issuances":
        return _with_day_precision(journey.issuances, "issued_at")
    if name == "redemptions":
        return _redemptions(journey)
    table: pa.Table = getattr(journey, "templates" if name == "voucher_templates" else name)
    return table


def _vouchers(journey: CompleteJourney) -> pa.Table:
    """Every voucher that is known to have existed: those issued, and those of type A that were redeemed.

    One issuance of each is known, so one redemption is accounted for: a second one is a break to look at. The
    data do not say whether the household had two slips of that coupon or used one twice.
    """
    issued, redeemed = journey.issuances, journey.redemptions
    return _query(
        """SELECT voucher_id, any_value(campaign_id) AS campaign_id, any_value(template_id) AS template_id,
                  1 AS max_redemptions
           FROM (SELECT voucher_id, campaign_id, template_id FROM issued
                 UNION ALL SELECT voucher_id, campaign_id, template_id FROM redeemed)
           GROUP BY voucher_id ORDER BY voucher_id""",
        issued=issued,
        redeemed=redeemed,
    )


def _with_day_precision(table: pa.Table, column: str) -> pa.Table:
    return table.append_column(f"{column}_precision", pa.repeat("day", table.num_rows))


def _redemptions(journey: CompleteJourney) -> pa.Table:
    """Where no transaction is named, only the day is known: its first moment stands for it, and says so."""
    return _query(
        f"""SELECT * EXCLUDE (redeemed_at),
                   coalesce(redeemed_at, timezone('{TIME_ZONE}', redeemed_on::TIMESTAMP)) AS redeemed_at,
                   CASE WHEN redeemed_at IS NULL THEN 'day' ELSE 'second' END AS redeemed_at_precision
            FROM redeemed""",
        redeemed=journey.redemptions,
    )


def _query(statement: str, **frames: pa.Table) -> pa.Table:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for name, frame in frames.items():
        connection.register(name, frame)
    table: pa.Table = connection.sql(statement).to_arrow_table()
    return table


def _fitted(kind: RecordKind, table: pa.Table) -> pa.Table:
    """The table with exactly the columns and the types of its kind; what it does not have is null."""
    columns = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in kind.arrow_schema
    ]
    return pa.table(columns, schema=kind.arrow_schema)
