"""What the demonstration leaves behind and prints: pure functions from frames to files and tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from counterfoil.demo.complete_journey import CURRENCY, TIME_ZONE, CompleteJourney
from counterfoil.linkage.analyse import analyse
from counterfoil.linkage.evidence import LEVELS, link_by_evidence
from counterfoil.linkage.report import ReportInput, write_report
from counterfoil.linkage.sections import as_polars

FIRST_DAY: Final = date(2017, 1, 1)
LAST_DAY: Final = date(2017, 12, 31)
"""The days that the baskets and the redemptions cover."""

CANNOT_SAY: Final = (
    "What campaigns marked * came to as a whole: the data are those of 2017, and these began before it or "
    "went on "
    "after it. Their rates are too low by what was redeemed then.",
    "How many coupons campaigns of type A gave out, and which: each customer got some out of a large pool, "
    "and which "
    "is not in the data. Their redemptions are counted and linked; a redemption rate of theirs would be "
    "invented.",
    "The hour at which vouchers of type B and C were issued: the day on which the campaign started stands "
    "for it, so "
    "days to redeem are days since the campaign's start.",
    "Whether a coupon slip handed in under two campaigns at once is one redemption or two: it is counted "
    "as the data "
    "record it.",
)
"""What these data cannot say, beyond what any report finds out by itself."""

_NOT_ISSUED: Final = (
    "issued",
    "bought",
    "redeemed_issued",
    "customers_issued",
    "purchase_rate",
    "redemption_rate",
)
_SHIFTS: Final = (-28, -21, -14, -7, 7, 14, 21, 28)


@dataclass(frozen=True, slots=True)
class Written:
    """The files that were written."""

    full_link: Path
    campaigns: Path
    evidence: Path
    report: Path


def analyse_campaigns(journey: CompleteJourney, full_link: Any, breaks: Any = None) -> pl.DataFrame:
    """The analysis per campaign, by number, with `name`, `kind`, its first and last local day and `seen`.

    What was issued in campaigns of type A is null: it is not known, and no record is not a zero. `seen` is
    `whole` or `part`: the data are those of 2017, and some campaigns began before it or went on after.
    """
    links = as_polars(full_link)
    found = analyse(
        full_link=links,
        audience=as_polars(journey.audience),
        breaks=None if breaks is None else as_polars(breaks),
        time_zone=TIME_ZONE,
    )
    local = pl.col("starts_at", "ends_at").dt.convert_time_zone(TIME_ZONE).dt.date()
    campaigns = (
        as_polars(journey.campaigns).with_columns(local).rename({"starts_at": "starts_on", "ends_at": "_end"})
    )
    campaigns = campaigns.with_columns(last_on=pl.col("_end").dt.offset_by("-1d")).drop("_end")
    whole = (pl.col("starts_on") >= FIRST_DAY) & (pl.col("last_on") <= LAST_DAY)
    campaigns = campaigns.with_columns(seen=pl.when(whole).then(pl.lit("whole")).otherwise(pl.lit("part")))
    known = pl.col("kind") != "type_a"
    return (
        campaigns.join(found, on="campaign_id", how="left", nulls_equal=False)
        .with_columns(pl.when(known).then(pl.col(name)).alias(name) for name in _NOT_ISSUED)
        .sort(pl.col("campaign_id").cast(pl.Int64))
    )


def evidence_rows(journey: CompleteJourney) -> pl.DataFrame:
    """The rows of `evidence.csv`: household, coupon, campaign, date, level, basket, number of baskets."""
    number = pl.col("template_id").str.split("-").list.get(1).cast(pl.Int64)
    return (
        as_polars(journey.evidence)
        .select(
            household_id=pl.col("customer_id").cast(pl.Int64),
            coupon_upc=number,
            campaign_id=pl.col("campaign_id").cast(pl.Int64),
            redemption_date="redeemed_on",
            evidence_level="evidence_level",
            basket_id=pl.col("order_id").cast(pl.Int64),
            basket_count="order_count",
        )
        .sort("household_id", "coupon_upc", "campaign_id", "redemption_date")
    )


def chance_levels(journey: CompleteJourney) -> dict[int, float]:
    """The part of redemptions that reach each level by chance: the same vouchers, one to four weeks off.

    A day on which the household redeemed anything is left out, and so is one without a basket.
    """
    shifts = ", ".join(f"({days})" for days in _SHIFTS)
    moved = journey.connection.sql(
        f"""
        SELECT customer_id, template_id, redeemed_on + days AS redeemed_on
        FROM redeemed CROSS JOIN (VALUES {shifts}) AS shift(days)
        WHERE NOT EXISTS (
            SELECT 1 FROM redeemed AS other
            WHERE other.customer_id = redeemed.customer_id AND other.redeemed_on = redeemed.redeemed_on + days
        )
        """
    )
    found = link_by_evidence(
        redemptions=moved,
        baskets=journey.connection.sql("FROM orders"),
        lines=journey.connection.sql("FROM order_lines"),
        eligible=journey.connection.sql("FROM template_products"),
        time_zone=TIME_ZONE,
        columns={
            "redemptions": {"voucher_id": "template_id"},
            "lines": {"coupon_discount": "coupon_discount_minor"},
            "eligible": {"voucher_id": "template_id"},
        },
    )
    levels = as_polars(found).drop_nulls("evidence_level")["evidence_level"]
    return {level: float((levels == level).mean() or 0.0) for level in LEVELS}  # type: ignore[arg-type]


def write_outputs(
    journey: CompleteJourney, *, full_link: Any, breaks: Any, folder: Path, taken_at: datetime
) -> Written:
    """Write `full_link.parquet`, `campaigns.csv`, `evidence.csv`, `report.html` into `folder`, each whole."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("full_link.parquet", "campaigns.csv", "evidence.csv", "report.html")
    written = Written(*(folder / name for name in names))
    links = as_polars(full_link)
    campaigns = analyse_campaigns(journey, full_link, breaks)
    in_order = links.sort("voucher_id", "redemption_number", "redemption_id", nulls_last=True)
    _whole(written.full_link, in_order.write_parquet)
    _whole(written.campaigns, campaigns.write_csv)
    _whole(written.evidence, evidence_rows(journey).write_csv)
    write_report(
        ReportInput(
            full_link=links,
            analysis=campaigns.drop("name", "kind", "starts_on", "last_on", "seen"),
            taken_at=taken_at,
            title="27 coupon campaigns, and what became of them",
            source="The Complete Journey (84.51°): a grocer's households, baskets and coupons of 2017.",
            breaks=breaks,
            evidence=journey.evidence,
            chance=chance_levels(journey),
            names=campaigns.select("campaign_id", name=_short_name(), kind=_kind()),
            cannot_say=CANNOT_SAY,
            time_zone=TIME_ZONE,
            unit=CURRENCY,
            minor_digits=2,
        ),
        written.report,
    )
    return written


def _kind() -> pl.Expr:
    return pl.lit("type ") + pl.col("kind").str.slice(-1).str.to_uppercase()


def _short_name() -> pl.Expr:
    star = pl.when(pl.col("seen") == "part").then(pl.lit("\u00a0*")).otherwise(pl.lit(""))
    return pl.col("campaign_id") + "\u00a0·\u00a0" + pl.col("kind").str.slice(-1).str.to_uppercase() + star


def _whole(path: Path, write: Any) -> None:
    part = path.with_name(f".{path.name}.part")
    write(part)
    part.replace(path)
