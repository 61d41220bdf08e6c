"""What an analysis counts, each as rows with the columns of the group and one or more measures.

Every measure is brought to the same columns, the rows are put under one another, and one aggregation per
group sums them: no joins between measures, so a group that only some of them have is in the result too, and
a null in a group is a group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import narwhals as nw

from counterfoil.linkage.local_days import with_period, with_seconds_between
from counterfoil.linkage.types import Source

Lazy = Any
"""A narwhals LazyFrame. Its own type says nothing about columns."""

COUNTS: Final = (
    "addressed",
    "exposed",
    "page_views",
    "issued",
    "bought",
    "redeemed",
    "redeemed_issued",
    "redemptions",
    "customers_issued",
    "customers_redeemed",
    "responders",
    "times_known",
    "discounts_known",
    "incomplete_links",
    "breaks",
)
AMOUNTS: Final = ("revenue", "purchase_revenue", "discount_cost", "revenue_with_discount")
QUANTILES: Final = {"time_to_redeem_p10": 10, "time_to_redeem_p50": 50, "time_to_redeem_p90": 90}


@dataclass(frozen=True, slots=True)
class Groups:
    """What rows are grouped by: columns, and a period of local time."""

    by: tuple[str, ...]
    period: str | None
    time_zone: str

    @property
    def keys(self) -> list[str]:
        """The columns of a group in the result."""
        return [*self.by, *(["period_start"] if self.period else [])]

    def put_on(self, frame: Lazy, *, store: str | None = None, at: str | None = None) -> Lazy | None:
        """`frame` with this group's columns, or None if it cannot have one of them."""
        there = frame.collect_schema().names()
        for key in self.by:
            if key == "store_id" and store is not None:
                frame = frame.with_columns(nw.col(store).alias("store_id"))
            elif key == "store_id" or key not in there:
                return None
        if self.period is None:
            return frame
        if at is None:
            return None
        return with_period(frame, at, period=self.period, time_zone=self.time_zone, into="period_start")


def collect(tables: Mapping[Source, Lazy], groups: Groups) -> dict[str, Lazy]:
    """Rows of measures by the name of what they are rows of; what the data cannot say is not in it."""
    graded = {name: _with_grade(frame, tables.get("customers")) for name, frame in tables.items()}
    links = graded["full_link"].with_columns(
        _cf_first=nw.col("redemption_number").fill_null(1) == 1,
        _cf_issued=nw.col("issuance_stage") != "issuance_missing",
        _cf_redeemed=nw.col("redemption_stage") != "none",
        _cf_who=nw.coalesce("redemption_customer_id", "customer_id"),
    )
    issued = groups.put_on(
        links.filter(nw.col("_cf_issued") & nw.col("_cf_first")), store="issuance_store_id", at="issued_at"
    )
    redeemed = groups.put_on(
        links.filter(nw.col("_cf_redeemed")), store="redemption_store_id", at="redeemed_at"
    )
    found = {
        **_of_issuances(issued, groups.keys),
        **_of_redemptions(redeemed, groups),
        "incomplete_links": _of_incomplete(links, groups),
        "breaks": _of_breaks(tables.get("breaks"), links, groups),
        **_of_audience(graded.get("audience"), redeemed, groups),
        **_of_page_views(graded.get("page_views"), groups),
    }
    return {name: rows for name, rows in found.items() if rows is not None}


def _with_grade(frame: Lazy, customers: Lazy | None) -> Lazy:
    if customers is None or "customer_id" not in frame.collect_schema().names() or frame is customers:
        return frame
    grades = customers.drop_nulls("customer_id").group_by("customer_id").agg(nw.col("grade").min())
    return frame.join(grades, on="customer_id", how="left")


def _one(condition: nw.Expr | None = None) -> nw.Expr:
    """1 where the condition holds, else 0: engines disagree about the sum of booleans."""
    if condition is None:
        return nw.lit(1).cast(nw.Int64)
    return nw.when(condition).then(nw.lit(1)).otherwise(nw.lit(0)).cast(nw.Int64)


def _distinct(frame: Lazy, keys: list[str], who: str, measure: str) -> Lazy:
    """One row for each customer of each group."""
    return (
        frame.filter(~nw.col(who).is_null()).select(*keys, who).unique().select(*keys, _one().alias(measure))
    )


def _of_issuances(issued: Lazy, keys: list[str]) -> dict[str, Lazy]:
    bought = _one(nw.col("issuance_stage") == "bought")
    return {
        "issued": issued.select(
            *keys, issued=_one(), bought=bought, purchase_revenue=nw.col("purchase_amount_allocated")
        ),
        "customers_issued": _distinct(issued, keys, "customer_id", "customers_issued"),
    }


def _of_redemptions(redeemed: Lazy, groups: Groups) -> dict[str, Lazy]:
    first, issued = nw.col("_cf_first"), nw.col("_cf_issued")
    paid, off = nw.col("transaction_amount_allocated"), nw.col("discount")
    rows = redeemed.select(
        *groups.keys,
        redemptions=_one(),
        redeemed=_one(first),
        redeemed_issued=_one(first & issued),
        revenue=paid,
        discount_cost=off,
        discounts_known=_one(~off.is_null()),
        revenue_with_discount=nw.when(~off.is_null()).then(paid),
    )
    customers = _distinct(redeemed, groups.keys, "_cf_who", "customers_redeemed")
    return {"redemptions": rows, "customers_redeemed": customers, "times": _of_times(redeemed, groups)}


