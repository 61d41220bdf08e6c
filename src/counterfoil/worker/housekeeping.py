"""Forgetting what nobody needs any more: every worker does it now and then, and twice does no harm."""

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
from counterfoil.webhooks import deliveries

EVERY: Final = timedelta(hours=1)
KEEP_ANSWERS: Final = timedelta(days=7)
"""How long a repeated request gets its first answer again."""
KEEP_LOG: Final = timedelta(days=7)
KEEP_WEBHOOKS: Final = timedelta(days=30)
"""How long a message to customers' programs can be looked at and sent again."""

_log = structlog.get_logger(__name__)


async def keep_house(engine: AsyncEngine, stop: asyncio.Event) -> None:
    """Tidy up now and every hour, until `stop` is set."""
    while not stop.is_set():
        try:
            await tidy(engine)
        except CounterfoilError as error:
            _log.warning("could not tidy up; it will try again", error=error.detail)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), timeout=EVERY.total_seconds())


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
