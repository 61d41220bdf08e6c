"""Every verb in every state of a campaign, and on a voucher in every state."""

from __future__ import annotations

from itertools import product

import pytest

from counterfoil.vouchers import expiry
from counterfoil.vouchers.requests import Outcome
from counterfoil.vouchers.types import (
    CAMPAIGN_STATES,
    VERBS,
    VOUCHER_STATES,
    CampaignState,
    Verb,
    VoucherState,
)
from tests.vouchers.world import World

ANSWERED: dict[Verb, set[str]] = {
    "issue": {"active"},
    "claim": {"active"},
    "validate": {"active", "stopped"},
    "reserve": {"active", "stopped"},
    "redeem": {"active", "stopped"},
    "release": {"active", "paused", "stopped", "ended"},
    "reverse": {"active", "paused", "stopped", "ended"},
    "void": {"draft", "active", "paused", "stopped", "ended"},
}

# In a draft there is nothing yet that could be given back, and codes that nobody has.
OF_A_DRAFT = {
    "validate": ["campaign_draft", "voucher_not_issued"],
    "reserve": ["campaign_draft", "voucher_not_issued"],
    "redeem": ["campaign_draft", "voucher_not_issued"],
    "release": ["reservation_not_found"],
    "reverse": ["redemption_not_found"],
}


@pytest.mark.parametrize(("verb", "state"), list(product(VERBS, CAMPAIGN_STATES)))
async def test_a_verb_is_answered_in_these_states_of_its_campaign_and_no_others(
    world: World, verb: Verb, state: CampaignState
) -> None:
    await world.campaign(from_pool=True, state="draft")
    await world.bring("USE", "HELD", "USED", "FREE")
    reservation_id = redemption_id = "none"
    if state != "draft":
        await world.move("active")
        for _ in range(3):
            await world.voucher()
        held, used = await world.reserve("HELD", "o1"), await world.redeem("USED", "o2")
        assert held.reservation is not None
        assert used.redemption is not None
        reservation_id, redemption_id = held.reservation.reservation_id, used.redemption.redemption_id
        await world.move(state)
    use = {"voucher_id": "USE", "order_id": "o3", "amount_minor": 1000}
    requests: dict[Verb, dict[str, object]] = {
        "issue": {"campaign_id": "c"},
        "claim": {"campaign_id": "c"},
        "validate": use,
        "reserve": use,
        "redeem": use,
        "release": {"reservation_id": reservation_id},
        "reverse": {"redemption_id": redemption_id},
        "void": {"voucher_id": "USE", "reason": "r"},
    }
    before = await world.counters()
    outcome = await world.ask(verb, **requests[verb])
    if state in ANSWERED[verb]:
        assert (outcome.ok, outcome.repeated) == (True, False)
    else:
        expected = OF_A_DRAFT.get(verb, ["campaign_draft"]) if state == "draft" else [f"campaign_{state}"]
        assert [reason.code for reason in outcome.reasons] == expected
        assert await world.counters() == before


async def voucher_in(world: World, state: VoucherState) -> str:
    """A voucher that has come into a state."""
    await world.campaign(from_pool=True, validity={"kind": "after_issue", "hours": 1})
    await world.bring("V")
    if state != "available":
        await world.ask("issue", campaign_id="c", voucher_id="V", customer_id="a")
    if state == "reserved":
        await world.reserve("V", "first")
    elif state == "redeemed":
        await world.redeem("V", "first")
    elif state == "voided":
        await world.void("V")
    elif state == "expired":
        world.later(hours=1)
        await expiry.expire(world.tx, merchant_id=world.merchant_id, campaign_id="c", now=world.now)
    assert await world.state_of("V") == state
    return "V"


# What becomes of a voucher in each state; or the code of the refusal.
BECOMES: dict[str, dict[VoucherState, str]] = {
    "issue": {
        "available": "issued",
        "issued": "voucher_not_available",
        "reserved": "voucher_not_available",
        "redeemed": "voucher_not_available",
        "expired": "voucher_not_available",
        "voided": "voucher_not_available",
    },
    "validate": {
        "available": "voucher_not_issued",
        "issued": "issued",
        "reserved": "voucher_reserved",
        "redeemed": "voucher_redeemed",
        "expired": "voucher_expired",
        "voided": "voucher_voided",
    },
    "void": {
        "available": "voided",
        "issued": "voided",
        "reserved": "voided",
        "redeemed": "voucher_redeemed",
        "expired": "voucher_expired",
        "voided": "voided",
    },
}
BECOMES["reserve"] = {**BECOMES["validate"], "issued": "reserved"}
BECOMES["redeem"] = {**BECOMES["validate"], "issued": "redeemed"}


@pytest.mark.parametrize(("verb", "state"), list(product(BECOMES, VOUCHER_STATES)))
async def test_a_verb_takes_a_voucher_from_these_states_and_no_others(
    world: World, verb: str, state: VoucherState
) -> None:
    code = await voucher_in(world, state)
    outcome: Outcome
    if verb == "issue":
        outcome = await world.ask("issue", campaign_id="c", voucher_id=code, customer_id="b")
    elif verb == "void":
        outcome = await world.void(code)
    else:
        outcome = await {"validate": world.validate, "reserve": world.reserve, "redeem": world.redeem}[verb](
            code, "second"
        )
    expected = BECOMES[verb][state]
    if expected.startswith("voucher_"):
        assert (outcome.ok, [reason.code for reason in outcome.reasons]) == (False, [expected])
        assert await world.state_of(code) == state
    else:
        assert outcome.voucher is not None
        assert (outcome.voucher.state, await world.state_of(code)) == (expected, expected)
        assert outcome.repeated is (state == expected == "voided")


@pytest.mark.parametrize("state", VOUCHER_STATES)
async def test_a_voucher_is_counted_in_its_state_and_nowhere_else(world: World, state: VoucherState) -> None:
    await voucher_in(world, state)
    counters = await world.counters()
    counted = {name: getattr(counters, name) for name in VOUCHER_STATES}
    assert counted == {name: int(name == state) for name in VOUCHER_STATES}