def _of_times(redeemed: Lazy, groups: Groups) -> Lazy:
    """Quantiles of the time to redeem by nearest rank: the value whose rank is the part, rounded up."""
    keys = groups.keys
    first = redeemed.filter(nw.col("_cf_first") & nw.col("_cf_issued"))
    timed = with_seconds_between(
        first, "issued_at", "redeemed_at", time_zone=groups.time_zone, into="_cf_seconds"
    ).filter(nw.col("_cf_seconds") >= 0)
    # Both by a window: joining counts to the rows would lose the group whose key is null.
    ranked = timed.select(
        *keys,
        "_cf_seconds",
        _cf_rank=nw.col("_cf_seconds").rank("ordinal").over(*keys).cast(nw.Int64),
        _cf_of=nw.col("_cf_seconds").count().over(*keys).cast(nw.Int64),
    )
    at = {
        name: nw.when(nw.col("_cf_rank") == (nw.col("_cf_of") * part + 99) // 100).then(nw.col("_cf_seconds"))
        for name, part in QUANTILES.items()
    }
    return ranked.select(*keys, times_known=_one(), **at)


def _of_incomplete(links: Lazy, groups: Groups) -> Lazy | None:
    at = links.filter(nw.col("link_status").is_in(["incomplete", "orphan"])).with_columns(
        _cf_store=nw.coalesce("redemption_store_id", "issuance_store_id"),
        _cf_at=nw.coalesce("redeemed_at", "issued_at"),
    )
    rows = groups.put_on(at, store="_cf_store", at="_cf_at")
    return None if rows is None else rows.select(*groups.keys, incomplete_links=_one())


def _of_breaks(breaks: Lazy | None, links: Lazy, groups: Groups) -> Lazy | None:
    if breaks is None:
        return None
    wanted = [key for key in groups.by if key in {"campaign_id", "channel", "grade"}]
    vouchers = links.filter(nw.col("_cf_first")).drop_nulls("voucher_id").select("voucher_id", *wanted)
    rows = groups.put_on(breaks.join(vouchers, on="voucher_id", how="left"), at="occurred_at")
    return None if rows is None else rows.select(*groups.keys, breaks=_one())


def _of_audience(audience: Lazy | None, redeemed: Lazy, groups: Groups) -> dict[str, Lazy | None]:
    if audience is None:
        return {}
    addressed = audience.filter(nw.col("group").fill_null("treatment") != "holdout")
    rows = groups.put_on(addressed)
    if rows is None:
        return {}
    pairs = addressed.select("campaign_id", "customer_id").drop_nulls().unique()
    both = redeemed.join(
        pairs, left_on=["campaign_id", "_cf_who"], right_on=["campaign_id", "customer_id"], how="semi"
    )
    return {
        "addressed": _distinct(rows, groups.keys, "customer_id", "addressed"),
        "responders": _distinct(both, groups.keys, "_cf_who", "responders"),
    }


def _of_page_views(page_views: Lazy | None, groups: Groups) -> dict[str, Lazy | None]:
    rows = None if page_views is None else groups.put_on(page_views, at="viewed_at")
    if rows is None:
        return {}
    customer, session = nw.col("customer_id").cast(nw.String), nw.col("session_id").cast(nw.String)
    who = nw.coalesce(
        nw.concat_str(nw.lit("customer "), customer), nw.concat_str(nw.lit("session "), session)
    )
    seen = _distinct(rows.with_columns(_cf_who=who), groups.keys, "_cf_who", "exposed")
    return {"exposed": seen, "page_views": rows.select(*groups.keys, page_views=_one())}


def sum_up(found: Mapping[str, Lazy], groups: Groups, amount_types: Mapping[str, Any]) -> Lazy:
    """One row per group with every measure; null where no rows could say it."""
    types: dict[str, Any] = {name: nw.Int64() for name in (*COUNTS, *QUANTILES)} | dict(amount_types)
    same = [_filled(rows, types, groups.keys) for rows in found.values()]
    totals = (
        nw.concat(same, how="vertical")
        .group_by(*groups.keys)
        .agg(
            *(nw.col(name).sum() for name in COUNTS),
            *(nw.col(name).max() for name in QUANTILES),
            *(nw.col(name).sum() for name in AMOUNTS),
            *(nw.col(name).count().alias(f"_cf_{name}") for name in AMOUNTS),
        )
    )
    said = _said(found)
    known = [(nw.col(name) if name in said else nw.lit(None)).cast(nw.Int64).alias(name) for name in COUNTS]
    paid = [
        nw.when(nw.col(f"_cf_{name}") > 0).then(nw.col(name).cast(types[name])).alias(name)
        for name in AMOUNTS
    ]
    return totals.select(*groups.keys, *known, *QUANTILES, *paid)


def _said(found: Mapping[str, Lazy]) -> set[str]:
    return {name for rows in found.values() for name in rows.collect_schema().names()}


def _filled(rows: Lazy, types: Mapping[str, Any], keys: Iterable[str]) -> Lazy:
    there = rows.collect_schema().names()
    return rows.select(
        *keys,
        *(
            (nw.col(name) if name in there else nw.lit(None)).cast(dtype).alias(name)
            for name, dtype in types.items()
        ),
    )
