from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from pydantic import ValidationError

from counterfoil.errors import ConflictError, InvalidError, NotFoundError, RefusedError
from counterfoil.vouchers import campaigns
from counterfoil.vouchers.types import CAMPAIGN_STATES, CampaignState
from tests.builders import NOW, load
from tests.vouchers.world import STORED, World, terms

MOVES: dict[str, set[str]] = {
    "draft": {"active"},
    "active": {"paused", "stopped", "ended"},
    "paused": {"active", "stopped", "ended"},
    "stopped": {"ended"},
    "ended": set(),
}
POT = {"kind": "random", "pot_minor": 1000, "smallest_minor": 50, "largest_minor": 200}


@pytest.mark.parametrize(("before", "after"), list(product(CAMPAIGN_STATES, CAMPAIGN_STATES)))
async def test_a_campaign_moves_as_the_table_says_and_not_otherwise(
    world: World, before: CampaignState, after: CampaignState
) -> None:
    await world.campaign(state=before)
    if after == before or after in MOVES[before]:
        assert (await world.move(after)).state == after
        assert (await world.get()).state == after
    else:
        with pytest.raises(RefusedError) as refused:
            await world.move(after)
        assert refused.value.code == "move_not_allowed"
        assert (await world.get()).state == before


async def test_a_campaign_is_what_it_was_made_as(world: World) -> None:
    made = await world.campaign(state="draft", stock=5, budget_minor=100, max_redemptions=0, stacking="any")
    assert made == await world.get()
    assert (made.state, made.terms, made.terms_version) == ("draft", terms(stacking="any"), 1)
    assert (made.limits.stock, made.limits.budget_minor, made.limits.max_redemptions) == (5, 100, 0)
    assert (made.counters.stock_left, made.counters.budget_left_minor) == (5, 100)


async def test_an_id_can_be_taken_once_by_each_merchant(world: World, other: World) -> None:
    await world.campaign()
    await other.campaign()
    with pytest.raises(ConflictError) as refused:
        await world.campaign()
    assert refused.value.code == "campaign_exists"
    await load(world.tx, world.merchant_id, "campaigns", {"campaign_id": "recorded"})
    with pytest.raises(ConflictError):
        await world.campaign("recorded")


async def test_the_campaigns_of_others_and_those_only_recorded_are_not_found(
    world: World, other: World
) -> None:
    await other.campaign()
    await load(world.tx, world.merchant_id, "campaigns", {"campaign_id": "recorded"})
    for name in ("c", "recorded"):
        for asking in (world.get(name), world.counters(name), world.move("active", name), world.change(name)):
            with pytest.raises(NotFoundError) as refused:
                await asking
            assert refused.value.code == "campaign_not_found"
        assert (await world.claim(name)).code == "campaign_not_found"


async def test_only_what_is_said_changes_and_null_is_unlimited(world: World) -> None:
    await world.campaign(stock=5, budget_minor=100)
    changed = await world.change(limits={"stock": None}, words={"name": "Spring"})
    assert (changed.limits.stock, changed.limits.budget_minor, changed.name) == (None, 100, "Spring")
    assert (changed.terms_version, changed.terms) == (1, terms())
    changed = await world.change(terms=terms(minimum_spend_minor=10))
    assert (changed.terms_version, changed.limits.budget_minor, changed.name) == (2, 100, "Spring")
    again = await world.change(terms=terms(minimum_spend_minor=10))
    assert again.terms_version == 2


async def test_changed_terms_hold_from_the_next_request_on(world: World) -> None:
    await world.campaign()
    code = await world.voucher()
    assert (await world.validate(code)).ok
    await world.change(terms=terms(minimum_spend_minor=5000))
    assert (await world.validate(code)).code == "minimum_not_met"


async def test_no_limit_can_be_brought_below_what_is_used(world: World) -> None:
    await world.campaign()
    used, held = await world.voucher(), await world.voucher()
    await world.redeem(used, "o1")
    await world.reserve(held, "o2")
    most = {"stock": 2, "budget_minor": 1000, "max_redemptions": 2}
    for name, least in most.items():
        with pytest.raises(RefusedError) as refused:
            await world.change(limits={name: least - 1})
        assert refused.value.code == "limit_below_used"
        assert [error.pointer for error in refused.value.errors] == [f"/{name}"]
    assert (await world.change(limits=most)).limits == campaigns.Limits(2, 1000, 2)
    assert (await world.claim()).code == "sold_out"


