"""Points expire lot by lot, the soonest first; what is held stays; whoever wants to know is told once."""

from __future__ import annotations

from counterfoil.points import expiry, programs
from counterfoil.points.programs import Program
from tests.points.world import World


async def told(world: World) -> list[tuple[str, int]]:
    """Who is told now, of how many points."""
    found = await expiry.find_expiring(world.tx, now=world.now, most=100)
    return sorted((lot["customer_id"], lot["points"]) for lot in found.get(world.merchant_id, []))


async def test_points_are_good_before_the_moment_at_which_they_expire(world: World) -> None:
    await world.give(10, "1", expires_at=world.after(days=1))
    await world.give(5, "2")
    world.later(days=1, microseconds=-1)
    assert await world.expire() == 0
    world.later(microseconds=1)
    assert world.merchant_id in await expiry.find_due(world.tx, now=world.now)
    assert await world.expire() == 1
    assert await world.figures() == (5, 0, 0)
    assert world.merchant_id not in await expiry.find_due(world.tx, now=world.now)
    assert await world.expire() == 0


async def test_the_soonest_lots_are_burned_first_so_that_little_expires(world: World) -> None:
    days = [world.after(days=n) for n in (1, 2, 3)]
    for n, expires_at in enumerate(reversed(days)):
        await world.give(10, f"{n}", expires_at=expires_at)
    await world.give(-15, "b")
    assert await world.lots() == {days[1]: 5, days[2]: 10}
    world.later(days=2)
    await world.expire()
    assert await world.lots() == {days[2]: 10}
    assert await world.figures() == (10, 0, 0)


async def test_lots_that_are_due_together_expire_in_one_transfer_for_each_member(world: World) -> None:
    for n in range(3):
        await world.post(*(world.entry(10, f"{n}{c}", c, expires_at=world.after(days=n)) for c in "ab"))
    world.later(days=1)
    assert await world.expire(most=1) == 1
    assert await world.expire() == 1
    assert [await world.figures(c) for c in "ab"] == [(10, 0, 0)] * 2


async def test_what_is_held_stays_until_it_is_settled(world: World) -> None:
    await world.give(10, "1", expires_at=world.after(days=1))
    hold = await world.give(-6, "2", pending=True)
    world.later(days=2)
    await world.expire()
    assert await world.figures() == (6, 6, 0)
    assert await world.expire() == 0
    await world.settle((hold.transfer_id, 4))
    await world.expire()
    assert await world.figures() == (0, 0, 0)
    assert await world.lots() == {}


async def test_members_are_told_once_and_only_of_what_expires_soon(world: World) -> None:
    await programs.put(world.tx, merchant_id=world.merchant_id, program=Program(notice_days=7), now=world.now)
    await world.give(10, "1", expires_at=world.after(days=7))
    await world.give(20, "2", customer_id="b", expires_at=world.after(days=8))
    await world.give(30, "3", customer_id="c", expires_at=world.now)
    assert await told(world) == [("a", 10)]
    assert await told(world) == []
    await world.give(5, "4", expires_at=world.after(days=7))
    assert await told(world) == []
    world.later(days=1)
    assert await told(world) == [("b", 20)]
    await world.expire()


async def test_nobody_is_told_where_there_is_no_program_or_no_notice(world: World, other: World) -> None:
    await programs.put(other.tx, merchant_id=other.merchant_id, program=Program(notice_days=0), now=world.now)
    for w in (world, other):
        await w.give(10, "1", expires_at=world.after(hours=1))
        assert await told(w) == []


async def test_another_merchants_points_do_not_expire_with_mine(world: World, other: World) -> None:
    for w in (world, other):
        await w.give(10, "1", expires_at=world.after(days=1))
    world.later(days=1)
    assert await world.expire() == 1
    assert await other.figures() == (10, 0, 0)
