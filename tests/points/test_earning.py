"""Earning from paid orders, and taking back as money goes back."""

from __future__ import annotations

import pytest

from counterfoil.points.programs import Expiry, Program, Rate
from tests.points.world import World, codes

WAITING = Program(earn=Rate(points=1, minor=1), activate_after_days=14)
AT_ONCE = Program(earn=Rate(points=1, minor=1))


@pytest.fixture
def world(world: World) -> World:
    """A point for each minor unit."""
    world.program = AT_ONCE
    return world


async def test_an_order_earns_once_and_one_that_is_worth_no_point_nothing(world: World) -> None:
    world.program = Program(earn=Rate(points=2, minor=100), expiry=Expiry(after_months=1, at="exact"))
    done = await world.earn(("o", 1999), ("tiny", 49), ("o", 1999))
    assert [p and (p.code, p.repeated, p.balance) for p in done] == [
        ("posted", False, 39), None, ("posted", True, 39),
    ]  # fmt: skip
    assert await world.lots() == {world.now.replace(month=7): 39}


async def test_an_order_that_is_told_again_is_known_though_by_now_it_would_earn_otherwise(
    world: World,
) -> None:
    world.program = WAITING
    paid_at = world.now
    first = (await world.earn(("o", 100)))[0]
    assert first is not None
    assert first.code == "pending"
    world.later(days=20)
    for program in (WAITING, Program(earn=Rate(points=5, minor=1))):
        world.program = program
        again = (await world.earn(("o", 100), paid_at=paid_at))[0]
        assert again is not None
        assert (again.code, again.repeated, again.transfer_id) == ("pending", True, first.transfer_id)
    other = (await world.earn(("o", 101), paid_at=paid_at))[0]
    assert other is not None
    assert other.code == "duplicate"


async def test_one_order_with_two_payments_in_a_batch_earns_for_the_first(world: World) -> None:
    done = [p for p in await world.earn(("o", 100), ("o", 33), ("o", 100)) if p is not None]
    assert [(p.code, p.repeated) for p in done] == [("posted", False), ("duplicate", True), ("posted", True)]


async def test_an_order_that_may_be_sent_back_no_more_earns_at_once(world: World) -> None:
    world.program = WAITING
    await world.earn(("o", 100), paid_at=world.after(days=-14))
    assert await world.figures() == (100, 0, 0)


async def test_a_balance_does_not_earn_beyond_the_programs_maximum(world: World) -> None:
    world.program = WAITING.model_copy(update={"max_balance": 150})
    done = await world.earn(("o", 100), ("p", 51), ("q", 50))
    assert [p and p.code for p in done] == ["pending", "limit_exceeded", "pending"]


@pytest.mark.parametrize("parts", [[1] * 7, [3, 3, 1], [7], [2, 4, None], [0, 6, 0, 1]])
@pytest.mark.parametrize("waiting", [False, True])
@pytest.mark.parametrize("together", [False, True])
async def test_when_all_of_the_money_went_back_so_have_the_points_whatever_the_parts(
    world: World, parts: list[int | None], waiting: bool, together: bool
) -> None:
    rate = Rate(points=10, minor=3)
    world.program = Program(earn=rate, activate_after_days=14 if waiting else 0)
    await world.earn(("o", 7))
    refunds = [("o", str(n), minor) for n, minor in enumerate(parts)]
    done = await world.take_back(*refunds) if together else [(await world.take_back(r))[0] for r in refunds]
    assert sum(t.points for t in done) == 23
    assert await world.figures() == (0, 0, 0)
    assert (await world.take_back(("o", "x", 1)))[0].code == "refund_too_large"
    assert (await world.take_back(("o", "y", None)))[0].code == "nothing_to_take_back"


