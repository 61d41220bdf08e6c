"""Promises and holds: each is settled once, wholly or in part, by somebody or by time."""

from __future__ import annotations

from uuid import uuid4

from tests.points.world import World, codes


async def test_a_promise_is_credited_whole_or_in_part_and_the_rest_is_void(world: World) -> None:
    until = world.after(days=9)
    one = await world.give(100, "1", pending=True, expires_at=until)
    two = await world.give(50, "2", pending=True)
    done = await world.settle((one.transfer_id, 40), (two.transfer_id, None))
    assert [(s.code, s.points, s.balance) for s in done] == [("posted", 40, 40), ("posted", 50, 90)]
    assert await world.figures() == (90, 0, 0)
    assert await world.lots() == {until: 40}


async def test_a_hold_is_burned_whole_or_in_part_or_released(world: World) -> None:
    await world.give(100, "1")
    holds = [(await world.give(-30, f"h{n}", pending=True)).transfer_id for n in range(3)]
    assert await world.figures() == (100, 90, 0)
    done = await world.settle((holds[0], None), (holds[1], 10), (holds[2], 0))
    assert [(s.code, s.points, s.balance) for s in done] == [
        ("posted", 30, 70), ("posted", 10, 60), ("voided", 0, None),
    ]  # fmt: skip
    assert await world.figures() == (60, 0, 0)


async def test_the_same_settlement_again_gives_the_first_answer_and_another_is_refused(world: World) -> None:
    one, two = [(await world.give(10, r, pending=True)).transfer_id for r in "12"]
    first = await world.settle((one, 4), (two, 0))
    again = await world.settle((one, 4), (one, None), (two, 0))
    assert all(s.repeated for s in again)
    assert again[0].transfer_id == again[1].transfer_id == first[0].transfer_id
    assert [(s.code, s.points, s.balance) for s in again] == [
        ("posted", 4, 4), ("posted", 4, 4), ("voided", 0, None),
    ]  # fmt: skip
    refused = await world.settle((one, 5), (one, 0), (two, None), (two, 1))
    assert codes(refused) == ["already_posted", "already_posted", "already_voided", "already_voided"]


async def test_a_batch_settles_each_once_and_answers_as_if_one_came_after_the_other(world: World) -> None:
    one, two, three = [(await world.give(10, r, pending=True)).transfer_id for r in "123"]
    done = await world.settle(
        (one, 11), (one, 4), (one, 4), (one, None), (one, 5), (one, 0),
        (two, 0), (two, None), (two, 0), (three, None), (three, 10),
    )  # fmt: skip
    assert codes(done) == [
        "too_many_points", "posted", "posted", "posted", "already_posted", "already_posted",
        "voided", "already_voided", "voided", "posted", "posted",
    ]  # fmt: skip
    assert done[2].transfer_id == done[1].transfer_id
    assert [s.repeated for s in done[1:4]] == [False, True, True]
    assert await world.figures() == (14, 0, 0)


async def test_what_is_not_there_or_anothers_is_not_found(world: World, other: World) -> None:
    theirs = (await other.give(10, "1", pending=True)).transfer_id
    posted = (await world.give(10, "1")).transfer_id
    assert codes(await world.settle((theirs, None), (uuid4(), 0), (posted, None))) == ["not_found"] * 3
    assert await other.figures() == (0, 0, 10)


async def test_time_credits_promises_and_releases_holds(world: World) -> None:
    await world.give(50, "1")
    await world.give(10, "2", pending=True, due_at=world.after(hours=1))
    await world.give(-20, "3", pending=True, due_at=world.after(hours=2))
    await world.give(-5, "4", pending=True)
    assert await world.fall_due() == []
    world.later(hours=1)
    assert codes(await world.fall_due()) == ["posted"]
    assert await world.figures() == (60, 25, 0)
    world.later(hours=1)
    assert codes(await world.fall_due()) == ["voided"]
    assert await world.figures() == (60, 5, 0)
    world.later(days=9999)
    assert await world.fall_due() == []


async def test_a_promise_is_kept_though_the_balance_reached_its_limit(world: World) -> None:
    promise = (await world.post(world.entry(100, "1", pending=True), limit=100))[0].transfer_id
    await world.give(100, "2")
    assert codes(await world.settle((promise, None))) == ["posted"]
    assert await world.figures() == (200, 0, 0)


async def test_points_that_are_held_are_taken_from_the_lots_when_they_are_burned(world: World) -> None:
    soon = world.after(days=1)
    await world.give(10, "1", expires_at=soon)
    hold = (await world.give(-10, "2", pending=True)).transfer_id
    assert await world.lots() == {soon: 10}
    done = (await world.settle((hold, 4)))[0]
    assert await world.lots() == {soon: 6}
    await world.undo(done.transfer_id)
    assert await world.lots() == {soon: 6, world.after(days=30): 4}
