"""Undoing transfers: never more than they moved, and what a debit took goes back to its lots."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from counterfoil.points.reversals import GRACE, Reversal
from tests.points.world import World, codes, known


async def test_a_credit_is_undone_part_by_part_and_never_more_than_it_gave(world: World) -> None:
    credit = (await world.give(100, "1", order_id="o")).transfer_id
    done = await world.undo(credit, 30)
    assert (done.code, done.points, done.balance) == ("posted", 30, 70)
    assert (await world.undo(credit, 71)).code == "too_many_points"
    rest = await world.undo(credit)
    assert (rest.points, rest.balance) == (70, 0)
    assert (await world.undo(credit)).code == "reversed_already"
    assert (await world.undo(credit, 1)).code == "reversed_already"


async def test_a_batch_counts_what_was_undone_before_in_it(world: World) -> None:
    credit = known((await world.give(100, "1")).transfer_id)
    asked = [Reversal(credit, points=60), Reversal(credit, points=60), Reversal(credit), Reversal(credit)]
    done = await world.reverse(*asked)
    assert codes(done) == ["posted", "too_many_points", "posted", "reversed_already"]
    assert [r.points for r in done] == [60, 0, 40, 0]


async def test_what_was_burned_cannot_be_taken_back_unless_as_far_as_it_is_there(world: World) -> None:
    credit = (await world.give(100, "1")).transfer_id
    await world.give(-70, "2")
    assert (await world.undo(credit)).code == "insufficient"
    done = await world.undo(credit, as_far_as_there=True)
    assert (done.code, done.points, done.missing, done.balance) == ("posted", 30, 70, 0)
    assert (await world.undo(credit, as_far_as_there=True)).code == "insufficient"
    await world.give(10, "3")
    # What is left of it may be taken back later.
    done = await world.undo(credit, 500, as_far_as_there=True)
    assert (done.points, done.missing) == (10, 60)


async def test_what_is_held_is_not_taken_back(world: World) -> None:
    credit = (await world.give(100, "1")).transfer_id
    await world.give(-60, "2", pending=True)
    assert (await world.undo(credit, 41)).code == "insufficient"
    assert (await world.undo(credit, as_far_as_there=True)).points == 40


async def test_a_debit_in_the_batch_leaves_less_for_the_reversals_after_it(world: World) -> None:
    one, two = [known((await world.give(50, str(n))).transfer_id) for n in range(2)]
    burned = known((await world.give(-60, "b")).transfer_id)
    done = await world.reverse(Reversal(one), Reversal(two, points=1), Reversal(burned), Reversal(two))
    assert codes(done) == ["insufficient", "posted", "posted", "posted"]
    assert [r.balance for r in done] == [None, 39, 99, 50]


async def test_only_posted_transfers_that_undo_nothing_can_be_undone(world: World) -> None:
    promise = (await world.give(5, "p", pending=True)).transfer_id
    credit = (await world.give(5, "1")).transfer_id
    undone = (await world.undo(credit)).transfer_id
    assert (await world.undo(promise)).code == "not_reversible"
    assert (await world.undo(undone)).code == "not_reversible"
    assert (await world.undo(uuid4())).code == "not_found"


async def test_transfers_of_another_merchant_are_not_there(world: World, other: World) -> None:
    theirs = (await other.give(5, "1")).transfer_id
    assert (await world.undo(theirs)).code == "not_found"
    assert await other.figures() == (5, 0, 0)


async def test_a_debit_of_a_closed_account_is_not_undone_before_it_is_open_again(world: World) -> None:
    await world.give(5, "1")
    debit = (await world.give(-5, "2")).transfer_id
    await world.close()
    assert (await world.undo(debit)).code == "closed"


async def test_the_same_reference_again_gives_the_first_answer(world: World) -> None:
    credit = known((await world.give(100, "1")).transfer_id)
    first = await world.undo(credit, 30, reference="r")
    for points in (30, None):
        again = await world.undo(credit, points, reference="r")
        assert again.repeated
        assert (again.code, again.points, again.transfer_id, again.balance) == (
            "posted", 30, first.transfer_id, 70,
        )  # fmt: skip
    twice = await world.reverse(*[Reversal(credit, "s", 10)] * 2)
    assert twice[1].repeated
    assert twice[1].transfer_id == twice[0].transfer_id
    assert await world.figures() == (60, 0, 0)


async def test_what_was_missing_is_told_again(world: World) -> None:
    credit = known((await world.give(100, "1")).transfer_id)
    await world.give(-70, "2")
    asked = Reversal(credit, "r", 80, as_far_as_there=True)
    for done in [*await world.reverse(asked, asked), *await world.reverse(asked)]:
        assert (done.code, done.points, done.missing) == ("posted", 30, 50)


async def test_a_reference_that_was_used_for_something_else_is_a_duplicate(world: World) -> None:
    credit, second = [known((await world.give(100, str(n))).transfer_id) for n in range(2)]
    await world.undo(credit, 30, reference="r")
    assert (await world.undo(credit, 31, reference="r")).code == "duplicate"
    assert (await world.undo(credit, 29, reference="r")).code == "duplicate"
    assert (await world.undo(second, 30, reference="r")).code == "duplicate"
    assert (await world.undo(second, 30, reference="0")).code == "duplicate"
    done = await world.reverse(
        Reversal(credit, "s", 5), Reversal(second, "s", 6), Reversal(second, points=100)
    )
    assert codes(done) == ["posted", "duplicate", "posted"]


@pytest.mark.parametrize("points", [101, 100])
async def test_a_refused_reference_stays_refused(world: World, points: int) -> None:
    credit = known((await world.give(100, "1")).transfer_id)
    await world.give(-50, "2")
    asked = Reversal(credit, "r", points)
    code = "too_many_points" if points > 100 else "insufficient"
    assert codes(await world.reverse(asked, asked)) == [code, code]
    await world.give(50, "3")
    again = await world.reverse(asked, Reversal(credit, "r", 1))
    assert codes(again) == [code, code]
    assert all(r.repeated for r in again)
    assert (await world.give(1, "r")).code == code


async def test_a_debit_gives_back_what_lives_longest_first_and_with_some_grace(world: World) -> None:
    soon, late = world.after(days=10), world.after(days=90)
    await world.post(
        world.entry(30, "1", expires_at=soon), world.entry(20, "2", expires_at=late), world.entry(10, "3")
    )
    debit = (await world.give(-55, "4")).transfer_id
    assert await world.lots() == {}
    await world.undo(debit, 5)  # of the 5 that never expire
    assert await world.lots() == {}
    await world.undo(debit, 21)
    assert await world.lots() == {late: 20, world.now + GRACE: 1}
    await world.undo(debit)
    assert await world.lots() == {late: 20, world.now + GRACE: 30}
    assert await world.figures() == (60, 0, 0)


async def test_two_debits_of_one_lot_give_back_into_one_lot(world: World) -> None:
    soon = world.after(days=10)
    await world.give(30, "1", expires_at=soon)
    debits = [known((await world.give(-10, f"d{n}")).transfer_id) for n in range(3)]
    await world.reverse(*(Reversal(d) for d in debits), Reversal(debits[0]))
    assert await world.lots() == {world.now + GRACE: 30}


async def test_what_expired_can_be_given_back(world: World) -> None:
    await world.give(30, "1", expires_at=world.after(days=1))
    world.later(days=2)
    assert await world.expire() == 1
    row = await world.tx.first("SELECT transfer_id FROM points_transfers WHERE points = -30")
    assert row is not None
    await world.undo(row.transfer_id)
    assert await world.lots() == {world.after(days=30): 30}
    world.later(days=29)
    assert await world.expire() == 0
    world.now += timedelta(days=1)
    assert await world.expire() == 1
    assert await world.figures() == (0, 0, 0)


async def test_what_a_batch_gives_back_its_debits_may_take(world: World) -> None:
    credit = known((await world.give(10, "1", expires_at=world.after(days=90))).transfer_id)
    debit = known((await world.give(-5, "2")).transfer_id)
    assert codes(await world.reverse(Reversal(debit), Reversal(credit))) == ["posted", "posted"]
    assert await world.lots() == {}
    assert await world.figures() == (0, 0, 0)
