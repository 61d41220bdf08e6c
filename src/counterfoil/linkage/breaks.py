"""Every failed match as a typed row with its age, and the proof that no record was lost."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, TypeVar

import narwhals as nw

from counterfoil.linkage.columns import ColumnMap, Inputs, read_inputs
from counterfoil.linkage.errors import ColumnTypeError, ReconciliationError
from counterfoil.linkage.flags import FLAGS, flag_rows
from counterfoil.linkage.frames import give_back
from counterfoil.linkage.link import link_rows
from counterfoil.linkage.local_days import check_time_zone, with_seconds_between
from counterfoil.linkage.payments import REDEMPTION_KEY, REDEMPTION_ORDER
from counterfoil.linkage.purchases import ISSUANCE_ORDER, ORDER_ORDER, TRANSACTION_ORDER
from counterfoil.linkage.repeats import Lazy, compute_shared_once, copies
from counterfoil.linkage.types import BREAK_COLUMNS, WARNINGS, BreakKind, Reconciliation, Source

FrameT = TypeVar("FrameT")

_UNIQUE: Final[tuple[tuple[Source, BreakKind, tuple[str, ...], tuple[str, ...], str], ...]] = (
    ("issuances", "duplicate_issuance", ("voucher_id",), ISSUANCE_ORDER, "issued_at"),
    ("redemptions", "duplicate_redemption", REDEMPTION_KEY, REDEMPTION_ORDER, "redeemed_at"),
    ("orders", "duplicate_order", ("order_id",), ORDER_ORDER, "ordered_at"),
    ("transactions", "duplicate_transaction", ("transaction_id",), TRANSACTION_ORDER, "paid_at"),
)
"""What must be unique in each source, by which order the first is found, and when it happened."""
_KEYED: Final[tuple[tuple[Source, str], ...]] = (("orders", "order_id"), ("transactions", "transaction_id"))


def breaks(
    *,
    issuances: FrameT,
    redemptions: FrameT,
    orders: FrameT,
    transactions: FrameT,
    as_of: datetime | None = None,
    max_redemptions: int | None = 1,
    time_zone: str = "UTC",
    columns: ColumnMap | None = None,
) -> FrameT:
    """All that does not fit together in these frames, one row per break.

    Takes the same frames as `counterfoil.link` and gives back a frame of their kind with the columns of
    `counterfoil.linkage.types.BREAK_COLUMNS`. `kind` is one of `BreakKind`; `severity` is `error` where a
    record could not be linked and `warning` where it was all the same; `source` says whose record it is: a
    `missing_transaction` of `issuances` is a purchase's, one of `redemptions` a payment's. A record with
    several breaks has one with `is_primary`. `age_seconds` is `as_of` less `occurred_at`, null without
    `as_of`, which has a time zone if and only if the timestamps have. A voucher may be redeemed
    `max_redemptions` times (None: any number) before `redeemed_twice`. Where times are dates, `time_zone`
    (an IANA name) says of which zone.

    Raises the errors of `link`, and `InvalidError` for an unknown time zone.
    """
    check_time_zone(time_zone)
    inputs = _read(issuances, redemptions, orders, transactions, columns)
    found = find_breaks(
        inputs, link_rows(inputs), as_of=as_of, max_redemptions=max_redemptions, time_zone=time_zone
    )
    result: FrameT = give_back(compute_shared_once(found, *inputs.frames.values()), inputs.kind)
    return result


def reconcile(
    *,
    issuances: Any,
    redemptions: Any,
    orders: Any,
    transactions: Any,
    max_redemptions: int | None = 1,
    time_zone: str = "UTC",
    columns: ColumnMap | None = None,
) -> tuple[Reconciliation, ...]:
    """Prove that every record is accounted for: of each source, rows in = rows linked + rows in breaks.

    Takes what `breaks` takes. A record counts once, however many breaks it has. Computes at once.

    Raises the errors of `breaks`, and `ReconciliationError` if the sums differ.
    """
    check_time_zone(time_zone)
    inputs = _read(issuances, redemptions, orders, transactions, columns)
    linked = link_rows(inputs)
    found = find_breaks(inputs, linked, as_of=None, max_redemptions=max_redemptions, time_zone=time_zone)
    flagged = flag_rows(inputs, linked, max_redemptions=max_redemptions, time_zone=time_zone)
    return check_counts(inputs, flagged, found)


def _read(
    issuances: Any, redemptions: Any, orders: Any, transactions: Any, columns: ColumnMap | None
) -> Inputs:
    given: dict[Source, Any] = {
        "issuances": issuances,
        "redemptions": redemptions,
        "orders": orders,
        "transactions": transactions,
    }
    return read_inputs(given, columns)


def find_breaks(
    inputs: Inputs, linked: Lazy, *, as_of: datetime | None, max_redemptions: int | None, time_zone: str
) -> Lazy:
    """The breaks of checked `inputs` whose full link is `linked`, lazily."""
    flagged = flag_rows(inputs, linked, max_redemptions=max_redemptions, time_zone=time_zone)
    parts = [_of_rows(inputs, flagged), *[_of_copies(inputs, flagged, *unique) for unique in _UNIQUE]]
    warning = nw.col("kind").is_in(sorted(WARNINGS))
    severity = _either(warning, nw.lit("warning"), nw.lit("error")).alias("severity")
    aged = _with_age(nw.concat(parts), as_of, time_zone).with_columns(severity)
    return aged.select(*BREAK_COLUMNS)


def _of_rows(inputs: Inputs, flagged: Lazy) -> Lazy:
    """One row per flag of a full-link row."""
    own = nw.col("flags").str.strip_chars(",").str.split(",")
    exploded = (
        flagged.filter(nw.col("flags") != "")
        .with_columns(own.alias("flag"))
        .explode("flag", empty_as_null=False, keep_nulls=False)
    )
    missing_id = nw.lit(None).cast(nw.String())
    for flag in FLAGS:
        if flag.missing_id is not None:
            is_it = nw.col("flag") == flag.name
            missing_id = nw.when(is_it).then(flag.missing_id.cast(nw.String())).otherwise(missing_id)
    own_kind = nw.col("flag").str.replace_all("^[a-z]+:", "").alias("kind")
    issued, differs = nw.col("flag").str.starts_with("issuances:"), nw.col("kind") == "amount_mismatch"
    issued_at = _moment(inputs, "issuances", "issued_at")
    redeemed_at = _moment(inputs, "redemptions", "redeemed_at")
    return exploded.with_columns(own_kind).select(
        nw.col("kind"),
        _is_primary().alias("is_primary"),
        _either(issued, nw.lit("issuances"), nw.lit("redemptions")).alias("source"),
        nw.col("voucher_id"),
        nw.when(~issued).then(nw.col("redemption_id")).alias("redemption_id"),
        missing_id.alias("missing_id"),
        _either(issued, issued_at, redeemed_at).alias("occurred_at"),
        nw.when(differs)
        .then(_either(issued, nw.col("purchase_amount"), nw.col("transaction_amount")))
        .alias("transaction_amount"),
        nw.when(differs)
        .then(_either(issued, nw.col("purchase_orders_amount"), nw.col("order_amount")))
        .alias("orders_amount"),
    )


def _either(condition: nw.Expr, yes: nw.Expr, no: nw.Expr) -> nw.Expr:
    return nw.when(condition).then(yes).otherwise(no)


def _is_primary() -> nw.Expr:
    """Whether a flag is the first of its source in the row's flags, which stand in the order of `FLAGS`."""
    primary = nw.lit(False)
    for place, flag in enumerate(FLAGS):
        earlier = [other for other in FLAGS[:place] if other.source == flag.source]
        first = nw.lit(True)
        for other in earlier:
            first = first & ~nw.col("flags").str.contains(other.name + ",", literal=True)
        primary = _either(nw.col("flag") == flag.name, first, primary)
    return primary


