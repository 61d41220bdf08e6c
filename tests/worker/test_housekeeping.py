from __future__ import annotations

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil import clock
from counterfoil.access import idempotency
from counterfoil.access.idempotency import Answer
from counterfoil.db.transactions import begin, read
from counterfoil.worker.housekeeping import KEEP_ANSWERS, KEEP_WEBHOOKS, tidy
from tests.builders import make_merchant
from tests.webhooks.conftest import World, event


async def test_old_answers_are_forgotten_and_new_ones_kept(engine: AsyncEngine) -> None:
    now = clock.now()
    async with begin(engine) as tx:
        for key, age in (("old", KEEP_ANSWERS + timedelta(seconds=1)), ("new", timedelta(0))):
            await idempotency.keep_answer(
                tx, caller="c", key=key, content=b"", answer=Answer(200, b"{}"), now=now - age
            )
    await tidy(engine)
    async with read(engine) as tx:
        assert await tx.scalar("SELECT array_agg(key) FROM idempotency_keys") == ["new"]


async def test_old_messages_of_webhooks_are_forgotten_and_new_ones_kept(engine: AsyncEngine) -> None:
    now = clock.now()
    async with begin(engine) as tx:
        world = World(engine, await make_merchant(tx))
    await world.endpoint("https://hooks.invalid/")
    await world.tell(event("old"), now=now - KEEP_WEBHOOKS - timedelta(seconds=1))
    await world.tell(event("new"), now=now)
    await tidy(engine)
    assert await world.all("SELECT message_id FROM webhook_deliveries") == [("enew",)]
