"""What does not fit together."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from counterfoil.dashboard.labels import BREAKS
from counterfoil.dashboard.visits import Visit
from counterfoil.db.transactions import read
from counterfoil.linkage import queries
from counterfoil.vouchers.queries import find_campaign

PAGE_SIZE: Final = 50


async def show(visit: Visit) -> Response:
    """Breaks of one kind or all, those that stand or those that late records mended; the oldest first."""
    kind = visit.argument("kind") if visit.argument("kind") in BREAKS else None
    campaign_id = visit.argument("campaign") or None
    resolved = visit.argument("state") == "resolved"
    cursor = visit.argument("cursor", longest=2000) or None
    async with read(visit.engine) as tx:
        page = await queries.list_breaks(
            tx,
            merchant_id=visit.merchant.id,
            kind=kind,
            campaign_id=campaign_id,
            resolved=resolved,
            limit=PAGE_SIZE,
            cursor=cursor,
        )
        counts = await queries.count_breaks(tx, merchant_id=visit.merchant.id, campaign_id=campaign_id)
        campaign = None
        if campaign_id is not None:
            campaign = await find_campaign(tx, merchant_id=visit.merchant.id, campaign_id=campaign_id)
    return visit.render(
        "breaks.html",
        page=page,
        counts=counts,
        kind=kind,
        campaign_id=campaign_id,
        campaign=campaign,
        resolved=resolved,
        first=cursor is None,
        asked={"kind": kind, "campaign": campaign_id, "state": "resolved" if resolved else ""},
        section="breaks",
    )
