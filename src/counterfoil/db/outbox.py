"""Telling the rest of the platform what happened, in the transaction in which it happened."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from pgqueuer import AsyncpgDriver, Queries
from sqlalchemy import text

from counterfoil.db.transactions import Tx
from counterfoil.subscriptions import ONLY_IF, SUBSCRIBERS


async def publish(tx: Tx, event: str, payload: dict[str, Any]) -> None:
    """Enqueue one job for each subscriber of `event`: they run if, and only if, this transaction commits.

    Those whose condition (`ONLY_IF`) is not met are left out. A job may be delivered more than once, so its
    handler must be idempotent.
    """
    subscribers = await _wanted(tx, SUBSCRIBERS[event], payload)
    if not subscribers:
        return
    queries = Queries(AsyncpgDriver(await tx.driver()))
    body = json.dumps({"event": event, **payload}).encode()
    for subscriber in subscribers:
        await queries.enqueue(subscriber, body)


async def _wanted(tx: Tx, subscribers: tuple[str, ...], payload: dict[str, Any]) -> list[str]:
    """The subscribers whose condition is met; those that have conditions are asked in one statement."""
    conditions = {name: ONLY_IF[name] for name in subscribers if name in ONLY_IF}
    if not conditions:
        return list(subscribers)
    asked = text(f"SELECT {', '.join(conditions.values())}")
    row = (await tx.execute(asked, {name: payload[name] for name in asked.compile().params})).one()
    met = dict(zip(conditions, row, strict=True))
    return [name for name in subscribers if met.get(name, True)]


async def prune_log(tx: Tx, *, before: datetime) -> None:
    """Forget what the queue noted of jobs that ended before then. What still waits is untouched."""
    await tx.execute("DELETE FROM pgqueuer_log WHERE created < :before", {"before": before})
    await tx.execute("DELETE FROM pgqueuer_statistics WHERE created < :before", {"before": before})