def _of_copies(
    inputs: Inputs,
    like: Lazy,
    source: Source,
    kind: BreakKind,
    keys: tuple[str, ...],
    order: tuple[str, ...],
    time: str,
) -> Lazy:
    """One row per record that repeats another's key, with the columns of `_of_rows`."""
    schema, columns = like.collect_schema(), inputs[source].collect_schema().names()
    nothing = {
        name: nw.lit(None).cast(schema[name]) for name in ("voucher_id", "redemption_id", "purchase_amount")
    }
    own = {
        name: nw.col(name) if name in columns else nothing[name] for name in ("voucher_id", "redemption_id")
    }
    repeated = nw.col(keys[0]).cast(nw.String()) if source in {"orders", "transactions"} else nw.lit(None)
    return copies(inputs[source], keys, order).select(
        nw.lit(kind).alias("kind"),
        nw.lit(True).alias("is_primary"),
        nw.lit(source).alias("source"),
        own["voucher_id"].alias("voucher_id"),
        own["redemption_id"].alias("redemption_id"),
        repeated.cast(nw.String()).alias("missing_id"),
        _moment(inputs, source, time).alias("occurred_at"),
        nothing["purchase_amount"].alias("transaction_amount"),
        nw.lit(None).cast(schema["purchase_orders_amount"]).alias("orders_amount"),
    )


