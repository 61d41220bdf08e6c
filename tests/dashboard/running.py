"""A fair that runs campaigns here: in every state, of every kind of discount, with vouchers that lived."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from counterfoil import clock
from counterfoil.app import App
from counterfoil.db.transactions import Tx, begin
from counterfoil.merchants import merchants
from counterfoil.merchants.merchants import Merchant
from counterfoil.vouchers import campaigns, pool, verbs
from counterfoil.vouchers.campaigns import Limits
from counterfoil.vouchers.requests import REQUESTS, Asked, Outcome
from counterfoil.vouchers.terms import Terms
from counterfoil.vouchers.types import CampaignState, Verb

ZONE: Final = "Asia/Shanghai"
TERMS: Final[dict[str, Any]] = {
    "discount": {"kind": "percent", "basis_points": 2000, "cap_minor": 5000},
    "minimum_spend_minor": 3000,
    "validity": {"kind": "after_issue", "days": 30},
    "claims_per_customer": {"total": 3, "day": 1},
    "redemption_windows": [{"days": ["mon", "tue"], "from": "11:00", "until": "14:00"}],
    "codes": {"prefix": "FAIR-", "length": 8},
    "time_zone": ZONE,
}
LINES: Final = [{"line_id": f"l{n}", "amount_minor": 4000, "product_id": f"p{n}"} for n in range(3)]


def terms(**changes: Any) -> Terms:
    """The terms of the fair, with changes."""
    return Terms.model_validate({**TERMS, **changes})


async def make(
    tx: Tx,
    merchant: Merchant,
    campaign_id: str,
    *,
    state: CampaignState = "active",
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
    name: str | None = None,
    **changes: Any,
) -> None:
    """A campaign in a state that one move leads to."""
    now = clock.now() - timedelta(days=2)
    await campaigns.create(
        tx,
        merchant_id=merchant.id,
        campaign_id=campaign_id,
        name=name,
        kind="fair",
        attributes={},
        terms=terms(**changes),
        limits=limits,
        now=now,
    )
    which: dict[str, Any] = {"merchant_id": merchant.id, "campaign_id": campaign_id, "now": now}
    if state != "draft":
        await campaigns.move(tx, **which, to="active")
    if state not in {"draft", "active"}:
        await campaigns.move(tx, **which, to=state)


async def ask(tx: Tx, merchant_id: UUID, verb: Verb, *, hours_ago: float = 0, **fields: Any) -> Outcome:
    """One request; it must be done."""
    asked = Asked(merchant_id, msgspec.convert(fields, REQUESTS[verb]))
    outcome = (await verbs.run(tx, verb, [asked], now=clock.now() - timedelta(hours=hours_ago)))[0]
    assert outcome.ok, outcome
    return outcome


async def run_fair(app: App) -> Merchant:
    """The merchant, its campaigns and the lives of some vouchers."""
    async with begin(app.engine) as tx:
        fair = await merchants.create(
            tx, reference="fair", name="节日市集", time_zone=ZONE, currency="CNY", now=clock.now()
        )
        await _campaigns(tx, fair)
        await _lives(tx, fair.id)
    return fair


async def _campaigns(tx: Tx, fair: Merchant) -> None:
    """Autumn, and one in each other state, each of another kind of discount."""
    limits = Limits(50, 100_000, 40)
    name = "Autumn tasting 秋日品鉴"
    await make(tx, fair, "autumn", name=name, redemption_windows=None, limits=limits, stacking="any")
    gift = {"kind": "stored_value", "amount_minor": 20_000}
    await make(tx, fair, "gift", name="Gift card", state="stopped", discount=gift)
    off = {"kind": "amount", "amount_minor": 1000}
    await make(tx, fair, "print", name="<b>Printed</b>", state="draft", from_pool=True, discount=off)
    lucky = {"kind": "random", "pot_minor": 10_000, "smallest_minor": 100, "largest_minor": 5000}
    await make(tx, fair, "lucky", state="paused", limits=Limits(10), discount=lucky)
    cake = {"kind": "product", "product_id": "p-cake"}
    await make(tx, fair, "cake", name="Cake for nothing", state="ended", discount=cake)
    await pool.bring(
        tx, merchant_id=fair.id, campaign_id="print", brought=["PRINT-1", "PRINT-2"], now=clock.now()
    )


async def _lives(tx: Tx, merchant_id: UUID) -> None:
    """One voucher for each thing that can become of it, by names that tests know."""
    await pool.bring(
        tx,
        merchant_id=merchant_id,
        campaign_id="autumn",
        brought=["FREE", "HELD", "USED", "PART", "VOID", "BACK"],
        now=clock.now() - timedelta(hours=30),
    )

    async def do(verb: Verb, hours_ago: float, **fields: Any) -> Outcome:
        return await ask(tx, merchant_id, verb, hours_ago=hours_ago, **fields)

    for code in ("HELD", "USED", "PART", "VOID", "BACK"):
        await do("issue", 26, campaign_id="autumn", voucher_id=code, customer_id=f"c-{code.lower()}")
    for n in range(30):
        await do("claim", 25 - n / 2, campaign_id="autumn", customer_id=f"guest{n}", channel="wechat")
    held = await do("reserve", 5, voucher_id="BACK", order_id="O-0", lines=LINES)
    assert held.reservation is not None
    await do("release", 4, reservation_id=held.reservation.reservation_id)
    await do("reserve", 0, voucher_id="HELD", order_id="O-1", lines=LINES, seconds=86_400)
    await do("redeem", 3, voucher_id="USED", order_id="O-2", transaction_id="T-2", lines=LINES)
    part = await do("redeem", 3, voucher_id="PART", order_id="O-3", lines=LINES)
    assert part.redemption is not None
    await do(
        "reverse", 1, redemption_id=part.redemption.redemption_id, line_ids=["l1"], reason="<i>broken</i> cup"
    )
    back = await do("redeem", 3, voucher_id="BACK", order_id="O-4", lines=LINES)
    assert back.redemption is not None
    await do("reverse", 2, redemption_id=back.redemption.redemption_id, reason="sent back")
    await do("void", 1, voucher_id="VOID", reason="<script>alert('x')</script>")
