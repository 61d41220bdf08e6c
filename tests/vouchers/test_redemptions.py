from __future__ import annotations

from typing import Any

import pytest

from tests.vouchers.world import STORED, World, line, reasons


async def test_the_same_voucher_for_the_same_order_gives_the_first_redemption(world: World) -> None:
    await world.campaign(budget_minor=500)
    code = await world.voucher()
    first = await world.redeem(code)
    again = await world.redeem(code)
    assert (first.repeated, again.repeated, again.ok) == (False, True, True)
    assert (again.redemption, again.discount) == (first.redemption, first.discount)
    # Said without an amount, it is the same too.
    assert (await world.ask("redeem", voucher_id=code, order_id="o")).redemption == first.redemption
    assert (await world.counters()).redemptions == 1


async def test_where_there_is_no_order_the_payment_makes_two_redemptions_the_same(world: World) -> None:
    await world.campaign()
    code = await world.voucher()
    first = await world.redeem(code, None, transaction_id="t")
    assert first.ok
    assert (await world.redeem(code, None, transaction_id="t")).redemption == first.redemption
    assert (await world.redeem(code, None, transaction_id="u")).code == "voucher_redeemed"
    # An order of that name is something else.
    assert (await world.redeem(code, "t")).code == "voucher_redeemed"


async def test_validating_tells_what_a_redemption_would_take_off_and_changes_nothing(world: World) -> None:
    await world.campaign(discount={"kind": "percent", "basis_points": 1250, "cap_minor": 100})
    code = await world.voucher()
    before = await world.counters()
    for _ in range(2):
        valid = await world.validate(code, None, amount_minor=420)
        assert valid.discount is not None
        assert (valid.code, valid.discount.discount_minor) == ("valid", 53)
    valid = await world.validate(code)
    assert valid.discount is not None
    assert valid.discount.discount_minor == 100
    assert await world.counters() == before


async def test_validating_after_a_reservation_ran_out_changes_nothing_either(world: World) -> None:
    await world.campaign()
    code = await world.voucher()
    await world.reserve(code, "slow")
    world.later(hours=1)
    assert (await world.validate(code, "quick")).ok
    assert (await world.counters()).holds == 1


async def test_a_bearer_code_is_anybodys_and_a_holders_is_not(world: World) -> None:
    await world.campaign(uses_per_voucher=2, stacking="any")
    bearer, held = await world.voucher(), await world.voucher(customer_id="a")
    assert (await world.redeem(bearer, "o1", customer_id="b")).ok
    assert (await world.redeem(bearer, "o2")).ok
    assert (await world.redeem(held, "o1", customer_id="b")).code == "not_the_holder"
    assert (await world.redeem(held, "o1")).ok
    assert (await world.redeem(held, "o2", customer_id="a")).ok


async def test_a_transferable_voucher_counts_for_who_uses_it(world: World) -> None:
    await world.campaign(transferable=True, redemptions_per_customer={"total": 1})
    one, two, three = [await world.voucher(customer_id="a") for _ in range(3)]
    assert (await world.redeem(one, "o1", customer_id="b")).ok
    assert (await world.redeem(two, "o2", customer_id="b")).code == "redemption_limit_reached"
    assert (await world.redeem(two, "o2")).ok
    assert (await world.redeem(three, "o3")).code == "redemption_limit_reached"


async def test_a_bearer_code_with_limits_for_each_customer_wants_to_know_who(world: World) -> None:
    await world.campaign(redemptions_per_customer={"week": 1})
    code = await world.voucher()
    assert reasons(await world.redeem(code)) == ["customer_required"]
    assert (await world.redeem(code, customer_id="a")).ok


async def test_a_code_of_many_uses_ends_with_the_last(world: World) -> None:
    await world.campaign(uses_per_voucher=3)
    code = await world.voucher()
    states = [(await world.redeem(code, f"o{n}")).voucher for n in range(3)]
    assert [(v.state, v.uses) for v in states if v is not None] == [
        ("issued", 1), ("issued", 2), ("redeemed", 3),
    ]  # fmt: skip
    assert (await world.redeem(code, "o3")).code == "voucher_redeemed"


