"""What happens by time alone: every worker looks every few seconds, and two that look at once do no harm."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil import clock
from counterfoil.db.transactions import begin, read
from counterfoil.errors import CounterfoilError
from counterfoil.linkage.rejoin import rejoin_touched
from counterfoil.vouchers import campaigns, expiry, reservations
from counterfoil.worker.crediting import look_after_files
from counterfoil.worker.points import expire_due, give_notice, settle_due

EVERY_SECONDS: Final = 2.0

GRACE: Final = timedelta(seconds=30)
"""Vouchers are marked as expired so much later, though nobody can use them: a verb that waited for the
campaign's lock decides by the time at which it was asked."""

_log = structlog.get_logger(__name__)


async def beat(engine: AsyncEngine, stop: asyncio.Event) -> None:
    """Do what is due, now and every few seconds, until `stop` is set."""
    while not stop.is_set():
        for work in BEATS:
            try:
                await work(engine)
            except CounterfoilError as error:
                _log.warning(
                    "could not do what is due; it will try again", work=work.__name__, error=error.detail
                )
            except Exception as error:
                _log.error("what is due failed; it will try again", work=work.__name__, exc_info=error)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), timeout=EVERY_SECONDS)


async def pass_time(engine: AsyncEngine) -> None:
    """Give back reservations that ran out, expire vouchers, stop campaigns whose period is over."""
    now = clock.now()
    async with read(engine) as snapshot:
        due = await expiry.find_due(snapshot, now=now)
        over = await expiry.find_due(snapshot, now=now - GRACE)
    for key in due.reservations:
        lapsed = 1
        while lapsed:
            async with begin(engine) as tx:
                lapsed = await reservations.lapse(tx, [key], now=now)
    for merchant_id, campaign_id in due.campaigns:
        async with begin(engine) as tx:
            await campaigns.move(tx, merchant_id=merchant_id, campaign_id=campaign_id, to="stopped", now=now)
    for merchant_id, campaign_id in over.vouchers:
        await _expire(engine, merchant_id, campaign_id, now - GRACE)


async def _expire(engine: AsyncEngine, merchant_id: UUID, campaign_id: str, until: datetime) -> None:
    names: dict[str, Any] = {"merchant_id": merchant_id, "campaign_id": campaign_id}
    after: tuple[datetime, str] | None = None
    while True:
        async with begin(engine) as tx:
            after = await expiry.expire(tx, **names, now=until, after=after)
        if after is None:
            return


async def join_touched(engine: AsyncEngine) -> None:
    """Join the links of vouchers that something happened to."""
    joined = 1
    while joined:
        async with begin(engine) as tx:
            joined = await rejoin_touched(tx, now=clock.now())


BEATS: Final[tuple[Callable[[AsyncEngine], Awaitable[None]], ...]] = (
    pass_time,
    join_touched,
    settle_due,
    expire_due,
    give_notice,
    look_after_files,
)
