"""Every engine behind one door: rows in, frames of that engine; frames in, rows out."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa

from counterfoil.linkage.types import FIELDS, Source

Row = dict[str, Any]


@dataclass(frozen=True)
class Engine:
    """How to make a frame of one kind from an Arrow table, and an Arrow table of such a frame."""

    name: str
    make: Callable[[pa.Table], Any]
    read: Callable[[Any], pa.Table]

    def frames(
        self, tables: Mapping[Source, Sequence[Row]], key: pa.DataType | None = None
    ) -> dict[str, Any]:
        """A frame of this kind for each of `tables`, with the canonical columns that its rows have."""
        return {source: self.make(arrow(source, rows, key)) for source, rows in tables.items()}

    def rows(self, frame: Any) -> list[Row]:
        """The rows of a frame of this kind."""
        rows: list[Row] = self.read(frame).to_pylist()
        return rows


def arrow(source: Source, rows: Sequence[Row], key: pa.DataType | None = None) -> pa.Table:
    """`rows` as an Arrow table; keys are of type `key` (text unless given)."""
    types = {
        "key": key or pa.string(),
        "time": pa.timestamp("us"),
        "amount": pa.int64(),
        "attribute": pa.string(),
    }
    there = {name for row in rows for name in row}
    fields = [field for field in FIELDS[source] if field.required or field.name in there]
    schema = pa.schema([(field.name, types[field.role]) for field in fields])
    return pa.Table.from_pylist(
        [{name: row.get(name) for name in schema.names} for row in rows], schema=schema
    )


@cache
def spark() -> Any:
    """One Spark session for the whole run."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").appName("counterfoil-tests")
    quiet = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.session.timeZone": "UTC",
        "spark.log.level": "ERROR",
        "spark.sql.adaptive.enabled": "false",
        # Compiling Java for a handful of rows is what would take the time.
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.autoBroadcastJoinThreshold": "-1",
    }
    for name, value in quiet.items():
        builder = builder.config(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return builder.getOrCreate()


def _to_spark(table: pa.Table) -> Any:
    from pyspark.sql.pandas.types import from_arrow_schema

    schema = from_arrow_schema(table.schema, prefer_timestamp_ntz=True)
    return spark().createDataFrame([tuple(row.values()) for row in table.to_pylist()], schema)


def _from_spark(frame: Any) -> pa.Table:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return frame.toArrow()


def _to_pandas(table: pa.Table) -> Any:
    import pandas as pd

    # Amounts stay whole numbers where some are missing; keys are left to become floats, as they do in pandas.
    amounts = {name for name in table.column_names if name in {"amount", "discount"}}
    frame = table.to_pandas()
    return frame.assign(
        **{name: table[name].to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get) for name in amounts}
    )


def _from_pandas(frame: Any) -> pa.Table:
    return pa.Table.from_pandas(frame, preserve_index=False)


def _from_polars(frame: pl.DataFrame) -> pa.Table:
    return frame.with_columns(pl.selectors.by_dtype(pl.Enum).cast(pl.String)).to_arrow()


def _to_polars(table: pa.Table) -> pl.DataFrame:
    return pl.DataFrame(table)


ENGINES: dict[str, Engine] = {
    engine.name: engine
    for engine in (
        Engine("duckdb", duckdb.from_arrow, lambda frame: frame.to_arrow_table()),
        Engine("polars", _to_polars, _from_polars),
        Engine(
            "polars_lazy", lambda table: _to_polars(table).lazy(), lambda frame: _from_polars(frame.collect())
        ),
        Engine("pandas", _to_pandas, _from_pandas),
        Engine("pyarrow", lambda table: table, lambda frame: frame),
        Engine("pyspark", _to_spark, _from_spark),
    )
}


def why_not(name: str) -> str | None:
    """Why an engine cannot be tested on this machine, None if it can."""
    if name == "pandas" and find_spec("pandas") is None:
        return "pandas is not installed"
    if name == "pyspark" and find_spec("pyspark") is None:
        return "pyspark is not installed"
    if name == "pyspark" and shutil.which("java") is None:
        return "Spark needs Java, and there is no java command"
    return None


def sort_rows(rows: Iterable[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """Rows as comparable, ordered tuples: frames have no order."""
    return sorted(tuple(str(value) if value is not None else "" for value in row.values()) for row in rows)
