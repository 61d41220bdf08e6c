from __future__ import annotations

from datetime import timedelta

import pytest

from counterfoil.vouchers import expiry, reservations
from tests.builders import NOW
from tests.vouchers.world import STORED, World, line, reasons, terms


async def test_a_reservation_holds_a_use_and_its_discount_and_the_same_order_uses_it(world: World) -> None:
    await world.campaign(stock=1, budget_minor=500, max_redemptions=1)
    code = await world.voucher(customer_id="a")
    first = await world.reserve(code, seconds=60)
    assert first.reservation is not None
    assert first.voucher is not None
    assert (first.code, first.repeated, first.voucher.state) == ("reserved", False, "reserved")
    assert first.reservation.expires_at == NOW + timedelta(seconds=60)
    held = await world.counters()
    assert (held.holds, held.held_minor, held.reserved, held.budget_left_minor) == (1, 500, 1, 0)
    again = await world.reserve(code)
    assert (again.repeated, again.reservation) == (True, first.reservation)
    redeemed = await world.redeem(code)
    assert (redeemed.code, redeemed.note, redeemed.voucher and redeemed.voucher.state) == (
        "redeemed", None, "redeemed",
    )  # fmt: skip
    used = await world.counters()
    assert (used.holds, used.held_minor, used.spent_minor, used.redemptions) == (0, 0, 500, 1)


async def test_the_same_order_with_another_amount_is_told_so(world: World) -> None:
    await world.campaign()
    code = await world.voucher()
    await world.reserve(code)
    assert (await world.reserve(code, amount_minor=999)).code == "order_differs"


async def test_a_reservation_holds_as_long_as_the_campaign_says(world: World) -> None:
    await world.campaign(reservation_seconds=30)
    code = await world.voucher()
    first = await world.reserve(code)
    assert first.reservation is not None
    assert first.reservation.expires_at == NOW + timedelta(seconds=30)
    world.later(seconds=29)
    assert (await world.reserve(code, "other")).code == "voucher_reserved"
    world.later(seconds=1)
    assert (await world.reserve(code, "other")).ok


async def test_a_late_redemption_goes_through_where_it_still_can_and_says_so(world: World) -> None:
    await world.campaign()
    code = await world.voucher()
    await world.release(await world.reserve(code))
    await world.reserve(code)
    world.later(hours=1)
    late = await world.redeem(code)
    assert (late.code, late.note) == ("redeemed", "reservation_expired")


async def test_a_redemption_after_a_release_says_so(world: World) -> None:
    await world.campaign()
    code = await world.voucher()
    await world.reserve(code)
    world.later(hours=1)
    await world.release(await world.reserve(code))
    late = await world.redeem(code)
    assert (late.code, late.note) == ("redeemed", "reservation_released")


async def test_a_late_redemption_of_what_another_order_took_is_refused(world: World) -> None:
    await world.campaign()
    code = await world.voucher()
    await world.reserve(code, "slow")
    world.later(hours=1)
    await world.reserve(code, "quick")
    assert (await world.redeem(code, "slow")).code == "voucher_reserved"
    assert (await world.redeem(code, "quick")).ok
    assert (await world.redeem(code, "slow")).code == "voucher_redeemed"


async def test_a_late_redemption_of_budget_that_another_voucher_took_is_refused(world: World) -> None:
    await world.campaign(budget_minor=500)
    slow, quick = await world.voucher(), await world.voucher()
    await world.reserve(slow, "slow")
    assert (await world.redeem(quick, "quick")).code == "budget_exhausted"
    world.later(hours=1)
    assert (await world.redeem(quick, "quick")).ok
    assert (await world.redeem(slow, "slow")).code == "budget_exhausted"


@pytest.mark.parametrize("state", ["paused", "stopped", "ended"])
async def test_what_was_promised_is_kept_whatever_became_of_the_campaign(world: World, state: str) -> None:
    await world.campaign()
    code, other = await world.voucher(), await world.voucher()
    await world.reserve(code)
    await world.move(state)  # type: ignore[arg-type]
    assert (await world.redeem(other, "another")).ok is (state == "stopped")
    assert (await world.validate(code)).ok
    assert (await world.redeem(code)).ok


async def test_what_was_promised_is_kept_when_the_validity_the_hour_and_the_day_are_over(
    world: World,
) -> None:
    await world.campaign(
        validity={"kind": "after_issue", "hours": 1},
        redemption_windows=[{"from": "12:00", "until": "13:00"}],
        reservation_seconds=86_400,
        redemptions_per_day=1,
    )
    code = await world.voucher()
    await world.reserve(code)
    world.later(hours=2)
    await expiry.expire(world.tx, merchant_id=world.merchant_id, campaign_id="c", now=world.now)
    assert await world.state_of(code) == "reserved"
    assert (await world.redeem(code)).ok


