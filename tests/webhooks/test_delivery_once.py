"""What holds whoever comes at the same time, and whatever dies."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil import clock
from counterfoil.db.engine import create_engine
from counterfoil.db.transactions import begin
from counterfoil.webhooks import attempts, deliveries, endpoints
from counterfoil.webhooks.attempts import Ended
from counterfoil.webhooks.jobs import send_webhooks
from counterfoil.webhooks.rules import LEASE, message_id
from counterfoil.webhooks.sending import Answer
from tests.builders import NOW, make_merchant
from tests.webhooks.conftest import HERE, World, event, until
from tests.webhooks.receiver import Receiver, Request, answer


async def test_fanning_out_twice_gives_each_endpoint_one_delivery(world: World, receiver: Receiver) -> None:
    for _ in range(2):
        await world.endpoint(receiver.url())
    events = [event(n) for n in range(5)]
    made = await asyncio.gather(*(world.tell(*events, events[0]) for _ in range(4)))
    assert sorted(made) == [0, 0, 0, 10]
    await world.send()
    assert Counter(r.headers["webhook-id"] for r in receiver.requests) == {f"e{n}": 2 for n in range(5)}
    assert await world.tell(*events) == 0


async def test_the_same_id_of_two_merchants_is_two_messages(world: World, receiver: Receiver) -> None:
    async with begin(world.engine) as tx:
        baker = World(world.engine, await make_merchant(tx, "baker"))
    _, grocers = await world.endpoint(receiver.url("/grocer"))
    _, bakers = await baker.endpoint(receiver.url("/baker"))
    await world.tell(event(1, whose="grocer"))
    await baker.tell(event(1, whose="baker"))
    await world.send()
    (to_grocer,), (to_baker,) = receiver.at("/grocer"), receiver.at("/baker")
    assert to_grocer.verified(grocers)["data"]["whose"] == "grocer"
    assert to_baker.verified(bakers)["source"] == "/merchants/baker"


@pytest.mark.parametrize(
    "given",
    [
        "issued:春节券",
        "issued:a.b",
        "issued:a b",
        "issued:a\nwebhook-id: b",
        "x" * 201,
        "issued:" + "券" * 200,
    ],
)
async def test_an_event_whose_id_can_be_no_header_is_known_by_its_hash(
    world: World, receiver: Receiver, given: str
) -> None:
    _, secret = await world.endpoint(receiver.url())
    told = {**event(), "id": given}
    assert [await world.tell(told) for _ in range(2)] == [1, 0]
    await world.send()
    (request,) = receiver.requests
    assert request.headers["webhook-id"] == message_id(given) == request.verified(secret)["id"]
    assert len(request.headers["webhook-id"]) == 71


async def test_two_workers_send_each_message_once(world: World, receiver: Receiver, database: URL) -> None:
    for path in ("/a", "/b", "/c"):
        await world.endpoint(receiver.url(path))
    await world.tell(*(event(n) for n in range(60)))
    other = create_engine(database.render_as_string(hide_password=False))
    stop = asyncio.Event()
    async with anyio.create_task_group() as tasks:
        for engine in (world.engine, other):
            tasks.start_soon(_keep_sending, engine, stop)
        await until(lambda: len(receiver.requests) >= 180)
        stop.set()
    await other.dispose()
    assert set(Counter((r.path, r.headers["webhook-id"]) for r in receiver.requests).values()) == {1}
    assert len(receiver.requests) == 180
    assert await world.all("SELECT state, attempts, count(*) FROM webhook_deliveries GROUP BY 1, 2") == [
        ("delivered", 1, 180)
    ]
    assert await world.all("SELECT count(*) FROM webhook_attempts") == [(180,)]


async def _keep_sending(engine: AsyncEngine, stop: asyncio.Event) -> None:
    await send_webhooks(engine, stop, guard=HERE)


_WORKER = """
import asyncio, sys
from pathlib import Path
from counterfoil.app import open_app
from counterfoil.settings import Settings
from counterfoil.worker import run_worker

async def main():
    settings = Settings(DATABASE_URL=sys.argv[1], home=Path(sys.argv[2]), webhook_allow="127.0.0.0/8")
    async with open_app(settings) as app:
        await run_worker(app, asyncio.Event())

