"""What every worker does now and then, and twice does no harm: forgetting what nobody needs any more, and
proving the ledgers of points once a day.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil import clock
from counterfoil.access import idempotency, operators
from counterfoil.db import outbox
from counterfoil.db.transactions import begin
from counterfoil.errors import CounterfoilError
from counterfoil.points.jobs import prove_ledgers
from counterfoil.webhooks import deliveries

EVERY: Final = timedelta(hours=1)
KEEP_ANSWERS: Final = timedelta(days=7)
"""How long a repeated request gets its first answer again."""
KEEP_LOG: Final = timedelta(days=7)
KEEP_WEBHOOKS: Final = timedelta(days=30)
"""How long a message to customers' programs can be looked at and sent again."""

_log = structlog.get_logger(__name__)


async def keep_house(engine: AsyncEngine, stop: asyncio.Event) -> None:
    """Do it now and every hour, until `stop` is set."""
    while not stop.is_set():
        for work in (tidy, prove):
            try:
                await work(engine)
            except CounterfoilError as error:
                _log.warning(
                    "could not keep house; it will try again", work=work.__name__, error=error.detail
                )
            except Exception as error:
                _log.error("keeping house failed; it will try again", work=work.__name__, exc_info=error)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), timeout=EVERY.total_seconds())


async def prove(engine: AsyncEngine) -> None:
    """Prove the ledgers of points, unless it was done today."""
    await prove_ledgers(engine, now=clock.now())


async def tidy(engine: AsyncEngine) -> None:
    """Delete old answers, ended sessions, the queue's old log and old messages of webhooks."""
    now = clock.now()
    async with begin(engine) as tx:
        await idempotency.prune(tx, before=now - KEEP_ANSWERS)
        await operators.prune(tx, now=now)
        await outbox.prune_log(tx, before=now - KEEP_LOG)
    pruned = deliveries.PRUNED_AT_ONCE
    while pruned == deliveries.PRUNED_AT_ONCE:
        async with begin(engine) as tx:
            pruned = await deliveries.prune(tx, before=now - KEEP_WEBHOOKS)