async def test_a_failed_payment_leaves_the_voucher_usable(world: World) -> None:
    await world.campaign(budget_minor=500, redemptions_per_customer={"day": 1}, max_redemptions=1)
    code = await world.voucher(customer_id="a")
    reserved = await world.reserve(code)
    released = await world.release(reserved)
    assert (released.code, released.repeated, released.voucher and released.voucher.state) == (
        "released", False, "issued",
    )  # fmt: skip
    again = await world.release(reserved)
    assert (again.code, again.repeated) == ("released", True)
    assert (await world.redeem(code, "another")).ok


async def test_releasing_what_ran_out_changes_nothing_and_says_so(world: World) -> None:
    await world.campaign()
    code = await world.voucher()
    reserved = await world.reserve(code)
    world.later(hours=1)
    assert await reservations.lapse(world.tx, [(world.merchant_id, "c")], now=world.now) == 1
    assert await reservations.lapse(world.tx, [(world.merchant_id, "c")], now=world.now) == 0
    released = await world.release(reserved)
    assert (released.code, released.repeated, released.note) == ("released", True, "reservation_expired")


async def test_an_order_that_has_redeemed_a_voucher_cannot_reserve_it_again(world: World) -> None:
    await world.campaign(uses_per_voucher=None, stacking="any")
    code = await world.voucher()
    redeemed = await world.redeem(code)
    assert (await world.reserve(code)).code == "voucher_redeemed"
    await world.reverse(redeemed)
    assert (await world.reserve(code)).code == "redemption_reversed"
    assert (await world.counters()).holds == 0


async def test_what_runs_out_after_the_validity_is_over_leaves_the_voucher_expired(world: World) -> None:
    await world.campaign(validity={"kind": "after_issue", "hours": 1})
    code = await world.voucher()
    await world.reserve(code, seconds=7200)
    world.later(hours=3)
    assert reasons(await world.redeem(code)) == ["voucher_expired"]
    await reservations.lapse(world.tx, [(world.merchant_id, "c")], now=world.now)
    assert await world.state_of(code) == "expired"


async def test_a_balance_is_held_and_what_is_left_of_it_can_be_used_elsewhere(world: World) -> None:
    await world.campaign(discount=STORED)
    code = await world.voucher()
    first = await world.reserve(code, "o1", amount_minor=700)
    second = await world.reserve(code, "o2", amount_minor=700)
    assert second.discount is not None
    assert (second.discount.discount_minor, second.voucher and second.voucher.state) == (300, "reserved")
    assert (await world.redeem(code, "o3")).code == "voucher_reserved"
    await world.release(first)
    third = await world.redeem(code, "o3", amount_minor=200)
    assert third.voucher is not None
    assert (third.voucher.state, third.voucher.balance_minor) == ("issued", 800)
    promised = await world.redeem(code, "o2", amount_minor=700)
    assert promised.discount == second.discount
    fourth = await world.redeem(code, "o4")
    assert fourth.discount is not None
    assert fourth.voucher is not None
    assert (fourth.discount.discount_minor, fourth.voucher.state) == (500, "redeemed")


async def test_an_order_that_shrank_after_its_reservation_is_redeemed_at_what_it_costs(world: World) -> None:
    await world.campaign(discount={"kind": "percent", "basis_points": 1000}, budget_minor=100)
    code = await world.voucher()
    await world.reserve(code)
    redeemed = await world.redeem(code, amount_minor=500)
    assert redeemed.discount is not None
    assert redeemed.discount.discount_minor == 50
    assert (await world.counters()).budget_left_minor == 50


async def test_an_order_gets_what_its_reservation_told_also_when_the_terms_have_changed(
    world: World,
) -> None:
    await world.campaign()
    code = await world.voucher()
    reserved = await world.reserve(code)
    changed = terms(discount={"kind": "amount", "amount_minor": 10}, minimum_spend_minor=5000)
    await world.change(terms=changed)
    assert (await world.validate(code)).discount == reserved.discount
    assert (await world.redeem(code)).discount == reserved.discount


async def test_an_order_that_grew_beyond_the_budget_keeps_its_reservation(world: World) -> None:
    await world.campaign(discount={"kind": "percent", "basis_points": 1000}, budget_minor=100)
    code = await world.voucher()
    await world.reserve(code)
    assert (await world.redeem(code, amount_minor=2000)).code == "budget_exhausted"
    assert (await world.counters()).held_minor == 100
    assert (await world.redeem(code)).ok


async def test_a_payment_that_says_no_amount_is_redeemed_as_it_was_reserved(world: World) -> None:
    await world.campaign(scope={"products": ["tea"]})
    code = await world.voucher()
    lines = [line("1", 300, product_id="tea"), line("2", 700), line("3", 100, product_id="tea")]
    reserved = await world.reserve(code, lines=lines)
    redeemed = await world.ask("redeem", voucher_id=code, order_id="o", transaction_id="t")
    assert redeemed.discount == reserved.discount
    assert redeemed.discount is not None
    assert [(part.line_id, part.discount_minor) for part in redeemed.discount.lines] == [
        ("1", 300), ("3", 100),
    ]  # fmt: skip
    again = await world.redeem(code, amount_minor=1100)
    assert (again.repeated, again.redemption) == (True, redeemed.redemption)
