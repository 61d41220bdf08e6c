"""Many connections at once: the limits hold, whoever comes first."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import anyio
import asyncpg
import pytest
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.db.engine import batch_connection
from counterfoil.db.transactions import begin, begin_on, read
from counterfoil.vouchers import counters, expiry, reservations, verbs
from counterfoil.vouchers.requests import Outcome
from counterfoil.vouchers.types import Verb
from tests.builders import NOW
from tests.vouchers.world import STORED, World, asked, differences, make_world

CONNECTIONS = 8


class Shop:
    """A merchant whose campaigns are asked over one connection or another."""

    def __init__(self, engine: AsyncEngine, merchant_id: UUID, connections: list[asyncpg.Connection]) -> None:
        self.engine = engine
        self.merchant_id = merchant_id
        self.connections = connections
        self.now = NOW

    async def ask(self, connection: int, verb: Verb, *requests: dict[str, Any]) -> list[Outcome]:
        """A batch, in a transaction of its own."""
        batch = [asked(self.merchant_id, verb, **said) for said in requests]
        async with begin_on(self.connections[connection]) as tx:
            return await verbs.run(tx, verb, batch, now=self.now)

    async def race(self, verb: Verb, batches: Sequence[Sequence[dict[str, Any]]]) -> list[Outcome]:
        """All batches, over all connections at once."""
        waiting, outcomes = list(batches), list[Outcome]()

        async def work(connection: int) -> None:
            while waiting:
                outcomes.extend(await self.ask(connection, verb, *waiting.pop()))

        await self.all_at_once(work)
        return outcomes

    async def all_at_once(self, work: Callable[[int], Coroutine[Any, Any, None]]) -> None:
        """The same work on each connection; none of it may take minutes."""
        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                for connection in range(len(self.connections)):
                    group.start_soon(work, connection)

    async def proven(self) -> None:
        """Every counter says what the rows say."""
        async with begin(self.engine) as tx:
            assert await differences(tx, self.merchant_id) == []


@pytest.fixture
async def shop(engine: AsyncEngine, database: URL) -> AsyncIterator[Shop]:
    async with begin(engine) as tx:
        world = await make_world(tx)
    url = database.render_as_string(hide_password=False)
    connections = [await batch_connection(url) for _ in range(CONNECTIONS)]
    made = Shop(engine, world.merchant_id, connections)
    yield made
    await made.proven()
    for connection in connections:
        await connection.close()


@asynccontextmanager
async def opening(shop: Shop) -> AsyncIterator[World]:
    """The merchant's world, before the race."""
    async with begin(shop.engine) as tx:
        yield World(tx, shop.merchant_id)


@pytest.mark.parametrize("from_pool", [False, True])
async def test_a_hundred_vouchers_and_two_thousand_claims_are_exactly_a_hundred(
    shop: Shop, from_pool: bool
) -> None:
    async with opening(shop) as world:
        await world.campaign(stock=100, from_pool=from_pool, claims_per_customer={"total": 1})
        if from_pool:
            await world.bring(*(f"code-{n}" for n in range(150)))
    claims = [{"campaign_id": "c", "customer_id": f"customer-{n % 1500}"} for n in range(2000)]
    random.shuffle(claims)
    # Half of them alone, half of them in batches.
    batches = [*([claim] for claim in claims[:400]), *(claims[n : n + 20] for n in range(400, 2000, 20))]
    random.shuffle(batches)
    outcomes = await shop.race("claim", batches)
    given = [outcome.voucher for outcome in outcomes if outcome.voucher is not None]
    assert len(outcomes) == 2000
    assert len({voucher.voucher_id for voucher in given}) == len(given) == 100
    assert len({voucher.customer_id for voucher in given}) == 100
    assert {outcome.code for outcome in outcomes if not outcome.ok} <= {"sold_out", "claim_limit_reached"}
    async with read(shop.engine) as tx:
        told = await counters.read_counters(tx, merchant_id=shop.merchant_id, campaign_id="c")
        rows = await tx.scalar("SELECT count(*) FROM issuances")
    assert (told.handed_out, told.issued, told.stock_left, rows) == (100, 100, 0, 100)


async def test_one_use_and_sixty_four_orders_are_exactly_one_redemption(shop: Shop) -> None:
    async with opening(shop) as world:
        await world.campaign()
        code = await world.voucher()
    orders = [[{"voucher_id": code, "order_id": f"o{n}", "amount_minor": 900}] for n in range(64)]
    outcomes = await shop.race("redeem", orders)
    assert Counter(outcome.code for outcome in outcomes) == {"redeemed": 1, "voucher_redeemed": 63}


async def test_one_order_that_is_sent_sixty_four_times_is_one_redemption(shop: Shop) -> None:
    async with opening(shop) as world:
        await world.campaign()
        code = await world.voucher()
    request = {"voucher_id": code, "order_id": "o", "amount_minor": 900}
    outcomes = await shop.race("redeem", [[request]] * 64)
    assert Counter(outcome.repeated for outcome in outcomes) == {False: 1, True: 63}
    assert len({outcome.redemption.redemption_id for outcome in outcomes if outcome.redemption}) == 1


