"""The counters of a campaign as they are shown: at once in the page, and again whenever they change."""

from __future__ import annotations

from typing import Any

from counterfoil.dashboard.gauges import gauges_of, shares_of
from counterfoil.dashboard.visits import Visit
from counterfoil.vouchers.campaigns import RunCampaign


def told(visit: Visit, campaign: RunCampaign) -> dict[str, Any]:
    """Every figure as text in the reader's language, and every bar as its place and width, of 100."""
    words, currency = visit.words, visit.merchant.currency
    figures: dict[str, str] = {}
    bars: dict[str, tuple[float, float]] = {}
    for share in shares_of(campaign.counters):
        figures[share.state] = words.number(share.n)
        bars[f"state.{share.state}"] = (share.x, share.width)
    for name, gauge in gauges_of(campaign.limits, campaign.counters).items():
        for what in ("used", "held", "left", "limit"):
            value = getattr(gauge, what)
            if value is not None:
                money = name == "budget"
                figures[f"{name}.{what}"] = words.money(value, currency) if money else words.number(value)
        bars[f"{name}.used"] = (0.0, gauge.used_part)
        bars[f"{name}.held"] = (gauge.used_part, gauge.held_part)
    return {"state": campaign.state, "figures": figures, "bars": bars}
