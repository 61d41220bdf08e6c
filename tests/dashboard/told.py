"""Programs that were told of events: by the pages' own tests, in every state that a page can show."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from tests.webhooks.conftest import event

from counterfoil import clock
from counterfoil.app import App
from counterfoil.db.transactions import Tx, begin
from counterfoil.webhooks import attempts, deliveries, endpoints
from counterfoil.webhooks.attempts import Ended
from counterfoil.webhooks.sending import Answer

LONG_URL = "https://hooks.example.com/a-very-long-path/that-somebody-made/without-any-thought-of-phones?key=1"
SAID = "<script>alert('x')</script>" + "x" * 300


async def tell(app: App, merchant_id: UUID) -> None:
    """Three endpoints, one of them failing and one disabled; messages delivered, waiting and given up."""
    now = clock.now()
    async with begin(app.engine) as tx:
        await endpoints.create(
            tx, merchant_id=merchant_id, url="https://erp.example.com/hook", description="ERP 系统", now=now
        )
        await _deliver(tx, merchant_id, Answer(204, None, 38))
        failing, _ = await endpoints.create(
            tx,
            merchant_id=merchant_id,
            url=LONG_URL,
            events=["voucher.redeemed", "campaign.sold_out"],
            now=now,
        )
        await _deliver(tx, merchant_id, Answer(500, None, 211, SAID), number="2")
        await tx.execute(
            """UPDATE webhook_deliveries SET state = 'failed', next_attempt_at = NULL
               WHERE endpoint_id = :e AND message_id = 'e2-0'""",
            {"e": failing.id},
        )
        off, _ = await endpoints.create(tx, merchant_id=merchant_id, url="https://old.example.com/", now=now)
        await endpoints.change(tx, merchant_id=merchant_id, endpoint_id=off.id, enabled=False, now=now)


async def _deliver(tx: Tx, merchant_id: UUID, answer: Answer, *, number: str = "1") -> None:
    now = clock.now() - timedelta(minutes=3)
    events = [event(f"{number}-{n}", "voucher.redeemed", amount_minor=500) for n in range(2)]
    await deliveries.fan_out(tx, merchant_id=merchant_id, events=events, now=now)
    claimed = await attempts.claim(tx, most=100, running={}, now=now)
    await attempts.record(tx, ended=[Ended(one, now, answer) for one in claimed], now=now)
