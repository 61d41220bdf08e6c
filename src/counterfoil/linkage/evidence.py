"""Redemptions and baskets that share no id, linked on evidence: customer, local day, product, discount."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import narwhals as nw

from counterfoil.linkage.columns import ColumnMap
from counterfoil.linkage.errors import ColumnTypeError, LinkageError, MissingColumnError
from counterfoil.linkage.frames import find_one_kind, give_back, is_all_null_type, select_lazily
from counterfoil.linkage.local_days import check_time_zone, day_number, with_local_date

Frame = TypeVar("Frame")

LEVELS: Final[dict[int, str]] = {
    4: "an eligible product with a coupon discount on it",
    3: "an eligible product, and a coupon discount elsewhere in the basket",
    2: "an eligible product, and no coupon discount",
    1: "a coupon discount, and no eligible product",
    0: "only the customer and the day",
}
"""What each evidence level means; all of them are the same customer on the same local day."""

RESULT_COLUMNS: Final = ("evidence_level", "order_id", "order_count", "evidence_status")
_VOUCHER: Final = ("voucher_id",)
_COUPON: Final = ("campaign_id", "coupon_id")
_KEY_NAMES: Final = (*_VOUCHER, *_COUPON)


def link_by_evidence(
    *,
    redemptions: Frame,
    baskets: Any,
    lines: Any,
    eligible: Any,
    time_zone: str,
    columns: ColumnMap | None = None,
) -> Frame:
    """Find the basket in which each voucher was redeemed, where no id says so.

    A basket is a candidate when it is the same customer's on the same day in `time_zone`. Each candidate
    has an evidence level (`LEVELS`, 4 the strongest). The highest level present counts. If one basket has
    it, that basket is named; if several have it, the redemption is ambiguous and none is picked.

    The frames are of one kind (DuckDB, Polars, pandas, PyArrow, PySpark); the result is of that kind, and
    lazy where the kind is lazy. Their columns, which `columns` may map to the caller's own names
    (`{"baskets": {"order_id": "basket_no"}}`):

    - `redemptions`: the key of the voucher (below), `customer_id`, and either `redeemed_on` (a local date)
      or `redeemed_at` (a timestamp; without a time zone it is read as UTC). If both are there the date is
      used.
    - `baskets`: `order_id`, `customer_id`, `ordered_at` (a timestamp; without a time zone it is read as
      UTC).
    - `lines`: `order_id`, `product_id`, `coupon_discount` (above zero where a coupon took something off).
    - `eligible`: the key of the voucher and `product_id`, one row per product it may be redeemed on.

    The key of the voucher is `voucher_id` if `eligible` has it, else `campaign_id` with `coupon_id`.

    Returns the redemptions with their own columns, one row for each input row (equal rows too stay rows of
    their own; the order of rows is not promised), and

    - `evidence_level`: 0 to 4; null where there is no basket at all,
    - `order_id`: the basket, if exactly one has that level; else null,
    - `order_count`: the number of baskets that have that level; 0 where there is none,
    - `evidence_status`: `linked` (one), `ambiguous` (several) or `unmatched` (none).

    A redemption whose key, customer or day is null is unmatched: nothing can be looked up by it. A voucher
    for which `eligible` names no product can reach levels 1 and 0 only.

    Raises `LinkageError` for a missing column, a column of the wrong type or frames of different kinds, and
    `InvalidError` for an unknown time zone.
    """
    check_time_zone(time_zone)
    given = {"redemptions": redemptions, "baskets": baskets, "lines": lines, "eligible": eligible}
    kind = find_one_kind(given)
    tables = {name: _open(name, frame, (columns or {}).get(name, {})) for name, frame in given.items()}
    key = _VOUCHER if tables["eligible"].has("voucher_id") else _COUPON
    asked = _asked(tables, key, time_zone)
    by = ["_cf_customer", "_cf_day", *(f"_cf_{part}" for part in key)]
    days = asked.select(*by).filter(nw.col("_cf_day") != 0).drop_nulls().unique()
    candidates = days.join(_baskets(tables, time_zone), on=["_cf_customer", "_cf_day"], how="inner")
    best = _best(_levels(candidates, tables, by), by)
    result: Frame = give_back(_with_status(asked.join(best, on=by, how="left").drop(*by)), kind)
    return result


@dataclass(frozen=True, slots=True)
class _Table:
    """One input: its frame, opened lazily under its own column names, and what those are called."""

    name: str
    frame: nw.LazyFrame[Any]
    names: Mapping[str, str]

    def has(self, column: str) -> bool:
        """Whether the table has a canonical column."""
        return self.names.get(column, column) in self.frame.collect_schema()

    def its(self, column: str) -> str:
        """The table's own name of a canonical column, which must be there."""
        name = self.names.get(column, column)
        there = self.frame.collect_schema().names()
        if name not in there:
            raise MissingColumnError(f"{self.name} has no column {name!r}; it has {', '.join(there)}.")
        return name

    def is_whole(self, column: str) -> bool:
        """Whether a key is whole numbers; it may be text else (or nothing but nulls), and nothing besides."""
        name = self.its(column)
        dtype = self.frame.collect_schema()[name]
        if dtype == nw.Unknown and is_all_null_type(self.frame, name):
            return False
        if not (dtype.is_integer() or dtype in {nw.String, nw.Categorical, nw.Enum}):
            raise ColumnTypeError(f"{self.name}.{name} is of type {dtype}; it must be text or integers.")
        return bool(dtype.is_integer())


