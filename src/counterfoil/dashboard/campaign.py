"""A campaign's page."""

from __future__ import annotations

from starlette.responses import Response

from counterfoil.dashboard import campaign_run
from counterfoil.dashboard.campaign_figures import read_figures
from counterfoil.dashboard.labels import EVIDENCE, EVIDENCE_STATUSES, NAMED_BY_SOURCE
from counterfoil.dashboard.visits import Handler, Visit
from counterfoil.dashboard.voucher_list import PAGE_SIZE, filter_of
from counterfoil.db.transactions import read
from counterfoil.errors import NotFoundError
from counterfoil.linkage import queries
from counterfoil.vouchers import campaigns
from counterfoil.vouchers.queries import Campaign, count_evidence, find_campaign, list_vouchers


def or_recorded(handler: Handler, rest: str) -> Handler:
    """A page below that of a campaign that is run here. Campaigns of other systems may have any id, one that
    ends like this as well: where there is none to run, such a one is shown.
    """

    async def either(visit: Visit) -> Response:
        try:
            return await handler(visit)
        except NotFoundError:
            visit.request.path_params["campaign_id"] += rest
            return await show(visit)

    return either


async def show(visit: Visit) -> Response:
    """One campaign: funnel, time to redeem, by period and group, evidence, breaks, vouchers.

    One that is run here has a page of its own, with its state and what can be done.
    """
    campaign_id = visit.request.path_params["campaign_id"]
    merchant_id = visit.merchant.id
    async with read(visit.engine) as tx:
        run = await campaigns.find(tx, merchant_id=merchant_id, campaign_id=campaign_id)
    if run is not None:
        return await campaign_run.show(visit, campaign_id)
    async with read(visit.engine) as tx:
        campaign = await find_campaign(tx, merchant_id=merchant_id, campaign_id=campaign_id)
        shown = await read_figures(tx, visit, campaign_id)
        if campaign is None and shown["figures"] is None:
            raise NotFoundError(f"There is no campaign {campaign_id!r}.", code="campaign_not_found")
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
