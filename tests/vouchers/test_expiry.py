from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from counterfoil.vouchers import expiry
from tests.builders import NOW
from tests.vouchers.world import World

HOUR = {"kind": "after_issue", "hours": 1}


async def due(world: World) -> tuple[list[str], list[str], list[str]]:
    """The merchant's campaigns in which reservations, vouchers or all of it are over."""
    found = await expiry.find_due(world.tx, now=world.now)
    ours = [
        [name for merchant_id, name in names if merchant_id == world.merchant_id]
        for names in (found.reservations, found.vouchers, found.campaigns)
    ]
    return ours[0], ours[1], ours[2]


async def expire(world: World) -> int:
    """Expire all there is to expire; how many rounds it took."""
    rounds, after = 0, None
    while True:
        rounds += 1
        after = await expiry.expire(
            world.tx, merchant_id=world.merchant_id, campaign_id="c", now=world.now, after=after
        )
        if after is None:
            return rounds


async def test_vouchers_whose_validity_is_over_expire_at_that_moment(world: World) -> None:
    await world.campaign(validity=HOUR, uses_per_voucher=2, stacking="any")
    fresh, used, gone = [await world.voucher() for _ in range(3)]
    await world.redeem(used)
    await world.void(gone)
    world.later(minutes=59, seconds=59)
    assert await due(world) == ([], [], [])
    world.later(seconds=1)
    assert await due(world) == ([], ["c"], [])
    assert await expire(world) == 1
    assert [await world.state_of(code) for code in (fresh, used, gone)] == ["expired", "expired", "voided"]
    assert await due(world) == ([], [], [])
    assert await expire(world) == 1
    assert (await world.counters()).expired == 2


async def test_many_vouchers_expire_in_rounds(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "ROUND", 4)
    await world.campaign(validity=HOUR)
    await world.batch("claim", *[{"campaign_id": "c"}] * 10)
    world.later(minutes=1)
    await world.batch("claim", *[{"campaign_id": "c"}] * 2)
    world.later(minutes=60)
    assert await expire(world) == 4
    assert (await world.counters()).expired == 12


async def test_what_is_reserved_expires_when_the_reservation_ends(world: World) -> None:
    await world.campaign(validity=HOUR)
    code = await world.voucher()
    reserved = await world.reserve(code, seconds=7200)
    world.later(hours=1)
    await expire(world)
    assert await world.state_of(code) == "reserved"
    released = await world.release(reserved)
    assert released.voucher is not None
    assert released.voucher.state == "expired"


async def test_a_use_that_is_held_does_not_let_the_rest_of_a_voucher_be_lost_track_of(world: World) -> None:
    await world.campaign(validity=HOUR, uses_per_voucher=2)
    code = await world.voucher()
    await world.reserve(code, seconds=7200)
    world.later(hours=1)
    await expire(world)
    assert await world.state_of(code) == "issued"
    assert (await world.redeem(code)).ok
    assert await world.state_of(code) == "expired"


async def test_what_ran_out_is_found(world: World) -> None:
    await world.campaign()
    await world.reserve(await world.voucher(), seconds=60)
    world.later(seconds=59)
    assert await due(world) == ([], [], [])
    world.later(seconds=1)
    assert await due(world) == (["c"], [], [])


@pytest.mark.parametrize("state", ["active", "paused"])
async def test_a_campaign_whose_time_is_over_is_found(world: World, state: str) -> None:
    await world.campaign(ends_at=NOW + timedelta(hours=1), state=state)  # type: ignore[arg-type]
    assert await due(world) == ([], [], [])
    world.later(hours=1)
    assert await due(world) == ([], [], ["c"])
    await world.move("stopped")
    assert await due(world) == ([], [], [])


async def test_in_a_campaign_that_has_ended_all_expire_but_what_is_reserved(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "ROUND", 3)
    await world.campaign(from_pool=True)
    await world.bring(*"ABCDEFGH")
    redeemed, reserved = await world.voucher(), await world.voucher()
    answer = await world.redeem(redeemed)
    held = await world.reserve(reserved, "o2")
    for _ in range(3):
        await world.voucher()
    await world.move("ended")
    assert await due(world) == ([], ["c"], [])
    assert await expire(world) == 3
    now = await world.counters()
    assert (now.expired, now.available, now.issued, now.reserved, now.redeemed) == (6, 0, 0, 1, 1)
    assert await due(world) == ([], [], [])
    # What comes back later is over too.
    await world.release(held)
    await world.reverse(answer)
    assert await due(world) == ([], ["c"], [])
    await expire(world)
    assert (await world.counters()).expired == 8


async def test_a_day_of_validity_ends_with_the_local_day(world: World) -> None:
    await world.campaign(validity={"kind": "after_issue", "days": 0}, time_zone="America/New_York")
    code = await world.voucher()
    world.now = datetime(2026, 6, 2, 3, 59, 59, tzinfo=UTC)
    assert (await world.validate(code)).ok
    world.later(seconds=1)
    assert (await world.validate(code)).code == "voucher_expired"