def _open(name: str, frame: Any, names: Mapping[str, str]) -> _Table:
    given = nw.from_native(frame)
    there = given.collect_schema().names()
    keys = {names.get(key, key) for key in (*_KEY_NAMES, "customer_id", "order_id", "product_id")}
    opened = select_lazily(name, frame, {column: column for column in there}, keys & set(there))
    if isinstance(given, nw.DataFrame) and given.implementation.is_pandas() and given.is_empty():
        # A pandas column of objects has no type where it has no rows: here it would pass for text.
        opened = opened.with_columns(nw.lit(None).alias(column) for column in there)
    return _Table(name, opened, names)


def _as_text(one: _Table, other: _Table, column: str) -> bool:
    """Whether a key is compared as text: always, unless both sides hold whole numbers."""
    return not all([one.is_whole(column), other.is_whole(column)])


def _with_keys(table: _Table, keys: Mapping[str, bool]) -> nw.LazyFrame[Any]:
    """Add `_cf_<key>` for each key, as text where its flag says so, else as a 64-bit integer."""
    casts = {key: nw.String() if text else nw.Int64() for key, text in keys.items()}
    return table.frame.with_columns(
        nw.col(table.its(key)).cast(dtype).alias(f"_cf_{_short(key)}") for key, dtype in casts.items()
    )


def _short(key: str) -> str:
    return key if key in {*_VOUCHER, *_COUPON} else key.removesuffix("_id")


def _asked(tables: Mapping[str, _Table], key: tuple[str, ...], time_zone: str) -> nw.LazyFrame[Any]:
    """The redemptions as they are, with what a basket is looked up by."""
    redemptions = tables["redemptions"]
    taken = [column for column in RESULT_COLUMNS if column in redemptions.frame.collect_schema()]
    if taken:
        raise LinkageError(f"redemptions has a column {taken[0]!r} already, which is one of the result's.")
    keys = {part: _as_text(redemptions, tables["eligible"], part) for part in key}
    keys["customer_id"] = _as_text(redemptions, tables["baskets"], "customer_id")
    frame = _with_keys(redemptions, keys)
    is_day = redemptions.has("redeemed_on")
    day = redemptions.its("redeemed_on" if is_day else "redeemed_at")
    frame = with_local_date(frame, day, time_zone=time_zone, into="_cf_date", is_day=is_day)
    return frame.with_columns(_cf_day=day_number("_cf_date")).drop("_cf_date")


