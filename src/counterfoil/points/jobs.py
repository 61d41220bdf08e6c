"""Jobs of this room: proving every ledger once a day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import structlog
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.db import jobs
from counterfoil.db.transactions import ReadTx, Tx, begin, read
from counterfoil.errors import CounterfoilError
from counterfoil.points import verify

KIND: Final = "points_proof"
FROM_HOUR: Final = 1
"""In the night of UTC, or as soon after this hour as a worker runs."""
MOST_SHOWN: Final = 100
"""Differences that are kept with a proof."""
PROOF_SECONDS: Final = 600

_proofs = Counter("counterfoil_points_proofs_total", "Ledgers of points that were proven.")
_differences = Counter(
    "counterfoil_points_differences_total",
    "Differences between accounts and their transfers that were found. There must never be one.",
)
_log = structlog.get_logger(__name__)

_NOT_PROVEN: Final = """
    SELECT m.id FROM merchants m
    WHERE EXISTS (SELECT FROM points_accounts a WHERE a.merchant_id = m.id AND a.source IS NULL)
      AND (CAST(:merchant_id AS uuid) IS NULL OR m.id = :merchant_id)
      AND NOT EXISTS (SELECT FROM jobs j
                      WHERE j.merchant_id = m.id AND j.kind = :kind AND j.created_at >= :since)
    ORDER BY m.id"""


async def prove_ledgers(engine: AsyncEngine, *, now: datetime) -> None:
    """Prove the ledger of every merchant that was not proven today, and say aloud what is wrong with one.

    What came out stands among the merchant's jobs, as of the kind `points_proof`.
    """
    if now.hour < FROM_HOUR:
        return
    async with read(engine) as snapshot:
        waiting = await _not_proven(snapshot, now)
    for merchant_id in waiting:
        try:
            async with begin(engine, statement_timeout_seconds=PROOF_SECONDS) as tx:
                result = await _prove(tx, merchant_id, now)
        except CounterfoilError as error:
            _log.warning("a ledger was not proven", merchant=str(merchant_id), error=error.detail)
            continue
        if result is None:
            continue
        _proofs.inc()
        if result["differences"]:
            _differences.inc(result["differences"])
            _log.error(
                "a ledger of points is not what its transfers say", merchant=str(merchant_id), **result
            )


async def _not_proven(tx: ReadTx, now: datetime, merchant_id: UUID | None = None) -> Sequence[UUID]:
    since = now.replace(hour=0, minute=0, second=0, microsecond=0)
    rows = await tx.all(_NOT_PROVEN, {"kind": KIND, "since": since, "merchant_id": merchant_id})
    return [row.id for row in rows]


async def _prove(tx: Tx, merchant_id: UUID, now: datetime) -> dict[str, Any] | None:
    """One ledger; None where another worker is at it or was. Who dies meanwhile leaves it to the next."""
    mine = await tx.scalar(
        "SELECT pg_try_advisory_xact_lock(hashtextextended(:kind || :merchant_id, 0))",
        {"kind": KIND, "merchant_id": str(merchant_id)},
    )
    if not mine or not await _not_proven(tx, now, merchant_id):
        return None
    result: dict[str, Any] = {"accounts": 0, "transfers": 0, "differences": 0, "first": []}
    async for proof in verify.verify(tx, merchant_id=merchant_id):
        result["accounts"] += proof.accounts
        result["transfers"] += proof.transfers
        result["differences"] += len(proof.differences)
        result["first"] = [*result["first"], *map(asdict, proof.differences)][:MOST_SHOWN]
    job = await jobs.create(tx, kind=KIND, merchant_id=merchant_id, request={}, now=now)
    await jobs.start(tx, job_id=job.id, now=now)
    await jobs.succeed(tx, job_id=job.id, result=result, now=now)
    return result