async def test_a_budget_for_ten_is_not_spent_by_reservations_and_redemptions_together(shop: Shop) -> None:
    async with opening(shop) as world:
        await world.campaign(budget_minor=5000)
        codes = [await world.voucher() for _ in range(60)]
    done = list[Outcome]()

    async def work(connection: int) -> None:
        verb: Verb = "reserve" if connection % 2 else "redeem"
        for code in codes[connection::CONNECTIONS]:
            request = {"voucher_id": code, "order_id": code, "amount_minor": 900}
            done.extend(await shop.ask(connection, verb, request))

    await shop.all_at_once(work)
    assert len([outcome for outcome in done if outcome.ok]) == 10
    assert {outcome.code for outcome in done} == {"reserved", "redeemed", "budget_exhausted"}


@pytest.mark.parametrize("verb", ["redeem", "reserve"])
async def test_of_two_vouchers_that_stand_alone_one_gets_the_order(shop: Shop, verb: Verb) -> None:
    async with opening(shop) as world:
        await world.campaign("c", stacking="alone")
        await world.campaign("d", stacking="any")
        pairs = [(await world.voucher("c"), await world.voucher("d")) for _ in range(40)]
    batches = [
        [{"voucher_id": code, "order_id": f"o{n}", "amount_minor": 900}]
        for n, pair in enumerate(pairs)
        for code in random.sample(pair, 2)
    ]
    outcomes = await shop.race(verb, batches)
    assert Counter(outcome.ok for outcome in outcomes) == {True: 40, False: 40}
    assert {outcome.code for outcome in outcomes if not outcome.ok} == {"not_stackable"}


async def test_batches_over_the_same_campaigns_in_any_order_never_wait_for_each_other_for_ever(
    shop: Shop,
) -> None:
    names = [f"c{n}" for n in range(5)]
    async with opening(shop) as world:
        for name in names:
            await world.campaign(name, stacking="any")
        codes = [await world.voucher(name) for name in names for _ in range(100)]
    wanted: list[list[dict[str, Any]]] = []
    for n in range(160):
        orders = random.sample(range(20), 5)
        wanted.append([
            {"voucher_id": code, "order_id": f"{n}-{order}", "amount_minor": 900}
            for code, order in zip(random.sample(codes, 5), orders, strict=True)
        ])  # fmt: skip
    outcomes = await shop.race("redeem", wanted)
    assert {outcome.code for outcome in outcomes} <= {"redeemed", "voucher_redeemed"}
    claims = [[{"campaign_id": name} for name in random.sample(names, 5)] for _ in range(100)]
    assert all(outcome.ok for outcome in await shop.race("claim", claims))


async def test_a_mix_of_everything_for_some_seconds_leaves_every_counter_right(shop: Shop) -> None:
    names = ["a", "b", "c"]
    async with opening(shop) as world:
        hours = {"kind": "after_issue", "hours": 2}
        await world.campaign("a", stock=150, uses_per_voucher=2, stacking="any", validity=hours)
        await world.campaign("b", budget_minor=20_000, discount=STORED, stacking="any", validity=hours)
        await world.campaign(
            "c", stacking="alone", redemptions_per_day=40, redemptions_per_customer={"day": 3}
        )
    known: dict[str, list[str]] = {"voucher": [], "reservation": [], "redemption": []}
    seen = Counter[str]()

    def remember(outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            seen[outcome.code] += 1
            if outcome.voucher is not None:
                known["voucher"].append(outcome.voucher.voucher_id)
            if outcome.reservation is not None:
                known["reservation"].append(outcome.reservation.reservation_id)
            if outcome.redemption is not None:
                known["redemption"].append(outcome.redemption.redemption_id)

    def request(verb: Verb) -> dict[str, Any]:
        if verb in {"claim", "issue"}:
            return {"campaign_id": random.choice(names), "customer_id": f"customer-{random.randrange(30)}"}
        if verb == "release":
            return {"reservation_id": random.choice(known["reservation"] or ["none"])}
        if verb == "reverse":
            return {"redemption_id": random.choice(known["redemption"] or ["none"])}
        code = random.choice(known["voucher"] or ["none"])
        if verb == "void":
            return {"voucher_id": code, "reason": "r", "restock": random.random() < 0.5}
        amount = random.randrange(100, 900)
        return {"voucher_id": code, "order_id": f"o{random.randrange(60)}", "amount_minor": amount}

    async def work(connection: int) -> None:
        for _ in range(60):
            choices: list[Verb] = ["claim", "claim", "issue", "validate", "reserve", "reserve", "release"]
            verb = random.choice([*choices, "redeem", "redeem", "redeem", "reverse", "void"])
            batch = [request(verb) for _ in range(random.choice([1, 1, 3, 10]))]
            shop.now += timedelta(minutes=1)
            remember(await shop.ask(connection, verb, *batch))

    async def tidy() -> None:
        for _ in range(20):
            keys = [(shop.merchant_id, name) for name in names]
            async with begin(shop.engine) as tx:
                await reservations.lapse(tx, keys, now=shop.now)
            for name in names:
                async with begin(shop.engine) as tx:
                    await expiry.expire(tx, merchant_id=shop.merchant_id, campaign_id=name, now=shop.now)
            await anyio.sleep(0.05)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(tidy)
            for connection in range(CONNECTIONS):
                group.start_soon(work, connection)
    assert {"claimed", "reserved", "redeemed", "reversed", "voided", "released"} <= seen.keys()
