"""The sections of a report: a chart each, with its heading and what to see in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import narwhals as nw
import polars as pl

from counterfoil.linkage import charts, findings
from counterfoil.linkage.charts import Drawn
from counterfoil.linkage.uplift import wilson

if TYPE_CHECKING:
    from counterfoil.linkage.report import ReportInput

AGES: Final = (("up to 30 days", 30), ("31 to 90 days", 90), ("91 to 180 days", 180), ("older", None))


@dataclass(frozen=True, slots=True)
class Section:
    """A chart with its heading and what to see in it."""

    id: str
    heading: str
    lead: str
    drawn: Drawn
    table: tuple[tuple[str, ...], ...] = ()
    """Rows under the chart, the first of them the heads."""
    note: str = ""


def as_polars(frame: Any) -> pl.DataFrame:
    """A frame of any kind as a Polars one: what a report shows is small."""
    return cast("pl.DataFrame", nw.from_native(frame).lazy().collect("polars").to_native())


def make_sections(
    given: ReportInput, campaigns: list[dict[str, Any]], links: pl.DataFrame, breaks: pl.DataFrame | None
) -> list[Section]:
    """The sections that the frames have something for."""
    names = sorted({row["series"] for row in campaigns} | set(links["series"]))
    made = [
        _reach(campaigns),
        _rates(campaigns, names),
        _weeks(links, names),
        _times(links, names),
        _money(campaigns, given, names),
        _evidence(given),
        _breaks(breaks),
    ]
    return [section for section in made if section is not None]


def _reach(campaigns: list[dict[str, Any]]) -> Section | None:
    addressed = any(row["addressed"] for row in campaigns)
    of, n = ("addressed", "responders") if addressed else ("issued", "redeemed_issued")
    rows = [
        {"label": row["label"], "of": row[of], "n": row[n] or 0, "text": f"{row[n] or 0:,} of {row[of]:,}"}
        for row in campaigns
        if row[of]
    ]
    if not rows:
        return None
    whole, part = ("addressed", "of them redeemed") if addressed else ("issued", "of them redeemed")
    what = "customers addressed" if addressed else "vouchers issued"
    lead = f"Each pale bar is the {what} by a campaign, the dark one those of them that redeemed."
    drawn = charts.draw(charts.reach(rows, whole=whole, part=part), lead)
    return Section("reach", "From those reached to those who came", lead, drawn)


def _rates(campaigns: list[dict[str, Any]], names: list[str]) -> Section | None:
    addressed = any(row["addressed"] for row in campaigns)
    of, n = ("addressed", "responders") if addressed else ("issued", "redeemed_issued")
    rows = []
    for row in campaigns:
        if row[of]:
            low, high = wilson(row[n] or 0, row[of])
            rate = (row[n] or 0) / row[of]
            rows.append(
                {"label": row["label"], "series": row["series"], "rate": rate, "low": low, "high": high}
            )
    if not rows:
        return None
    rows.sort(key=lambda row: -row["rate"])
    overall = sum(row[n] or 0 for row in campaigns if row[of]) / sum(row[of] for row in campaigns if row[of])
    title = "customers addressed who redeemed" if addressed else "vouchers issued that were redeemed"
    lead = (
        "The dot is the rate, the line its 95 % interval (Wilson): two campaigns whose lines overlap "
        "widely are "
        f"not known to differ. The dashed line is the rate of all together, {findings.percent(overall)}."
    )
    drawn = charts.draw(charts.rates(rows, names=names, overall=overall, title=title), lead)
    return Section("rates", "Which campaigns were answered", lead, drawn)


def _weeks(links: pl.DataFrame, names: list[str]) -> Section | None:
    redeemed = links.filter(pl.col("redeemed_on").is_not_null())
    if redeemed.is_empty():
        return None
    weeks = redeemed.group_by(pl.col("redeemed_on").dt.truncate("1w").alias("week"), "series").agg(n=pl.len())
    rows = [{**row, "week": row["week"].isoformat()} for row in weeks.sort("week", "series").to_dicts()]
    lead = "Redemptions by the week in which they happened, local time; weeks start on Monday."
    return Section(
        "weeks", "When they were redeemed", lead, charts.draw(charts.weekly(rows, names=names), lead)
    )


def _times(links: pl.DataFrame, names: list[str]) -> Section | None:
    waits = links.filter(pl.col("wait_days") >= 0)
    if waits.is_empty():
        return None
    width = max(1, round(float(waits["wait_days"].max()) / 28))  # type: ignore[arg-type]
    bins = waits.group_by((pl.col("wait_days") // width * width).alias("start"), "series").agg(n=pl.len())
    rows = [{**row, "end": row["start"] + width} for row in bins.sort("start", "series").to_dicts()]
    middle = findings.nearest_rank(waits["wait_days"], 50)
    marks = [{"at": middle, "text": f"half within {middle:.0f} days"}]
    lead = f"Days from issuance to the first redemption, {waits.height:,} vouchers whose two times are known."
    drawn = charts.draw(charts.histogram(rows, names=names, title="days since issuance", marks=marks), lead)
    return Section("times", "How long people take", lead, drawn)


def _money(campaigns: list[dict[str, Any]], given: ReportInput, names: list[str]) -> Section | None:
    unit = 10**given.minor_digits
    rows = [
        {
            "label": row["label"],
            "short": row["short"],
            "series": row["series"],
            "discount": row["discount_cost"] / unit,
            "revenue": row["revenue_per_discount"] * row["discount_cost"] / unit,
        }
        for row in campaigns
        if (row["discount_cost"] or 0) > 0 and (row["revenue_per_discount"] or 0) > 0
    ]
    if not rows:
        return None
    _name_those_with_room(rows)
    lead = (
        "Only redemptions whose discount is known. Further up for the same discount is more paid by those "
        "who "
        "redeemed; it is not what the voucher caused, for most of them would have bought something anyway."
    )
    return Section(
        "money",
        "What was paid, and what was taken off",
        lead,
        charts.draw(charts.money(rows, names=names, unit=given.unit), lead),
    )


def _name_those_with_room(rows: list[dict[str, Any]]) -> None:
    """Leave the name off a dot that is too near a named one: names on top of each other cannot be read."""
    named: list[tuple[float, float]] = []
    for row in sorted(rows, key=lambda row: -row["revenue"]):
        x, y = math.log10(row["discount"]), math.log10(row["revenue"])
        if any(abs(x - other_x) < 0.18 and abs(y - other_y) < 0.14 for other_x, other_y in named):
            row["short"] = ""
        else:
            named.append((x, y))


def _evidence(given: ReportInput) -> Section | None:
    evidence = None if given.evidence is None else as_polars(given.evidence)
    if evidence is None or evidence.is_empty():
        return None
    shades = {"linked": "blue", "ambiguous": "amber", "unmatched": "red"}
    order = [status for status in shades if status in set(evidence["evidence_status"])]
    rows = [
        {
            "label": findings.level_name(row["evidence_level"]),
            "n": row["n"],
            "series": row["evidence_status"],
            "rank": order.index(row["evidence_status"]),
        }
        for row in evidence.group_by("evidence_level", "evidence_status")
        .agg(n=pl.len())
        .sort("evidence_level", descending=True, nulls_last=True)
        .to_dicts()
    ]
    lead = (
        "Redemptions that name no transaction, linked to baskets by the customer, the local day, the "
        "products and "
        "the discount. Where several baskets fit equally well none is picked."
    )
    colours = [shades[status] for status in order]
    drawn = charts.draw(charts.stacked(rows, title="redemptions", order=order, colours=colours), lead)
    table = findings.chance_table(given.chance, evidence)
    note = findings.CHANCE_NOTE if table else ""
    return Section("evidence", "How sure the links are", lead, drawn, table, note)


def _breaks(breaks: pl.DataFrame | None) -> Section | None:
    if breaks is None or breaks.is_empty():
        return None
    age = pl.col("age_seconds") / 86_400
    bucket: Any = pl.when(age.is_null()).then(pl.lit("age unknown"))
    for name, limit in AGES:
        bucket = bucket.when(age <= limit if limit else pl.lit(True)).then(pl.lit(name))
    counted = breaks.group_by("kind", bucket.alias("series")).agg(n=pl.len())
    order = [name for name in (*(name for name, _ in AGES), "age unknown") if name in set(counted["series"])]
    shades = ("pale", "blue", "plum", "amber", "red")[: len(order)]
    totals = counted.group_by("kind").agg(of=pl.col("n").sum())
    rows = [
        {
            "label": row["kind"].replace("_", " "),
            "n": row["n"],
            "series": row["series"],
            "rank": order.index(row["series"]),
        }
        for row in counted.join(totals, on="kind").sort("of", "kind", descending=[True, False]).to_dicts()
    ]
    lead = f"{breaks.height:,} things that do not fit together, by kind and by how long they have stood."
    drawn = charts.draw(charts.stacked(rows, title="breaks", order=order, colours=shades), lead)
    return Section("breaks", "What does not fit", lead, drawn)
