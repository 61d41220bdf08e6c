"""Many connections and processes at once: balances stay right, and each reference is decided once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import asyncpg
import pytest
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.db import embedded
from counterfoil.db.engine import batch_connection, create_engine
from counterfoil.db.migrate import migrate
from counterfoil.db.transactions import begin, begin_on, read
from counterfoil.errors import CounterfoilError
from counterfoil.points import accounts, earning, expiry, ledger, pending, reversals
from counterfoil.points.earning import Paid, Refund
from counterfoil.points.ledger import Posted
from counterfoil.points.pending import Settlement
from counterfoil.points.programs import Program, Rate
from counterfoil.points.reversals import Reversal
from tests.builders import NOW
from tests.points.world import World, differences, known, make_world

CONNECTIONS = 8
MEMBERS = [f"m{n}" for n in range(12)]


class Shop:
    """A merchant whose ledger is asked over one connection or another."""

    def __init__(self, engine: AsyncEngine, world: World, connections: list[asyncpg.Connection]) -> None:
        self.engine = engine
        self.world = world
        self.connections = connections
        self.now = NOW

    async def ask(self, connection: int, verb: Any, **said: Any) -> list[Any]:
        """A verb, in a transaction of its own."""
        async with begin_on(self.connections[connection]) as tx:
            outcomes: list[Any] = await verb(tx, merchant_id=self.world.merchant_id, now=self.now, **said)
        return outcomes

    async def race(self, verb: Any, batches: Sequence[dict[str, Any]]) -> list[Any]:
        """All batches, over all connections at once."""
        waiting, outcomes = list(batches), list[Any]()

        async def work(connection: int) -> None:
            while waiting:
                outcomes.extend(await self.ask(connection, verb, **waiting.pop()))

        await self.all_at_once(work)
        return outcomes

    async def all_at_once(self, work: Callable[[int], Coroutine[Any, Any, None]]) -> None:
        """The same work on each connection; none of it may take minutes."""
        with anyio.fail_after(120):
            async with anyio.create_task_group() as group:
                for connection in range(len(self.connections)):
                    group.start_soon(work, connection)

    async def account(self, customer_id: str) -> accounts.Account:
        """A member's account now."""
        async with read(self.engine) as tx:
            return await accounts.get(tx, merchant_id=self.world.merchant_id, customer_id=customer_id)


@pytest.fixture
async def shop(engine: AsyncEngine, database: URL) -> AsyncIterator[Shop]:
    async with begin(engine) as tx:
        world = await make_world(tx, *MEMBERS)
    url = database.render_as_string(hide_password=False)
    connections = [await batch_connection(url) for _ in range(CONNECTIONS)]
    yield Shop(engine, world, connections)
    for connection in connections:
        await connection.close()
    async with begin(engine) as tx:
        assert await differences(tx, world.merchant_id) == []


async def test_one_reference_that_twenty_post_at_once_is_posted_once(shop: Shop) -> None:
    entry = shop.world.entry(10, "once", "m0")
    outcomes = await shop.race(ledger.post, [{"entries": [entry]}] * 20)
    assert Counter((p.code, p.repeated) for p in outcomes) == {("posted", False): 1, ("posted", True): 19}
    assert len({p.transfer_id for p in outcomes}) == 1
    assert (await shop.account("m0")).balance == 10


async def test_one_reference_for_many_members_at_once_is_posted_for_one_of_them(shop: Shop) -> None:
    batches = [{"entries": [shop.world.entry(10, f"r{n}", name)]} for n in range(10) for name in MEMBERS]
    random.shuffle(batches)
    outcomes = await shop.race(ledger.post, batches)
    assert Counter(p.code for p in outcomes) == {"posted": 10, "duplicate": 110}
    assert sum([(await shop.account(name)).balance for name in MEMBERS]) == 100


async def test_a_hundred_points_that_many_debit_are_debited_once(shop: Shop) -> None:
    await shop.ask(0, ledger.post, entries=[shop.world.entry(100, "1", "m0")])
    debits = [{"entries": [shop.world.entry(-3, f"d{n}", "m0", pending=n % 2 == 0)]} for n in range(100)]
    outcomes = await shop.race(ledger.post, debits)
    assert Counter(p.ok for p in outcomes) == {True: 33, False: 67}
    assert (await shop.account("m0")).available == 1


