"""What the demonstration prints: tables for the terminal, where a dash is what the data do not say."""

from __future__ import annotations

from typing import Any

import polars as pl
from rich.table import Table

from counterfoil.linkage.evidence import LEVELS
from counterfoil.linkage.sections import as_polars


def campaigns_table(campaigns: pl.DataFrame) -> Table:
    """The campaigns as a table for the terminal; a dash is what the data do not say."""
    table = Table(
        title=f"{campaigns.height} campaigns", caption="– the data do not say", title_justify="left"
    )
    heads = (
        "campaign",
        "kind",
        "from",
        "to",
        "addressed",
        "issued",
        "redeemed",
        "responded",
        "rate",
        "paid",
        "discount",
    )
    for head in heads:
        table.add_column(head, justify="left" if head in {"campaign", "kind", "from", "to"} else "right")
    for row in campaigns.to_dicts():
        table.add_row(
            row["campaign_id"],
            row["kind"][-1].upper(),
            str(row["starts_on"]),
            str(row["last_on"]),
            _count(row["addressed"]),
            _count(row["issued"]),
            _count(row["redemptions"]),
            _percent(row["response_rate"]),
            _percent(row["redemption_rate"]),
            _dollars(row["revenue"]),
            _dollars(row["discount_cost"]),
        )
    return table


def evidence_table(evidence: Any) -> Table:
    """How many redemptions reach each evidence level, and how many of them name one basket."""
    counted = as_polars(evidence).group_by("evidence_level", "evidence_status").agg(n=pl.len())
    counts = {(row["evidence_level"], row["evidence_status"]): row["n"] for row in counted.to_dicts()}
    table = Table(title="Evidence of the redemptions", title_justify="left")
    for head in ("level", "same customer, same local day, and", "linked", "ambiguous", "all"):
        table.add_column(head, justify="left" if head.startswith("same") else "right")
    for level, meaning in LEVELS.items():
        linked, ambiguous = counts.get((level, "linked"), 0), counts.get((level, "ambiguous"), 0)
        table.add_row(str(level), meaning, _count(linked), _count(ambiguous), _count(linked + ambiguous))
    unmatched = counts.get((None, "unmatched"), 0)
    table.add_row("–", "no basket on that day", "", "", _count(unmatched))
    return table


def breaks_table(breaks: Any) -> Table:
    """The breaks by kind, with the median age in days."""
    days = (pl.col("age_seconds") / 86_400).median()
    kinds = (
        as_polars(breaks)
        .group_by("kind")
        .agg(n=pl.len(), days=days)
        .sort("n", "kind", descending=[True, False])
    )
    table = Table(title=f"{kinds['n'].sum():,} breaks", title_justify="left")
    table.add_column("kind")
    table.add_column("count", justify="right")
    table.add_column("median age, days", justify="right")
    for row in kinds.to_dicts():
        table.add_row(row["kind"].replace("_", " "), _count(row["n"]), _count(row["days"]))
    return table


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value * 100:.1f} %"


def _dollars(minor: int | None) -> str:
    return "–" if minor is None else f"{minor / 100:,.2f}"
