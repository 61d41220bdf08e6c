"""A campaign report that opens offline: one HTML file with its charts in it, no script, no outside address.

It is made of frames: the full link, the analysis per campaign, and whatever else there is. Every sentence
in it is counted from them; what they cannot say is said in words of its own section.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import polars as pl

from counterfoil.linkage import findings
from counterfoil.linkage.charts import PALETTE
from counterfoil.linkage.sections import as_polars, make_sections
from counterfoil.linkage.uplift import Uplift


@dataclass(frozen=True)
class ReportInput:
    """What a report is made of; frames of any kind, each optional but the first two.

    `analysis` is what `analyse` gives by `campaign_id` alone. `names` has a row a campaign: `campaign_id`,
    `name` and perhaps `kind`, by which charts are coloured. `evidence` has `evidence_level` and
    `evidence_status` per redemption; `chance` the part of redemptions that reach each level on a day on
    which nothing was redeemed. `minor_digits` is how many digits of an amount stand after the point (2 for
    cents; 0 for whole units).
    """

    full_link: Any
    analysis: Any
    taken_at: datetime
    title: str = "What the campaigns came to"
    source: str = ""
    breaks: Any = None
    evidence: Any = None
    chance: Mapping[int, float] = field(default_factory=dict)
    names: Any = None
    uplifts: Sequence[Uplift] = ()
    cannot_say: Sequence[str] = ()
    time_zone: str = "UTC"
    unit: str = ""
    minor_digits: int = 0


def render_report(given: ReportInput) -> str:
    """The report as the text of one HTML file."""
    campaigns = _campaigns(given)
    links = findings.read_links(given.full_link, given.names, given.time_zone)
    breaks = None if given.breaks is None else as_polars(given.breaks)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("counterfoil.linkage"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": findings.count, "percent": findings.percent, "days": findings.days}
    environment.filters["money"] = lambda value: findings.money(value, given.minor_digits)
    return environment.get_template("report.html").render(
        given=given,
        palette=PALETTE,
        figures=findings.figures(links, breaks, given),
        found=findings.in_short(campaigns, links, given),
        sections=make_sections(given, campaigns, links, breaks),
        campaigns=campaigns,
        shown=_shown(campaigns),
        uplifts=given.uplifts,
        cannot_say=[*findings.cannot_say(campaigns, links, given), *given.cannot_say],
    )


def write_report(given: ReportInput, path: Path) -> None:
    """Write the report to `path`, whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(render_report(given), encoding="utf-8")
    part.replace(path)


def _campaigns(given: ReportInput) -> list[dict[str, Any]]:
    """The analysis with names, most addressed (or issued) first."""
    analysis = as_polars(given.analysis)
    analysis = analysis.with_columns(pl.col("campaign_id").cast(pl.String))
    if given.names is not None:
        named = as_polars(given.names).with_columns(pl.col("campaign_id").cast(pl.String))
        analysis = analysis.join(named, on="campaign_id", how="left", nulls_equal=True)
    rows = analysis.to_dicts()
    for row in rows:
        row["short"] = row["campaign_id"] or "no campaign"
        row["label"] = row.get("name") or row["short"]
        row["series"] = row.get("kind") or "all campaigns"
    return sorted(rows, key=lambda row: (-(row["addressed"] or 0), -(row["issued"] or 0), row["label"]))


def _shown(campaigns: Sequence[Mapping[str, Any]]) -> set[str]:
    """The columns of the table that say something for at least one campaign."""
    names = {name for row in campaigns for name, value in row.items() if value is not None}
    return {name for name in names if name != "bought" or any(row["bought"] for row in campaigns)}
