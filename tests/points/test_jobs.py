"""Proving the ledgers: once a day, and never in silence where one is wrong."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from counterfoil.db.transactions import begin, read
from counterfoil.points import accounts, jobs, ledger
from counterfoil.points.ledger import Entry
from tests.builders import make_merchant

NIGHT = datetime(2026, 6, 1, 1, 30, tzinfo=UTC)


@pytest.fixture
async def merchant_id(engine: AsyncEngine) -> UUID:
    """A merchant whose member has ten points, and one without members."""
    async with begin(engine) as tx:
        await make_merchant(tx)
        made = await make_merchant(tx)
        await accounts.open_accounts(tx, merchant_id=made, customer_ids=["a", "b"], now=NIGHT)
        source = await accounts.source_no(tx, merchant_id=made, source="adjusted", now=NIGHT)
        entry = Entry(customer_id="a", source_no=source, reference="r", points=10)
        await ledger.post(tx, merchant_id=made, entries=[entry], now=NIGHT)
    return made


async def _proofs(engine: AsyncEngine) -> list[Any]:
    async with read(engine) as tx:
        return list(await tx.all("SELECT merchant_id, kind, state, result FROM jobs ORDER BY created_at"))


def _counted() -> float:
    return REGISTRY.get_sample_value("counterfoil_points_differences_total") or 0


async def test_every_ledger_is_proven_once_a_day(engine: AsyncEngine, merchant_id: UUID) -> None:
    for hours in (0, 1, 22):
        await jobs.prove_ledgers(engine, now=NIGHT + timedelta(hours=hours))
    (proof,) = await _proofs(engine)
    assert (proof.merchant_id, proof.kind, proof.state) == (merchant_id, "points_proof", "succeeded")
    assert proof.result == {"accounts": 2, "transfers": 1, "differences": 0, "first": []}
    await jobs.prove_ledgers(engine, now=NIGHT + timedelta(days=1))
    assert len(await _proofs(engine)) == 2


async def test_the_day_begins_in_the_night_of_utc(engine: AsyncEngine, merchant_id: UUID) -> None:
    await jobs.prove_ledgers(engine, now=NIGHT.replace(hour=0, minute=59))
    assert await _proofs(engine) == []


async def test_workers_that_look_at_once_prove_it_once(engine: AsyncEngine, merchant_id: UUID) -> None:
    await asyncio.gather(*(jobs.prove_ledgers(engine, now=NIGHT) for _ in range(4)))
    assert len(await _proofs(engine)) == 1


async def test_a_proof_that_was_cut_short_is_made_by_the_next(
    engine: AsyncEngine, merchant_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with begin(engine) as blocking:
        await blocking.execute("LOCK TABLE points_transfers IN ACCESS EXCLUSIVE MODE")
        cut = asyncio.create_task(jobs.prove_ledgers(engine, now=NIGHT))
        await asyncio.sleep(0.2)
        cut.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cut
    assert await _proofs(engine) == []
    await jobs.prove_ledgers(engine, now=NIGHT)
    assert len(await _proofs(engine)) == 1


async def test_a_ledger_that_is_wrong_is_told_aloud(engine: AsyncEngine, merchant_id: UUID) -> None:
    async with begin(engine) as tx:
        await tx.execute("UPDATE points_accounts SET balance = 11 WHERE name = 'a'")
    before = _counted()
    with capture_logs() as logs:
        await jobs.prove_ledgers(engine, now=NIGHT)
    (entry,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert (entry["merchant"], entry["differences"]) == (str(merchant_id), 1)
    assert _counted() == before + 1
    (proof,) = await _proofs(engine)
    assert proof.result["first"] == [{"customer_id": "a", "name": "balance", "told": 11, "counted": 10}]
