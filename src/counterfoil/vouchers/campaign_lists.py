"""Lists of the campaigns that are run here."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from counterfoil.db.paging import Page, cursor_time, decode_cursor, page_of
from counterfoil.db.transactions import ReadTx
from counterfoil.vouchers.campaigns import SELECT, RunCampaign, campaign_of
from counterfoil.vouchers.types import CampaignState


async def list_campaigns(
    tx: ReadTx,
    *,
    merchant_id: UUID,
    state: CampaignState | None = None,
    limit: int,
    cursor: str | None = None,
) -> Page[RunCampaign]:
    """A merchant's campaigns that are run here, of one state or all, the newest first."""
    values: dict[str, Any] = {"merchant_id": merchant_id, "limit": limit + 1}
    statement = SELECT
    if state is not None:
        values["state"] = state
        statement += " AND c.state = :state"
    if cursor is not None:
        values["created_at"], values["after"] = _after(cursor)
        statement += " AND (c.created_at, c.campaign_id) < (:created_at, :after)"
    rows = await tx.all(f"{statement} ORDER BY c.created_at DESC, c.campaign_id DESC LIMIT :limit", values)
    return page_of(
        [campaign_of(row) for row in rows],
        limit=limit,
        key=lambda campaign: (campaign.created_at.isoformat(), campaign.campaign_id),
    )


def _after(cursor: str) -> tuple[datetime, str]:
    created_at, campaign_id = decode_cursor(cursor, kinds=(str, str))
    return cursor_time(created_at), campaign_id


async def count_states(tx: ReadTx, *, merchant_id: UUID) -> dict[str, int]:
    """How many campaigns are run here in each state; a state without any is left out."""
    rows = await tx.all(
        "SELECT state, count(*) AS n FROM campaign_counters WHERE merchant_id = :m GROUP BY state",
        {"m": merchant_id},
    )
    return {row.state: row.n for row in rows}
