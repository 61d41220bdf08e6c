"""What time does to points: promises and holds fall due, lots expire, and their owners are told before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil import clock
from counterfoil.db.transactions import begin, read
from counterfoil.points import events, expiry, pending, verbs

AT_ONCE: Final = 1_000
"""Pending transfers or members of one transaction: a member who buys meanwhile waits for no more."""
NOTICES_AT_ONCE: Final = 10_000


async def settle_due(engine: AsyncEngine) -> None:
    """Credit promised points that are due, and release holds that nobody carried out."""
    now = clock.now()
    going_on = True

    async def settle(merchant_id: UUID) -> None:
        nonlocal going_on
        async with begin(engine) as tx:
            outcomes = await verbs.settle(tx, merchant_id=merchant_id, settlements=due[merchant_id], now=now)
        # Where another worker was faster, it goes on with the rest.
        going_on |= any(outcome.ok and not outcome.repeated for outcome in outcomes)

    while going_on:
        async with read(engine) as snapshot:
            due = await pending.find_due(snapshot, now=now, limit=AT_ONCE)
        going_on = False
        await _for_each(due, settle)


async def expire_due(engine: AsyncEngine) -> None:
    """Expire lots whose time has come."""
    now = clock.now()

    async def expire(merchant_id: UUID) -> None:
        expired = 1
        while expired:
            async with begin(engine) as tx:
                expired = await verbs.expire(tx, merchant_id=merchant_id, now=now, most=AT_ONCE)

    async with read(engine) as snapshot:
        due = await expiry.find_due(snapshot, now=now)
    await _for_each(due, expire)


async def _for_each(merchants: Iterable[UUID], work: Callable[[UUID], Awaitable[None]]) -> None:
    """Do it for each merchant; what fails for one is raised when it was done for the others."""
    failed: list[Exception] = []
    for merchant_id in merchants:
        try:
            await work(merchant_id)
        except Exception as error:
            failed.append(error)
    if failed:
        raise failed[0]


async def give_notice(engine: AsyncEngine) -> None:
    """Tell of points that are about to expire, once of each lot."""
    told = 1
    while told:
        now = clock.now()
        async with begin(engine) as tx:
            found = await expiry.find_expiring(tx, now=now, most=NOTICES_AT_ONCE)
            for merchant_id, lots in found.items():
                await events.tell_expiring(tx, merchant_id=merchant_id, lots=lots, now=now)
        told = len(found)
