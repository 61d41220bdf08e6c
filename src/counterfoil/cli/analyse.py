"""`counterfoil analyse`: from a full-link file to the numbers of its campaigns, and a report to read."""

from __future__ import annotations

import json as json_format
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import duckdb
from cyclopts import Parameter
from rich.console import Console

from counterfoil.linkage.analyse import By, Period
from counterfoil.linkage.analyse import analyse as analyse_frames
from counterfoil.linkage.columns import ColumnMap
from counterfoil.linkage.errors import FileError, LinkageError
from counterfoil.linkage.files import check_target, open_files, read_column_map, write_whole
from counterfoil.linkage.types import Source
from counterfoil.linkage.uplift import Uplift, uplift

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON, for another program to read.")]
Groups = Annotated[tuple[By, ...], Parameter(consume_multiple=True, negative="")]


def analyse(
    *,
    full_link: str,
    out: Path,
    page_views: str | None = None,
    audience: str | None = None,
    customers: str | None = None,
    breaks: str | None = None,
    transactions: str | None = None,
    campaigns: str | None = None,
    by: Groups = ("campaign_id",),
    period: Period | None = None,
    time_zone: str = "UTC",
    columns: Path | None = None,
    report: Path | None = None,
    title: str = "What the campaigns came to",
    unit: str = "",
    minor_digits: int = 0,
    memory_limit: str = "2GB",
    encoding: str = "utf-8",
    json: Json = False,
) -> None:
    """Analyse campaigns with their full link: who was reached, who redeemed, what was paid.

    Each input is a CSV or Parquet file, or a quoted glob. Nothing is written until everything is known.

    Parameters
    ----------
    full_link
        What `counterfoil link` wrote.
    out
        Where to write the analysis, one row per group: .csv or .parquet.
    page_views
        The page log: campaign_id, viewed_at, customer_id or session_id, channel.
    audience
        Who was addressed: campaign_id, customer_id, group (treatment or holdout), channel, assignment.
    customers
        Grades: customer_id, grade.
    breaks
        What does not fit together: voucher_id, kind, occurred_at, age_seconds.
    transactions
        All payments, to compare with a holdout: transaction_id, customer_id, paid_at, amount.
    campaigns
        The periods for that comparison: campaign_id, starts_at, ends_at (exclusive).
    by
        What rows are grouped by: campaign_id, channel, store_id, grade.
    period
        Group by the local day, week or month too.
    time_zone
        The IANA time zone in which days begin.
    columns
        A TOML file with your column names: `[audience]` and under it `customer_id = "household"`.
    report
        Where to write a report (HTML) that opens without a network.
    title
        The heading of the report.
    unit
        The currency, for the report.
    minor_digits
        How many digits of an amount stand after the point: 2 if amounts are cents.
    memory_limit
        How much memory DuckDB may use; beyond it, it uses the disk beside the output.
    encoding
        Of CSV files, such as gb18030.
    json
        Print JSON.
    """
    check_target(out)
    if report is not None and (report.suffix.lower() != ".html" or not report.parent.is_dir()):
        raise FileError(f"{report} must end in .html, in a directory that is there.")
    paths: dict[Source, str | None] = {
        "full_link": full_link,
        "page_views": page_views,
        "audience": audience,
        "customers": customers,
        "breaks": breaks,
        "transactions": transactions,
        "campaigns": campaigns,
    }
    given = {source: str(path) for source, path in paths.items() if path is not None}
    names = {} if columns is None else read_column_map(columns)
    common: dict[str, Any] = {"time_zone": time_zone, "columns": names}
    with open_files(
        given, beside=out.parent, columns=names, memory_limit=memory_limit, encoding=encoding
    ) as frames:
        counted: dict[Any, Any] = {name: frame for name, frame in frames.items() if name not in _COMPARED}
        rows = analyse_frames(**counted, **common, by=by, period=period)
        compared = _compare(frames, names)
        text = None
        if report is not None:
            alone = by == ("campaign_id",) and period is None
            totals = rows if alone else analyse_frames(**counted, **common)
            text = _render(frames, totals, names, compared, (title, time_zone, unit, minor_digits))
        count = write_whole(rows, out)
    if report is not None and text is not None:
        part = report.with_name(f".{report.name}.part")
        part.write_text(text, encoding="utf-8")
        part.replace(report)
    _tell(count, out, report, compared, as_json=json)


_COMPARED: set[Source] = {"transactions", "campaigns"}


def _compare(frames: Mapping[Source, Any], names: ColumnMap) -> list[Uplift]:
    """Each campaign against those whom it held out, where the files for it were given."""
    wanted: tuple[Source, ...] = ("audience", "transactions", "campaigns")
    if not _COMPARED & set(frames):
        return []
    missing = [f"--{name}" for name in wanted if name not in frames]
    if missing:
        raise LinkageError(f"To compare with a holdout, give {' and '.join(missing)} too.")
    own = names.get("campaigns", {})
    campaign, start, end = (own.get(name, name) for name in ("campaign_id", "starts_at", "ends_at"))
    rows = frames["campaigns"].to_arrow_table().to_pylist()
    lacking = [name for name in (campaign, start, end) if rows and name not in rows[0]]
    if lacking:
        raise LinkageError(f"campaigns has no column {', '.join(lacking)}.")
    return uplift(
        audience=frames["audience"],
        transactions=frames["transactions"],
        periods={row[campaign]: (row[start], row[end]) for row in rows},
        columns=names,
    )


def _render(
    frames: Mapping[Source, Any],
    totals: duckdb.DuckDBPyRelation,
    names: ColumnMap,
    compared: list[Uplift],
    words: tuple[str, str, str, int],
) -> str:
    # Drawing takes a second to load; only those who want a report wait for it.
    from counterfoil.linkage.report import ReportInput, render_report

    title, time_zone, unit, minor_digits = words
    return render_report(
        ReportInput(
            full_link=_canonical(frames["full_link"], names.get("full_link", {})),
            analysis=totals,
            taken_at=datetime.now(UTC),
            title=title,
            breaks=_canonical(frames["breaks"], names.get("breaks", {})) if "breaks" in frames else None,
            uplifts=compared,
            time_zone=time_zone,
            unit=unit,
            minor_digits=minor_digits,
        )
    )


def _canonical(frame: duckdb.DuckDBPyRelation, names: Mapping[str, str]) -> duckdb.DuckDBPyRelation:
    own = {mapped: canonical for canonical, mapped in names.items()}
    return frame.select(*(duckdb.ColumnExpression(c).alias(own.get(c, c)) for c in frame.columns))


def _tell(count: int, out: Path, report: Path | None, compared: list[Uplift], *, as_json: bool) -> None:
    if as_json:
        told = {"rows": count, "out": str(out), "report": str(report) if report else None}
        print(json_format.dumps({**told, "uplift": [asdict(one) for one in compared]}, default=str))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{count:,} groups in {out}", markup=False)
    for one in compared:
        console.print(f"campaign {one.campaign_id}: {_said(one)}", markup=False)
    if report is not None:
        console.print(f"report in {report}", markup=False)


def _said(one: Uplift) -> str:
    found = one.conversion
    if found.value is None or found.low is None or found.high is None:
        return one.why
    points = f"{100 * found.value:+.1f} points bought ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
    return f"{points}. {'' if one.causal else 'Not an effect. '}{one.why}"
