"""The figures and sentences of a report, counted from its frames."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import narwhals as nw
import polars as pl

from counterfoil.linkage.evidence import LEVELS
from counterfoil.linkage.local_days import with_local_date
from counterfoil.linkage.uplift import wilson

if TYPE_CHECKING:
    from counterfoil.linkage.report import ReportInput

_DAY: Final = 86_400
_NAMED: Final = 3
"""How many campaigns a sentence names before it says how many more there are."""

_SHORT_LEVELS: Final = {
    4: "discount on product",
    3: "discount elsewhere",
    2: "product only",
    1: "discount only",
    0: "customer and day",
}


def count(value: float | None) -> str:
    """A count with thousands marked, or a dash where it is unknown."""
    return "–" if value is None else f"{value:,.0f}"


def percent(value: float | None) -> str:
    """A part as per cent, with a digit more where it is small."""
    if value is None:
        return "–"
    digits = 2 if 0 < abs(value) < 0.01 else 1
    return f"{value * 100:.{digits}f}\u202f%"


def days(seconds: float | None) -> str:
    """Seconds as days."""
    return "–" if seconds is None else f"{seconds / _DAY:,.1f}"


def money(value: float | None, minor_digits: int) -> str:
    """An amount in its main unit; whole ones where there are many."""
    if value is None:
        return "–"
    amount = value / 10**minor_digits
    return f"{amount:,.0f}" if abs(amount) >= 1000 or not minor_digits else f"{amount:,.{minor_digits}f}"


def level_name(level: int | None) -> str:
    """What an evidence level means, in as few words as a label has room for."""
    return "no basket that day" if level is None else f"{level} {_SHORT_LEVELS[level]}"


def nearest_rank(values: pl.Series, part: int) -> float:
    """The smallest value that at least `part` per cent of the values do not exceed."""
    ordered = values.sort()
    return float(ordered[max(0, math.ceil(len(ordered) * part / 100) - 1)])


def read_links(full_link: Any, names: Any, time_zone: str) -> pl.DataFrame:
    """The full link with local days, days from issuance to first redemption, and the campaign's series."""
    frame = nw.from_native(full_link).lazy()
    for column, into in (("issued_at", "issued_on"), ("redeemed_at", "redeemed_on")):
        frame = with_local_date(frame, column, time_zone=time_zone, into=into)
    links: pl.DataFrame = frame.collect("polars").to_native()
    links = links.with_columns(pl.col("campaign_id").cast(pl.String))
    links = links.with_columns(
        wait_days=pl.when(pl.col("redemption_number") == 1).then(
            (pl.col("redeemed_on") - pl.col("issued_on")).dt.total_days()
        )
    )
    series = pl.lit("all campaigns")
    if names is not None:
        named: pl.DataFrame = nw.from_native(names).lazy().collect("polars").to_native()
        if "kind" in named.columns:
            kinds = named.select(pl.col("campaign_id").cast(pl.String), "kind").unique("campaign_id")
            links = links.join(kinds, on="campaign_id", how="left")
            series = pl.col("kind").cast(pl.String).fill_null("no campaign")
    return links.with_columns(series=series)


def figures(
    links: pl.DataFrame, breaks: pl.DataFrame | None, given: ReportInput
) -> list[tuple[str, str, str]]:
    """The numbers at the top: what, how many, of what."""
    redeemed = links.filter(pl.col("redemption_stage") != "none")
    issued = links.filter(pl.col("issuance_stage") != "issuance_missing")["voucher_id"].n_unique()
    who = (
        redeemed.select(pl.coalesce("redemption_customer_id", "customer_id"))
        .to_series()
        .drop_nulls()
        .n_unique()
    )
    paid = float(redeemed["transaction_amount_allocated"].sum())
    named = redeemed.filter(pl.col("redemption_stage").is_in(["paid", "ordered"])).height
    off = redeemed["discount"].drop_nulls()
    return [
        ("vouchers issued", count(issued), "with a record of it"),
        ("redemptions", count(redeemed.height), f"by {count(who)} customers"),
        (
            "paid with them",
            money(paid, given.minor_digits),
            f"{given.unit}, in {count(named)} linked redemptions",
        ),
        (
            "discount known",
            money(float(off.sum()), given.minor_digits),
            f"{given.unit}, on {count(len(off))} redemptions",
        ),
        ("breaks", "–" if breaks is None else count(breaks.height), "records that do not fit together"),
    ]


def in_short(campaigns: Sequence[Mapping[str, Any]], links: pl.DataFrame, given: ReportInput) -> list[str]:
    """What a reader in a hurry should know; each sentence only if the data carry it."""
    said = [_on_response(campaigns), _on_times(links), _on_money(links, given), _on_links(links)]
    return [sentence for sentence in said if sentence]


