"""Posting: every outcome, one after the other within a batch, and the same answer to the same reference."""

from __future__ import annotations

import pytest
from asyncpg import DataError

from counterfoil.db.transactions import translated
from counterfoil.errors import InvalidError
from counterfoil.points import accounts, ledger
from tests.points.world import World, codes


async def test_points_are_credited_and_debited_and_each_transfer_carries_the_balance_after_it(
    world: World,
) -> None:
    done = await world.post(world.entry(100, "1"), world.entry(-30, "2"), world.entry(5, "3", "b"))
    assert codes(done) == ["posted"] * 3
    assert [(p.balance, p.version) for p in done] == [(100, 1), (70, 2), (5, 1)]
    assert [p.repeated for p in done] == [False] * 3
    assert [p.transfer_id for p in done] == sorted(p.transfer_id for p in done if p.transfer_id)
    assert await world.figures() == (70, 0, 0)


async def test_an_entry_that_does_not_fit_is_passed_over_and_the_next_is_decided_without_it(
    world: World,
) -> None:
    done = await world.post(
        world.entry(-1, "1"), world.entry(10, "2"), world.entry(-11, "3"), world.entry(-10, "4"),
        world.entry(-1, "5"), world.entry(1, "6"),
    )  # fmt: skip
    assert codes(done) == ["insufficient", "posted", "insufficient", "posted", "insufficient", "posted"]
    assert [p.balance for p in done if p.ok] == [10, 0, 1]


async def test_a_member_who_is_not_there_and_one_whose_account_is_closed_get_nothing(world: World) -> None:
    await world.close("b")
    done = await world.post(world.entry(5, "1", "nobody"), world.entry(5, "2", "b"), world.entry(5, "3"))
    assert codes(done) == ["not_found", "closed", "posted"]


async def test_a_refused_reference_stays_refused_whatever_changes(world: World) -> None:
    await world.close("b")
    asked = world.entry(-5, "1"), world.entry(5, "2", "d"), world.entry(5, "3", "b")
    refused = ["insufficient", "not_found", "closed"]
    assert codes(await world.post(*asked)) == refused
    await world.members("d")
    await world.give(100, "4")
    again = await world.post(*asked)
    assert codes(again) == refused
    assert all(p.repeated for p in again)
    # Whatever is asked for under that reference.
    assert codes([await world.give(7, "1", customer_id="c")]) == ["insufficient"]
    assert await world.figures("c") == (0, 0, 0)


async def test_a_refusal_without_a_reference_is_not_remembered(world: World) -> None:
    assert (await world.give(-5)).code == "insufficient"
    await world.give(5)
    assert (await world.give(-5)).code == "posted"


async def test_the_same_reference_again_gives_the_first_answer(world: World) -> None:
    first = await world.give(100, "1")
    await world.give(-30, "2")
    again = await world.give(100, "1")
    assert again.repeated
    assert (again.code, again.transfer_id, again.balance, again.version) == (
        "posted", first.transfer_id, 100, 1,
    )  # fmt: skip
    assert await world.figures() == (70, 0, 0)


@pytest.mark.parametrize(
    "said", [{"points": 99}, {"customer_id": "b"}, {"pending": True}, {"points": -100}, {"customer_id": "no"}]
)
async def test_a_reference_that_was_used_for_something_else_is_a_duplicate(
    world: World, said: dict[str, object]
) -> None:
    first = await world.give(100, "1")
    wanted = {"points": 100, **said}
    other = await world.give(reference="1", **wanted)  # type: ignore[arg-type]
    assert (other.code, other.ok, other.transfer_id) == ("duplicate", False, first.transfer_id)
    assert await world.figures() == (100, 0, 0)


async def test_references_are_repeated_within_a_batch_as_they_are_between_batches(world: World) -> None:
    old = await world.give(100, "old")
    done = await world.post(
        world.entry(10, "new"), world.entry(10, "new"), world.entry(11, "new"),
        world.entry(99, "old"), world.entry(100, "old"), world.entry(100, "old", "b"),
        world.entry(-500, "no"), world.entry(1, "no"),
    )  # fmt: skip
    assert codes(done) == [
        "posted", "posted", "duplicate", "duplicate", "posted", "duplicate", "insufficient", "insufficient",
    ]  # fmt: skip
    assert [p.repeated for p in done] == [False, True, True, True, True, True, False, True]
    assert done[1].transfer_id == done[0].transfer_id
    assert done[4].transfer_id == old.transfer_id
    assert await world.figures() == (110, 0, 0)


async def test_two_sources_may_use_the_same_reference(world: World) -> None:
    shop = await accounts.source_no(
        world.tx, merchant_id=world.merchant_id, source="partner", name="shop", now=world.now
    )
    done = await world.post(world.entry(1, "1"), world.entry(2, "1", source_no=shop))
    assert [p.balance for p in done] == [1, 3]