async def test_batches_over_the_same_members_in_any_order_never_wait_for_each_other_for_ever(
    shop: Shop,
) -> None:
    batches = []
    for n in range(120):
        names = random.sample(MEMBERS, len(MEMBERS))
        points = [random.choice([5, 5, -3]) for _ in names]
        expires = NOW + timedelta(days=n % 3)
        batches.append({
            "entries": [
                shop.world.entry(p, f"{n}-{k}", name, expires_at=expires if p > 0 else None)
                for k, (name, p) in enumerate(zip(names, points, strict=True))
            ]
        })  # fmt: skip
    outcomes = await shop.race(ledger.post, batches)
    assert {p.code for p in outcomes} <= {"posted", "insufficient"}


async def test_reversals_of_one_transfer_that_race_never_undo_more_than_it_moved(shop: Shop) -> None:
    done: list[Posted] = await shop.ask(0, ledger.post, entries=[shop.world.entry(100, "1", "m0")])
    credit = known(done[0].transfer_id)
    asked = [{"reversals": [Reversal(credit, points=7)]} for _ in range(40)]
    outcomes = await shop.race(reversals.reverse, asked)
    assert Counter(r.code for r in outcomes) == {"posted": 14, "too_many_points": 26}
    assert (await shop.account("m0")).balance == 2


async def test_a_hold_that_is_burned_and_released_at_once_is_one_of_them(shop: Shop) -> None:
    await shop.ask(0, ledger.post, entries=[shop.world.entry(100, "1", "m0")])
    holds = [shop.world.entry(-2, f"h{n}", "m0", pending=True) for n in range(40)]
    made: list[Posted] = await shop.ask(0, ledger.post, entries=holds)
    ids = [known(p.transfer_id) for p in made]
    asked = [{"settlements": [Settlement(i, points)]} for i in ids for points in (None, 0)]
    random.shuffle(asked)
    outcomes = await shop.race(pending.settle, asked)
    assert Counter(s.ok for s in outcomes) == {True: 40, False: 40}
    account = await shop.account("m0")
    assert (account.held, account.balance) == (0, 100 - 2 * sum(s.code == "posted" for s in outcomes))


async def test_an_account_is_closed_or_credited_and_never_both(shop: Shop) -> None:
    for n in range(20):
        name = f"closing-{n}"
        async with begin(shop.engine) as tx:
            await World(tx, shop.world.merchant_id, shop.world.bank).members(name)
        told: list[str] = []

        async def close(name: str = name, told: list[str] = told) -> None:
            try:
                async with begin(shop.engine) as tx:
                    await World(tx, shop.world.merchant_id, shop.world.bank).close(name)
                told.append("closed")
            except CounterfoilError as error:
                told.append(error.code)

        async with anyio.create_task_group() as group:
            group.start_soon(close)
            credit = {"entries": [shop.world.entry(1, f"c{n}", name)]}
            group.start_soon(partial(shop.ask, 0, ledger.post, **credit))
        account = await shop.account(name)
        assert (account.state, account.balance, told) in [
            ("closed", 0, ["closed"]), ("open", 1, ["points_account_not_empty"]),
        ]  # fmt: skip


async def test_a_mix_of_everything_at_once_proves_itself_and_gives_no_errors(shop: Shop) -> None:
    made: list[Any] = []
    seen = Counter[str]()
    program = Program(earn=Rate(points=1, minor=1), activate_after_days=1)

    def request(n: int) -> tuple[Any, dict[str, Any]]:
        kind = random.choice(["post", "post", "settle", "reverse", "earn", "take_back", "expire", "due"])
        size = random.choice([1, 3, 20])
        names = [random.choice(MEMBERS) for _ in range(size)]
        some = [random.choice(made) for _ in range(size)] if made else []
        if kind == "post":
            entries = [
                shop.world.entry(
                    random.choice([9, 9, -4]), f"{n}-{k}", name, pending=random.random() < 0.3,
                    expires_at=shop.now + timedelta(days=random.choice([1, 2])),
                )
                for k, name in enumerate(names)
            ]  # fmt: skip
            return ledger.post, {"entries": entries}
        if kind == "settle":
            return pending.settle, {"settlements": [Settlement(i, random.choice([None, 0, 2])) for i in some]}
        if kind == "reverse":
            return reversals.reverse, {
                "reversals": [Reversal(i, points=random.choice([None, 2])) for i in some]
            }
        if kind == "earn":
            orders = [Paid(f"o{random.randrange(60)}", name, 10, shop.now) for name in names]
            return earning.earn, {"program": program, "orders": orders}
        if kind == "take_back":
            refunds = [Refund(f"o{random.randrange(60)}", str(random.randrange(4)), 2) for _ in names]
            return earning.take_back, {"refunds": refunds}
        return expiry.expire, {"most": 100}

    async def work(connection: int) -> None:
        for n in range(40):
            shop.now += timedelta(minutes=20)
            verb, said = request(connection * 1000 + n)
            for outcome in await shop.ask(connection, verb, **said):
                seen[getattr(outcome, "code", "expired")] += 1
                if getattr(outcome, "transfer_id", None) is not None:
                    made.append(outcome.transfer_id)

    await shop.all_at_once(work)
    assert {"posted", "pending", "voided", "taken_back"} <= seen.keys()


