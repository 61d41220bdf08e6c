"""Accounts are opened once, closed when they are empty, and opened again."""

from __future__ import annotations

import pytest

from counterfoil.errors import ConflictError, NotFoundError
from counterfoil.points import accounts
from tests.points.world import World


async def test_an_account_is_opened_once(world: World) -> None:
    opened = await accounts.open_accounts(
        world.tx, merchant_id=world.merchant_id, customer_ids=["a", "x", "x", "y"], now=world.now
    )
    assert opened == 2
    account = await world.account("x")
    assert (account.state, account.balance, account.version, account.available) == ("open", 0, 0, 0)
    with pytest.raises(NotFoundError) as caught:
        await world.account("z")
    assert caught.value.code == "points_account_not_found"


@pytest.mark.parametrize(("points", "pending"), [(5, False), (5, True)])
async def test_an_account_with_points_or_promises_is_not_closed(
    world: World, points: int, pending: bool
) -> None:
    made = await world.give(points, "1", pending=pending)
    with pytest.raises(ConflictError) as caught:
        await world.close()
    assert caught.value.code == "points_account_not_empty"
    if pending:
        await world.settle((made.transfer_id, 0))
    else:
        await world.undo(made.transfer_id)
    assert (await world.close()).closed_at == world.now


async def test_a_closed_account_stays_as_it_is_and_may_be_opened_again(world: World) -> None:
    closed = await world.close()
    world.later(days=1)
    assert await world.close() == closed
    for _ in range(2):
        again = await accounts.reopen(world.tx, merchant_id=world.merchant_id, customer_id="a")
        assert (again.state, again.closed_at) == ("open", None)
    assert (await world.give(5, "1")).ok
    with pytest.raises(NotFoundError):
        await world.close("nobody")


async def test_a_source_has_one_account_whoever_asks_and_each_merchant_its_own(
    world: World, other: World
) -> None:
    async def number(of: World, name: str = "") -> int:
        return await accounts.source_no(
            world.tx, merchant_id=of.merchant_id, source="partner", name=name, now=world.now
        )

    assert await number(world, "bank") == world.bank
    assert len({await number(world), await number(world), await number(other), await number(world, "x")}) == 3


async def test_a_member_may_be_called_as_a_partner_is(world: World) -> None:
    await world.members("bank")
    await world.give(5, "1", customer_id="bank")
    assert await world.figures("bank") == (5, 0, 0)