@pytest.mark.parametrize(
    ("said", "pointer"),
    [
        ({"discount": {"kind": "percent", "basis_points": 1}}, "/terms/discount/kind"),
        ({"from_pool": True}, "/terms/from_pool"),
        ({"uses_per_voucher": 2}, "/terms/uses_per_voucher"),
        ({"time_zone": "Asia/Shanghai"}, "/terms/time_zone"),
    ],
)
async def test_what_people_hold_keeps_its_meaning(world: World, said: dict[str, Any], pointer: str) -> None:
    await world.campaign()
    await world.change(terms=terms(**said))
    await world.change(terms=terms())
    await world.bring("ONE")
    with pytest.raises(RefusedError) as refused:
        await world.change(terms=terms(**said))
    assert refused.value.code == "terms_fixed"
    assert [error.pointer for error in refused.value.errors] == [pointer]


async def test_a_balance_that_was_handed_out_cannot_be_another(world: World) -> None:
    await world.campaign(discount=STORED)
    await world.voucher()
    with pytest.raises(RefusedError) as refused:
        await world.change(terms=terms(discount={**STORED, "amount_minor": 1}))
    assert refused.value.code == "terms_fixed"


async def test_of_a_campaign_that_has_ended_nothing_changes(world: World) -> None:
    await world.campaign(state="ended")
    with pytest.raises(RefusedError) as refused:
        await world.change(words={"name": "Spring"})
    assert refused.value.code == "campaign_ended"


async def test_a_pot_needs_a_stock_that_can_share_it(world: World) -> None:
    for stock, code in ((None, "stock_required"), (4, "pot_does_not_fit"), (21, "pot_does_not_fit")):
        with pytest.raises(InvalidError) as invalid:
            await world.campaign(discount=POT, stock=stock)
        assert invalid.value.code == code
    await world.campaign(discount=POT, stock=10)
    with pytest.raises(InvalidError) as invalid:
        await world.change(limits={"stock": None})
    assert invalid.value.code == "stock_required"


async def test_what_is_left_of_a_pot_follows_a_change_of_it(world: World) -> None:
    await world.campaign(discount=POT, stock=10)
    drawn = [(await world.claim()).voucher for _ in range(5)]
    with pytest.raises(InvalidError) as invalid:
        await world.change(limits={"stock": 100})
    assert invalid.value.code == "pot_does_not_fit"
    await world.change(limits={"stock": 20}, terms=terms(discount={**POT, "pot_minor": 2000}))
    drawn += [(await world.claim()).voucher for _ in range(15)]
    assert sum(v.amount_minor or 0 for v in drawn if v is not None) == 2000
    assert (await world.claim()).code == "sold_out"
    for pot in (1999, 2001):
        with pytest.raises(InvalidError) as invalid:
            await world.change(terms=terms(discount={**POT, "pot_minor": pot}))
        assert invalid.value.code == "pot_does_not_fit"


@pytest.mark.parametrize(
    "said",
    [
        {"starts_at": NOW, "ends_at": NOW},
        {"time_zone": "Mars/Olympus"},
        {"validity": {"kind": "after_issue"}},
        {"validity": {"kind": "after_issue", "days": 1, "hours": 1}},
        {"validity": {"kind": "absolute", "valid_from": NOW, "valid_until": NOW}},
        {"discount": {"kind": "percent", "basis_points": 10_001}},
        {"discount": {**POT, "largest_minor": 49}},
        {"discount": {"kind": "product", "product_id": "p"}, "scope": {"products": ["p"]}},
        {"claim_windows": [{"from": "09:00+02:00"}]},
        {"uses_per_voucher": -1},
        {"unknown": 1},
    ],
)
def test_terms_that_cannot_be_are_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        terms(**said)


async def test_records_of_other_systems_do_not_touch_what_is_run_here(world: World, other: World) -> None:
    await world.campaign(from_pool=True)
    await world.bring("ONE")
    code = await world.voucher()
    attacks: list[tuple[str, dict[str, Any]]] = [
        ("campaigns", {"campaign_id": "c", "name": "Mine now"}),
        ("vouchers", {"voucher_id": code, "campaign_id": "c"}),
        ("vouchers", {"voucher_id": code, "campaign_id": "elsewhere"}),
        ("vouchers", {"voucher_id": "new", "campaign_id": "c"}),
        ("issuances", {"voucher_id": code, "issued_at": NOW}),
        ("redemptions", {"redemption_id": "r", "voucher_id": code, "redeemed_at": NOW}),
    ]
    for kind, row in attacks:
        outcome = await load(world.tx, world.merchant_id, kind, row)
        assert [refusal.code for refusal in outcome.refusals] == ["managed_here"], kind
        # Of another merchant they are other things.
        if kind == "campaigns":
            await load(other.tx, other.merchant_id, kind, row)
    assert (await world.get()).name is None
    assert await world.state_of(code) == "issued"
