from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from counterfoil.vouchers import batches, codes, pool
from counterfoil.vouchers.codes import CodeFormat
from tests.builders import NOW
from tests.vouchers.world import STORED, World, reasons


async def test_a_claim_hands_out_a_whole_code_and_says_until_when_it_is_good(world: World) -> None:
    await world.campaign(validity={"kind": "after_issue", "days": 0}, time_zone="Asia/Shanghai")
    outcome = await world.claim(customer_id="a", channel="app", store_id="s")
    assert outcome.voucher is not None
    assert (outcome.code, outcome.voucher.state, outcome.voucher.customer_id) == ("claimed", "issued", "a")
    assert codes.is_whole(outcome.voucher.voucher_id, CodeFormat())
    # At noon of UTC it is evening in Shanghai.
    assert outcome.voucher.valid_until == datetime(2026, 6, 1, 16, tzinfo=UTC)
    row = await world.tx.first(
        "SELECT * FROM issuances WHERE merchant_id = :m AND voucher_id = :v",
        {"m": world.merchant_id, "v": outcome.voucher.voucher_id},
    )
    assert row is not None
    assert (row.customer_id, row.channel, row.store_id, row.issued_at) == ("a", "app", "s", NOW)


async def test_the_same_issue_of_a_code_gives_the_first_outcome_whatever_became_of_it(world: World) -> None:
    await world.campaign(from_pool=True)
    await world.bring("ONE")
    request = {"campaign_id": "c", "voucher_id": "ONE", "customer_id": "a"}
    first = await world.ask("issue", **request)
    assert (first.ok, first.repeated) == (True, False)
    for act in (world.reserve, world.redeem):
        again = await world.ask("issue", **request)
        assert (again.code, again.repeated) == ("issued", True)
        assert (await act("ONE")).ok
    again = await world.ask("issue", **request)
    assert (again.code, again.repeated, again.voucher and again.voucher.state) == ("issued", True, "redeemed")
    assert (await world.ask("issue", **{**request, "customer_id": "b"})).code == "voucher_not_available"
    assert (await world.counters()).handed_out == 1


async def test_a_code_of_another_campaign_cannot_be_issued(world: World) -> None:
    await world.campaign("c", from_pool=True)
    await world.campaign("d", from_pool=True)
    await world.bring("ONE", campaign_id="d")
    outcome = await world.ask("issue", campaign_id="c", voucher_id="ONE")
    assert outcome.code == "voucher_not_found"


async def test_a_pool_is_handed_out_in_turn_skipping_what_was_named_or_voided(world: World) -> None:
    await world.campaign(from_pool=True)
    await world.bring("A", "B", "C", "D")
    await world.void("B")
    named = {"campaign_id": "c", "voucher_id": "A"}
    outcomes = await world.batch("issue", named, {"campaign_id": "c"}, {"campaign_id": "c"})
    assert [o.voucher and o.voucher.voucher_id for o in outcomes] == ["A", "C", "D"]
    assert (await world.claim()).code == "sold_out"
    await world.bring("E")
    assert await world.voucher() == "E"


async def test_codes_that_are_brought_again_are_added_once(world: World) -> None:
    await world.campaign(from_pool=True)
    brought = ["A", "B", "A", "", "two words", "C" * 65]
    for expected in ("added", "already_there"):
        outcomes = await pool.bring(
            world.tx, merchant_id=world.merchant_id, campaign_id="c", brought=brought, now=world.now
        )
        assert [o.outcome for o in outcomes] == [expected, expected, "twice_in_request", *["invalid"] * 3]
        assert [o.reason for o in outcomes[3:]] == ["empty", "not_printable", "too_long"]
    assert (await world.counters()).available == 2


async def test_the_merchant_hands_out_whatever_the_hour_and_the_customers_limit(world: World) -> None:
    night = [{"from": "22:00", "until": "06:00"}]
    await world.campaign(
        stock=2, claim_windows=night, claims_per_customer={"total": 0}, starts_at=NOW + timedelta(days=1)
    )
    assert (await world.ask("issue", campaign_id="c", customer_id="a")).ok
    assert (await world.ask("issue", campaign_id="c")).ok
    assert (await world.ask("issue", campaign_id="c")).code == "sold_out"


async def test_what_the_merchant_handed_out_counts_for_the_customer(world: World) -> None:
    await world.campaign(claims_per_customer={"total": 2, "day": 1})
    await world.voucher(customer_id="a")
    assert (await world.claim(customer_id="a")).code == "claim_limit_reached"
    world.later(days=1)
    assert (await world.claim(customer_id="a")).ok
    world.later(days=1)
    assert (await world.claim(customer_id="a")).code == "claim_limit_reached"


