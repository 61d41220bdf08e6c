from __future__ import annotations

import pytest

from tests.vouchers.world import World


@pytest.mark.parametrize("verbs", [("redeem", "redeem"), ("reserve", "reserve"), ("reserve", "redeem")])
@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        ("alone", "alone", False),
        ("alone", "any", False),
        ("any", "alone", False),
        ("alone", "one_per_campaign", False),
        ("one_per_campaign", "alone", False),
        ("one_per_campaign", "one_per_campaign", True),
        ("one_per_campaign", "any", True),
        ("any", "one_per_campaign", True),
        ("any", "any", True),
    ],
)
async def test_vouchers_of_two_campaigns_on_an_order(
    world: World, first: str, second: str, together: bool, verbs: tuple[str, str]
) -> None:
    await world.campaign("c", stacking=first)
    await world.campaign("d", stacking=second)
    one, two = await world.voucher("c"), await world.voucher("d")
    acts = {"redeem": world.redeem, "reserve": world.reserve}
    assert (await acts[verbs[0]](one)).ok
    assert (await world.validate(two)).ok is together
    outcome = await acts[verbs[1]](two)
    assert [reason.code for reason in outcome.reasons] == ([] if together else ["not_stackable"])


@pytest.mark.parametrize(
    ("stacking", "together"), [("alone", False), ("one_per_campaign", False), ("any", True)]
)
async def test_two_vouchers_of_one_campaign_on_an_order(world: World, stacking: str, together: bool) -> None:
    await world.campaign(stacking=stacking)
    one, two = await world.voucher(), await world.voucher()
    outcomes = await world.batch(
        "redeem", *({"voucher_id": code, "order_id": "o", "amount_minor": 1000} for code in (one, two))
    )
    assert [outcome.ok for outcome in outcomes] == [True, together]


async def test_what_was_reversed_or_released_or_ran_out_stands_beside_nothing(world: World) -> None:
    await world.campaign("c", stacking="alone")
    await world.campaign("d", stacking="alone")
    redeemed, reserved, late = [await world.voucher("c") for _ in range(3)]
    code = await world.voucher("d")
    await world.reverse(await world.redeem(redeemed))
    assert (await world.validate(code)).ok
    await world.release(await world.reserve(reserved))
    assert (await world.validate(code)).ok
    await world.reserve(late)
    assert (await world.validate(code)).code == "not_stackable"
    # Nobody has ended it in its own campaign yet.
    world.later(hours=1)
    assert (await world.redeem(code)).ok
    assert (await world.redeem(late)).code == "not_stackable"


async def test_an_order_of_another_merchant_is_another_order(world: World, other: World) -> None:
    for each in (world, other):
        await each.campaign(stacking="alone")
        await each.bring("SAME")
        assert (await each.ask("issue", campaign_id="c", voucher_id="SAME")).ok
        assert (await each.redeem("SAME")).ok
