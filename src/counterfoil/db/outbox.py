"""Telling the rest of the platform what happened, in the transaction in which it happened."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from pgqueuer import AsyncpgDriver, Queries

from counterfoil.db.transactions import Tx
from counterfoil.subscriptions import SUBSCRIBERS


async def publish(tx: Tx, event: str, payload: dict[str, Any]) -> None:
    """Enqueue one job for each subscriber of `event`: they run if, and only if, this transaction commits.

    A job may be delivered more than once, so its handler must be idempotent.
    """
    queries = Queries(AsyncpgDriver(await tx.driver()))
    body = json.dumps({"event": event, **payload}).encode()
    for subscriber in SUBSCRIBERS[event]:
        await queries.enqueue(subscriber, body)


async def prune_log(tx: Tx, *, before: datetime) -> None:
    """Forget what the queue noted of jobs that ended before then. What still waits is untouched."""
    await tx.execute("DELETE FROM pgqueuer_log WHERE created < :before", {"before": before})
    await tx.execute("DELETE FROM pgqueuer_statistics WHERE created < :before", {"before": before})
