"""What a campaign was worth: from those addressed to the money, with nulls where the data cannot say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeVar

import narwhals as nw

from counterfoil.linkage.columns import ColumnMap, Inputs, read_inputs
from counterfoil.linkage.errors import LinkageError
from counterfoil.linkage.frames import give_back
from counterfoil.linkage.local_days import check_time_zone
from counterfoil.linkage.measures import Groups, collect, sum_up
from counterfoil.linkage.types import Source

Frame = TypeVar("Frame")
By = Literal["campaign_id", "channel", "store_id", "grade"]
Period = Literal["day", "week", "month"]

GROUPS: Final[tuple[By, ...]] = ("campaign_id", "channel", "store_id", "grade")
PERIODS: Final[tuple[Period, ...]] = ("day", "week", "month")
RESULT_COLUMNS: Final = (
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
    "purchase_rate",
    "redemption_rate",
    "response_rate",
    "time_to_redeem_p10",
    "time_to_redeem_p50",
    "time_to_redeem_p90",
    "times_known",
    "revenue",
    "purchase_revenue",
    "discount_cost",
    "discounts_known",
    "revenue_per_discount",
    "incomplete_links",
    "breaks",
)
"""The columns of an analysis after those of the group."""


def analyse(
    *,
    full_link: Frame,
    page_views: Any = None,
    audience: Any = None,
    customers: Any = None,
    breaks: Any = None,
    by: Sequence[By] = ("campaign_id",),
    period: Period | None = None,
    time_zone: str | None = None,
    columns: ColumnMap | None = None,
) -> Frame:
    """Count a campaign's funnel and its money, one row per group.

    Takes what `link` returned (`full_link`) and, where there are any, the page log (`page_views`:
    `campaign_id`, `viewed_at`, `customer_id` or `session_id`, `channel`), who was addressed (`audience`:
    `campaign_id`, `customer_id`, `group`, `channel`), grades (`customers`: `customer_id`, `grade`) and what
    `breaks` returned. All are of one kind (DuckDB, Polars, pandas, PyArrow, PySpark), and so is the result;
    lazy where it is lazy. `columns` maps column names to the caller's own: `{"audience": {"customer_id":
    "household"}}`.

    Groups are `by` (`campaign_id`, `channel`, `store_id`, `grade`) and, with `period`, the local day, week
    (its Monday) or month in `time_zone` (by default UTC) as the date `period_start`. An event counts where
    and when it happened: an issuance at its store and in its period, a redemption at its own. A group may
    be null: unknown.

    The columns after those of the group, null where the data cannot say:

    - `addressed`: customers in the audience who are not held out; `exposed`: visitors in the page log
      (customers, else sessions); `page_views`. Null without the frame, and where it does not have the
      group's column: they are never guessed.
    - `issued`: vouchers; `bought`: those whose purchase order and transaction were found; `redeemed`:
      vouchers redeemed at least once; `redeemed_issued`: those of them whose issuance is known;
      `redemptions`: all.
    - `customers_issued`, `customers_redeemed`: distinct customers; `responders`: those addressed who
      redeemed.
    - `purchase_rate` = bought / issued; `redemption_rate` = redeemed_issued / issued; `response_rate` =
      responders / addressed. Null with `period` or `store_id`, where both sides of a rate are other
      vouchers.
    - `time_to_redeem_p10`, `_p50`, `_p90`: seconds from issuance to the first redemption, by nearest rank
      (the smallest value that at least that part does not exceed, so always one that occurred), over those
      whose two times are known and in order; `times_known` is how many those are.
    - `revenue`: what the transactions of redemptions paid, each transaction counted once in all
      (`transaction_amount_allocated`); `purchase_revenue`: what was paid for vouchers. In the unit of the
      input.
    - `discount_cost`: the sum of the discounts that are known, of `discounts_known` redemptions;
      `revenue_per_discount` = revenue / discount over those redemptions alone.
    - `incomplete_links`: rows of the full link that are incomplete or orphans; `breaks`: rows of `breaks`.

    Raises `LinkageError` for a missing or wrong column, frames of different kinds, an unknown group or
    period, and `InvalidError` for an unknown time zone.
    """
    check_time_zone(time_zone or "UTC")
    if not (by or period) or any(group not in GROUPS for group in by) or len(set(by)) < len(by):
        raise LinkageError(
            f"`by` must name groups out of {', '.join(GROUPS)}, each once; it is {tuple(by)!r}"
        )
    if period is not None and period not in PERIODS:
        raise LinkageError(f"`period` must be one of {', '.join(PERIODS)}, or None; it is {period!r}")
    given: dict[Source, Any] = {"full_link": full_link, "page_views": page_views, "audience": audience}
    given |= {"customers": customers, "breaks": breaks}
    inputs = read_inputs({name: frame for name, frame in given.items() if frame is not None}, columns)
    groups = Groups(tuple(by), period, time_zone or "UTC")
    result: Frame = give_back(_rows(inputs, groups), inputs.kind)
    return result


def _rows(inputs: Inputs, groups: Groups) -> Any:
    schema = inputs["full_link"].collect_schema()
    paid, bought, off = (
        schema[name] for name in ("transaction_amount_allocated", "purchase_amount_allocated", "discount")
    )
    amounts = {
        "revenue": paid,
        "purchase_revenue": bought,
        "discount_cost": off,
        "revenue_with_discount": paid,
    }
    totals = sum_up(collect(dict(inputs.frames), groups), groups, amounts)
    # A rate needs the same vouchers above and below the line; by store or period they are others.
    comparable = "store_id" not in groups.by and groups.period is None
    rates = [
        _ratio("bought", "issued", comparable).alias("purchase_rate"),
        _ratio("redeemed_issued", "issued", comparable).alias("redemption_rate"),
        _ratio("responders", "addressed", comparable).alias("response_rate"),
        _ratio("revenue_with_discount", "discount_cost", True).alias("revenue_per_discount"),
    ]
    return totals.with_columns(*rates).select(*groups.keys, *RESULT_COLUMNS)


def _ratio(above: str, below: str, comparable: bool) -> nw.Expr:
    if not comparable:
        return nw.lit(None).cast(nw.Float64)
    over = nw.col(below).cast(nw.Float64)
    return nw.when(over != 0).then(nw.col(above).cast(nw.Float64) / over)
