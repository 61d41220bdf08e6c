"""What a campaign caused, where a holdout can say it, and a plain refusal where it cannot."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from statistics import NormalDist
from typing import Any, Final

import narwhals as nw

from counterfoil.linkage.columns import ColumnMap, Inputs, read_inputs
from counterfoil.linkage.types import Source

CONFIDENCE: Final = 0.95
NO_HOLDOUT: Final = (
    "Nobody was held out, so what these customers would have done without the campaign is not known."
)
TARGETED: Final = (
    "The customers were chosen, not drawn at random: those addressed differ from those who were not, so the "
    "difference shows who was chosen as well as what the campaign did."
)
UNKNOWN: Final = (
    "How customers came into the groups is not recorded; without random assignment a difference is no effect."
)
RANDOM: Final = (
    "The groups were drawn at random, so the difference is the effect of the campaign, within its interval."
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A difference, treated less holdout, with its 95 % confidence interval; None where it cannot be had."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Group:
    """Customers of one group: how many, how many of them bought, and what each spent on average."""

    customers: int
    converted: int
    mean: float
    variance: float | None

    @property
    def rate(self) -> float | None:
        """The part of the customers who bought."""
        return self.converted / self.customers if self.customers else None


@dataclass(frozen=True, slots=True)
class Uplift:
    """The comparison for one campaign: an effect only where `causal` is true; `why` says why, or why not."""

    campaign_id: Any
    treated: Group
    holdout: Group
    conversion: Estimate
    revenue_per_customer: Estimate
    causal: bool
    why: str


def uplift(
    *,
    audience: Any,
    transactions: Any,
    periods: Mapping[Any, tuple[datetime, datetime]],
    columns: ColumnMap | None = None,
) -> list[Uplift]:
    """Compare who was addressed with who was held out, on what *both* could do: buy.

    A holdout has no voucher to redeem, so redemptions cannot be compared; purchases can. A customer
    converted if they have a transaction in the campaign's period (`periods`: campaign id to its aware start
    and its end, exclusive); their revenue is what those transactions amount to, zero where there are none.

    `audience` has `campaign_id`, `customer_id`, `group` (`holdout`, else treated) and `assignment`
    (`random` or `targeted`); `transactions` has `transaction_id`, `customer_id`, `paid_at` and `amount`. A
    customer in both groups of a campaign is left out of both. Frames of any one kind; the result is one
    `Uplift` a campaign in `periods`, in that order.

    Rates differ by Newcombe's hybrid score interval, means by Welch's. `causal` is true only if everybody
    in both groups was assigned at random and neither is empty. Whatever else it is, `why` says it in a
    sentence.
    """
    given: dict[Source, Any] = {"audience": audience, "transactions": transactions}
    inputs = read_inputs(given, columns)
    return [_compare(inputs, campaign, start, end) for campaign, (start, end) in periods.items()]


def _compare(inputs: Inputs, campaign: Any, start: datetime, end: datetime) -> Uplift:
    asked = inputs["audience"].filter(nw.col("campaign_id") == campaign).drop_nulls("customer_id")
    held = (nw.col("group").fill_null("treatment") == "holdout").cast(nw.Int64)
    at_random = (nw.col("assignment").fill_null("unknown") == "random").cast(nw.Int64)
    targeted = (nw.col("assignment").fill_null("unknown") == "targeted").cast(nw.Int64)
    flagged = asked.select("customer_id", held=held, at_random=at_random, targeted=targeted)
    people = flagged.group_by("customer_id").agg(
        nw.col("held").min(),
        nw.col("held").max().alias("held_too"),
        nw.col("at_random").min(),
        nw.col("targeted").max(),
    )
    people = people.filter(nw.col("held") == nw.col("held_too"))
    paid = inputs["transactions"].filter(nw.col("paid_at") >= start, nw.col("paid_at") < end)
    spent = paid.drop_nulls("customer_id").group_by("customer_id").agg(spent=nw.col("amount").sum())
    each = people.join(spent, on="customer_id", how="left").select(
        "held",
        "at_random",
        "targeted",
        converted=nw.when(nw.col("spent").is_null()).then(nw.lit(0)).otherwise(nw.lit(1)).cast(nw.Int64),
        spent=nw.col("spent").cast(nw.Float64).fill_null(0.0),
    )
    found = each.group_by("held").agg(
        nw.len().alias("customers"),
        nw.col("converted").sum(),
        nw.col("spent").mean().alias("mean"),
        nw.col("spent").var(ddof=1).alias("variance"),
        nw.col("at_random").min(),
        nw.col("targeted").max(),
    )
    return _judge(campaign, found.collect("pyarrow").to_native().to_pylist())


def _judge(campaign: Any, rows: list[dict[str, Any]]) -> Uplift:
    by_group = {row["held"]: row for row in rows}
    treated, holdout = (_group(by_group.get(held)) for held in (0, 1))
    random = bool(rows) and all(row["at_random"] for row in rows)
    causal = random and bool(treated.customers and holdout.customers)
    if not holdout.customers:
        why = NO_HOLDOUT
    elif causal:
        why = RANDOM
    else:
        why = TARGETED if any(row["targeted"] for row in rows) else UNKNOWN
    conversion = newcombe(treated.converted, treated.customers, holdout.converted, holdout.customers)
    return Uplift(campaign, treated, holdout, conversion, welch(treated, holdout), causal, why)


def _group(row: dict[str, Any] | None) -> Group:
    if row is None:
        return Group(0, 0, 0.0, None)
    variance = row["variance"]
    known = variance is not None and not math.isnan(variance) and row["customers"] > 1
    return Group(int(row["customers"]), int(row["converted"]), row["mean"], variance if known else None)


def wilson(successes: int, of: int, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval for a rate.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the
    American Statistical Association 22 (1927), 209-212.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate, square = successes / of, z * z
    middle = (successes + square / 2) / (of + square)
    half = z * math.sqrt(rate * (1 - rate) * of + square / 4) / (of + square)
    return middle - half, middle + half


def newcombe(
    successes: int, of: int, other_successes: int, other_of: int, *, confidence: float = CONFIDENCE
) -> Estimate:
    """The difference of two independent rates with Newcombe's hybrid score interval (his method 10).

    It keeps its coverage for small groups and rates near 0, where the textbook interval does not: R. G.
    Newcombe, "Interval estimation for the difference between independent proportions: comparison of eleven
    methods", Statistics in Medicine 17 (1998), 873-890.
    """
    if not (of and other_of):
        return Estimate(None, None, None)
    rate, other = successes / of, other_successes / other_of
    low, high = wilson(successes, of, confidence=confidence)
    other_low, other_high = wilson(other_successes, other_of, confidence=confidence)
    difference = rate - other
    return Estimate(
        difference,
        difference - math.hypot(rate - low, other_high - other),
        difference + math.hypot(high - rate, other - other_low),
    )


def welch(treated: Group, holdout: Group, *, confidence: float = CONFIDENCE) -> Estimate:
    """The difference of two means with Welch's interval, which does not take the variances to be equal.

    B. L. Welch, "The generalization of 'Student's' problem when several different population variances are
    involved", Biometrika 34 (1947), 28-35. Money per customer is skewed: with few customers the interval is
    only as good as the normal approximation of the mean.
    """
    if not (treated.customers and holdout.customers):
        return Estimate(None, None, None)
    from scipy.stats import t as student  # takes half a second to import, and few need it

    difference = treated.mean - holdout.mean
    if treated.variance is None or holdout.variance is None:
        return Estimate(difference, None, None)
    first, second = treated.variance / treated.customers, holdout.variance / holdout.customers
    if first + second == 0:
        return Estimate(difference, difference, difference)
    freedom = (first + second) ** 2 / (
        first**2 / (treated.customers - 1) + second**2 / (holdout.customers - 1)
    )
    half = float(student.ppf((1 + confidence) / 2, freedom)) * math.sqrt(first + second)
    return Estimate(difference, difference - half, difference + half)
