"""What time does to points: done once, whoever does it, how often, and whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter

import anyio
import pytest
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.db.transactions import begin, read
from counterfoil.errors import CounterfoilError
from counterfoil.worker import points as beats
from tests.worker.points_world import PointsWorld, ago, ahead, make_points_world

MEMBERS = [f"m{n:03}" for n in range(120)]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beats, "AT_ONCE", 7)
    monkeypatch.setattr(beats, "NOTICES_AT_ONCE", 7)


async def _beat(engine: AsyncEngine) -> None:
    for work in (beats.settle_due, beats.expire_due, beats.give_notice):
        await work(engine)


async def test_what_was_promised_is_credited_when_it_is_due_and_not_before(points: PointsWorld) -> None:
    await points.post(("a", "due", 10), pending=True, due_at=ago(seconds=1))
    await points.post(("a", "later", 5), pending=True, due_at=ahead(hours=1))
    await points.post(("a", "when asked", 3), pending=True)
    await beats.settle_due(points.engine)
    assert await points.figures() == (10, 0, 8)
    await beats.settle_due(points.engine)
    assert await points.figures() == (10, 0, 8)


async def test_what_was_held_is_free_again_when_its_time_is_over(points: PointsWorld) -> None:
    await points.post(("a", "given", 10))
    await points.post(("a", "held", -6), pending=True, due_at=ago(seconds=1))
    await points.post(("a", "held on", -3), pending=True, due_at=ahead(hours=1))
    assert await points.figures() == (10, 9, 0)
    await beats.settle_due(points.engine)
    assert await points.figures() == (10, 3, 0)


async def test_points_expire_when_their_time_has_come_and_held_ones_after_their_release(
    points: PointsWorld,
) -> None:
    await points.post(("a", "old", 10), expires_at=ago(seconds=1))
    await points.post(("a", "new", 4), expires_at=ahead(days=9))
    await points.post(("a", "held", -6), pending=True, due_at=ahead(hours=1))
    await beats.expire_due(points.engine)
    assert await points.figures() == (6, 6, 0)
    async with begin(points.engine) as tx:
        await tx.execute("UPDATE points_pending SET due_at = now()")
    await _beat(points.engine)
    assert await points.figures() == (4, 0, 0)
    await points.prove()


async def test_members_are_told_once_before_their_points_expire(points: PointsWorld) -> None:
    await points.program(notice_days=30)
    await points.listen()
    soon = ahead(days=29)
    await points.post(("a", "soon", 10), expires_at=soon)
    await points.post(("a", "late", 10), expires_at=ahead(days=31))
    for _ in range(2):
        await beats.give_notice(points.engine)
    (told,) = [event for event in await points.told() if event["type"] == "points.expiring"]
    assert told["subject"] == "a"
    assert told["data"] == {"customer_id": "a", "expires_at": soon.isoformat(), "points": 10}


async def test_what_fails_for_one_merchant_is_done_for_the_others(points: PointsWorld) -> None:
    others = [await make_points_world(points.engine) for _ in range(2)]
    for world in (others[0], points, others[1]):
        await world.post(("a", "old", 10), expires_at=ago(seconds=1))
        await world.post(("a", "due", 5), pending=True, due_at=ago(seconds=1))
    # Somebody meddled with this one.
    async with begin(points.engine) as tx:
        await tx.execute(
            "UPDATE points_accounts SET pending = 0, version = 0 WHERE merchant_id = :m AND source IS NULL",
            {"m": points.merchant_id},
        )
    for work in (beats.settle_due, beats.expire_due):
        with pytest.raises(CounterfoilError):
            await work(points.engine)
    for world in others:
        assert await world.figures() == (5, 0, 0)
    assert await points.figures() == (10, 0, 0)


async def _busy(points: PointsWorld) -> None:
    """Many members of whom each has something promised, something held, and something that expires."""
    await points.program(notice_days=30)
    await points.members(*MEMBERS)
    await points.post(*((m, f"old {m}", 10) for m in MEMBERS), expires_at=ago(seconds=1))
    await points.post(*((m, f"soon {m}", 5) for m in MEMBERS), expires_at=ahead(days=1))
    await points.post(*((m, f"held {m}", -12) for m in MEMBERS), pending=True, due_at=ago(seconds=1))
    await points.post(*((m, f"due {m}", 2) for m in MEMBERS), pending=True, due_at=ago(seconds=1))


async def _all_done(points: PointsWorld) -> None:
    assert {m: b for m, b in (await points.balances()).items() if m != "a"} == dict.fromkeys(MEMBERS, 7)
    assert await points.all("SELECT transfer_id FROM points_pending WHERE state = 'pending'") == []
    await points.prove()


async def test_several_workers_at_once_do_everything_once(points: PointsWorld) -> None:
    await points.listen("points.expiring", "points.expired", "points.credited", "points.voided")
    await _busy(points)
    await points.queued("webhooks.fan_out")
    for _ in range(3):
        await asyncio.gather(*(_beat(points.engine) for _ in range(3)))
    await _all_done(points)
    told = await points.told()
    assert len({event["id"] for event in told}) == len(told)
    assert Counter(event["type"] for event in told) == {
        "points.credited": len(MEMBERS),
        "points.voided": len(MEMBERS),
        "points.expired": len(MEMBERS),
        "points.expiring": len(MEMBERS),
    }


async def test_members_who_buy_meanwhile_lose_nothing(points: PointsWorld) -> None:
    await _busy(points)

    async def buy() -> None:
        for n in range(10):
            await points.post(*((m, f"buy {n} {m}", 1) for m in reversed(MEMBERS)))
            await points.post(*((m, f"use {n} {m}", -1) for m in MEMBERS))

    await asyncio.gather(buy(), _beat(points.engine), _beat(points.engine))
    for _ in range(2):
        await _beat(points.engine)
    # What is used is of the soonest to expire first, so that less expired than there was.
    assert sum((await points.balances()).values()) >= 7 * len(MEMBERS)
    assert await points.all("SELECT member_no FROM points_lots WHERE expires_at < now()") == []
    await points.prove()


_WORKER = """
import asyncio, sys
from counterfoil.db.engine import create_engine
from counterfoil.worker import points

async def main():
    points.AT_ONCE = points.NOTICES_AT_ONCE = 7
    engine = create_engine(sys.argv[1])
    for work in (points.settle_due, points.expire_due, points.give_notice):
        await work(engine)

asyncio.run(main())
"""


async def _waits(engine: AsyncEngine) -> bool:
    async with read(engine) as tx:
        return bool(
            await tx.scalar(
                """SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'"""
            )
        )


@pytest.mark.parametrize("done", [0, 50, 119])
async def test_what_a_worker_that_was_killed_left_another_does(
    points: PointsWorld, database: URL, done: int
) -> None:
    await _busy(points)
    command = [sys.executable, "-c", _WORKER, database.render_as_string(hide_password=False)]
    async with begin(points.engine) as blocking:
        await blocking.execute(
            "SELECT FROM points_accounts WHERE name = :name FOR UPDATE", {"name": MEMBERS[done]}
        )
        async with await anyio.open_process(command) as worker:
            with anyio.fail_after(60):
                while not await _waits(points.engine):  # noqa: ASYNC110
                    await anyio.sleep(0.02)
            os.kill(worker.pid, signal.SIGKILL)
        assert worker.returncode == -signal.SIGKILL
    await points.prove()
    for _ in range(2):
        await _beat(points.engine)
    await _all_done(points)
