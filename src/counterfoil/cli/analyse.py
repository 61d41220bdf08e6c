"""`counterfoil analyse`: from a full-link file to the numbers of its campaigns, and a report to read."""

from __future__ import annotations

import json as json_format
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import duckdb
from cyclopts import Parameter
from rich.console import Console

from counterfoil.linkage.analyse import By, Period
from counterfoil.linkage.analyse import analyse as analyse_frames
from counterfoil.linkage.errors import ColumnMapError, FileError

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON, for another program to read.")]
Groups = Annotated[tuple[By, ...], Parameter(consume_multiple=True, negative="")]


def analyse(
    *,
    full_link: Path,
    out: Path,
    page_views: Path | None = None,
    audience: Path | None = None,
    customers: Path | None = None,
    breaks: Path | None = None,
    by: Groups = ("campaign_id",),
    period: Period | None = None,
    time_zone: str = "UTC",
    columns: Path | None = None,
    report: Path | None = None,
    title: str = "What the campaigns came to",
    unit: str = "",
    minor_digits: int = 0,
    json: Json = False,
) -> None:
    """Analyse campaigns with their full link: who was reached, who redeemed, what was paid.

    Files are CSV or Parquet, by their names' endings. Nothing is written until everything is known.

    Parameters
    ----------
    full_link
        What `counterfoil link` wrote.
    out
        Where to write the analysis, one row per group.
    page_views
        The page log: campaign_id, viewed_at, customer_id or session_id, channel.
    audience
        Who was addressed: campaign_id, customer_id, group (treatment or holdout), channel, assignment.
    customers
        Grades: customer_id, grade.
    breaks
        What does not fit together: voucher_id, kind, age_seconds.
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
    json
        Print JSON.
    """
    paths = {"full_link": full_link, "page_views": page_views, "audience": audience}
    paths |= {"customers": customers, "breaks": breaks}
    for path in (out, *([report] if report else [])):
        _check_target(path)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'").fetchall()
    frames: dict[str, Any] = {
        name: _read(connection, path) for name, path in paths.items() if path is not None
    }
    names = _column_map(columns)
    common: dict[str, Any] = {"time_zone": time_zone, "columns": names}
    text = None
    try:
        rows = analyse_frames(**frames, **common, by=by, period=period)
        if report is not None:
            alone = by == ("campaign_id",) and period is None
            totals = rows if alone else analyse_frames(**frames, **common)
            text = _render(frames, totals, names, (title, time_zone, unit, minor_digits))
        _write(rows, out)
    except duckdb.Error as error:  # a torn file shows itself only when it is read
        raise FileError(_first_lines(error)) from error
    if report is not None and text is not None:
        _write_text(text, report)
    _tell(connection, out, report, as_json=json)


def _check_target(path: Path) -> None:
    if path.suffix.lower() not in {".csv", ".parquet", ".html"}:
        raise FileError(f"{path}: the name must end in .csv or .parquet (a report in .html).")
    if not path.parent.is_dir():
        raise FileError(f"{path}: there is no folder {path.parent}.")


def _read(connection: duckdb.DuckDBPyConnection, path: Path) -> duckdb.DuckDBPyRelation:
    if not path.is_file():
        raise FileError(f"{path}: there is no such file.")
    if path.stat().st_size == 0:
        raise FileError(f"{path}: the file is empty.")
    try:
        if path.suffix.lower() == ".parquet":
            return connection.read_parquet(str(path))
        return connection.read_csv(str(path), header=True)
    except duckdb.Error as error:
        raise FileError(f"{path}: {_first_lines(error)}") from error


def _first_lines(error: duckdb.Error) -> str:
    return " ".join(line.strip() for line in str(error).splitlines()[:3])


def _column_map(path: Path | None) -> dict[str, dict[str, str]]:
    if path is None:
        return {}
    try:
        found: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FileError(f"{path}: {error}") from error
    for frame, names in found.items():
        if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
            raise ColumnMapError(f'{path}: [{frame}] must hold lines such as customer_id = "your column".')
    return found


def _write(rows: duckdb.DuckDBPyRelation, path: Path) -> None:
    """Write beside the target, then rename: whoever looks finds the old file or the whole new one."""
    part = path.with_name(f".{path.name}.part")
    ordered = rows.order(", ".join(f'"{name}"' for name in rows.columns[:3]))
    try:
        if path.suffix.lower() == ".parquet":
            ordered.write_parquet(str(part))
        else:
            ordered.write_csv(str(part))
    except duckdb.Error:
        part.unlink(missing_ok=True)
        raise
    part.replace(path)


def _write_text(text: str, path: Path) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _render(
    frames: dict[str, Any],
    totals: duckdb.DuckDBPyRelation,
    names: dict[str, dict[str, str]],
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
            time_zone=time_zone,
            unit=unit,
            minor_digits=minor_digits,
        )
    )


def _canonical(frame: duckdb.DuckDBPyRelation, names: dict[str, str]) -> duckdb.DuckDBPyRelation:
    own = {mapped: canonical for canonical, mapped in names.items()}
    return frame.select(*(duckdb.ColumnExpression(c).alias(own.get(c, c)) for c in frame.columns))


def _tell(connection: duckdb.DuckDBPyConnection, out: Path, report: Path | None, *, as_json: bool) -> None:
    counted = _read(connection, out).aggregate("count(*)").fetchall()[0][0]
    told = {"rows": counted, "out": str(out), "report": str(report) if report else None}
    if as_json:
        print(json_format.dumps(told))
        return
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    console.print(f"{counted:,} groups in {out}", markup=False)
    if report is not None:
        console.print(f"report in {report}", markup=False)
