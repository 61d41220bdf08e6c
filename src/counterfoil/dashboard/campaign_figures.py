"""What the latest analysis says of one campaign: its funnel, over time, and by store, channel and grade."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from counterfoil.dashboard import charts
from counterfoil.dashboard.figures import funnel, reasons
from counterfoil.dashboard.labels import BREAKDOWNS
from counterfoil.dashboard.visits import Visit
from counterfoil.db.transactions import ReadTx
from counterfoil.linkage import queries
from counterfoil.linkage.queries import Analysis
from counterfoil.merchants.queries import store_names

MOST_GROUPS: Final = 10
_KEYS: Final = {"store": "store_id", "channel": "channel", "grade": "grade"}


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The figures by store, channel or grade: the first groups, and how many more there are."""

    name: str
    label: str
    groups: list[dict[str, Any]]
    more: int
    most: int


async def read_figures(tx: ReadTx, visit: Visit, campaign_id: str) -> dict[str, Any]:
    """All that the templates of a campaign's figures need; `figures` is None where there are none."""
    analysis = await queries.find_latest_analysis(tx, merchant_id=visit.merchant.id)
    figures = await _figures(tx, analysis, campaign_id)
    shown = await _analysed(tx, visit, analysis if figures else None, campaign_id)
    return {
        "analysis": analysis,
        "figures": figures,
        "steps": funnel(figures),
        "why": reasons(figures),
        **shown,
    }


async def _figures(tx: ReadTx, analysis: Analysis | None, campaign_id: str) -> dict[str, Any] | None:
    if analysis is None:
        return None
    lines = await queries.analysis_lines(
        tx, analysis_id=analysis.id, breakdown="campaign", campaign_id=campaign_id
    )
    return lines[0] if lines else None


async def _analysed(tx: ReadTx, visit: Visit, analysis: Analysis | None, campaign_id: str) -> dict[str, Any]:
    if analysis is None:
        return {"trends": [], "breakdowns": [], "uplift": None}
    periods = await queries.period_lines(tx, analysis_id=analysis.id, campaign_ids=[campaign_id])
    values = {
        name: charts.by_period(periods, name) for name in ("exposed", "issued", "redemptions", "revenue")
    }
    span = [start for found in values.values() for start in found]
    trends = [charts.series(name, found, span=span) for name, found in values.items()]
    breakdowns = []
    for name in _KEYS:
        lines = await queries.analysis_lines(
            tx, analysis_id=analysis.id, breakdown=name, campaign_id=campaign_id
        )
        breakdowns.append(await _breakdown(tx, visit, name, lines))
    compared = await queries.analysis_lines(
        tx, analysis_id=analysis.id, breakdown="uplift", campaign_id=campaign_id
    )
    return {
        "trends": [t for t in trends if t.most > 0],
        "breakdowns": [b for b in breakdowns if b],
        "uplift": compared[0] if compared else None,
    }


async def _breakdown(tx: ReadTx, visit: Visit, name: str, lines: list[dict[str, Any]]) -> Breakdown | None:
    """None where the records name no group: a table with one nameless line says nothing."""
    key = _KEYS[name]
    if all(line[key] is None for line in lines):
        return None
    ordered = sorted(
        lines, key=lambda line: (-(line["redemptions"] or 0), -(line["issued"] or 0), line[key] or "")
    )
    shown = ordered[:MOST_GROUPS]
    names: dict[str, str] = {}
    if name == "store":
        ids = [line[key] for line in shown if line[key] is not None]
        names = await store_names(tx, merchant_id=visit.merchant.id, store_ids=ids)
    groups = [{**line, "group": line[key], "group_name": names.get(line[key] or "")} for line in shown]
    most = max(line["redemptions"] or 0 for line in shown)
    return Breakdown(name, BREAKDOWNS[name], groups, len(ordered) - len(shown), most)
