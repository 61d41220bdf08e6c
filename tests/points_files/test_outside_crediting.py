"""Files that somebody else's loyalty system credits: once each, whatever it does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from counterfoil import clock
from counterfoil.db.transactions import begin, read
from counterfoil.points.files import batches, crediting_outside, outside, partners
from tests.points_files.loyalty import Loyalty, running_loyalty
from tests.points_files.world import GUARD, Bank, World

ROWS: list[Any] = [(f"m{n % 5 + 1}", n + 1, f"r{n}") for n in range(12)]
POINTS = {f"m{m}": sum(row[1] for row in ROWS if row[0] == f"m{m}") for m in range(1, 6)}


@pytest.fixture
def loyalty() -> Iterator[Loyalty]:
    with running_loyalty(retry_after="0") as running:
        yield running


async def _bank(world: World, loyalty: Loyalty, **said: Any) -> Bank:
    return await world.bank(outside={"url": loyalty.url, "timeout_seconds": 0.5, **said})


@pytest.mark.parametrize("mode", ["batch", "record"])
async def test_every_record_is_credited_there_and_not_here(world: World, loyalty: Loyalty, mode: str) -> None:
    bank = await _bank(world, loyalty, mode=mode)
    response = await bank.credited(*ROWS)
    assert response.told == ["accepted"] * 12
    assert response.references() == [loyalty.results[row[2]][1]["their_reference"] for row in ROWS]
    assert dict(loyalty.balances) == POINTS
    assert await world.balances() == {}
    assert response.totals.accepted_points == sum(POINTS.values())


@pytest.mark.parametrize(
    "fault",
    ["late", "reset_after", "reset_before", "garbage", "missing", "invented", "error", "overloaded"],
)
async def test_what_goes_wrong_there_is_asked_again_and_credited_once(
    world: World, loyalty: Loyalty, fault: Any
) -> None:
    bank = await _bank(world, loyalty)
    loyalty.faults.extend([fault, None, fault])
    response = await bank.credited(*ROWS)
    assert [row["status"] for row in response.rows] == ["accepted"] * 12
    assert dict(loyalty.balances) == POINTS
    errors = await world.all("SELECT error FROM points_batches WHERE error IS NOT NULL")
    assert errors == [], "what was wrong once is not shown for ever"
    attempts = await world.all("SELECT sum(attempts - 1) AS again FROM points_batches")
    assert attempts[0].again == 2


async def test_it_is_left_alone_for_as_long_as_it_asks(world: World, loyalty: Loyalty) -> None:
    loyalty.retry_after = "1"
    loyalty.faults.append("overloaded")
    bank = await _bank(world, loyalty)
    await bank.credited(*ROWS)
    rows = await world.all("SELECT decision FROM points_decisions ORDER BY decision_no")
    first = rows[0].decision
    assert (first["outcome"], first["retry_after"], first["pause"] >= 1) == ("overloaded", 1.0, True)


async def test_what_it_rejects_is_rejected_with_its_reason(world: World, loyalty: Loyalty) -> None:
    loyalty.rejects["m2"] = "blocked"
    bank = await _bank(world, loyalty)
    response = await bank.credited(("m1", 1, "a"), ("m2", 2, "b"), ("m3", 0, "c"), ("m1", 4, "d"))
    said = [(row["status"], row["code"]) for row in response.rows]
    assert [status for status, _ in said] == ["accepted", "rejected", "rejected", "accepted"]
    assert (said[1][1], said[2][1]) == ("blocked", "points_out_of_range")
    assert (response.totals.rejected_count, response.totals.rejected_points) == (2, 2)


async def test_a_reference_is_sent_for_one_record_only(world: World, loyalty: Loyalty) -> None:
    loyalty.rejects["m2"] = "blocked"
    bank = await _bank(world, loyalty)
    before = await bank.credited(
        ("m1", 1, "a"), ("m1", 1, "a"), ("m3", 1, "a"), ("m2", 2, "b"), ("m2", 2, "b")
    )
    said = [(row["status"], row["code"]) for row in before.rows]
    assert said[1:] == [
        ("duplicate", "credited"),
        ("duplicate", "reference_reused"),
        ("rejected", "blocked"),
        ("duplicate", "blocked"),
    ]
    loyalty.rejects.clear()
    after = await bank.credited(("m1", 1, "a"), ("m2", 2, "b"), ("m1", 9, "c"))
    assert [(row["status"], row["code"]) for row in after.rows][:2] == [
        ("duplicate", "credited"),
        ("duplicate", "blocked"),
    ]
    assert (await bank.credited(("m3", 1, "a"))).told == ["reference_reused"]
    assert after.references()[0] == before.references()[0]
    assert dict(loyalty.balances) == {"m1": 10}


async def test_a_worker_that_dies_after_it_has_asked_leaves_nothing_twice(
    world: World, loyalty: Loyalty
) -> None:
    bank = await _bank(world, loyalty)
    file = await bank.send(*ROWS)
    await world.step()
    async with read(world.engine) as tx:
        partner = await partners.get(tx, merchant_id=world.merchant_id, partner_id="bank")
    async with begin(world.engine) as tx:
        batch = await batches.take(tx, file_no=file.file_no, worker=0, now=clock.now())
        assert batch is not None
        asked = await crediting_outside.claim(tx, partner=partner, batch=batch)
    system = partner.terms.outside
    assert system is not None
    async with outside.new_client(system) as client:
        key = f"{file.file_id}-{batch.batch_no}"
        await outside.credit(client, system, asked, key=key, guard=GUARD, now=clock.now())
    assert sum(loyalty.balances.values()) == sum(one.points for one in asked) > 0
    await world.run()
    assert [row["status"] for row in (await bank.response(file)).rows] == ["accepted"] * 12
    assert dict(loyalty.balances) == POINTS


async def test_two_files_that_share_references_wait_for_each_other(world: World, loyalty: Loyalty) -> None:
    bank = await _bank(world, loyalty)
    first = await bank.send(*ROWS[:8])
    await world.step()
    held = await world.queued()
    second = await bank.send(*ROWS[4:])
    await world.step("points.credit_file")
    async with begin(world.engine) as tx:
        batch = await batches.take(tx, file_no=first.file_no, worker=0, now=clock.now())
        assert batch is not None
        await crediting_outside.claim(tx, partner=await bank.now(), batch=batch)
    for job, payload in held:
        await world.do(job, payload)
    await world.run()
    codes = [(row["status"], row["code"]) for row in (await bank.response(second)).rows]
    assert [status for status, _ in codes] == ["duplicate"] * 4 + ["accepted"] * 4
    assert {code for _, code in codes[:4]} == {"credited"}
    assert dict(loyalty.balances) == POINTS