asyncio.run(main())
"""


async def test_a_worker_that_is_killed_while_it_sends_leaves_the_message_to_another(
    world: World, receiver: Receiver, database: URL, tmp_path: Path
) -> None:
    killed = asyncio.Event()

    async def hang(request: Request) -> bytes:
        await killed.wait()
        return b""

    receiver.answers["/"] = hang
    endpoint, secret = await world.endpoint(receiver.url())
    async with begin(world.engine) as tx:
        # By the whole way: the event, the queue, the fan-out and the sending of a real worker.
        await endpoints.test(tx, merchant_id=world.merchant, endpoint_id=endpoint.id, now=clock.now())
    address = database.render_as_string(hide_password=False)
    worker = await anyio.open_process([sys.executable, "-c", _WORKER, address, str(tmp_path)], stderr=None)
    try:
        await until(lambda: len(receiver.requests) == 1)
    finally:
        os.kill(worker.pid, signal.SIGKILL)
        await worker.wait()
        await worker.aclose()
    killed.set()
    receiver.answers.clear()
    await world.send()
    assert len(receiver.requests) == 1, "the claim of the dead worker still holds"
    await world.send(clock.now() + LEASE)
    first, second = (r.verified(secret) for r in receiver.requests)
    assert first == second
    assert first["type"] == "webhook.test"
    assert len({r.headers["webhook-id"] for r in receiver.requests}) == 1
    assert await world.all("SELECT state, attempts FROM webhook_deliveries") == [("delivered", 2)]
    assert await world.all("SELECT number, status FROM webhook_attempts") == [(2, 204)]


async def _claim(world: World, now: Any) -> attempts.Claimed:
    async with begin(world.engine) as tx:
        (claimed,) = await attempts.claim(tx, most=10, running={}, now=now)
    return claimed


async def _record(world: World, claimed: attempts.Claimed, status: int, now: Any) -> None:
    async with begin(world.engine) as tx:
        await attempts.record(tx, ended=[Ended(claimed, now, Answer(status, None, 5))], now=now)


async def test_a_worker_whose_claim_ran_out_decides_no_more(world: World) -> None:
    await world.endpoint("https://example.com/")
    await world.tell(event(), now=NOW)
    late = await _claim(world, NOW)
    then = NOW + LEASE
    current = await _claim(world, then)
    assert (late.number, current.number) == (1, 2)
    await _record(world, late, 500, then)
    state = "SELECT state, last_status, next_attempt_at FROM webhook_deliveries"
    assert await world.all(state) == [("waiting", None, then + LEASE)]
    await _record(world, current, 500, then)
    assert await world.all(state) == [("waiting", 500, then + timedelta(minutes=5))]
    # Except that what a receiver has, it has.
    await _record(world, late, 200, then)
    assert await world.all(state) == [("delivered", 200, None)]
    assert await world.all("SELECT number, status FROM webhook_attempts ORDER BY 1") == [(1, 500), (2, 500)]


async def test_an_endpoint_that_is_deleted_while_it_is_sent_to_harms_nobody(
    world: World, receiver: Receiver
) -> None:
    release = asyncio.Event()

    async def slow(request: Request) -> bytes:
        await release.wait()
        return answer(200)

    receiver.answers["/deleted"] = slow
    deleted, _ = await world.endpoint(receiver.url("/deleted"))
    await world.endpoint(receiver.url("/kept"))
    await world.tell(*(event(n) for n in range(10)))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.send)
        await until(lambda: len(receiver.at("/deleted")) >= 5 and len(receiver.at("/kept")) == 10)
        async with begin(world.engine) as tx:
            await endpoints.remove(tx, merchant_id=world.merchant, endpoint_id=deleted.id)
        release.set()
    assert await world.all("SELECT state, count(*) FROM webhook_deliveries GROUP BY 1") == [("delivered", 10)]


async def test_old_messages_are_forgotten_with_their_deliveries(world: World, receiver: Receiver) -> None:
    await world.endpoint(receiver.url())
    for n in range(3):
        await world.tell(event(n), now=NOW + timedelta(days=n))
    await world.send()
    async with begin(world.engine) as tx:
        assert await deliveries.prune(tx, before=NOW + timedelta(days=2)) == 2
    for table in ("webhook_messages", "webhook_deliveries", "webhook_attempts"):
        assert await world.all(f"SELECT count(*) FROM {table}") == [(1,)]


async def test_what_waits_when_the_worker_stops_is_recorded_first(world: World, receiver: Receiver) -> None:
    stop = asyncio.Event()

    async def stopping(request: Request) -> bytes:
        stop.set()
        await anyio.lowlevel.checkpoint()
        return answer(200)

    receiver.answers["/"] = stopping
    await world.endpoint(receiver.url())
    await world.tell(event())
    await send_webhooks(world.engine, stop, guard=HERE)
    assert await world.all("SELECT state FROM webhook_deliveries") == [("delivered",)]
