"""Keys that occur more than once, and which of their records comes first.

Nearly all keys occur once. So the plan everywhere is: join as if all did, find the keys for which that was
wrong with one hash aggregate each, and do the careful work (sorting, counting) for those alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import narwhals as nw

Lazy = nw.LazyFrame[Any]

ONE: Final = nw.lit(1, dtype=nw.Int64())
FOUND: Final = nw.lit(1, dtype=nw.Int8())

_SHARED: Final = "shared_"
_STEP: Final = re.compile(
    rf'("__duckdb_s\d+") AS NOT MATERIALIZED \(\n(SELECT [^\n]* AS "{_SHARED}\w+" FROM )'
)
_STEP_NAME: Final = re.compile(r'"__duckdb_s(\d+)"')


def share(frame: Lazy, label: str, *columns: nw.Expr) -> Lazy:
    """`frame` with just `columns`, marked as used more than once in a plan: see `compute_shared_once`.

    The mark is a last column `shared_<label>`, which the users of the frame must leave behind. Polars is told
    by itself: of what it finds to be shared in a plan of this size it misses most, which costs four times the
    memory.
    """
    marked = frame.select(*columns, FOUND.alias(_SHARED + label))
    if marked.implementation.is_polars():
        cached: Lazy = nw.from_native(marked.to_native().cache())
        return cached
    return marked


def compute_shared_once(plan: Lazy, *inputs: Lazy) -> Lazy:
    """`plan`, with what `share` marked computed once rather than wherever it is used.

    Polars has been told by `share` itself. DuckDB's relations write every step as a CTE that must not
    be materialised; for the marked ones the opposite is right. A plan whose text looks different is left
    alone: then it is only slower. `inputs` are the frames that the plan reads.
    """
    if not plan.implementation.is_duckdb():
        return plan
    native = plan.to_native()
    text, found = _STEP.subn(r"\1 AS MATERIALIZED (\n\2", native.sql_query())
    if not found:
        return plan
    # The new relation has steps of its own, so the old ones get other names. It is asked of a relation that
    # reads all inputs, and nothing from them, because it keeps alive what that one does; not of the plan,
    # because what it is asked of is planned once more.
    anchor = nw.concat([frame.select(FOUND.alias("nothing")).head(0) for frame in inputs]).to_native()
    shared: Lazy = nw.from_native(anchor.query("nothing", _STEP_NAME.sub(r'"step\1"', text)))
    return shared


def find_repeated(frame: Lazy, key: str, label: str) -> Lazy:
    """The non-null values of `key` that occur more than once in `frame`."""
    counted = frame.drop_nulls(key).group_by(key).agg(nw.len().alias("occurrences"))
    return share(counted.filter(nw.col("occurrences") > 1), label, nw.col(key))


def without(frame: Lazy, key: str, keys: Lazy) -> Lazy:
    """Rows of `frame` whose `key` is null or not among those of `keys`."""
    return frame.join(keys, on=key, how="anti")


def only(frame: Lazy, key: str, keys: Lazy) -> Lazy:
    """Rows of `frame` whose `key` is among those of `keys`."""
    return frame.join(keys, on=key, how="semi")


def number(
    frame: Lazy, /, count_by: str | None = None, **numbers: tuple[Sequence[str], Sequence[str]]
) -> Lazy:
    """`frame` with a last column for each of `numbers`, whose value is `(by, order)`.

    It counts 1, 2, .. within equal `by`, in the order of `order` with nulls last. All other columns break
    ties, so that the same rows get the same numbers in whatever order they come. With `count_by`, a column
    `shares` says how many rows have the same value of it.
    """
    columns = frame.collect_schema().names()
    ordering = dict.fromkeys(name for _, order in numbers.values() for name in order)
    flags = [nw.col(name).is_null().cast(nw.Int8()).alias(f"{name}_is_null") for name in ordering]
    counting = []
    for name, (by, order) in numbers.items():
        keys = [part for column in order for part in (f"{column}_is_null", column)]
        keys += [column for column in columns if column not in {*by, *order}]
        counting.append(nw.col("one").cum_sum().over(*by, order_by=keys).cast(nw.Int64()).alias(name))
    if count_by is not None:
        counting.append(nw.len().over(count_by).cast(nw.Int64()).alias("shares"))
    return frame.with_columns(ONE.alias("one"), *flags).select(*columns, *counting)


def firsts(frame: Lazy, keys: Sequence[str], order: Sequence[str]) -> Lazy:
    """The first row of each `keys` by `order`, with a last column `copy`; rows without a key all stay."""
    kept = nw.col("copy") == 1
    for key in keys:
        kept = kept | nw.col(key).is_null()
    return number(frame, copy=(keys, order)).filter(kept)


def copies(frame: Lazy, keys: Sequence[str], order: Sequence[str]) -> Lazy:
    """What `firsts` leaves out: the second and further rows of each `keys`, sorting only repeated ones."""
    counted = frame.drop_nulls(list(keys)).group_by(*keys).agg(nw.len().alias("occurrences"))
    repeated = counted.filter(nw.col("occurrences") > 1)
    odd = frame.join(repeated, on=list(keys), how="semi")
    return number(odd, copy=(keys, order)).filter(nw.col("copy") > 1)
