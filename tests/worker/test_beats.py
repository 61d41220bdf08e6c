"""What time alone does, as the worker does it every few seconds."""

from __future__ import annotations

import asyncio
import inspect
import pkgutil
from datetime import timedelta
from importlib import import_module
from typing import Any
from uuid import UUID

import anyio
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil import clock, worker
from counterfoil.app import App
from counterfoil.db.transactions import begin, read
from counterfoil.vouchers import campaigns, counters, verbs
from counterfoil.vouchers.requests import Asked, Claim, Outcome, Redeem, Reserve
from counterfoil.vouchers.terms import Terms
from counterfoil.worker import beats, housekeeping, run_worker
from tests.builders import make_merchant
from tests.worker.points_world import PointsWorld, ago


async def _open(engine: AsyncEngine, **terms: Any) -> UUID:
    """A merchant with an active campaign that began two hours ago."""
    then = clock.now() - timedelta(hours=2)
    said = {"discount": {"kind": "amount", "amount_minor": 100}, "time_zone": "UTC", **terms}
    async with begin(engine) as tx:
        merchant_id = await make_merchant(tx)
        names: dict[str, Any] = {"merchant_id": merchant_id, "campaign_id": "c"}
        await campaigns.create(
            tx,
            **names,
            name=None,
            kind=None,
            attributes={},
            terms=Terms.model_validate(said),
            limits=campaigns.Limits(),
            now=then,
        )
        await campaigns.move(tx, **names, to="active", now=then)
    return merchant_id


async def _run(engine: AsyncEngine, verb: Any, merchant_id: UUID, request: Any, hours_ago: float) -> Outcome:
    async with begin(engine) as tx:
        now = clock.now() - timedelta(hours=hours_ago)
        (outcome,) = await verbs.run(tx, verb, [Asked(merchant_id, request)], now=now)
    assert outcome.ok, outcome
    return outcome


async def _counted(engine: AsyncEngine, merchant_id: UUID) -> campaigns.Counters:
    async with read(engine) as tx:
        assert await counters.verify(tx, merchant_id=merchant_id, campaign_id="c") == []
        return await counters.read_counters(tx, merchant_id=merchant_id, campaign_id="c")


async def test_what_ran_out_is_given_back_and_what_is_over_expires(engine: AsyncEngine) -> None:
    merchant_id = await _open(engine, validity={"kind": "after_issue", "hours": 1})
    for _ in range(3):
        claimed = await _run(engine, "claim", merchant_id, Claim(campaign_id="c"), 1.5)
    assert claimed.voucher is not None
    held = Reserve(voucher_id=claimed.voucher.voucher_id, order_id="o", amount_minor=500, seconds=60)
    await _run(engine, "reserve", merchant_id, held, 1.4)
    assert (await _counted(engine, merchant_id)).reserved == 1
    await beats.pass_time(engine)
    told = await _counted(engine, merchant_id)
    assert (told.reserved, told.issued, told.expired, told.holds) == (0, 0, 3, 0)


async def test_a_campaign_stops_by_itself_when_its_time_is_over(engine: AsyncEngine) -> None:
    ended = (clock.now() - timedelta(minutes=1)).isoformat()
    merchant_id = await _open(engine, ends_at=ended)
    await beats.pass_time(engine)
    async with read(engine) as tx:
        assert (await campaigns.get(tx, merchant_id=merchant_id, campaign_id="c")).state == "stopped"


async def test_a_redemption_is_linked_by_the_next_beat(engine: AsyncEngine) -> None:
    merchant_id = await _open(engine)
    claimed = await _run(engine, "claim", merchant_id, Claim(campaign_id="c"), 0)
    assert claimed.voucher is not None
    asked = Redeem(voucher_id=claimed.voucher.voucher_id, transaction_id="t", amount_minor=500)
    await _run(engine, "redeem", merchant_id, asked, 0)
    await beats.join_touched(engine)
    async with read(engine) as tx:
        rows = await tx.all("SELECT kind FROM breaks WHERE merchant_id = :m", {"m": merchant_id})
        assert [row.kind for row in rows] == ["missing_transaction"]
        assert await tx.scalar("SELECT count(*) FROM touched_vouchers") == 0


@pytest.mark.parametrize("work", beats.BEATS, ids=lambda work: str(work.__name__))
async def test_a_beat_with_nothing_to_do_does_nothing(work: Any, engine: AsyncEngine) -> None:
    await work(engine)


async def test_a_running_worker_credits_what_is_due_and_expires_what_is_over(
    platform: App, points: PointsWorld
) -> None:
    await points.members("b")
    await points.post(("a", "promised", 10), pending=True, due_at=ago(seconds=1))
    await points.post(("b", "old", 7), expires_at=ago(seconds=1))
    stop = asyncio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_worker, platform, stop)
        with anyio.fail_after(60):
            while True:
                if await points.balances() == {"a": 10, "b": 0}:
                    break
                await anyio.sleep(0.05)
        stop.set()
    await points.prove()


def test_whatever_the_worker_could_do_by_time_alone_is_done() -> None:
    """Functions of the engine alone are what time does: each is a beat, or of the house's keeping."""
    modules = [import_module(f"{worker.__name__}.{m.name}") for m in pkgutil.iter_modules(worker.__path__)]
    found = {
        work
        for module in modules
        for name, work in inspect.getmembers(module, inspect.iscoroutinefunction)
        if work.__module__ == module.__name__
        and not name.startswith("_")
        and list(inspect.signature(work).parameters) == ["engine"]
    }
    assert found - {housekeeping.prove, housekeeping.tidy} == set(beats.BEATS)
