"""The calendar day that an instant falls on in a time zone, alike on every engine.

A redemption is often known by its local date, a basket by an instant. Comparing the two needs the day
*there*, with daylight saving right. Narwhals converts time zones on Polars; DuckDB and
Spark keep the zone in the session instead of in the column, so there the conversion is the engine's own
function, written so that the session's zone never matters. DuckDB's is part of its ICU extension, which its
wheels have built in: nothing is fetched when this runs.
"""

from __future__ import annotations

from typing import Any, Final, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import narwhals as nw
from narwhals.typing import LazyFrameT

from counterfoil.errors import InvalidError
from counterfoil.linkage.errors import ColumnTypeError
from counterfoil.linkage.frames import is_all_null_type

_MICROSECONDS_A_DAY: Final = 86_400_000_000


def check_time_zone(time_zone: str) -> str:
    """Return the IANA name unchanged, or refuse one that the time zone database does not have."""
    try:
        ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        detail = f"{time_zone!r} is not an IANA time zone such as 'America/New_York' or 'Asia/Shanghai'"
        raise InvalidError(detail, code="unknown_time_zone") from error
    return time_zone


def with_local_date(
    frame: LazyFrameT, column: str, *, time_zone: str, into: str, is_day: bool = False
) -> LazyFrameT:
    """Add `into`: the date on which `column` falls in `time_zone`, null where `column` is null.

    A date stays as it is: it is already local. A timestamp with a time zone is an instant. A timestamp
    without one is read as UTC, the one reading that does not depend on the machine; but where the column is
    known to hold local days (`is_day`), its date is taken as it is: pandas has no type for dates and keeps
    them so.
    """
    dtype = frame.collect_schema()[column]
    if dtype == nw.Unknown and is_all_null_type(frame, column):
        return frame.with_columns(nw.lit(None).cast(nw.Date).alias(into))
    if not isinstance(dtype, (nw.Date, nw.Datetime)):
        raise ColumnTypeError(f"Column {column!r} is of type {dtype}; it must be a date or a timestamp.")
    naive = isinstance(dtype, nw.Datetime) and dtype.time_zone is None
    if not isinstance(dtype, nw.Datetime) or (naive and is_day):
        return frame.with_columns(nw.col(column).cast(nw.Date).alias(into))
    if frame.implementation.is_duckdb():
        return cast(LazyFrameT, _on_duckdb(frame, column, time_zone=time_zone, into=into))
    if frame.implementation.is_spark_like():
        return cast(LazyFrameT, _on_spark(frame, column, time_zone=time_zone, into=into, naive=naive))
    instant = nw.col(column).dt
    if naive:
        instant = instant.replace_time_zone("UTC").dt
    local = instant.convert_time_zone(time_zone).dt.replace_time_zone(None)
    return frame.with_columns(local.dt.date().alias(into))


def day_number(column: str) -> nw.Expr:
    """A date as the integer yyyymmdd, 0 where it is null: a join key of the same type on every engine."""
    # Polars gives months as 8-bit integers, where * 100 overflows: widen first.
    year, month, day = (
        part.cast(nw.Int64)
        for part in (nw.col(column).dt.year(), nw.col(column).dt.month(), nw.col(column).dt.day())
    )
    return (year * 10_000 + month * 100 + day).fill_null(0).cast(nw.Int64)


def _on_duckdb(frame: Any, column: str, *, time_zone: str, into: str) -> Any:
    import duckdb

    relation = nw.to_native(frame)
    instant: Any = duckdb.ColumnExpression(column)
    if str(relation.types[relation.columns.index(column)]) != "TIMESTAMP WITH TIME ZONE":
        instant = duckdb.FunctionExpression("timezone", duckdb.ConstantExpression("UTC"), instant)
    local = duckdb.FunctionExpression("timezone", duckdb.ConstantExpression(time_zone), instant)
    date = local.cast("DATE").alias(into)
    return nw.from_native(relation.select(duckdb.StarExpression(), date))


