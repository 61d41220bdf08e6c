from __future__ import annotations

import pytest

from counterfoil.vouchers import expiry
from counterfoil.vouchers.types import CampaignState
from tests.vouchers.world import STORED, World, line, terms


async def test_a_whole_reversal_gives_back_the_use_the_budget_and_the_customers_turn(world: World) -> None:
    await world.campaign(budget_minor=500, redemptions_per_customer={"total": 1, "day": 1})
    code = await world.voucher(customer_id="a")
    first = await world.redeem(code)
    assert first.code == "redeemed"
    world.later(days=3)
    reversed_ = await world.reverse(first)
    assert (reversed_.code, reversed_.reversal and reversed_.reversal.whole) == ("reversed", True)
    assert reversed_.voucher is not None
    assert (reversed_.voucher.state, reversed_.voucher.uses) == ("issued", 0)
    now = await world.counters()
    assert (now.redemptions, now.spent_minor, now.redeemed, now.issued) == (0, 0, 0, 1)
    assert (await world.redeem(code, "another")).code == "redeemed"


async def test_what_was_done_before_a_limit_came_can_be_given_back(world: World) -> None:
    await world.campaign(uses_per_voucher=None)
    code = await world.voucher(customer_id="a")
    redeemed, reserved = await world.redeem(code, "o1"), await world.reserve(code, "o2")
    limits = {"redemptions_per_customer": {"day": 1, "week": 1, "month": 1}, "redemptions_per_day": 1}
    await world.change(terms=terms(uses_per_voucher=None, **limits))
    assert (await world.reverse(redeemed)).code == "reversed"
    assert (await world.release(reserved)).code == "released"
    assert (await world.redeem(code, "o3")).code == "redeemed"
    assert (await world.redeem(code, "o4")).code == "redemption_limit_reached"


async def test_a_reversal_by_line_gives_back_its_discount_and_the_use_with_the_last(world: World) -> None:
    await world.campaign(discount={"kind": "percent", "basis_points": 1000}, budget_minor=100)
    code = await world.voucher()
    redeemed = await world.redeem(code, lines=[line("1", 300), line("2", 600), line("3", 100)])
    some = await world.reverse(redeemed, "1")
    assert some.reversal is not None
    assert (some.reversal.discount_minor, some.reversal.whole) == (30, False)
    now = await world.counters()
    assert (now.spent_minor, now.redemptions, now.redeemed) == (70, 1, 1)
    again = await world.reverse(redeemed, "1")
    assert (again.ok, again.repeated, again.reversal) == (True, True, None)
    rest = await world.reverse(redeemed, "1", "2", "3")
    assert rest.reversal is not None
    assert (rest.reversal.discount_minor, rest.reversal.whole) == (70, True)
    assert rest.redemption is not None
    assert rest.redemption.reversed_minor == 100
    assert await world.state_of(code) == "issued"
    for lines in ((), ("2",)):
        again = await world.reverse(redeemed, *lines)
        assert (again.ok, again.repeated) == (True, True)


async def test_a_whole_reversal_after_one_by_line_gives_back_the_rest(world: World) -> None:
    await world.campaign()
    redeemed = await world.redeem(await world.voucher(), lines=[line("1", 300), line("2", 600)])
    await world.reverse(redeemed, "2")
    rest = await world.reverse(redeemed)
    assert rest.reversal is not None
    assert (rest.reversal.discount_minor, rest.reversal.whole) == (167, True)
    assert (await world.counters()).spent_minor == 0


async def test_a_balance_gets_back_a_line_at_once(world: World) -> None:
    await world.campaign(discount=STORED)
    code = await world.voucher()
    redeemed = await world.redeem(code, lines=[line("1", 600), line("2", 600)])
    back = await world.reverse(redeemed, "1")
    assert back.voucher is not None
    assert (back.voucher.state, back.voucher.balance_minor, back.voucher.uses) == ("issued", 500, 1)


@pytest.mark.parametrize("state", ["paused", "stopped", "ended"])
async def test_what_is_given_back_is_taken_whatever_became_of_the_campaign(
    world: World, state: CampaignState
) -> None:
    await world.campaign()
    redeemed = await world.redeem(await world.voucher(), "o1")
    code = await world.voucher()
    reserved = await world.reserve(code, "o2")
    await world.move(state)
    assert (await world.reverse(redeemed)).ok
    assert (await world.release(reserved)).ok
    assert (await world.void(code)).ok


async def test_what_comes_back_after_its_validity_is_expired(world: World) -> None:
    await world.campaign(validity={"kind": "after_issue", "hours": 1})
    code = await world.voucher()
    redeemed = await world.redeem(code)
    world.later(hours=1)
    back = await world.reverse(redeemed)
    assert (back.ok, back.voucher and back.voucher.state) == (True, "expired")


async def test_a_reserved_voucher_that_is_voided_gives_back_what_it_held(world: World) -> None:
    await world.campaign(budget_minor=500)
    code = await world.voucher()
    reserved = await world.reserve(code)
    voided = await world.void(code, reason="fraud")
    assert (voided.code, voided.voucher and voided.voucher.state) == ("voided", "voided")
    now = await world.counters()
    assert (now.holds, now.held_minor, now.reserved, now.voided) == (0, 0, 0, 1)
    assert (await world.redeem(code)).code == "voucher_voided"
    assert (await world.release(reserved)).repeated
    again = await world.void(code, reason="another")
    assert (again.ok, again.repeated) == (True, True)


async def test_a_reserved_voucher_whose_validity_is_over_is_voided_like_any_other(world: World) -> None:
    await world.campaign(validity={"kind": "after_issue", "hours": 1})
    code = await world.voucher()
    await world.reserve(code, seconds=7200)
    world.later(hours=1)
    assert (await world.void(code)).code == "voided"
    assert (await world.counters()).voided == 1


@pytest.mark.parametrize("restock", [True, False])
async def test_what_is_used_up_or_over_cannot_be_voided(world: World, restock: bool) -> None:
    await world.campaign(uses_per_voucher=2, stacking="any", validity={"kind": "after_issue", "hours": 1})
    used, over, once = [await world.voucher() for _ in range(3)]
    for order in ("o1", "o2"):
        await world.redeem(used, order)
    await world.redeem(once)
    assert (await world.void(used, restock=restock)).code == "voucher_redeemed"
    assert (await world.void(once, restock=restock)).code == ("restock_impossible" if restock else "voided")
    world.later(hours=1)
    await expiry.expire(world.tx, merchant_id=world.merchant_id, campaign_id="c", now=world.now)
    assert (await world.void(over, restock=restock)).code == "voucher_expired"


async def test_a_voided_voucher_stays_voided_when_its_redemption_is_reversed(world: World) -> None:
    await world.campaign(discount=STORED, budget_minor=400)
    code = await world.voucher()
    redeemed = await world.redeem(code, amount_minor=400)
    await world.void(code)
    back = await world.reverse(redeemed)
    assert (back.ok, back.voucher and back.voucher.state) == (True, "voided")
    assert (await world.counters()).budget_left_minor == 400
