"""A campaign's page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response

from counterfoil.dashboard import charts
from counterfoil.dashboard.figures import funnel, reasons
from counterfoil.dashboard.labels import BREAKDOWNS, EVIDENCE, EVIDENCE_STATUSES, NAMED_BY_SOURCE
from counterfoil.dashboard.visits import Visit
from counterfoil.dashboard.voucher_list import PAGE_SIZE, filter_of
from counterfoil.db.transactions import ReadTx, read
from counterfoil.errors import NotFoundError
from counterfoil.linkage import queries
from counterfoil.linkage.queries import Analysis
from counterfoil.merchants.queries import store_names
from counterfoil.vouchers.queries import Campaign, count_evidence, find_campaign, list_vouchers

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


async def show(visit: Visit) -> Response:
    """One campaign: funnel, time to redeem, by period and group, evidence, breaks, vouchers."""
    campaign_id = visit.request.path_params["campaign_id"]
    merchant_id = visit.merchant.id
    async with read(visit.engine) as tx:
        campaign = await find_campaign(tx, merchant_id=merchant_id, campaign_id=campaign_id)
        analysis = await queries.find_latest_analysis(tx, merchant_id=merchant_id)
        figures = await _figures(tx, analysis, campaign_id)
        if campaign is None and figures is None:
            raise NotFoundError(f"There is no campaign {campaign_id!r}.", code="campaign_not_found")
        shown = await _analysed(tx, visit, analysis if figures else None, campaign_id)
        vouchers = await list_vouchers(
            tx,
            merchant_id=merchant_id,
            campaign_id=campaign_id,
            only=filter_of(visit),
            limit=PAGE_SIZE,
            cursor=visit.argument("cursor", longest=2000) or None,
        )
        breaks = await queries.count_breaks(tx, merchant_id=merchant_id, campaign_id=campaign_id)
        evidence = await count_evidence(tx, merchant_id=merchant_id, campaign_id=campaign_id)
    return visit.render(
        "campaign.html",
        campaign=campaign or Campaign(campaign_id, None, None, None, None, {}),
        analysis=analysis,
        figures=figures,
        steps=funnel(figures),
        why=reasons(figures),
        breaks=breaks,
        evidence=_evidence(evidence),
        page=vouchers,
        only=filter_of(visit),
        first=not visit.argument("cursor", longest=2000),
        section="overview",
        **shown,
    )


def _evidence(counts: list[tuple[str | None, int | None, int]]) -> list[tuple[int | None, str, int]]:
    """Level, meaning and number, the strongest first; nothing where every record names its payment."""
    found: dict[tuple[int | None, str], int] = {}
    for status, level, n in sorted(counts, key=lambda row: (row[0] != "linked", -(row[1] or 0))):
        if status is None:
            key: tuple[int | None, str] = (None, NAMED_BY_SOURCE)
        elif status == "linked" and level is not None:
            key = (level, EVIDENCE[level])
        else:
            key = (None, EVIDENCE_STATUSES[status])
        found[key] = found.get(key, 0) + n
    evident = any(status is not None for status, _, _ in counts)
    return [(level, text, n) for (level, text), n in found.items()] if evident else []


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