def _on_response(campaigns: Sequence[Mapping[str, Any]]) -> str:
    rows = [row for row in campaigns if row["addressed"]]
    if not rows:
        return ""
    all_of, all_n = sum(row["addressed"] for row in rows), sum(row["responders"] for row in rows)
    overall = all_n / all_of
    above = [row for row in rows if wilson(row["responders"], row["addressed"])[0] > overall]
    below = [row for row in rows if wilson(row["responders"], row["addressed"])[1] < overall]
    text = (
        f"Of {count(all_of)} times that a customer was addressed, {count(all_n)} led to a redemption "
        f"({percent(overall)}). "
    )
    if above:
        text += f"Clearly above that: {_listed(above, best=True)}. "
    if below:
        text += f"Clearly below: {_listed(below, best=False)}. "
    return text + "For the others the numbers are too small to tell them from the average."


def _listed(rows: Sequence[Mapping[str, Any]], *, best: bool) -> str:
    ordered = sorted(rows, key=lambda row: row["responders"] / row["addressed"], reverse=best)
    named = [f"{row['label']} ({percent(row['responders'] / row['addressed'])})" for row in ordered[:_NAMED]]
    more = len(ordered) - _NAMED
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")


def _on_times(links: pl.DataFrame) -> str:
    waits = links.filter(pl.col("wait_days") >= 0)["wait_days"]
    if len(waits) < 10:
        return ""
    tenth, half, most = (nearest_rank(waits, part) for part in (10, 50, 90))
    return (
        f"Half of the vouchers that were redeemed were redeemed within {half:.0f} days of being issued, a "
        "tenth "
        f"within {tenth:.0f}, nine tenths within {most:.0f}."
    )


def _on_money(links: pl.DataFrame, given: ReportInput) -> str:
    known = links.filter(
        pl.col("discount").is_not_null() & pl.col("transaction_amount_allocated").is_not_null()
    )
    off, paid = float(known["discount"].sum()), float(known["transaction_amount_allocated"].sum())
    if not off:
        return ""
    return (
        f"Where the discount of a redemption is known, {paid / off:,.0f} {given.unit or 'units'} were paid "
        "for "
        "each one taken off. That is what happened beside the vouchers, not what they caused."
    )


def _on_links(links: pl.DataFrame) -> str:
    redeemed = links.filter(pl.col("redemption_stage") != "none")
    if redeemed.is_empty():
        return ""
    orphans = redeemed.filter(pl.col("link_status") == "orphan").height
    issued = redeemed.height - orphans
    text = f"{count(issued)} of {count(redeemed.height)} redemptions belong to a recorded issuance"
    return f"{text}; {count(orphans)} do not and stay orphans." if orphans else f"{text}."


CHANCE_NOTE: Final = (
    "By chance: the same vouchers held against the same customers' baskets of other days, on which they "
    "redeemed "
    "nothing. A level that is rare by chance and frequent here speaks for the basket; one that is as "
    "frequent by "
    "chance leaves it to the customer and the day."
)


def chance_table(chance: Mapping[int, float], evidence: pl.DataFrame) -> tuple[tuple[str, ...], ...]:
    """How often each level comes about by itself, beside how often it does here."""
    if not chance:
        return ()
    rows = [("same customer, same day, and", "here", "by chance", "times as often")]
    for level, meaning in LEVELS.items():
        here = evidence.filter(pl.col("evidence_level") == level).height / evidence.height
        alone = chance.get(level, 0.0)
        times = f"{here / alone:.2g}" if alone else "–"
        rows.append((f"{level}: {meaning}", percent(here), percent(alone), times))
    return tuple(rows)


def cannot_say(campaigns: Sequence[Mapping[str, Any]], links: pl.DataFrame, given: ReportInput) -> list[str]:
    """What a reader might take from the report and must not, as far as the frames show it."""
    redeemed = links.filter(pl.col("redemption_stage") != "none")
    said = []
    if all(row["exposed"] is None for row in campaigns):
        said.append(
            "How many people saw the campaigns: there is no log of pages or impressions, so it stays empty."
        )
    if not any(item.causal for item in given.uplifts):
        said.append(
            "What the campaigns caused. Nobody was held out at random, so what these customers would have "
            "bought "
            "anyway is not known; money paid with a voucher is not money earned by it."
        )
    orphans = redeemed.filter(pl.col("link_status") == "orphan").height
    if orphans:
        said.append(
            f"When {count(orphans)} of the redeemed vouchers were issued: there is no record of it. They "
            "have no "
            "time to redeem and are in no redemption rate."
        )
    unnamed = redeemed.filter(
        pl.col("redemption_stage").is_in(["no_transaction_id", "transaction_missing"])
    ).height
    if unnamed:
        said.append(f"What was paid with {count(unnamed)} redemptions: no transaction is known for them.")
    unknown = redeemed["discount"].null_count()
    if unknown:
        said.append(
            f"What {count(unknown)} of {count(redeemed.height)} redemptions took off: their discount is not "
            "recorded, or could be another voucher's. The known discount is a lower bound."
        )
    return said
