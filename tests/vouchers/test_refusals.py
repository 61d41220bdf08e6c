"""Every code of `refusals.py` is reached by the shortest story that leads to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from counterfoil.vouchers.refusals import REFUSALS, refused
from counterfoil.vouchers.requests import Outcome
from tests.builders import NOW
from tests.vouchers.world import World, line, reasons

Story = Callable[[World], Awaitable[Outcome]]
STORIES: dict[str, Story] = {}
NIGHT = [{"from": "22:00", "until": "06:00"}]


def reaches(code: str) -> Callable[[Story], Story]:
    """Register a story under the code that it must end with."""

    def register(story: Story) -> Story:
        assert code not in STORIES
        STORIES[code] = story
        return story

    return register


@pytest.mark.parametrize("code", REFUSALS)
async def test_every_refusal_can_be_reached(world: World, code: str) -> None:
    assert code in STORIES, f"no story leads to {code}: write one"
    outcome = await STORIES[code](world)
    assert (outcome.ok, reasons(outcome)) == (False, [code])
    assert outcome.code == code
    assert outcome.reasons[0].detail == REFUSALS[code][1]


def test_no_story_ends_with_a_code_that_is_gone() -> None:
    assert STORIES.keys() <= REFUSALS.keys()


def test_a_reason_that_holds_twice_is_told_once() -> None:
    told = refused(["sold_out", "claim_limit_reached", "claim_limit_reached"])
    assert (told.code, reasons(told)) == ("sold_out", ["sold_out", "claim_limit_reached"])


async def test_all_reasons_are_told_at_once(world: World) -> None:
    await world.campaign(budget_minor=0, minimum_spend_minor=2000, redemptions_per_customer={"total": 0})
    code = await world.voucher(customer_id="a")
    await world.move("paused")
    outcome = await world.validate(code, customer_id="b")
    assert reasons(outcome) == [
        "campaign_paused",
        "not_the_holder",
        "minimum_not_met",
        "redemption_limit_reached",
        "budget_exhausted",
    ]


@reaches("campaign_not_found")
async def _(world: World) -> Outcome:
    return await world.claim("another")


@reaches("voucher_not_found")
async def _(world: World) -> Outcome:
    return await world.redeem("no-such-code")


@reaches("reservation_not_found")
async def _(world: World) -> Outcome:
    return await world.ask("release", reservation_id="rsv_none")


@reaches("redemption_not_found")
async def _(world: World) -> Outcome:
    return await world.ask("reverse", redemption_id="red_none")


@reaches("campaign_draft")
async def _(world: World) -> Outcome:
    await world.campaign(state="draft")
    return await world.claim()


@reaches("campaign_paused")
async def _(world: World) -> Outcome:
    await world.campaign()
    code = await world.voucher()
    await world.move("paused")
    return await world.redeem(code)


@reaches("campaign_stopped")
async def _(world: World) -> Outcome:
    await world.campaign(state="stopped")
    return await world.ask("issue", campaign_id="c")


@reaches("campaign_ended")
async def _(world: World) -> Outcome:
    await world.campaign()
    code = await world.voucher()
    await world.move("ended")
    return await world.reserve(code)


@reaches("campaign_not_started")
async def _(world: World) -> Outcome:
    await world.campaign(starts_at=NOW + timedelta(seconds=1))
    return await world.claim()


@reaches("campaign_over")
async def _(world: World) -> Outcome:
    await world.campaign(ends_at=NOW)
    return await world.claim()


@reaches("outside_claim_window")
async def _(world: World) -> Outcome:
    await world.campaign(claim_windows=NIGHT)
    return await world.claim()


@reaches("outside_redemption_window")
async def _(world: World) -> Outcome:
    await world.campaign(redemption_windows=NIGHT)
    return await world.redeem(await world.voucher())


@reaches("sold_out")
async def _(world: World) -> Outcome:
    await world.campaign(stock=1)
    await world.voucher()
    return await world.claim()


@reaches("customer_required")
async def _(world: World) -> Outcome:
    await world.campaign(claims_per_customer={"total": 1})
    return await world.claim()


@reaches("claim_limit_reached")
async def _(world: World) -> Outcome:
    await world.campaign(claims_per_customer={"total": 1, "day": 1, "week": 1, "month": 1})
    await world.claim(customer_id="a")
    return await world.claim(customer_id="a")


@reaches("claims_per_day_reached")
async def _(world: World) -> Outcome:
    await world.campaign(claims_per_day=1)
    await world.claim(customer_id="a")
    return await world.claim(customer_id="b")


@reaches("voucher_not_issued")
async def _(world: World) -> Outcome:
    await world.campaign(from_pool=True)
    await world.bring("ONE")
    return await world.redeem("ONE")


@reaches("voucher_not_available")
async def _(world: World) -> Outcome:
    await world.campaign()
    code = await world.voucher(customer_id="a")
    return await world.ask("issue", campaign_id="c", voucher_id=code, customer_id="b")


@reaches("voucher_reserved")
async def _(world: World) -> Outcome:
    await world.campaign()
    code = await world.voucher()
    await world.reserve(code, "first")
    return await world.redeem(code, "second")


@reaches("voucher_redeemed")
async def _(world: World) -> Outcome:
    await world.campaign()
    code = await world.voucher()
    await world.redeem(code, "first")
    return await world.redeem(code, "second")


@reaches("voucher_expired")
async def _(world: World) -> Outcome:
    await world.campaign(validity={"kind": "after_issue", "hours": 1})
    code = await world.voucher()
    world.later(hours=1)
    return await world.redeem(code)


@reaches("voucher_not_yet_valid")
async def _(world: World) -> Outcome:
    await world.campaign(validity={"kind": "absolute", "valid_from": NOW + timedelta(hours=1)})
    return await world.redeem(await world.voucher())


@reaches("voucher_voided")
async def _(world: World) -> Outcome:
    await world.campaign()
    code = await world.voucher()
    await world.void(code)
    return await world.redeem(code)


@reaches("not_the_holder")
async def _(world: World) -> Outcome:
    await world.campaign()
    return await world.redeem(await world.voucher(customer_id="a"), customer_id="b")


@reaches("store_not_in_scope")
async def _(world: World) -> Outcome:
    await world.campaign(scope={"stores": ["s1"]})
    return await world.redeem(await world.voucher(), store_id="s2")


@reaches("store_required")
async def _(world: World) -> Outcome:
    await world.campaign(scope={"stores": ["s1"]})
    return await world.redeem(await world.voucher())


@reaches("amount_required")
async def _(world: World) -> Outcome:
    await world.campaign()
    return await world.ask("redeem", voucher_id=await world.voucher(), order_id="o")


@reaches("lines_required")
async def _(world: World) -> Outcome:
    await world.campaign(scope={"categories": ["tea"]})
    return await world.redeem(await world.voucher())


@reaches("nothing_eligible")
async def _(world: World) -> Outcome:
    await world.campaign(scope={"products": ["tea"]})
    return await world.redeem(await world.voucher(), lines=[line("1", 900, product_id="coffee")])


@reaches("product_missing")
async def _(world: World) -> Outcome:
    await world.campaign(discount={"kind": "product", "product_id": "tea"})
    return await world.redeem(await world.voucher(), lines=[line("1", 900, product_id="coffee")])


@reaches("minimum_not_met")
async def _(world: World) -> Outcome:
    await world.campaign(minimum_spend_minor=1001)
    return await world.redeem(await world.voucher())


@reaches("reference_required")
async def _(world: World) -> Outcome:
    await world.campaign()
    return await world.redeem(await world.voucher(), None)


@reaches("redemption_limit_reached")
async def _(world: World) -> Outcome:
    limits = {"total": 1, "day": 1, "week": 1, "month": 1}
    await world.campaign(redemptions_per_customer=limits)
    await world.redeem(await world.voucher(customer_id="a"), "first")
    return await world.redeem(await world.voucher(customer_id="a"), "second")


@reaches("redemptions_per_day_reached")
async def _(world: World) -> Outcome:
    await world.campaign(redemptions_per_day=1)
    await world.redeem(await world.voucher(), "first")
    return await world.redeem(await world.voucher(), "second")


@reaches("redemptions_used_up")
async def _(world: World) -> Outcome:
    await world.campaign(max_redemptions=1)
    await world.redeem(await world.voucher(), "first")
    return await world.redeem(await world.voucher(), "second")


@reaches("budget_exhausted")
async def _(world: World) -> Outcome:
    await world.campaign(budget_minor=999)
    await world.redeem(await world.voucher(), "first")
    return await world.redeem(await world.voucher(), "second")


@reaches("not_stackable")
async def _(world: World) -> Outcome:
    await world.campaign()
    await world.redeem(await world.voucher())
    return await world.redeem(await world.voucher())


@reaches("order_differs")
async def _(world: World) -> Outcome:
    await world.campaign()
    code = await world.voucher()
    await world.redeem(code)
    return await world.redeem(code, amount_minor=1001)


@reaches("redemption_reversed")
async def _(world: World) -> Outcome:
    await world.campaign()
    code = await world.voucher()
    await world.reverse(await world.redeem(code))
    return await world.redeem(code)


@reaches("reservation_redeemed")
async def _(world: World) -> Outcome:
    await world.campaign()
    code = await world.voucher()
    reserved = await world.reserve(code)
    await world.redeem(code)
    return await world.release(reserved)


@reaches("line_unknown")
async def _(world: World) -> Outcome:
    await world.campaign()
    redeemed = await world.redeem(await world.voucher(), lines=[line("1", 900)])
    return await world.reverse(redeemed, "2")


@reaches("restock_impossible")
async def _(world: World) -> Outcome:
    await world.campaign(from_pool=True)
    await world.bring("ONE")
    return await world.void("ONE", restock=True)
