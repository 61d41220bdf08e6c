"""The demo's year of points: done once however often, and proven."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.demo.points import YearOfPoints, figures_table, give_points, statement_table
from counterfoil.errors import ConflictError
from tests.builders import at
from tests.worker.points_world import PointsWorld, make_points_world


async def _year(world: PointsWorld) -> YearOfPoints:
    said: list[tuple[int, int]] = []
    year = await give_points(
        world.engine, merchant_id=world.merchant_id, tell=lambda done, total: said.append((done, total))
    )
    assert said[-1] == (year.orders, year.orders)
    return year


async def _world(engine: AsyncEngine) -> PointsWorld:
    world = await make_points_world(engine)
    orders = [
        {
            "order_id": f"o{n}",
            "customer_id": "rich" if n % 2 else "poor",
            "ordered_at": at(0) + timedelta(days=3 * n),
            "amount_minor": 60_000 if n % 2 else 900,
            "transaction_id": f"t{n}",
        }
        for n in range(10)
    ]
    await world.load("orders", *orders, {"order_id": "unpaid", "customer_id": "c", "ordered_at": at(0)})
    return world


async def test_the_year_is_earned_once_burned_once_and_proven(engine: AsyncEngine) -> None:
    world = await _world(engine)
    first, second = await _year(world), await _year(world)
    assert (first.members, first.orders, first.earned, second.earned) == (2, 10, 10, 0)
    assert (first.burned, first.taken_back, first.differences) == (1, 600, 0)
    assert replace(second, seconds=0, earned=0) == replace(first, seconds=0, earned=0)
    # Five orders earned, the last of them was sent back, and points were burned.
    assert await world.balances() == {"a": 0, "poor": 45, "rich": 5 * 600 - 600 - 500}
    assert statement_table(first).row_count == 7
    assert figures_table(first).row_count == figures_table(second).row_count == 6


async def test_points_of_a_partner_are_none_of_the_year(engine: AsyncEngine) -> None:
    world = await _world(engine)
    first = await _year(world)
    await world.post(("poor", "card-1", 5_000), ("rich", "card-2", 5_000))
    second = await _year(world)
    assert (second.burned, second.taken_back) == (first.burned, first.taken_back)
    assert await world.balances() == {"a": 0, "poor": 45 + 5_000, "rich": 4 * 600 - 500 + 5_000}


async def test_a_ledger_that_is_wrong_ends_the_demo(engine: AsyncEngine) -> None:
    year = await _year(await _world(engine))
    with pytest.raises(ConflictError, match="ledger of points"):
        figures_table(replace(year, differences=1))


async def test_without_paid_orders_the_demo_says_so(engine: AsyncEngine) -> None:
    world = await make_points_world(engine)
    with pytest.raises(ConflictError, match="no paid orders"):
        await _year(world)