async def test_new_and_known_references_in_one_batch_are_each_answered(world: World) -> None:
    await world.post(world.entry(10, "1"), world.entry(10, "2", "b"))
    done = await world.post(
        world.entry(5, "3"), world.entry(10, "1"), world.entry(-12, "4"), world.entry(10, "2", "b")
    )
    assert [(p.repeated, p.balance) for p in done] == [(False, 15), (True, 10), (False, 3), (True, 10)]


async def test_a_balance_rises_to_its_limit_and_no_further(world: World) -> None:
    done = await world.post(
        world.entry(60, "1"), world.entry(50, "2"), world.entry(40, "3"), world.entry(1, "4"),
        world.entry(-10, "5"), world.entry(10, "6"), limit=100,
    )  # fmt: skip
    assert codes(done) == ["posted", "limit_exceeded", "posted", "limit_exceeded", "posted", "posted"]
    assert await world.figures() == (100, 0, 0)


async def test_what_is_held_leaves_no_room_below_the_limit(world: World) -> None:
    await world.give(100, "1")
    done = await world.post(world.entry(-40, "2", pending=True), world.entry(1, "3"), limit=100)
    assert codes(done) == ["pending", "limit_exceeded"]
    assert (await world.post(world.entry(1, "4"), limit=100))[0].code == "limit_exceeded"


async def test_what_is_promised_counts_for_the_limit(world: World) -> None:
    done = await world.post(
        world.entry(60, "1", pending=True), world.entry(50, "2", pending=True), world.entry(40, "3"),
        world.entry(1, "4"), limit=100,
    )  # fmt: skip
    assert codes(done) == ["pending", "limit_exceeded", "posted", "limit_exceeded"]
    assert (await world.post(world.entry(1, "5", pending=True), limit=100))[0].code == "limit_exceeded"


async def test_a_balance_above_a_new_limit_may_still_be_debited(world: World) -> None:
    await world.give(100, "1")
    done = await world.post(world.entry(-1, "2"), world.entry(1, "3"), limit=50)
    assert codes(done) == ["posted", "limit_exceeded"]


async def test_what_is_held_cannot_be_spent(world: World) -> None:
    done = await world.post(
        world.entry(100, "1"), world.entry(-70, "2", pending=True), world.entry(-31, "3"),
        world.entry(-31, "4", pending=True), world.entry(-30, "5"),
    )  # fmt: skip
    assert codes(done) == ["posted", "pending", "insufficient", "insufficient", "posted"]
    assert await world.figures() == (70, 70, 0)
    assert (await world.give(-1, "6")).code == "insufficient"


async def test_what_is_promised_cannot_be_spent(world: World) -> None:
    done = await world.post(world.entry(100, "1", pending=True), world.entry(-1, "2"))
    assert codes(done) == ["pending", "insufficient"]
    assert (done[0].balance, done[0].version) == (None, None)
    assert await world.figures() == (0, 0, 100)


async def test_members_of_another_merchant_are_not_there(world: World, other: World) -> None:
    await other.members("theirs")
    assert (await world.give(5, "1", customer_id="theirs")).code == "not_found"
    await world.give(5, "2")
    assert await other.figures() == (0, 0, 0)


async def test_lots_of_a_batch_are_credited_before_they_are_debited_soonest_first(world: World) -> None:
    soon, late = world.after(days=1), world.after(days=9)
    await world.post(
        world.entry(10, "1", expires_at=late), world.entry(-12, "2"), world.entry(5, "3", expires_at=soon),
        world.entry(-12, "4"), world.entry(20, "5"), world.entry(7, "6", expires_at=soon),
        world.entry(-13, "7"), world.entry(9, "8", "b", expires_at=soon),
    )  # fmt: skip
    assert await world.figures() == (17, 0, 0)
    # 25 points were debited, from 12 that expire soon, 10 that expire late, and 3 that do not.
    assert await world.lots() == {}
    assert await world.lots("b") == {soon: 9}


async def test_no_entry_is_no_work_and_too_many_are_refused(world: World) -> None:
    assert await world.post() == []
    with pytest.raises(ValueError, match="10001 entries"):
        await world.post(*[world.entry(1)] * (ledger.MOST_IN_BATCH + 1))


async def test_the_largest_batch_has_an_id_for_each(world: World) -> None:
    done = await world.post(*[world.entry(1)] * ledger.MOST_IN_BATCH)
    assert done[-1].balance == ledger.MOST_IN_BATCH
    assert len({p.transfer_id for p in done}) == ledger.MOST_IN_BATCH


async def test_a_balance_that_no_number_holds_is_told(world: World) -> None:
    await world.give(2**62, "1")
    with pytest.raises(DataError, match="out of range") as caught:
        async with world.apart():
            await world.give(2**62, "2")
    assert isinstance(translated(caught.value), InvalidError)


async def test_text_that_postgresql_cannot_hold_is_told(world: World) -> None:
    with pytest.raises(DataError) as caught:
        async with world.apart():
            await world.give(1, "a\0b")
    assert isinstance(translated(caught.value), InvalidError)
