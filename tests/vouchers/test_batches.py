from __future__ import annotations

from typing import Any

from counterfoil.vouchers import verbs
from counterfoil.vouchers.requests import Outcome
from counterfoil.vouchers.types import Verb
from tests.vouchers.world import STORED, World, asked


async def both(world: World, other: World, verb: Verb, said: dict[str, Any]) -> list[Outcome]:
    """One request of two merchants, in one batch."""
    batch = [asked(each.merchant_id, verb, **said) for each in (world, other)]
    return await verbs.run(world.tx, verb, batch, now=world.now)


async def test_outcomes_come_in_the_order_of_the_requests(world: World) -> None:
    for name in ("c", "b", "a"):
        await world.campaign(name)
    names = ["b", "none", "c", "a", "b", "none"]
    outcomes = await world.batch("claim", *({"campaign_id": name} for name in names))
    told = [outcome.voucher.campaign_id if outcome.voucher else outcome.code for outcome in outcomes]
    assert told == ["b", "campaign_not_found", "c", "a", "b", "campaign_not_found"]


async def test_the_second_claim_of_a_batch_sees_the_first(world: World) -> None:
    await world.campaign(stock=2, claims_per_customer={"total": 1}, claims_per_day=2)
    customers = ["a", "a", "b", "c"]
    outcomes = await world.batch("claim", *({"campaign_id": "c", "customer_id": who} for who in customers))
    assert [outcome.code for outcome in outcomes] == [
        "claimed", "claim_limit_reached", "claimed", "claims_per_day_reached",
    ]  # fmt: skip
    assert [reason.code for reason in outcomes[3].reasons] == ["claims_per_day_reached", "sold_out"]


async def test_the_second_use_of_a_batch_sees_the_first(world: World) -> None:
    await world.campaign(budget_minor=500)
    code, other = await world.voucher(), await world.voucher()
    uses = [(code, "o1"), (code, "o2"), (code, "o1"), (other, "o3")]
    requests = [{"voucher_id": v, "order_id": o, "amount_minor": 900} for v, o in uses]
    outcomes = await world.batch("redeem", *requests)
    assert [outcome.code for outcome in outcomes] == [
        "redeemed", "voucher_redeemed", "redeemed", "budget_exhausted",
    ]  # fmt: skip
    assert outcomes[2].repeated
    assert outcomes[2].redemption == outcomes[0].redemption


async def test_the_second_reservation_release_reversal_and_void_of_a_batch_see_the_first(
    world: World,
) -> None:
    await world.campaign()
    code = await world.voucher()
    reserve = {"voucher_id": code, "order_id": "o1", "amount_minor": 900}
    outcomes = await world.batch("reserve", reserve, reserve, {**reserve, "order_id": "o2"})
    assert [(o.code, o.repeated) for o in outcomes] == [
        ("reserved", False), ("reserved", True), ("voucher_reserved", False),
    ]  # fmt: skip
    assert outcomes[0].reservation is not None
    outcomes = await world.batch("release", *[{"reservation_id": outcomes[0].reservation.reservation_id}] * 2)
    assert [(o.ok, o.repeated) for o in outcomes] == [(True, False), (True, True)]
    redeemed = (await world.redeem(code)).redemption
    assert redeemed is not None
    outcomes = await world.batch("reverse", *[{"redemption_id": redeemed.redemption_id}] * 2)
    assert [(o.ok, o.repeated) for o in outcomes] == [(True, False), (True, True)]
    outcomes = await world.batch("void", *[{"voucher_id": code, "reason": "r"}] * 2)
    assert [(o.ok, o.repeated) for o in outcomes] == [(True, False), (True, True)]


async def test_a_balance_is_shared_out_in_the_order_of_the_batch(world: World) -> None:
    await world.campaign(discount=STORED)
    code = await world.voucher()
    requests = [{"voucher_id": code, "order_id": f"o{n}", "amount_minor": 400} for n in range(4)]
    outcomes = await world.batch("redeem", *requests)
    assert [o.discount.discount_minor if o.discount else o.code for o in outcomes] == [
        400, 400, 200, "voucher_redeemed",
    ]  # fmt: skip


async def test_two_merchants_with_the_same_ids_do_not_meet_in_a_batch(world: World, other: World) -> None:
    for each, stock in ((world, 1), (other, 2)):
        await each.campaign(stock=stock, from_pool=True, redemptions_per_customer={"day": 1})
        await each.bring("SAME")
    said = {"campaign_id": "c", "voucher_id": "SAME", "customer_id": "a"}
    for verb, asked_for in (
        ("issue", said),
        ("validate", {"voucher_id": "SAME", "order_id": "o", "amount_minor": 900}),
        ("redeem", {"voucher_id": "SAME", "order_id": "o", "amount_minor": 900}),
    ):
        outcomes = await both(world, other, verb, asked_for)  # type: ignore[arg-type]
        assert [(o.ok, o.repeated) for o in outcomes] == [(True, False), (True, False)], verb
    for each in (world, other):
        now = await each.counters()
        assert (now.redeemed, now.redemptions, now.spent_minor) == (1, 1, 500)


async def test_voiding_one_merchants_voucher_leaves_the_hold_of_anothers_alone(
    world: World, other: World
) -> None:
    for each in (world, other):
        await each.campaign(uses_per_voucher=2, from_pool=True)
        await each.bring("SAME")
        await each.ask("issue", campaign_id="c", voucher_id="SAME")
    await other.redeem("SAME", "o1")
    await world.reserve("SAME", "o2")
    await other.reserve("SAME", "o2")
    outcomes = await both(world, other, "void", {"voucher_id": "SAME", "reason": "r", "restock": True})
    assert [outcome.code for outcome in outcomes] == ["voided", "restock_impossible"]
    assert ((await world.counters()).holds, (await other.counters()).holds) == (0, 1)


async def test_an_empty_batch_has_no_outcomes(world: World) -> None:
    for verb in verbs.RUN:
        assert await world.batch(verb) == []
