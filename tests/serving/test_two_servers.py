"""Limits hold over two server processes, whatever races: the promises of a flash sale, over HTTP."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy.engine import URL

from counterfoil.db.engine import create_engine
from counterfoil.vouchers.campaigns import Limits
from tests.conftest import new_database
from tests.serving.conftest import Server, Shop, make_shop


@pytest.fixture(scope="module")
async def url(cluster: URL) -> AsyncIterator[str]:
    """A database for these tests."""
    async with new_database(cluster) as made:
        yield made.render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def two(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """Two servers on it."""
    logs = tmp_path_factory.mktemp("servers")
    first, second = [Server(logs / f"{n}.log", DATABASE_URL=url) for n in range(2)]
    try:
        first.wait()
        second.wait()
        yield first, second
    finally:
        first.stop()
        second.stop()


@pytest.fixture
async def shop(url: str) -> AsyncIterator[Shop]:
    """A merchant of the test's own."""
    engine = create_engine(url)
    yield await make_shop(engine)
    await engine.dispose()


async def _post(client: httpx.AsyncClient, verb: str, body: dict[str, Any]) -> httpx.Response:
    answer = await client.post(f"/v1/vouchers/{verb}", json=body)
    assert answer.status_code < 500, answer.text
    return answer


async def test_a_hundred_vouchers_and_two_thousand_claims_give_a_hundred(
    two: tuple[Server, Server], shop: Shop
) -> None:
    await shop.open("flash", limits=Limits(stock=100), claims_per_customer={"total": 1})
    async with shop.client(two[0]) as first, shop.client(two[1]) as second:
        # A thousand customers, each twice: once on each server.
        asked = [
            _post(client, "claim", {"campaign_id": "flash", "customer_id": f"c{n}"})
            for n in range(1_000)
            for client in (first, second)
        ]
        random.Random(1).shuffle(asked)
        answers = await asyncio.gather(*asked)
    given = [answer.json()["voucher"] for answer in answers if answer.status_code == 200]
    assert (
        len(given) == len({v["voucher_id"] for v in given}) == len({v["customer_id"] for v in given}) == 100
    )
    refusals = {answer.json()["code"] for answer in answers if answer.status_code != 200}
    assert refusals <= {"sold_out", "claim_limit_reached"}
    assert (await shop.counters("flash")).handed_out == 100


async def test_a_single_use_code_and_sixty_four_redemptions_give_one(
    two: tuple[Server, Server], shop: Shop
) -> None:
    await shop.open("once", limits=Limits(budget_minor=10_000))
    async with shop.client(two[0], 64) as first, shop.client(two[1], 64) as second:
        code = (await _post(first, "claim", {"campaign_id": "once"})).json()["voucher"]["voucher_id"]
        asked = [
            _post(client, "redeem", {"voucher_id": code, "order_id": f"o{n}", "amount_minor": 500})
            for n, client in enumerate([first, second] * 32)
        ]
        answers = await asyncio.gather(*asked)
    assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 63}
    assert {answer.json()["code"] for answer in answers if answer.status_code != 200} == {"voucher_redeemed"}
    told = await shop.counters("once")
    assert (told.redeemed, told.redemptions, told.spent_minor) == (1, 1, 100)


async def _shopper(client: httpx.AsyncClient, name: str, until: float, chance: random.Random) -> None:
    """Claims, reserves, releases, redeems and reverses at random."""
    codes: list[str] = []
    number = 0
    while time.monotonic() < until:
        number += 1
        order = {"order_id": f"{name}-{number}", "amount_minor": chance.randrange(1, 400)}
        if not codes or chance.random() < 0.3:
            claimed = await _post(client, "claim", {"campaign_id": "mix", "customer_id": name})
            if claimed.status_code == 200:
                codes.append(claimed.json()["voucher"]["voucher_id"])
                continue
        code = chance.choice(codes) if codes else "NONE"
        held = None
        if chance.random() < 0.5:
            reserved = await _post(client, "reserve", {"voucher_id": code, **order})
            held = reserved.json().get("reservation")
            if held and chance.random() < 0.4:
                await _post(client, "release", {"reservation_id": held["reservation_id"]})
        done = await _post(client, "redeem", {"voucher_id": code, **order})
        if done.status_code == 200 and chance.random() < 0.7:
            redemption = done.json()["redemption"]["redemption_id"]
            await asyncio.gather(
                *(
                    _post(client, "reverse", {"redemption_id": redemption})
                    for _ in range(chance.choice((1, 2)))
                )
            )


SECONDS = 10
"""Of the random mix; `counterfoil campaigns verify` proves any campaign at any time."""


async def test_whatever_shoppers_do_at_once_counters_equal_rows_and_budget_the_sum_of_discounts(
    two: tuple[Server, Server], shop: Shop
) -> None:
    await shop.open(
        "mix",
        limits=Limits(stock=400, budget_minor=9_000, max_redemptions=150),
        uses_per_voucher=2,
        redemptions_per_customer={"day": 20},
        stacking="any",
    )
    until = time.monotonic() + SECONDS
    async with shop.client(two[0]) as first, shop.client(two[1]) as second:
        shoppers = [
            _shopper(client, f"s{n}", until, random.Random(n))
            for n, client in enumerate([first, second] * 12)
        ]
        checks = [shop.counters("mix") for _ in range(3)]
        await asyncio.gather(*shoppers, *checks)
    told = await shop.counters("mix")
    assert told.redemptions > 0
    assert told.spent_minor + told.held_minor <= 9_000
