"""Reading points: statements, balances of the past, what an order did, and the whole ledger."""

from __future__ import annotations

import pytest

from counterfoil.errors import NotFoundError
from counterfoil.points import queries
from counterfoil.points.burning import Burn
from counterfoil.points.programs import Program, Rate
from tests.points.world import World, known


async def test_members_are_listed_by_name_page_by_page(world: World, other: World) -> None:
    await world.members("ab", "aa", "b_", "%", "b%")
    names: list[str] = []
    cursor = None
    while True:
        page = await queries.list_accounts(world.tx, merchant_id=world.merchant_id, limit=3, cursor=cursor)
        names += [account.customer_id for account in page.data]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert names == sorted(["a", "b", "c", "ab", "aa", "b_", "%", "b%"])
    found = await queries.list_accounts(world.tx, merchant_id=world.merchant_id, prefix="b%", limit=9)
    assert [account.customer_id for account in found.data] == ["b%"]


async def test_a_statement_has_the_latest_first_and_nothing_that_is_pending(world: World) -> None:
    for n in range(5):
        await world.give(10, str(n))
    await world.give(5, "p", pending=True)
    first = await queries.statement(world.tx, merchant_id=world.merchant_id, customer_id="a", limit=3)
    await world.give(10, "meanwhile")
    rest = await queries.statement(
        world.tx, merchant_id=world.merchant_id, customer_id="a", limit=3, cursor=first.next_cursor
    )
    assert [item.balance for item in [*first.data, *rest.data]] == [50, 40, 30, 20, 10]
    assert rest.next_cursor is None
    waiting = await queries.list_pending(world.tx, merchant_id=world.merchant_id, customer_id="a", limit=9)
    assert [(item.reference, item.state, item.balance) for item in waiting] == [("p", "pending", None)]


async def test_a_balance_is_told_as_it_was_at_any_moment(world: World) -> None:
    start = world.now
    for n in range(3):
        world.later(days=1)
        await world.give(10, str(n))
    balances = [
        await queries.balance_at(
            world.tx, merchant_id=world.merchant_id, customer_id="a", at=start.replace(day=day)
        )
        for day in range(1, 7)
    ]
    assert balances == [0, 10, 20, 30, 30, 30]


async def test_what_an_order_did_is_told_in_its_order_with_what_was_undone(world: World) -> None:
    world.program = Program(earn=Rate(points=1, minor=1))
    await world.give(50, "1")
    await world.burn(Burn("a", "o", 20))
    await world.earn(("o", 100))
    await world.take_back(("o", "r", 30))
    items = await queries.list_of_order(world.tx, merchant_id=world.merchant_id, order_id="o")
    assert [(item.source, item.points, item.reversed_points) for item in items] == [
        ("burned", -20, 0), ("earned", 100, 30), ("earned", -30, 0),
    ]  # fmt: skip
    assert items[2].reverses == items[1].transfer_id


async def test_another_merchants_transfers_are_not_there(world: World, other: World) -> None:
    theirs = known((await other.give(5, "1", order_id="o")).transfer_id)
    with pytest.raises(NotFoundError) as caught:
        await queries.get_transfer(world.tx, merchant_id=world.merchant_id, transfer_id=theirs)
    assert caught.value.code == "transfer_not_found"
    assert await queries.list_of_order(world.tx, merchant_id=world.merchant_id, order_id="o") == []
    item = await queries.get_transfer(world.tx, merchant_id=other.merchant_id, transfer_id=theirs)
    assert (item.source, item.source_name, item.customer_id) == ("partner", "bank", "a")


async def test_totals_and_the_export_have_each_transfer_once(world: World, other: World) -> None:
    await other.give(7, "1")
    await world.post(*(world.entry(10, str(n), "abc"[n % 3]) for n in range(7)))
    await world.give(-4, "x", pending=True)
    await world.give(6, "y", customer_id="b", pending=True)
    totals = await queries.totals(world.tx, merchant_id=world.merchant_id)
    assert (totals.members, totals.balance, totals.held, totals.pending) == (3, 70, 4, 6)
    assert [(s.source, s.name, s.points, s.transfers) for s in totals.sources] == [("partner", "bank", 70, 7)]
    parts = [part async for part in queries.export(world.tx, merchant_id=world.merchant_id, most=2)]
    assert [len(part) for part in parts] == [2, 2, 2, 2, 1]
    assert [item.reference for part in parts for item in part] == [*"0123456", "x", "y"]
