"""The overview: every campaign from those addressed to the money."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response

from counterfoil.dashboard import analyses, charts
from counterfoil.dashboard.figures import Step, funnel, reasons, total
from counterfoil.dashboard.visits import Visit
from counterfoil.db.transactions import ReadTx, read
from counterfoil.linkage import queries
from counterfoil.linkage.queries import CAMPAIGN_SORTS, Analysis, CampaignFigures, CampaignSort
from counterfoil.vouchers.queries import list_campaign_kinds

PAGE_SIZE: Final = 30
LAST_PAGE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Line:
    """A campaign in the table."""

    campaign: CampaignFigures
    steps: dict[str, Step]
    why: dict[str, str]
    spark: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address asks for."""

    search: str
    kind: str
    sort: CampaignSort
    descending: bool
    page: int

    def query(self) -> dict[str, Any]:
        """As parameters of the address, without the page; what is the default is left out."""
        sort = "" if self.sort == "starts_at" and self.descending else self.sort
        direction = "" if self.descending else "up"
        return {"q": self.search, "kind": self.kind, "sort": sort, "direction": direction}


def _asked(visit: Visit) -> Asked:
    sort, number = visit.argument("sort"), visit.argument("page")
    return Asked(
        search=visit.argument("q"),
        kind=visit.argument("kind", longest=500),
        sort=sort if sort in CAMPAIGN_SORTS else "starts_at",
        descending=visit.argument("direction") != "up",
        page=min(max(int(number), 1), LAST_PAGE) if number.isascii() and number.isdigit() else 1,
    )


async def show(visit: Visit) -> Response:
    """The totals, their trend, what needs attention, and the campaigns."""
    asked = _asked(visit)
    async with read(visit.engine) as tx:
        analysis = await queries.find_latest_analysis(tx, merchant_id=visit.merchant.id)
        job = await analyses.find_running(tx, visit)
        breaks = await queries.count_breaks(tx, merchant_id=visit.merchant.id)
        kinds = await list_campaign_kinds(tx, merchant_id=visit.merchant.id)
        found, count = await queries.list_campaign_figures(
            tx,
            merchant_id=visit.merchant.id,
            analysis_id=analysis.id if analysis else None,
            search=asked.search or None,
            kind=asked.kind or None,
            sort=asked.sort,
            descending=asked.descending,
            limit=PAGE_SIZE,
            offset=(asked.page - 1) * PAGE_SIZE,
        )
        taken = await _taken(tx, analysis, found)
    return visit.render(
        "overview.html",
        analysis=analysis,
        job=job,
        breaks=breaks,
        kinds=kinds,
        asked=asked,
        count=count,
        pages=-(-count // PAGE_SIZE),
        first=(asked.page - 1) * PAGE_SIZE + 1,
        section="overview",
        campaigns=found,
        **taken,
    )


async def _taken(tx: ReadTx, analysis: Analysis | None, found: list[CampaignFigures]) -> dict[str, Any]:
    """What the analysis says: totals, trends, and the lines of the table."""
    if analysis is None:
        return {"totals": None, "steps": [], "trends": [], "lines": [], "best": 0, "unnamed": None}
    lines = await queries.analysis_lines(tx, analysis_id=analysis.id, breakdown="campaign")
    sums = await queries.period_sums(tx, analysis_id=analysis.id)
    periods = await queries.period_lines(
        tx, analysis_id=analysis.id, campaign_ids=[campaign.campaign_id for campaign in found]
    )
    totals = total(lines)
    unnamed = next((line for line in lines if line["campaign_id"] is None), None)
    redeemed = charts.by_period(sums, "redemptions")
    issued = charts.by_period(sums, "issued")
    span = [*redeemed, *issued]
    return {
        "totals": totals,
        "steps": funnel_of_totals(totals.figures),
        "trends": [
            charts.series("issued", issued, span=span),
            charts.series("redemptions", redeemed, span=span),
            charts.series("revenue", charts.by_period(sums, "revenue"), span=span),
        ],
        "lines": [_line(campaign, periods) for campaign in found],
        "best": max(((c.figures or {}).get("redemption_rate") or 0 for c in found), default=0),
        "unnamed": unnamed and {"figures": unnamed, "steps": {s.name: s for s in funnel(unnamed)}},
    }


def funnel_of_totals(figures: dict[str, Any]) -> list[Step]:
    """The funnel of the sums; what is null there has no number for any campaign."""
    return funnel({"revenue_per_discount": None, **figures})


def _line(campaign: CampaignFigures, periods: list[dict[str, Any]]) -> Line:
    own = [line for line in periods if line["campaign_id"] == campaign.campaign_id]
    trend = charts.series(
        "redemptions", charts.by_period(own, "redemptions"), span=list(charts.by_period(own, "issued"))
    )
    return Line(
        campaign,
        {step.name: step for step in funnel(campaign.figures)},
        reasons(campaign.figures),
        charts.sparkline([column.value for column in trend.columns]),
    )
