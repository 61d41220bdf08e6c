"""Orders that were recorded and paid earn by themselves: once, whatever comes twice, late or out of order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import anyio
import pytest

from counterfoil.app import App
from counterfoil.db import records
from counterfoil.worker import earning
from counterfoil.worker.run import run_worker
from tests.builders import at
from tests.worker.points_world import PointsWorld

ORDER: dict[str, Any] = {"order_id": "o", "customer_id": "a", "ordered_at": at(0), "amount_minor": 5_000}
PAID = {**ORDER, "transaction_id": "t"}
PAYMENT: dict[str, Any] = {
    "transaction_id": "t",
    "customer_id": "a",
    "paid_at": at(1),
    "amount_minor": 5_000,
}


@pytest.fixture(autouse=True)
async def _on(points: PointsWorld) -> None:
    await points.program(earn_from_orders=True)


async def _work(points: PointsWorld) -> None:
    for job in await points.queued("points.earn"):
        await earning.earn_job(points.engine, job)


async def _transfers(points: PointsWorld) -> list[tuple[Any, ...]]:
    rows = await points.all("SELECT reference, points, amount_minor FROM points_transfers ORDER BY reference")
    return [tuple(row) for row in rows]


async def test_a_paid_order_earns_and_an_unpaid_one_does_not(points: PointsWorld) -> None:
    await points.load("orders", PAID, {**ORDER, "order_id": "unpaid"})
    await _work(points)
    assert await _transfers(points) == [("o", 50, 5_000)]
    assert await points.figures() == (50, 0, 0)


async def test_an_order_earns_when_its_payment_becomes_known_however_that_comes(points: PointsWorld) -> None:
    await points.load("orders", ORDER)
    await _work(points)
    assert await _transfers(points) == []
    await points.load("orders", PAID)
    await _work(points)
    assert await _transfers(points) == [("o", 50, 5_000)]


@pytest.mark.parametrize("order", list(permutations(range(4))))
async def test_whatever_comes_first_and_how_often_the_order_earns_once(
    points: PointsWorld, order: tuple[int, ...]
) -> None:
    without_amount = {**PAID, "amount_minor": None}
    coming = [("orders", without_amount), ("transactions", PAYMENT), ("orders", without_amount)]
    coming.append(("transactions", PAYMENT))
    for n in order:
        kind, row = coming[n]
        await points.load(kind, row)
        await _work(points)
    assert await _transfers(points) == [("o", 50, 5_000)]


async def test_points_count_from_the_payment_where_it_is_known(points: PointsWorld) -> None:
    await points.program(earn_from_orders=True, expiry={"after_months": 12, "at": "exact"})
    await points.load("transactions", PAYMENT)
    await points.load("orders", PAID)
    await _work(points)
    (row,) = await points.all("SELECT expires_at FROM points_lots")
    assert row.expires_at == at(1).replace(year=at(1).year + 1)


async def test_an_order_of_nobody_or_of_no_member_is_left_alone_and_may_earn_later(
    points: PointsWorld,
) -> None:
    await points.load("orders", {**PAID, "customer_id": "b"}, {**PAID, "order_id": "p", "customer_id": None})
    await _work(points)
    assert await _transfers(points) == []
    assert await points.all("SELECT reference FROM points_refusals") == []
    await points.members("b")
    await points.load("transactions", {**PAYMENT, "customer_id": None})
    await _work(points)
    assert await _transfers(points) == [("o", 50, 5_000)]


async def test_an_order_that_shares_its_payment_earns_its_own_amount_or_nothing(points: PointsWorld) -> None:
    shared = {**PAID, "order_id": "p", "amount_minor": 2_000}
    await points.load("orders", {**PAID, "amount_minor": None}, shared)
    await points.load("transactions", PAYMENT)
    await _work(points)
    assert await _transfers(points) == [("p", 20, 2_000)]


async def test_money_that_went_back_and_small_amounts_earn_nothing(points: PointsWorld) -> None:
    await points.load(
        "orders", {**PAID, "amount_minor": -5_000}, {**PAID, "order_id": "p", "amount_minor": 9}
    )
    await _work(points)
    assert await _transfers(points) == []


async def test_where_the_program_does_not_say_so_no_job_is_made(points: PointsWorld) -> None:
    await points.program(earn_from_orders=False)
    await points.load("orders", PAID)
    assert await points.queued("points.earn") == []


async def test_a_program_that_no_longer_says_so_when_the_job_runs_earns_nothing(points: PointsWorld) -> None:
    await points.load("orders", PAID)
    await points.program()
    await _work(points)
    assert await _transfers(points) == []


@pytest.mark.parametrize("kind", ["orders", "transactions"])
async def test_more_records_than_an_event_names_earn_all_the_same_and_only_they(
    points: PointsWorld, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(records, "MOST_ANNOUNCED", 3)
    monkeypatch.setattr(earning, "AT_ONCE", 4)
    orders = [{**PAID, "order_id": f"o{n}", "transaction_id": f"t{n}"} for n in range(11)]
    await points.load("orders", {**PAID, "order_id": "before"})
    first = "transactions" if kind == "orders" else "orders"
    payments = [{**PAYMENT, "transaction_id": f"t{n}"} for n in range(11)]
    await points.load(first, *(payments if kind == "orders" else orders))
    await points.queued("points.earn")
    await points.load(kind, *(orders if kind == "orders" else payments))
    for job in await points.queued("points.earn"):
        assert job["keys"] is None
        for _ in range(2):
            await earning.earn_job(points.engine, job)
    assert await points.figures() == (550, 0, 0)


@pytest.mark.parametrize(
    "odd",
    [
        {"amount_minor": 2**63 - 1},
        {"ordered_at": datetime(9999, 12, 31, 23, tzinfo=UTC)},
        {"ordered_at": datetime(1, 1, 1, tzinfo=UTC)},
    ],
    ids=["much money", "the last year", "the first year"],
)
async def test_an_order_that_cannot_be_holds_up_no_other(points: PointsWorld, odd: dict[str, Any]) -> None:
    await points.program(
        earn_from_orders=True,
        earn={"points": 1_000_000, "minor": 1_000_000},
        activate_after_days=3650,
        expiry={"after_months": 120, "at": "year_end"},
        time_zone="Asia/Shanghai",
    )
    orders = [{**PAID, "order_id": f"o{n}"} for n in range(9)]
    await points.load("orders", *orders[:5], {**PAID, "order_id": "odd", **odd}, *orders[5:])
    await _work(points)
    assert {f"o{n}" for n in range(9)} <= {reference for reference, *_ in await _transfers(points)}
    await points.prove()


async def test_two_deliveries_at_once_earn_once(points: PointsWorld) -> None:
    orders = [{**PAID, "order_id": f"o{n}"} for n in range(50)]
    await points.load("orders", *orders)
    (job,) = await points.queued("points.earn")
    await asyncio.gather(*(earning.earn_job(points.engine, job) for _ in range(4)))
    assert await points.figures() == (2_500, 0, 0)
    await points.prove()


async def test_the_worker_does_it_for_whoever_loads_records(platform: App, points: PointsWorld) -> None:
    stop = asyncio.Event()
    working = asyncio.create_task(run_worker(platform, stop))
    await points.load("orders", PAID)
    await _until(lambda: _has(points, 50))
    stop.set()
    await working


async def _has(points: PointsWorld, balance: int) -> bool:
    return (await points.figures())[0] == balance


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    with anyio.fail_after(60):
        while not await condition():  # noqa: ASYNC110
            await anyio.sleep(0.05)
