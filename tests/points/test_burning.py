"""Burning on orders: at once or held, worth what the program says, each order once."""

from __future__ import annotations

from counterfoil.points.burning import Burn
from counterfoil.points.programs import Program, Rate
from tests.points.world import World


async def test_an_order_burns_once_and_takes_off_what_points_are_worth(world: World) -> None:
    world.program = Program(burn=Rate(points=3, minor=10))
    await world.give(100, "1")
    done = (await world.burn(Burn("a", "o", 50)))[0]
    assert (done.posted.code, done.posted.balance, done.amount_minor) == ("posted", 50, 166)
    assert (await world.burn(Burn("a", "o", 49)))[0].posted.code == "duplicate"
    refused = (await world.burn(Burn("a", "p", 51)))[0]
    assert (refused.posted.code, refused.amount_minor) == ("insufficient", 0)


async def test_a_burn_that_is_repeated_is_worth_what_it_was_though_the_program_changed(world: World) -> None:
    await world.give(100, "1")
    asked = Burn("a", "o", 50)
    first = await world.burn(asked, asked)
    world.program = Program(burn=Rate(points=1, minor=2))
    assert [b.amount_minor for b in [*first, *await world.burn(asked)]] == [50, 50, 50]


async def test_points_are_held_at_the_checkout_and_burned_in_part_or_released(world: World) -> None:
    await world.give(100, "1")
    holds = await world.burn(*(Burn("a", f"o{n}", 30, hold_until=world.after(hours=1)) for n in range(3)))
    assert [(b.posted.code, b.amount_minor) for b in holds] == [("pending", 30)] * 3
    await world.settle((holds[0].posted.transfer_id, 20), (holds[1].posted.transfer_id, 0))
    assert await world.figures() == (80, 30, 0)
    world.later(hours=1)
    await world.fall_due()
    assert await world.figures() == (80, 0, 0)


async def test_a_burn_that_goes_back_gives_the_lots_their_points_with_grace(world: World) -> None:
    await world.give(60, "1", expires_at=world.after(days=10))
    await world.give(60, "2", expires_at=world.after(days=100))
    late = world.after(days=100)
    burned = (await world.burn(Burn("a", "o", 80)))[0]
    world.later(days=20)
    await world.undo(burned.posted.transfer_id, 50)
    assert await world.lots() == {late: 60, world.after(days=30): 30}
    assert await world.figures() == (90, 0, 0)