def _on_spark(frame: Any, column: str, *, time_zone: str, into: str, naive: bool) -> Any:
    from pyspark.sql import functions

    native = nw.to_native(frame)
    if naive:
        utc, there = functions.lit("UTC"), functions.lit(time_zone)
        date = functions.to_date(functions.convert_timezone(utc, there, native[column]))
    else:
        # Shifting the instant and counting its days from the epoch leaves the session's zone out of it.
        shifted = functions.unix_micros(functions.from_utc_timestamp(native[column], time_zone))
        days = functions.floor(shifted / functions.lit(_MICROSECONDS_A_DAY)).cast("int")
        date = functions.date_from_unix_date(days)
    return nw.from_native(native.withColumn(into, date))


def with_seconds_between(frame: Any, start: str, end: str, *, time_zone: str, into: str) -> Any:
    """Add `into`: the whole seconds from `start` to `end` as a 64-bit integer, null where either is.

    Where one of them is only a date, both are taken as local dates: a time of day is never made up. DuckDB
    and Spark subtract timestamps by the session's calendar, which is wrong around daylight saving; so there
    the seconds since the epoch are subtracted.
    """
    schema = frame.collect_schema()
    if nw.Date in {schema[start], schema[end]}:
        for column, name in ((start, "_cf_start"), (end, "_cf_end")):
            frame = with_local_date(frame, column, time_zone=time_zone, into=name)
        frame = with_seconds_between(
            frame.with_columns(nw.col("_cf_start", "_cf_end").cast(nw.Datetime("us"))),
            "_cf_start",
            "_cf_end",
            time_zone=time_zone,
            into=into,
        )
        return frame.drop("_cf_start", "_cf_end")
    native = nw.to_native(frame)
    if frame.implementation.is_duckdb():
        import duckdb

        first, last = (
            duckdb.FunctionExpression("epoch_us", duckdb.ColumnExpression(c)) for c in (start, end)
        )
        seconds: Any = duckdb.FunctionExpression("//", last - first, duckdb.ConstantExpression(1_000_000))
        return nw.from_native(native.select(duckdb.StarExpression(), seconds.cast("BIGINT").alias(into)))
    if frame.implementation.is_spark_like():
        seconds = _spark_seconds(native, end) - _spark_seconds(native, start)
        return nw.from_native(native.withColumn(into, seconds.cast("bigint")))
    return frame.with_columns((nw.col(end) - nw.col(start)).dt.total_seconds().cast(nw.Int64).alias(into))


def _spark_seconds(native: Any, column: str) -> Any:
    from pyspark.sql import functions

    value = native[column]
    if native.schema[column].dataType.typeName() == "timestamp":
        return functions.unix_seconds(value)
    # A timestamp without a zone: any cast to an instant would bring the session's zone in.
    time = (
        functions.hour(value) * 3600 + functions.minute(value) * 60 + functions.floor(functions.second(value))
    )
    return functions.unix_date(functions.to_date(value)).cast("bigint") * 86_400 + time


def with_period(frame: Any, column: str, *, period: str, time_zone: str, into: str) -> Any:
    """Add `into`: the first local day of the day, week (a Monday) or month in which `column` falls."""
    frame = with_local_date(frame, column, time_zone=time_zone, into=into)
    # As a timestamp, because some engines give a timestamp back where a date went in.
    at = nw.col(into).cast(nw.Datetime("us"))
    if period == "week":
        # narwhals knows no weeks, and an offset is the same for a whole column: so one for each weekday.
        days = (nw.when(at.dt.weekday() == n).then(at.dt.offset_by(f"-{n - 1}d")) for n in range(1, 8))
        return frame.with_columns(nw.coalesce(*days).cast(nw.Date).alias(into))
    every = {"day": "1d", "month": "1mo"}[period]
    return frame.with_columns(at.dt.truncate(every).cast(nw.Date))
