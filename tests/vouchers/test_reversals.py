from __future__ import annotations

from tests.vouchers.world import World, terms


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