def _with_age(found: Lazy, as_of: datetime | None, time_zone: str) -> Lazy:
    if as_of is None:
        return found.with_columns(nw.lit(None).cast(nw.Int64()).alias("age_seconds"))
    dtype = found.collect_schema()["occurred_at"]
    if isinstance(dtype, nw.Datetime) and (dtype.time_zone is None) != (as_of.tzinfo is None):
        there, here = ("no", "one") if dtype.time_zone is None else ("a", "none")
        raise ColumnTypeError(
            f"The timestamps have {there} time zone and as_of has {here}. Give both one, or none."
        )
    now = found.with_columns(nw.lit(as_of).alias("as_of"))
    aged: Lazy = with_seconds_between(now, "occurred_at", "as_of", time_zone=time_zone, into="age_seconds")
    return aged


def check_counts(inputs: Inputs, flagged: Lazy, found: Lazy) -> tuple[Reconciliation, ...]:
    """Count each source's records three ways; see `reconcile`."""
    in_breaks = {source: 0 for source, *_ in _UNIQUE}
    counted = found.filter(nw.col("is_primary")).group_by("source").agg(nw.len().alias("rows")).collect()
    in_breaks.update(dict(counted.select("source", "rows").iter_rows()))
    linked = _count_linked(inputs, flagged)
    result = []
    for source, *_ in _UNIQUE:
        rows_in = int(inputs[source].select(nw.len()).collect().item())
        result.append(Reconciliation(source, rows_in, linked[source], int(in_breaks[source])))
        if rows_in != linked[source] + in_breaks[source]:
            raise ReconciliationError(
                f"Of {rows_in} {source}, {linked[source]} are linked and {in_breaks[source]} are in breaks: "
                "the sums differ. This is a defect of Counterfoil; please report it."
            )
    return tuple(result)


def _count_linked(inputs: Inputs, flagged: Lazy) -> dict[Source, int]:
    """Records without a break, counted from the full link and from distinct keys, not from the breaks."""
    first = nw.col("redemption_number").is_null() | (nw.col("redemption_number") == 1)
    issued = first & (nw.col("issuance_stage") != "issuance_missing")
    sides: dict[Source, nw.Expr] = {"issuances": issued, "redemptions": nw.col("redemption_stage") != "none"}
    sound = [
        (has & ~nw.col("flags").str.contains(source + ":", literal=True)).cast(nw.Int64()).sum().alias(source)
        for source, has in sides.items()
    ]
    counts = flagged.select(*sound).collect()
    linked: dict[Source, int] = {source: int(counts[source][0] or 0) for source in sides}
    for source, key in _KEYED:
        keys = inputs[source].select(key)
        distinct = keys.drop_nulls().select(nw.col(key).n_unique()).collect().item()
        without_key = keys.filter(nw.col(key).is_null()).select(nw.len()).collect().item()
        linked[source] = int(distinct) + int(without_key)
    return linked


def _moment(inputs: Inputs, source: Source, name: str) -> nw.Expr:
    """A time column as it can stand in one column with all others.

    Where the types differ (dates beside timestamps, several units or zones) that is a timestamp without
    a time zone.
    """
    schemas = {source: inputs[source].collect_schema() for source in inputs.frames}
    dtypes = {repr(schemas[source][time]) for source, *_, time in _UNIQUE}
    if len(dtypes) == 1:
        return nw.col(name)
    dtype = schemas[source][name]
    if isinstance(dtype, nw.Datetime) and dtype.time_zone is not None:
        return nw.col(name).dt.replace_time_zone(None).cast(nw.Datetime("us"))
    return nw.col(name).cast(nw.Datetime("us"))