def _baskets(tables: Mapping[str, _Table], time_zone: str) -> nw.LazyFrame[Any]:
    """Each basket once: whose it is, the local day, and its id as given and as compared with the lines'."""
    baskets = tables["baskets"]
    customer = _as_text(tables["redemptions"], baskets, "customer_id")
    order = _as_text(baskets, tables["lines"], "order_id")
    frame = _with_keys(baskets, {"customer_id": customer, "order_id": order})
    frame = with_local_date(frame, baskets.its("ordered_at"), time_zone=time_zone, into="_cf_date")
    frame = frame.select(
        "_cf_customer", "_cf_order", _cf_day=day_number("_cf_date"), order_id=nw.col(baskets.its("order_id"))
    )
    return frame.filter(nw.col("_cf_day") != 0).drop_nulls().unique()


def _levels(candidates: nw.LazyFrame[Any], tables: Mapping[str, _Table], by: list[str]) -> nw.LazyFrame[Any]:
    """The evidence level of each candidate basket."""
    lines, eligible = tables["lines"], tables["eligible"]
    key = [column for column in by if column not in {"_cf_customer", "_cf_day"}]
    product = _as_text(lines, eligible, "product_id")
    bought = _with_keys(
        lines, {"order_id": _as_text(tables["baskets"], lines, "order_id"), "product_id": product}
    )
    off = nw.col(lines.its("coupon_discount"))
    if lines.frame.collect_schema()[lines.its("coupon_discount")].is_float():
        off = nw.when(~off.is_nan()).then(off)  # engines disagree whether NaN is above zero
    bought = bought.select("_cf_order", "_cf_product", _cf_off=(off > 0).cast(nw.Int64)).drop_nulls(
        "_cf_order"
    )
    parts = {
        part: _as_text(tables["redemptions"], eligible, part) for part in _KEY_NAMES if f"_cf_{part}" in key
    }
    fits = (
        _with_keys(eligible, {**parts, "product_id": product})
        .select(*key, "_cf_product")
        .drop_nulls()
        .unique()
    )
    seen = candidates.join(bought, on="_cf_order", how="left").join(
        fits.with_columns(_cf_fits=nw.lit(1)), on=[*key, "_cf_product"], how="left"
    )
    off_it = nw.col("_cf_off").fill_null(0)
    fit = nw.col("_cf_fits").fill_null(0)
    seen = seen.with_columns(_cf_off=off_it, _cf_fits=fit).with_columns(_cf_both=off_it * fit)
    flags = [nw.col(f"_cf_{flag}").max() for flag in ("off", "fits", "both")]
    baskets = seen.group_by(*by, "_cf_order", "order_id").agg(*flags)
    off_any, fits_any, both = nw.col("_cf_off") == 1, nw.col("_cf_fits") == 1, nw.col("_cf_both") == 1
    level = (
        nw.when(both)
        .then(4)
        .otherwise(
            nw.when(fits_any & off_any)
            .then(3)
            .otherwise(nw.when(fits_any).then(2).otherwise(nw.col("_cf_off")))
        )
    )
    return baskets.select(*by, "order_id", evidence_level=level.cast(nw.Int64))


def _best(levels: nw.LazyFrame[Any], by: list[str]) -> nw.LazyFrame[Any]:
    """Per redemption the highest level present, how many baskets have it, and the basket where it is one."""
    top = levels.group_by(*by).agg(evidence_level=nw.col("evidence_level").max())
    at_top = levels.join(top, on=[*by, "evidence_level"], how="inner")
    counted = at_top.group_by(*by, "evidence_level").agg(
        order_count=nw.len(), order_id=nw.col("order_id").min()
    )
    one = nw.col("order_count") == 1
    best = counted.with_columns(
        order_id=nw.when(one).then(nw.col("order_id")), order_count=nw.col("order_count")
    )
    return best.select(*by, *RESULT_COLUMNS[:3])


def _with_status(found: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    count = nw.col("order_count").fill_null(0).cast(nw.Int64)
    status = (
        nw.when(count == 0)
        .then(nw.lit("unmatched"))
        .otherwise(nw.when(count == 1).then(nw.lit("linked")).otherwise(nw.lit("ambiguous")))
    )
    return found.with_columns(order_count=count, evidence_status=status)