_POSTING = """
import asyncio, sys
from datetime import datetime, UTC
from uuid import UUID
from counterfoil.db.engine import batch_connection
from counterfoil.db.transactions import begin_on
from counterfoil.errors import CounterfoilError
from counterfoil.points import ledger
from counterfoil.points.ledger import Entry

async def main(url, merchant, bank, name):
    connection, n = None, 0
    while n < 100_000:
        try:
            connection = connection or await batch_connection(url)
            async with begin_on(connection) as tx:
                done = await ledger.post(tx, merchant_id=UUID(merchant), now=datetime.now(UTC), entries=[
                    Entry(customer_id=f"m{(n + k) % 12}", source_no=int(bank), reference=f"{name}-{n}-{k}",
                          points=1 if k % 3 else -1) for k in range(20)])
        except (CounterfoilError, OSError) as error:
            connection = None
            print("lost", flush=True)
            await asyncio.sleep(0.05)
            continue
        for k, p in enumerate(done):
            print(f"{name}-{n}-{k}", p.code, p.transfer_id, flush=True)
        n += 1

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
async def own_server(tmp_path: Path) -> AsyncIterator[str]:
    """A server of one's own, which may be killed."""
    with embedded.running(tmp_path) as url:
        yield str(url)


async def _answers(process: asyncio.subprocess.Process, answers: dict[str, tuple[str, str]]) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        parts = line.decode().split()
        if len(parts) == 3:
            answers[parts[0]] = parts[1], parts[2]


@pytest.mark.parametrize("victim", ["database", "process"])
async def test_after_kill_9_under_load_every_answer_that_was_given_stands(
    own_server: str, victim: str
) -> None:
    url = own_server
    engine = create_engine(url)
    await migrate(engine)
    async with begin(engine) as tx:
        world = await make_world(tx, *MEMBERS)
    said = [url, str(world.merchant_id), str(world.bank)]
    answers: dict[str, tuple[str, str]] = {}
    clients = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", _POSTING, *said, f"c{n}", stdout=asyncio.subprocess.PIPE
        )
        for n in range(2)
    ]
    readers = [asyncio.create_task(_answers(client, answers)) for client in clients]

    async def until(more: int) -> None:
        enough = len(answers) + more
        with anyio.fail_after(90):
            while len(answers) < enough:  # noqa: ASYNC110
                await anyio.sleep(0.02)

    await until(1000)
    if victim == "process":
        clients[0].kill()
    else:
        async with read(engine) as snapshot:
            pid = await snapshot.scalar("SELECT pg_backend_pid()")
        os.kill(_parent(int(pid)), signal.SIGKILL)
        await engine.dispose()
    await until(500)
    for client in clients:
        if client.returncode is None:
            client.kill()
    await asyncio.gather(*readers, *(client.wait() for client in clients))
    async with begin(engine) as tx:
        rows = await tx.all(
            "SELECT reference, transfer_id FROM points_transfers WHERE merchant_id = :m",
            {"m": world.merchant_id},
        )
        posted = {row.reference: str(row.transfer_id) for row in rows}
        assert await differences(tx, world.merchant_id) == []
    for reference, (code, transfer_id) in answers.items():
        assert posted.get(reference) == (transfer_id if code == "posted" else None)
    await engine.dispose()


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
