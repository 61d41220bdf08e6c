"""kill -9 under load: every answer that was given stands, and a request that is repeated is done once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.db import embedded
from counterfoil.db.engine import create_engine
from counterfoil.db.migrate import migrate
from tests.serving.conftest import Server, Shop, make_shop

CUSTOMERS = 300


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """The home of an embedded database that this test keeps alive, as its servers do."""
    with embedded.running(tmp_path / "home"):
        yield tmp_path / "home"


@pytest.fixture
async def engine(home: Path) -> AsyncIterator[AsyncEngine]:
    """Connections to it."""
    with embedded.running(home) as url:
        made = create_engine(url)
        await migrate(made)
        yield made
        await made.dispose()


@pytest.fixture
async def own_shop(engine: AsyncEngine) -> Shop:
    """A merchant in it."""
    shop = await make_shop(engine)
    await shop.open("sale", claims_per_customer={"total": 5})
    return shop


async def _insist(clients: list[httpx.AsyncClient], number: int) -> dict[str, Any]:
    """Claim a voucher with one key, at whatever server answers, until one says yes."""
    headers = {"idempotency-key": f"key-{number}"}
    body = {"campaign_id": "sale", "customer_id": f"c{number}"}
    for attempt in range(400):
        client = clients[(number + attempt) % len(clients)]
        try:
            answer = await client.post("/v1/vouchers/claim", json=body, headers=headers)
        except httpx.TransportError:
            await asyncio.sleep(0.05)
            continue
        if answer.status_code == 200:
            return dict(answer.json()["voucher"])
        assert answer.status_code in {409, 503}, answer.text
        await asyncio.sleep(0.05)
    raise AssertionError("no server ever answered")


async def _all_insist(servers: list[Server], shop: Shop, crash: Callable[[], None]) -> list[dict[str, Any]]:
    """Many customers, not too many at once, with a crash while they claim."""
    few = asyncio.Semaphore(24)
    given: list[dict[str, Any]] = []

    async def one(number: int) -> None:
        async with few:
            given.append(await _insist(clients, number))
        if len(given) == CUSTOMERS // 3:
            await asyncio.to_thread(crash)

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(shop.client(server)) for server in servers]
        await asyncio.gather(*(one(number) for number in range(CUSTOMERS)))
    return given


async def _prove(engine: AsyncEngine, shop: Shop, given: list[dict[str, Any]]) -> None:
    """Each answer is in the tables, and nothing else is."""
    async with engine.connect() as connection:
        rows = (await connection.execute(text("SELECT voucher_id, customer_id FROM issuances"))).all()
    assert sorted((v["voucher_id"], v["customer_id"]) for v in given) == sorted(map(tuple, rows))
    assert (await shop.counters("sale")).handed_out == CUSTOMERS


async def test_a_server_that_is_killed_takes_no_answer_back(
    serve: Callable[..., Server], home: Path, engine: AsyncEngine, own_shop: Shop
) -> None:
    servers = [serve(COUNTERFOIL_HOME=str(home)) for _ in range(2)]
    for server in servers:
        server.wait()
    given = await _all_insist(servers, own_shop, servers[0].kill)
    await _prove(engine, own_shop, given)


async def test_a_database_that_is_killed_takes_no_answer_back(
    serve: Callable[..., Server], home: Path, engine: AsyncEngine, own_shop: Shop
) -> None:
    servers = [serve(COUNTERFOIL_HOME=str(home)) for _ in range(2)]
    for server in servers:
        server.wait()

    def crash() -> None:
        pid = embedded.info(home).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    given = await _all_insist(servers, own_shop, crash)
    await _prove(engine, own_shop, given)