async def test_a_balance_is_used_bit_by_bit_and_comes_back_where_a_payment_does(world: World) -> None:
    await world.campaign(discount=STORED)
    code = await world.voucher()
    first = await world.redeem(code, "o1", amount_minor=400)
    second = await world.redeem(code, "o2", amount_minor=900)
    assert (first.discount and first.discount.discount_minor) == 400
    assert (second.discount and second.discount.discount_minor) == 600
    assert second.voucher is not None
    assert (second.voucher.state, second.voucher.balance_minor, second.voucher.uses) == ("redeemed", 0, 2)
    assert (await world.redeem(code, "o3")).code == "voucher_redeemed"
    back = await world.reverse(first)
    assert back.voucher is not None
    assert (back.voucher.state, back.voucher.balance_minor, back.voucher.uses) == ("issued", 400, 1)
    assert (await world.counters()).spent_minor == 600


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"budget_minor": 0}, "budget_exhausted"),
        ({"max_redemptions": 0}, "redemptions_used_up"),
        ({"redemptions_per_day": 0}, "redemptions_per_day_reached"),
        ({"redemptions_per_customer": {"month": 0}}, "redemption_limit_reached"),
        ({"uses_per_voucher": 0}, "voucher_redeemed"),
        ({"scope": {"stores": []}}, "store_not_in_scope"),
        ({"redemption_windows": []}, "outside_redemption_window"),
    ],
)
async def test_a_limit_of_zero_uses_is_none_and_null_is_no_limit(
    world: World, limits: dict[str, Any], code: str
) -> None:
    await world.campaign("none", **limits)
    voucher = await world.voucher("none", customer_id="a")
    assert reasons(await world.redeem(voucher, store_id="s")) == [code]
    unlimited: dict[str, Any] = {
        n: dict.fromkeys(most) if isinstance(most, dict) else None for n, most in limits.items()
    }
    await world.campaign("all", **{"uses_per_voucher": None, **unlimited})
    voucher = await world.voucher("all", customer_id="a")
    for n in range(3):
        assert (await world.redeem(voucher, f"o{n}", store_id="s")).ok


@pytest.mark.parametrize(("period", "days"), [("day", 1), ("week", 7), ("month", 30)])
async def test_a_customers_redemptions_are_limited_in_each_calendar_period(
    world: World, period: str, days: int
) -> None:
    await world.campaign(uses_per_voucher=None, redemptions_per_customer={period: 2})
    code = await world.voucher()
    assert (await world.redeem(code, "o1", customer_id="a")).ok
    assert (await world.reserve(code, "o2", customer_id="a", seconds=30 * 86_400)).ok
    assert (await world.redeem(code, "o3", customer_id="a")).code == "redemption_limit_reached"
    assert (await world.redeem(code, "o3", customer_id="b")).ok
    world.later(days=days - 1)
    assert (await world.redeem(code, "o4", customer_id="a")).code == "redemption_limit_reached"
    world.later(days=1)
    assert (await world.redeem(code, "o4", customer_id="a")).ok


async def test_a_redemption_of_yesterday_that_is_reversed_leaves_todays_count_alone(world: World) -> None:
    await world.campaign(uses_per_voucher=None, redemptions_per_day=1)
    code = await world.voucher()
    yesterday = await world.redeem(code, "o1")
    world.later(days=1)
    assert (await world.redeem(code, "o2")).ok
    await world.reverse(yesterday)
    assert (await world.redeem(code, "o3")).code == "redemptions_per_day_reached"


async def test_an_exchange_needs_no_basket_and_costs_its_value(world: World) -> None:
    await world.campaign(
        discount={"kind": "product", "product_id": "tea", "value_minor": 300}, budget_minor=300
    )
    one, two = await world.voucher(), await world.voucher()
    assert (await world.ask("redeem", voucher_id=one, transaction_id="t1")).ok
    assert (await world.ask("redeem", voucher_id=two, transaction_id="t2")).code == "budget_exhausted"


async def test_what_other_merchants_have_is_not_found(world: World, other: World) -> None:
    await other.campaign()
    code = await other.voucher(customer_id="a")
    reserved = await other.reserve(code)
    redeemed = await other.redeem(await other.voucher(), "o2")
    answers = [
        await world.claim("c"),
        await world.ask("issue", campaign_id="c", voucher_id=code),
        await world.validate(code),
        await world.reserve(code),
        await world.redeem(code),
        await world.release(reserved),
        await world.reverse(redeemed),
        await world.void(code),
    ]
    things = ["campaign", "campaign", "voucher", "voucher", "voucher", "reservation", "redemption", "voucher"]
    assert [answer.code for answer in answers] == [f"{thing}_not_found" for thing in things]
    assert await other.state_of(code) == "reserved"


async def test_lines_out_of_scope_take_nothing_off_and_do_not_count_to_the_minimum(world: World) -> None:
    await world.campaign(scope={"categories": ["tea"]}, minimum_spend_minor=300)
    code = await world.voucher()
    lines = [line("1", 299, category="tea"), line("2", 5000)]
    assert (await world.redeem(code, lines=lines)).code == "minimum_not_met"
    lines[0]["amount_minor"] = 300
    redeemed = await world.redeem(code, lines=lines)
    assert redeemed.discount is not None
    assert [(part.line_id, part.discount_minor) for part in redeemed.discount.lines] == [("1", 300)]
