"""`counterfoil link`: from four files to the full link of every voucher."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from counterfoil.linkage.files import Engine, FileReport, link_files, read_column_map

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON, for another program to read.")]


def link(
    *,
    issuances: str,
    redemptions: str,
    orders: str,
    transactions: str,
    out: Path,
    engine: Engine = "duckdb",
    columns: Path | None = None,
    memory_limit: str = "2GB",
    breaks: Path | None = None,
    as_of: datetime | None = None,
    max_redemptions: int = 1,
    time_zone: str = "UTC",
    encoding: str = "utf-8",
    json: Json = False,
) -> None:
    """Link vouchers with their orders and payments: one row per voucher and redemption.

    Each of the four inputs is a CSV or Parquet file, or a quoted glob such as 'orders-*.csv'. Nothing is
    written until everything is known. See docs/linkage.md for the columns.

    Parameters
    ----------
    issuances
        voucher_id, issued_at; campaign_id, customer_id, channel, store_id, order_id.
    redemptions
        voucher_id, redeemed_at; redemption_id, transaction_id, customer_id, store_id, discount.
    orders
        order_id, transaction_id; ordered_at, amount.
    transactions
        transaction_id; paid_at, amount.
    out
        Where to write the full link: .parquet or .csv.
    engine
        What links: duckdb (within the memory limit), polars or spark.
    columns
        A TOML file with your column names: [issuances] voucher_id = "CouponNo".
    memory_limit
        How much memory DuckDB may use; beyond it, it uses the disk beside the output.
    breaks
        Where to write all that does not fit together: .parquet or .csv.
    as_of
        The moment from which the age of a break counts.
    max_redemptions
        How often a voucher may be redeemed; 0 for any number of times.
    time_zone
        Of the dates, where times are only dates.
    encoding
        Of CSV files, such as gb18030.
    """
    with _progress(quiet=json) as progress:
        report = link_files(
            {
                "issuances": issuances,
                "redemptions": redemptions,
                "orders": orders,
                "transactions": transactions,
            },
            out,
            engine=engine,
            columns=None if columns is None else read_column_map(columns),
            memory_limit=memory_limit,
            breaks_out=breaks,
            as_of=as_of,
            max_redemptions=max_redemptions or None,
            time_zone=time_zone,
            encoding=encoding,
            progress=progress,
        )
    if json:
        print(json_format.dumps(asdict(report), default=str))
    elif sys.stdout.isatty():
        _show_tables(report)
    else:
        for name, value in _lines(report):
            print(f"{name}\t{value}")


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """What is being done, on stderr: a live line on a terminal, nothing where nobody looks."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda _: None
        return
    with console.status("linking") as status:
        yield lambda stage: status.update(f"{stage} ...")


def _lines(report: FileReport) -> Iterator[tuple[str, object]]:
    yield "rows", report.rows
    for status, rows in report.by_status.items():
        yield f"rows.{status}", rows
    for source, kinds in report.breaks.items():
        for kind, number in kinds.items():
            yield f"breaks.{source}.{kind}", number
    for each in report.reconciliation:
        yield f"{each.source}.rows_in", each.rows_in
        yield f"{each.source}.rows_linked", each.rows_linked
        yield f"{each.source}.rows_in_breaks", each.rows_in_breaks
    yield "seconds", round(report.seconds, 2)
    yield "peak_memory_mb", report.peak_memory_bytes >> 20
    for path in report.outputs:
        yield "written", path


def _show_tables(report: FileReport) -> None:
    console = Console()
    status = Table("link status", "rows", title=f"{report.rows:,} rows", title_justify="left")
    for name, rows in report.by_status.items():
        status.add_row(name, f"{rows:,}")
    console.print(status)
    sums = Table(
        "source", "rows in", "linked", "in breaks", title="Every record accounted for", title_justify="left"
    )
    for each in report.reconciliation:
        sums.add_row(each.source, f"{each.rows_in:,}", f"{each.rows_linked:,}", f"{each.rows_in_breaks:,}")
    console.print(sums)
    if report.breaks:
        found = Table("source", "break", "rows", title="Breaks", title_justify="left")
        for source, kinds in report.breaks.items():
            for kind, number in kinds.items():
                found.add_row(source, kind, f"{number:,}")
        console.print(found)
    console.print(f"{report.seconds:.1f} s, at most {report.peak_memory_bytes / 1e6:,.0f} MB of memory")
    for path in report.outputs:
        console.print(f"wrote {path}", highlight=False)
