"""What people do to a campaign that is run here, by the words for it."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal, get_args
from uuid import UUID

from counterfoil.db.transactions import Tx
from counterfoil.errors import RefusedError
from counterfoil.vouchers import campaigns
from counterfoil.vouchers.campaigns import RunCampaign
from counterfoil.vouchers.types import CampaignState

Action = Literal["activate", "pause", "resume", "stop", "end"]
ACTIONS: Final[tuple[Action, ...]] = get_args(Action)

LEADS_TO: Final[dict[Action, CampaignState]] = {
    "activate": "active",
    "pause": "paused",
    "resume": "active",
    "stop": "stopped",
    "end": "ended",
}
_NOT_FROM: Final[dict[Action, CampaignState]] = {"activate": "paused", "resume": "draft"}
"""Both lead to the same state; which was meant is clear from where they begin."""


async def act(tx: Tx, *, merchant_id: UUID, campaign_id: str, action: Action, now: datetime) -> RunCampaign:
    """Activate, pause, resume, stop or end a campaign; where it is so already, nothing changes.

    Raises `RefusedError` (`move_not_allowed`) where the campaign's state does not allow it.
    """
    to = LEADS_TO[action]
    campaign = await campaigns.lock(tx, merchant_id=merchant_id, campaign_id=campaign_id)
    if campaign.state == _NOT_FROM.get(action):
        other = "resume" if action == "activate" else "activate"
        raise RefusedError(
            f"A campaign that is {campaign.state} is not {action}d: {other} it.", code="move_not_allowed"
        )
    return await campaigns.move(tx, merchant_id=merchant_id, campaign_id=campaign_id, to=to, now=now)
