"""The campaigns that are run here, with how much of each is left."""

from __future__ import annotations

from typing import Final, cast

from starlette.responses import Response

from counterfoil.dashboard import run_labels
from counterfoil.dashboard.campaign_words import TermsInWords
from counterfoil.dashboard.gauges import gauges_of
from counterfoil.dashboard.visits import Visit
from counterfoil.db.transactions import read
from counterfoil.vouchers import campaign_lists
from counterfoil.vouchers.types import CampaignState

PAGE_SIZE: Final = 30


async def show(visit: Visit) -> Response:
    """Campaigns of one state, or all; the newest first."""
    chosen = visit.argument("state")
    state = cast("CampaignState", chosen) if chosen in run_labels.CAMPAIGN_STATES else None
    cursor = visit.argument("cursor", longest=2000) or None
    async with read(visit.engine) as tx:
        page = await campaign_lists.list_campaigns(
            tx, merchant_id=visit.merchant.id, state=state, limit=PAGE_SIZE, cursor=cursor
        )
        counts = await campaign_lists.count_states(tx, merchant_id=visit.merchant.id)
    return visit.render(
        "campaigns.html",
        page=page,
        counts=counts,
        state=state,
        first=cursor is None,
        asked={"state": state},
        in_words=TermsInWords(visit.words, visit.merchant.currency),
        gauges={
            campaign.campaign_id: gauges_of(campaign.limits, campaign.counters) for campaign in page.data
        },
        section="campaigns",
    )