@pytest.mark.parametrize(("period", "days"), [("day", 1), ("week", 7), ("month", 30)])
async def test_a_customers_claims_are_limited_in_each_calendar_period(
    world: World, period: str, days: int
) -> None:
    # Monday the first of June, noon.
    await world.campaign(claims_per_customer={period: 2})
    for _ in range(2):
        assert (await world.claim(customer_id="a")).ok
    assert (await world.claim(customer_id="a")).code == "claim_limit_reached"
    assert (await world.claim(customer_id="b")).ok
    world.later(days=days - 1)
    assert (await world.claim(customer_id="a")).code == "claim_limit_reached"
    world.later(days=1)
    assert (await world.claim(customer_id="a")).ok


async def test_the_day_of_a_limit_ends_at_the_local_midnight(world: World) -> None:
    await world.campaign(claims_per_customer={"day": 1}, claims_per_day=2, time_zone="Asia/Shanghai")
    assert (await world.claim(customer_id="a")).ok
    assert (await world.claim(customer_id="b")).ok
    assert (await world.claim(customer_id="c")).code == "claims_per_day_reached"
    world.later(hours=4)
    assert (await world.claim(customer_id="a")).ok


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"stock": 0}, "sold_out"),
        ({"claims_per_day": 0}, "claims_per_day_reached"),
        ({"claims_per_customer": {"total": 0}}, "claim_limit_reached"),
        ({"claims_per_customer": {"week": 0}}, "claim_limit_reached"),
    ],
)
async def test_a_limit_of_zero_claims_is_none_and_null_is_no_limit(
    world: World, limits: dict[str, Any], code: str
) -> None:
    await world.campaign("none", **limits)
    assert reasons(await world.claim("none", customer_id="a")) == [code]
    unlimited: dict[str, Any] = {n: dict.fromkeys(most) if most else None for n, most in limits.items()}
    await world.campaign("all", **unlimited)
    for _ in range(3):
        assert (await world.claim("all", customer_id="a")).ok


async def test_a_restocked_place_is_handed_out_again_and_another_is_not(world: World) -> None:
    await world.campaign(stock=1)
    first = await world.voucher()
    assert (await world.void(first)).ok
    assert (await world.claim()).code == "sold_out"
    await world.campaign("d", stock=1)
    first = await world.voucher("d")
    assert (await world.void(first, restock=True)).ok
    again = await world.void(first, restock=True)
    assert (again.code, again.repeated) == ("voided", True)
    assert (await world.counters("d")).stock_left == 1
    assert (await world.claim("d")).ok
    assert (await world.claim("d")).code == "sold_out"


async def test_the_amounts_of_a_pot_sum_to_it_also_when_one_was_restocked(world: World) -> None:
    pot = {"kind": "random", "pot_minor": 1000, "smallest_minor": 20, "largest_minor": 300}
    await world.campaign(stock=10, discount=pot)
    given = [(await world.claim()).voucher for _ in range(4)]
    assert given[1] is not None
    await world.void(given.pop(1).voucher_id, restock=True)  # type: ignore[union-attr]
    outcomes = await world.batch("claim", *[{"campaign_id": "c"}] * 8)
    assert [o.code for o in outcomes] == [*["claimed"] * 7, "sold_out"]
    amounts = [v.amount_minor or 0 for v in [*given, *(o.voucher for o in outcomes)] if v is not None]
    assert (len(amounts), sum(amounts)) == (10, 1000)
    assert min(amounts) >= 20
    assert max(amounts) <= 300


async def test_a_drawn_amount_is_what_the_voucher_takes_off(world: World) -> None:
    await world.campaign(stock=2, discount={"kind": "random", "pot_minor": 900, "smallest_minor": 100})
    outcome = await world.claim()
    assert outcome.voucher is not None
    redeemed = await world.redeem(outcome.voucher.voucher_id)
    assert redeemed.discount is not None
    assert redeemed.discount.discount_minor == outcome.voucher.amount_minor


async def test_a_stored_value_begins_with_its_whole_balance(world: World) -> None:
    await world.campaign(discount=STORED, uses_per_voucher=1)
    voucher = (await world.claim()).voucher
    assert voucher is not None
    assert (voucher.amount_minor, voucher.balance_minor, voucher.max_uses) == (1000, 1000, None)


async def test_campaigns_beyond_what_is_kept_parsed_are_parsed_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("c", "d"):
        await world.campaign(name)
    assert (await world.claim("c")).ok
    monkeypatch.setattr(batches, "_MOST_PARSED", 1)
    outcomes = await world.batch("claim", {"campaign_id": "d"}, {"campaign_id": "c"})
    assert [o.code for o in outcomes] == ["claimed", "claimed"]
