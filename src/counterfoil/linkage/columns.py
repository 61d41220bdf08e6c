"""Canonical columns from the caller's: names mapped, types checked, keys made comparable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import narwhals as nw

from counterfoil.linkage.errors import ColumnMapError, ColumnTypeError, MissingColumnError
from counterfoil.linkage.frames import find_one_kind, is_all_null_type, select_lazily
from counterfoil.linkage.types import FIELDS, Field, Frame, FrameKind, Role, Source

ColumnMap = Mapping[str, Mapping[str, str]]
"""Source to canonical name to the caller's name: `{"issuances": {"voucher_id": "CouponNo"}}`."""

_WIDE_INTEGERS: Final = (nw.UInt64, nw.Int128, nw.UInt128)
_ABSENT: Final[dict[Role, Any]] = {
    "attribute": nw.String(),
    "amount": nw.Int64(),
}
"""The type of a column that is not there: all null. Keys and times take after those that are."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Sources with canonical columns, lazily, and the kind of frame that the caller gave."""

    frames: Mapping[Source, nw.LazyFrame[Any]]
    kind: FrameKind

    def __getitem__(self, source: Source) -> nw.LazyFrame[Any]:
        """The lazy frame of `source`."""
        return self.frames[source]


def read_inputs(given: Mapping[Source, Frame], columns: ColumnMap | None = None) -> Inputs:
    """Every frame of `given` with exactly the columns of `FIELDS`, of checked types.

    Keys are integers where every frame that has the key has integers, else text in all of them. Absent
    optional columns are all null. Integer amounts become 64-bit. Raises `FrameKindError`,
    `ColumnMapError`, `MissingColumnError` and `ColumnTypeError`.
    """
    kind = find_one_kind(given)
    _check_map(given, columns or {})
    lazy = {source: _pick(source, frame, (columns or {}).get(source, {})) for source, frame in given.items()}
    typed = {source: _typed(source, frame) for source, frame in lazy.items()}
    _check_time_zones(typed)
    key_types = _find_key_types(typed)
    moment = _find_moment_type(typed)
    return Inputs(
        {source: _complete(source, frame, key_types, moment) for source, frame in typed.items()}, kind
    )


def _check_map(given: Mapping[Source, Frame], columns: ColumnMap) -> None:
    for source, names in columns.items():
        if source not in given:
            raise ColumnMapError(f"columns names the frame {source!r}; the frames are {_listed(given)}.")
        known = [field.name for field in FIELDS[source]]  # type: ignore[index]
        for name in names:
            if name not in known:
                raise ColumnMapError(
                    f"columns maps {source}.{name}, not a column of {source}: {_listed(known)}."
                )


def _pick(source: Source, frame: Frame, own_names: Mapping[str, str]) -> nw.LazyFrame[Any]:
    there = nw.from_native(frame).collect_schema().names()
    wanted: dict[str, str] = {}
    for field in FIELDS[source]:
        own = own_names.get(field.name, field.name)
        if own in there:
            wanted[field.name] = own
        elif field.name in own_names:
            raise ColumnMapError(
                f"columns maps {source}.{field.name} to {own!r}; {source} has {_listed(there)}."
            )
        elif field.required:
            raise MissingColumnError(
                f"{source} has no column {field.name!r}; it has {_listed(there)}. If one of these is it, say "
                f'columns={{"{source}": {{"{field.name}": "<your column>"}}}}.'
            )
    keys = {field.name for field in FIELDS[source] if field.role == "key"}
    return select_lazily(source, frame, wanted, keys)


