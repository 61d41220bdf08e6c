"""Frames in, frames of the same kind out: what a frame is, and what each kind needs at the door.

All work is done by narwhals on three lazy engines: DuckDB, Polars and Spark. Polars DataFrames are made
lazy. pandas and PyArrow go through Polars and come back: joins of pandas match nulls with each other and
turn integers into floats where a value is missing, and both would be silently wrong here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import narwhals as nw
import polars as pl

from counterfoil.linkage.errors import ColumnTypeError, FrameKindError
from counterfoil.linkage.types import Frame, FrameKind

_EXACT_FLOAT: Final = 2**53
"""Above this a float no longer tells neighbouring integers apart."""

_KIND_NAMES: Final[dict[FrameKind, str]] = {
    "duckdb": "a DuckDB relation",
    "polars": "a Polars DataFrame",
    "polars_lazy": "a Polars LazyFrame",
    "pandas": "a pandas DataFrame",
    "pyarrow": "a PyArrow Table",
    "pyspark": "a PySpark DataFrame",
}


def find_kind(name: str, frame: Frame) -> FrameKind:
    """The kind of `frame`; `name` is the argument it came in as. Raises `FrameKindError`."""
    if isinstance(frame, pl.DataFrame):
        return "polars"
    if isinstance(frame, pl.LazyFrame):
        return "polars_lazy"
    wrapped = nw.from_native(frame, pass_through=True)
    if isinstance(wrapped, (nw.DataFrame, nw.LazyFrame)) and not isinstance(frame, type(wrapped)):
        kind = str(wrapped.implementation.value).removesuffix("[connect]")
        if kind in _KIND_NAMES:
            return kind
    raise FrameKindError(
        f"{name} is a {type(frame).__module__}.{type(frame).__qualname__}; it must be a DuckDB relation, a "
        "Polars DataFrame or LazyFrame, a pandas DataFrame, a PyArrow Table or a PySpark DataFrame."
    )


def find_one_kind(frames: Mapping[Any, Frame]) -> FrameKind:
    """The kind that all of `frames` (argument name to frame) have. Raises `FrameKindError` on a mix."""
    kinds = {name: find_kind(name, frame) for name, frame in frames.items()}
    if len(set(kinds.values())) > 1:
        told = ", ".join(f"{name} is {_KIND_NAMES[kind]}" for name, kind in kinds.items())
        raise FrameKindError(f"All frames must be of one kind, but {told}. Convert them to one kind first.")
    kind = next(iter(kinds.values()))
    if kind == "duckdb":
        _check_one_connection(frames)
    return kind


def _check_one_connection(relations: Mapping[Any, Frame]) -> None:
    (first, *others) = relations.items()
    for name, relation in others:
        try:
            first[1].limit(0).set_alias("first").cross(relation.limit(0).set_alias("other"))
        except Exception as error:
            if "different connections" not in str(error):
                raise
            raise FrameKindError(
                f"{first[0]} and {name} are relations of different DuckDB connections; make all on one."
            ) from error


def select_lazily(name: str, frame: Frame, wanted: Mapping[str, str], keys: set[str]) -> nw.LazyFrame[Any]:
    """The columns `wanted` (canonical name to the frame's own) of `frame`, renamed, as a lazy frame.

    `keys` are the canonical names that are keys: pandas writes integer keys with gaps as floats, which
    are turned back into integers here. Raises `ColumnTypeError` if they are not whole numbers.
    """
    selected: Any = nw.from_native(frame).select(*[nw.col(own).alias(new) for new, own in wanted.items()])
    lazy: nw.LazyFrame[Any]
    if isinstance(selected, nw.LazyFrame) or selected.implementation.is_polars():
        lazy = selected.lazy()
        return lazy
    eager = _to_polars(name, selected)
    if selected.implementation.is_pandas():
        floats = [key for key in keys & set(eager.columns) if eager[key].dtype.is_float()]
        eager = eager.with_columns(_to_whole(name, eager[key]) for key in floats)
    lazy = nw.from_native(eager.lazy())
    return lazy


def _to_polars(name: str, frame: nw.DataFrame[Any]) -> pl.DataFrame:
    try:
        if frame.implementation.is_pyarrow():
            return pl.DataFrame(frame.to_native())
        converted: pl.DataFrame = pl.from_pandas(frame.to_native())
        return converted
    except Exception as error:  # pyarrow and Polars raise a dozen types here
        raise ColumnTypeError(
            f"{name} has a column of mixed types: {error}. Make it one type first."
        ) from error


def _to_whole(name: str, key: pl.Series) -> pl.Series:
    whole = key.fill_nan(None)
    present = whole.drop_nulls()
    if ((present != present.floor()) | (present.abs() > _EXACT_FLOAT)).any():
        raise ColumnTypeError(
            f"{name}.{key.name} is a float column that holds more than whole numbers up to 2^53, so it "
            "cannot be a key. Read it as text or as a nullable integer ('Int64')."
        )
    return whole.cast(pl.Int64)


def give_back(result: nw.LazyFrame[Any], kind: FrameKind) -> Frame:
    """`result` as a native frame of `kind`: computed where the kind is eager, else still lazy."""
    return _GIVE_BACK[kind](result.to_native())


def _same(native: Any) -> Frame:
    return native


def _collected(native: Any) -> Frame:
    return native.collect()


def _as_arrow(native: Any) -> Frame:
    frame = native.collect().with_columns(pl.selectors.by_dtype(pl.Enum).cast(pl.String))
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def _as_pandas(native: Any) -> Frame:
    pandas = sys.modules["pandas"]  # the caller's frames came from it
    import pyarrow as pa

    # Nullable integers, so that ids stay exact where a row has none.
    nullable = {
        pa.int64(): pandas.Int64Dtype(),
        pa.int32(): pandas.Int32Dtype(),
        pa.uint64(): pandas.UInt64Dtype(),
    }
    return _as_arrow(native).to_pandas(types_mapper=nullable.get)


_GIVE_BACK: Final[dict[FrameKind, Callable[[Any], Frame]]] = {
    "duckdb": _same,
    "polars": _collected,
    "polars_lazy": _same,
    "pandas": _as_pandas,
    "pyarrow": _as_arrow,
    "pyspark": _same,
}


def is_all_null_type(frame: nw.LazyFrame[Any], column: str) -> bool:
    """Whether `column` has the type of nothing but nulls, as an engine gives to a column never filled."""
    native = frame.to_native()
    if isinstance(native, pl.LazyFrame):
        return native.collect_schema()[column] == pl.Null
    if frame.implementation.is_duckdb():
        return str(native.types[native.columns.index(column)]).strip('"') == "NULL"
    return type(native.schema[column].dataType).__name__ == "NullType"