async def test_promises_become_fewer_and_what_is_left_is_credited_and_taken_back_later(world: World) -> None:
    world.program = WAITING
    await world.earn(("o", 100))
    done = await world.take_back(("o", "1", 30), ("o", "2", 20))
    assert [(t.code, t.points, t.balance) for t in done] == [
        ("taken_back", 30, None),
        ("taken_back", 20, None),
    ]
    assert await world.figures() == (0, 0, 50)
    world.later(days=14)
    await world.fall_due()
    assert await world.figures() == (50, 0, 0)
    await world.take_back(("o", "3", 40))
    assert await world.figures() == (10, 0, 0)
    rest = (await world.take_back(("o", "4", None)))[0]
    assert (rest.points, rest.missing, rest.balance) == (10, 0, 0)


async def test_what_was_burned_meanwhile_is_missing_and_is_told_again(world: World) -> None:
    await world.earn(("o", 100))
    await world.give(-70, "1")
    first = await world.take_back(("o", "1", 20), ("o", "2", 80), ("o", "2", 80), ("o", "2", 79))
    assert codes(first) == ["taken_back", "taken_back", "taken_back", "duplicate"]
    assert [(t.points, t.missing) for t in first[:3]] == [(20, 0), (10, 70), (10, 70)]
    again = await world.take_back(("o", "2", None), ("o", "1", 20), ("o", "1", 21))
    assert [(t.code, t.points, t.missing, t.repeated) for t in again] == [
        ("taken_back", 10, 70, True), ("taken_back", 20, 0, True), ("duplicate", 0, 0, True),
    ]  # fmt: skip
    assert await world.figures() == (0, 0, 0)


async def test_a_refund_before_its_order_earned_is_done_when_it_is_asked_again(world: World) -> None:
    assert codes(await world.take_back(("o", "1", 30))) == ["order_not_earned"]
    await world.earn(("o", 100))
    assert codes(await world.take_back(("o", "1", 30))) == ["taken_back"]
    assert await world.figures() == (70, 0, 0)


async def test_a_promise_that_was_voided_or_credited_in_part_gives_back_no_more_than_it_gave(
    world: World,
) -> None:
    world.program = WAITING
    promised = [p.transfer_id if p else None for p in await world.earn(("o", 100), ("p", 100))]
    await world.settle((promised[0], 0), (promised[1], 40))
    assert codes(await world.take_back(("o", "1", 50))) == ["nothing_to_take_back"]
    done = await world.take_back(("p", "1", 50), ("p", "2", 50))
    assert [(t.points, t.missing) for t in done] == [(40, 0), (0, 0)]
    assert await world.figures() == (0, 0, 0)


async def test_points_that_somebody_took_back_by_hand_are_neither_taken_twice_nor_missing(
    world: World,
) -> None:
    credit = (await world.earn(("o", 100)))[0]
    assert credit is not None
    await world.give(500, "1")
    await world.undo(credit.transfer_id, 60)
    done = (await world.take_back(("o", "1", None)))[0]
    assert (done.points, done.missing) == (40, 0)
    assert await world.figures() == (500, 0, 0)


@pytest.mark.parametrize("together", [False, True])
async def test_a_refund_that_finds_nothing_to_take_says_so_at_once_and_whenever_it_is_asked_again(
    world: World, together: bool
) -> None:
    """Found by the state machine: alone and in a batch, first and again, the answers differed."""
    credit, _ = await world.earn(("o2", 100), ("o3", 33))
    assert credit is not None
    await world.undo(credit.transfer_id)
    refunds: list[tuple[str, str, int | None]] = [("o2", "y", None), ("o3", "w", 11), ("o2", "w", None)]
    done = await world.take_back(*refunds) if together else [(await world.take_back(r))[0] for r in refunds]
    told = [("nothing_to_take_back", 0, 0), ("taken_back", 11, 0), ("nothing_to_take_back", 0, 0)]
    assert [(t.code, t.points, t.missing) for t in done] == told
    again = await world.take_back(*refunds)
    assert [(t.code, t.points, t.missing, t.repeated) for t in again] == [(*t, True) for t in told]


async def test_orders_of_another_merchant_have_not_earned(world: World, other: World) -> None:
    other.program = AT_ONCE
    await other.earn(("o", 100))
    assert codes(await world.take_back(("o", "1", 30))) == ["order_not_earned"]
    assert await other.figures() == (100, 0, 0)