def _typed(source: Source, frame: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    """`frame` without columns that are null by type, with every other column's type checked."""
    schema = frame.collect_schema()
    unknown = [name for name, dtype in schema.items() if dtype == nw.Unknown]
    empty = [name for name in unknown if is_all_null_type(frame, name)]
    casts: list[nw.Expr] = []
    for field in FIELDS[source]:
        if field.name in schema and field.name not in empty:
            cast = _find_cast(source, field, schema[field.name])
            if cast is not None:
                casts.append(nw.col(field.name).cast(cast))
    kept = frame.drop(*empty) if empty else frame
    return kept.with_columns(*casts) if casts else kept


def _find_cast(source: Source, field: Field, dtype: Any) -> Any:
    """The type that `field` must be cast to, None if it is right as it is. Raises `ColumnTypeError`."""
    if field.role == "attribute":
        return None
    if field.role == "key":
        if dtype == nw.String or dtype.is_integer():
            return None
        if isinstance(dtype, (nw.Categorical, nw.Enum, nw.Unknown)):  # Unknown: DuckDB's UUID
            return nw.String()
        wanted = "text or integers"
    elif field.role == "time":
        if isinstance(dtype, (nw.Date, nw.Datetime)):
            return None
        wanted = "a date or a timestamp; parse it first"
    else:
        if dtype.is_integer():
            return None if dtype == nw.Int64 else nw.Int64()
        if dtype.is_float() or dtype.is_decimal():
            return None
        wanted = "integers (minor units), decimals or floats"
    raise ColumnTypeError(f"{source}.{field.name} is of type {dtype}; it must be {wanted}.")


def _check_time_zones(frames: Mapping[Source, nw.LazyFrame[Any]]) -> None:
    """Timestamps with and without a time zone in one set cannot be compared: which is later is unknown."""
    aware: list[str] = []
    naive: list[str] = []
    for source, frame in frames.items():
        for name, dtype in frame.collect_schema().items():
            if isinstance(dtype, nw.Datetime):
                (aware if dtype.time_zone else naive).append(f"{source}.{name}")
    if aware and naive:
        raise ColumnTypeError(
            f"{_listed(aware)} have a time zone and {_listed(naive)} have none. Give all one, or none."
        )


def _find_key_types(frames: Mapping[Source, nw.LazyFrame[Any]]) -> dict[str, Any]:
    """One type per key name, so that both sides of every join compare alike."""
    found: dict[str, set[Any]] = {}
    for source, frame in frames.items():
        schema = frame.collect_schema()
        for field in FIELDS[source]:
            if field.role == "key" and field.name in schema:
                found.setdefault(field.name, set()).add(schema[field.name])
    return {name: _find_common(types) for name, types in found.items()}


def _find_common(types: set[Any]) -> Any:
    if len(types) == 1:
        return next(iter(types))
    if all(dtype.is_integer() and dtype not in _WIDE_INTEGERS for dtype in types):
        return nw.Int64()
    return nw.String()


def _find_moment_type(frames: Mapping[Source, nw.LazyFrame[Any]]) -> Any:
    """The type for absent times: like one that is there, so that they can stand in one column."""
    for frame in frames.values():
        for dtype in frame.collect_schema().values():
            if isinstance(dtype, nw.Datetime):
                return dtype
    return nw.Datetime("us")


def _complete(
    source: Source, frame: nw.LazyFrame[Any], key_types: Mapping[str, Any], moment: Any
) -> nw.LazyFrame[Any]:
    """`frame` with all columns of `source` in their order, absent ones null, keys of their common type."""
    schema = frame.collect_schema()
    out: list[nw.Expr] = []
    for field in FIELDS[source]:
        wanted = key_types.get(field.name, nw.String()) if field.role == "key" else None
        if field.name not in schema:
            absent = moment if field.role == "time" else wanted or _ABSENT[field.role]
            out.append(nw.lit(None).cast(absent).alias(field.name))
        elif wanted is not None and schema[field.name] != wanted:
            out.append(nw.col(field.name).cast(wanted))
        else:
            out.append(nw.col(field.name))
    as_it_is = schema.names() == [field.name for field in FIELDS[source]] and all(
        schema[name] == key_type for name, key_type in key_types.items() if name in schema
    )
    return frame if as_it_is else frame.select(*out)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
