"""Telling the rest of the platform what happened, in the transaction in which it happened."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from pgqueuer import AsyncpgDriver, Queries

from counterfoil.db.transactions import Driven, Tx
from counterfoil.subscriptions import ONLY_IF, SUBSCRIBERS


async def publish(tx: Driven, event: str, payload: dict[str, Any]) -> None:
    """Enqueue one job for each subscriber of `event`: they run if, and only if, this transaction commits.

    Those whose condition (`ONLY_IF`) is not met are left out. A job may be delivered more than once, so its
    handler must be idempotent.
    """
    db = await tx.driver()
    await _enqueue(db, await _wanted(db, event, payload.get("merchant_id")), event, payload)


async def wanted(tx: Driven, event: str, merchant_id: UUID) -> list[str]:
    """The subscribers of `event` whose condition is met for a merchant. Hand them to `tell`.

    A verb that holds locks asks before it takes them, so that nobody waits for the answer.
    """
    return await _wanted(await tx.driver(), event, merchant_id)


async def tell(
    tx: Driven, subscribers: Sequence[str], event: str, merchant_id: UUID, payload: dict[str, Any]
) -> None:
    """As `publish`, to subscribers that are known already."""
    await _enqueue(await tx.driver(), subscribers, event, {"merchant_id": str(merchant_id), **payload})


async def _enqueue(
    db: asyncpg.Connection, subscribers: Sequence[str], event: str, payload: dict[str, Any]
) -> None:
    if subscribers:
        body = json.dumps({"event": event, **payload}).encode()
        await Queries(AsyncpgDriver(db)).enqueue(
            list(subscribers), [body] * len(subscribers), [0] * len(subscribers)
        )


async def _wanted(db: asyncpg.Connection, event: str, merchant_id: object) -> list[str]:
    """The subscribers whose condition is met."""
    return [
        name
        for name in SUBSCRIBERS[event]
        if name not in ONLY_IF or await db.fetchval(f"SELECT {ONLY_IF[name]}", merchant_id)
    ]


async def waiting(tx: Tx, job: str, *, or_running: bool = False) -> list[dict[str, Any]]:
    """What the jobs of a name are about that wait for a worker, or to be tried again; or that one has."""
    rows = await tx.all(
        "SELECT payload FROM pgqueuer WHERE entrypoint = :job AND status::text = ANY(:states)",
        {"job": job, "states": ["queued", "picked"] if or_running else ["queued"]},
    )
    return [json.loads(row.payload) for row in rows]


async def prune_log(tx: Tx, *, before: datetime) -> None:
    """Forget what the queue noted of jobs that ended before then. What still waits is untouched."""
    await tx.execute("DELETE FROM pgqueuer_log WHERE created < :before", {"before": before})
    await tx.execute("DELETE FROM pgqueuer_statistics WHERE created < :before", {"before": before})
