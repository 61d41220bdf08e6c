"""How fast a partner's file is credited, from the encrypted file to the encrypted response.

    python benchmarks/points.py --quick                 # 20,000 and 100,000 records, under a minute
    python benchmarks/points.py --json out.json         # 100,000, 1,000,000 and 5,000,000 records
    python benchmarks/points.py --sizes 1000000 --rounds 3

`counterfoil serve`, a process of its own, on an embedded PostgreSQL (fsync on) credits files for 100,000
members. For each size, in turn:

* `file`: the file is uploaded, decrypted, verified, checked, sorted, stored, credited in batches of at most
  5,000, answered, sealed. By stage: until it is kept, until the first batch, the last, the answer;
* `copy indexed`, the limit: COPY of the very transfers that it made into a table with the same indexes and
  checks, batch by batch, over as many connections as there were workers; `copy bare`: into one without any.

And what people do instead, of a part and scaled: a session of SQLAlchemy's ORM and a commit for each record
(`ORM each`), for 5,000 (`ORM bulk`), and an HTTP request for each record (`HTTP each`, 16 at a time).

Afterwards the ledger is proven, what each member has is compared with what the files said, each response is
decrypted and its totals compared, and the last file is sent again: it gets the same response.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final
from uuid import UUID

import httpx
import numpy as np
import psutil  # type: ignore[import-untyped]
import pyarrow as pa

import _bench as bench
import _load as load
import ledger as peers
from _stage import Stage
from counterfoil import clock
from counterfoil.access import keys as api_keys
from counterfoil.access.types import MERCHANT_SCOPES
from counterfoil.app import App, open_app
from counterfoil.db.transactions import begin, read
from counterfoil.merchants import merchants
from counterfoil.points import accounts, verify
from counterfoil.points.files import files, keys, openpgp, partners, verbs
from counterfoil.points.files.files import File
from counterfoil.points.files.layouts import builtin_layout
from counterfoil.points.files.openpgp import KeyPair
from counterfoil.points.files.reader import Header
from counterfoil.points.files.responses import open_response
from counterfoil.points.files.terms import FILE_TYPE, Terms
from counterfoil.points.files.writer import write_accruals
from counterfoil.points.tables import points_transfers
from counterfoil.settings import Settings

MEMBERS: Final = 100_000
AT_ONCE: Final = 131_072
EACH: Final = 1_000
BULK: Final = 20_000
CLIENTS: Final = 16
LAYOUT: Final = builtin_layout("delimited")
STAGES: Final = ("kept", "opened", "credited", "answered")


@dataclass
class Bank:
    """A partner with a key, and how many points its files have given to each member."""

    merchant_id: UUID
    source_no: int
    pair: KeyPair
    our_key: str
    sequence: int = 0
    references: int = 0
    given: np.ndarray[Any, Any] = field(default_factory=lambda: np.zeros(MEMBERS, dtype=np.int64))

    def records(self, count: int) -> Iterator[pa.RecordBatch]:
        """Records of members at random, with references that were never there before."""
        random = np.random.default_rng(self.sequence)
        for start in range(0, count, AT_ONCE):
            number = min(AT_ONCE, count - start)
            which = np.arange(self.references, self.references + number)
            member, points = random.integers(0, MEMBERS, number), 1 + which % 500
            self.references += number
            np.add.at(self.given, member, points)
            yield pa.RecordBatch.from_arrays(
                [
                    pa.array(np.char.add("M", np.char.zfill(member.astype("U9"), 9))),
                    pa.array(points, pa.int64()),
                    pa.array(np.char.add("R", np.char.zfill(which.astype("U10"), 10))),
                    pa.repeat(pa.scalar(clock.now().date(), pa.date32()), number),
                    pa.repeat(pa.scalar("BASE"), number),
                ],
                names=["customer_id", "points", "reference", "occurred_on", "offer_code"],
            )

    async def write(self, count: int, sealed: Path) -> None:
        """The partner's next file."""
        self.sequence += 1
        plain = sealed.with_suffix(".plain")
        now = clock.now().replace(microsecond=0)
        header = Header("1", "production", "BANK", "SHOP", FILE_TYPE, self.sequence, now)
        await asyncio.to_thread(write_accruals, plain, LAYOUT, header, self.records(count))
        await openpgp.seal_message(
            plain, sealed, own_key=self.pair.secret, recipient=self.our_key, now=clock.now()
        )
        plain.unlink()


class Watch:
    """The most memory that a process and its children had to themselves."""

    def __init__(self, **pids: int) -> None:
        self.peaks: dict[str, int] = {}
        self._pids, self._stop = pids, Event()
        self._thread = Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.25):
            for name, pid in self._pids.items():
                with contextlib.suppress(psutil.Error):
                    process = psutil.Process(pid)
                    self._note(name, process)
                    for child in process.children(recursive=True):
                        self._note(f"a child of {name}", child)

    def _note(self, name: str, process: psutil.Process) -> None:
        with contextlib.suppress(psutil.Error):
            memory = process.memory_info()
            # What PostgreSQL's processes share is its cache, which its settings bound.
            self.peaks[name] = max(self.peaks.get(name, 0), memory.rss - memory.shared)


async def set_up(app: App) -> tuple[Bank, str]:
    """A merchant with members, a partner, tables to copy into, and a key for the API."""
    now = clock.now()
    async with begin(app.engine) as tx:
        merchant = await merchants.create(
            tx, reference="bench", name="bench", time_zone="UTC", currency="USD", now=now
        )
        names = [f"M{number:09d}" for number in range(MEMBERS)]
        for start in range(0, MEMBERS, accounts.MOST_AT_ONCE):
            part = names[start : start + accounts.MOST_AT_ONCE]
            await accounts.open_accounts(tx, merchant_id=merchant.id, customer_ids=part, now=now)
        await keys.ensure(tx, merchant_id=merchant.id, name="Shop <points@shop.example>", now=now)
        pair = openpgp.make_key("Bank <files@bank.example>", now=now)
        partner = await partners.add(
            tx, merchant_id=merchant.id, partner_id="bank", name="Bank",
            terms=Terms(sender="BANK", receiver="SHOP"), layout=LAYOUT, now=now,
        )  # fmt: skip
        await keys.add(
            tx, merchant_id=merchant.id, partner_id="bank", kind="openpgp", text=pair.public, now=now
        )
        own = (await keys.own(tx, merchant_id=merchant.id, kind="openpgp"))[0]
        _, secret = await api_keys.create(
            tx, name="bench", merchant_id=merchant.id, scopes=MERCHANT_SCOPES, expires_at=None, now=now
        )
        await tx.execute("CREATE TABLE copy_indexed (LIKE points_transfers INCLUDING ALL)")
        await tx.execute("CREATE TABLE copy_bare (LIKE points_transfers)")
    return Bank(merchant.id, partner.source_no, pair, own.public_key), secret


async def send(app: App, bank: Bank, sealed: Path) -> tuple[File, dict[str, float]]:
    """Have a file credited by the worker; the file as it is then, and the seconds of each stage."""
    began = clock.now()
    async with begin(app.engine) as tx:
        file = await verbs.receive(
            tx, merchant_id=bank.merchant_id, partner_id="bank", name=sealed.name, path=sealed, via="api",
            now=clock.now(),
        )  # fmt: skip
    kept = clock.now()
    while file.answered_at is None:
        await asyncio.sleep(0.2)
        async with read(app.engine) as snapshot:
            file = await files.by_number(snapshot, file_no=file.file_no)
            first = await snapshot.scalar(
                "SELECT min(cut_at) FROM points_batches WHERE file_no = :no", {"no": file.file_no}
            )
    assert file.decided_at is not None
    times = [began, kept, first or file.decided_at, file.decided_at, file.answered_at]
    seconds = [(after - before).total_seconds() for before, after in itertools.pairwise(times)]
    return file, dict(zip(STAGES, seconds, strict=True))


async def response_of(app: App, bank: Bank, file: File, directory: Path) -> tuple[str, bool]:
    """The digest of the response, and whether the partner reads in it that all was credited."""
    sealed, plain = directory / "response", directory / "response.plain"
    plain.unlink(missing_ok=True)
    async with read(app.engine) as snapshot:
        await files.write_out(snapshot, file_no=file.repeats or file.file_no, kind="response", path=sealed)
    await openpgp.open_message(
        sealed, plain, own_keys=[bank.pair.secret], signers=[bank.our_key], now=clock.now()
    )
    with open_response(plain, LAYOUT) as response:
        number = sum(batch.num_rows for batch in response.batches())
        totals = response.trailer
    found = totals is not None and (
        totals.accepted_count == totals.record_count == number
        and totals.accepted_points == totals.points_total
    )
    return hashlib.sha256(sealed.read_bytes()).hexdigest(), found


async def dump(app: App, file: File, directory: Path) -> list[Path]:
    """The transfers of each batch of a file, ready to be copied."""
    columns = [column.name for column in points_transfers.columns]
    found: list[Path] = []
    async with read(app.engine) as snapshot:
        driver = await snapshot.driver()
        for row in await driver.fetch(
            "SELECT transfers FROM points_batches WHERE file_no = $1 ORDER BY batch_no", file.file_no
        ):
            last = UUID(int=row["transfers"].int | 0xFFFF)
            path = directory / f"batch-{len(found)}"
            await driver.copy_from_query(
                f"""SELECT {", ".join(columns)} FROM points_transfers
                    WHERE transfer_id BETWEEN $1 AND $2 ORDER BY transfer_id""",
                *(row["transfers"], last),
                output=str(path),
                format="binary",
            )
            found.append(path)
    return found


async def copy(app: App, paths: list[Path], table: str, connections: int) -> float:
    """COPY the batches, each in a transaction of its own; the seconds it took."""
    columns = [column.name for column in points_transfers.columns]
    waiting = paths[::-1]

    async def work() -> None:
        while waiting:
            path = waiting.pop()
            async with begin(app.engine) as tx:
                driver = await tx.driver()
                await driver.copy_to_table(table, source=str(path), columns=columns, format="binary")

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(connections)))
    seconds = time.perf_counter() - began
    async with begin(app.engine) as tx:
        await tx.execute(f"TRUNCATE {table}")
    return seconds


async def one_by_one(port: int, key: str, bank: Bank, count: int) -> float:
    """A request for each record."""
    numbers = iter(range(count))
    address = f"http://127.0.0.1:{port}/v1/points/transfers"

    async def work(client: httpx.AsyncClient) -> None:
        for number in numbers:
            body = {
                "customer_id": f"M{number % MEMBERS:09d}",
                "reference": f"H{bank.references + number}",
                "points": 1,
            }
            answer = await client.post(address, json={"transfers": [body]})
            answer.raise_for_status()

    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}) as client:
        began = time.perf_counter()
        await asyncio.gather(*(work(client) for _ in range(CLIENTS)))
        seconds = time.perf_counter() - began
    bank.references += count
    bank.given[:count] += 1
    return seconds


async def instead(app: App, bank: Bank, key: str, port: int) -> dict[str, float]:
    """Records a second of what people do instead."""
    async with read(app.engine) as snapshot:
        rows = await snapshot.all("SELECT name, account_no FROM points_accounts WHERE source IS NULL")
    stage = peers.Stage(
        app, bank.merchant_id, bank.source_no, {row.name: row.account_no for row in rows}, made=10**9
    )
    rates = {}
    for name, count, at_once in (("ORM bulk", BULK, peers.BATCH), ("ORM each", EACH, 1)):
        entries = stage.entries(count)
        began = time.perf_counter()
        await peers.orm(stage, entries, at_once=at_once)
        rates[name] = count / (time.perf_counter() - began)
        for entry in entries:
            bank.given[int(entry.customer_id[1:])] += entry.points
    rates["HTTP each"] = EACH / await one_by_one(port, key, bank, EACH)
    return rates


@dataclass
class Findings:
    """What was measured: seconds by size and case, and what must hold."""

    seconds: dict[int, dict[str, list[float]]] = field(default_factory=dict)
    stages: dict[int, list[dict[str, float]]] = field(default_factory=dict)
    peers: dict[str, list[float]] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)
    invariants: dict[str, bool] = field(default_factory=dict)

    def note(self, size: int, case: str, seconds: float) -> None:
        """One run."""
        self.seconds.setdefault(size, {}).setdefault(case, []).append(seconds)
        print(f"  {size:>9,} {case:14} {seconds:9.2f} s {size / seconds:11,.0f}/s", flush=True)

    def hold(self, what: str, holds: bool) -> None:
        """Something that must be true of every run."""
        self.invariants[what] = self.invariants.get(what, True) and holds


async def run(sizes: list[int], rounds: int, home: Path) -> Findings:
    """All sizes and peers in turn, as many times."""
    found = Findings()
    async with open_app(Settings(home=home, statement_timeout_seconds=3600, database_url=None)) as app:
        bank, key = await set_up(app)
        stage = Stage(home, app.engine.url.render_as_string(hide_password=False), 0, bank.merchant_id, key)
        with load.ours(stage, "all") as server:
            postmaster = psutil.Process(await _backend(app)).ppid()
            with Watch(server=server.process.pid, postgres=postmaster) as watch:
                for _ in range(rounds):
                    for name, rate in (await instead(app, bank, key, server.port)).items():
                        found.peers.setdefault(name, []).append(rate)
                        print(f"  {name:24} {rate:21,.0f}/s", flush=True)
                    for size in sizes:
                        await _measure(app, bank, size, found, home)
            found.peaks = watch.peaks
        await _prove(app, bank, found)
    return found


async def _backend(app: App) -> int:
    async with read(app.engine) as snapshot:
        pid: int = await snapshot.scalar("SELECT pg_backend_pid()")
        return pid


async def _measure(app: App, bank: Bank, size: int, found: Findings, home: Path) -> None:
    sealed = home / f"file-{bank.sequence + 1}.pgp"
    await bank.write(size, sealed)
    file, stages = await send(app, bank, sealed)
    if file.state != "credited":
        raise SystemExit(f"The file was {file.state}: {file.reason} {file.detail}")
    found.stages.setdefault(size, []).append(stages)
    found.note(size, "file", sum(stages.values()))
    async with read(app.engine) as snapshot:
        workers = 1 + await snapshot.scalar(
            "SELECT max(worker) FROM points_batches WHERE file_no = :no", {"no": file.file_no}
        )
    with tempfile.TemporaryDirectory(dir=home) as directory:
        paths = await dump(app, file, Path(directory))
        found.note(size, "copy indexed", await copy(app, paths, "copy_indexed", workers))
        found.note(size, "copy bare", await copy(app, paths, "copy_bare", workers))
        digest, whole = await response_of(app, bank, file, Path(directory))
        again, _ = await send(app, bank, sealed)
        repeated, _ = await response_of(app, bank, again, Path(directory))
    found.hold("each response says that all was credited", whole)
    found.hold("the same file again is answered alike", again.state == "repeated" and digest == repeated)
    sealed.unlink()


async def _prove(app: App, bank: Bank, found: Findings) -> None:
    async with read(app.engine) as snapshot:
        proofs = [proof async for proof in verify.verify(snapshot, merchant_id=bank.merchant_id)]
        rows = await snapshot.all("SELECT name, balance FROM points_accounts WHERE source IS NULL")
    found.hold("every balance is the sum of its transfers", not any(proof.differences for proof in proofs))
    has = np.zeros(MEMBERS, dtype=np.int64)
    for name, balance in [(row.name, row.balance) for row in rows]:
        has[int(name[1:])] = balance
    found.hold("every member has what the files gave", bool((has == bank.given).all()))


def report(found: Findings, path: Path | None) -> None:
    """Print the medians, and write them."""
    rates: dict[str, Any] = {}
    ratios: dict[str, float] = {}
    middle = {name: statistics.median(rate) for name, rate in found.peers.items()}
    print(f"\n{'records':>10} {'case':14} {'seconds':>9} {'per second':>11}  file / it")
    for size, cases in found.seconds.items():
        took = {name: statistics.median(seconds) for name, seconds in cases.items()}
        took |= {name: size / rate for name, rate in middle.items()}
        for name, seconds in took.items():
            ratio = seconds / took["file"]
            print(f"{size:>10,} {name:14} {seconds:9.2f} {size / seconds:11,.0f} {ratio:10.2f}")
            rates[f"{size} {name}"] = {"seconds": round(seconds, 3), "per_second": round(size / seconds)}
            ratios[f"{size} file / {name}"] = round(ratio, 3)
        parts = {
            stage: round(statistics.median(one[stage] for one in found.stages[size]), 3) for stage in STAGES
        }
        rates[f"{size} file"]["stages"] = parts
        print(" " * 10, "seconds until it was", ", ".join(f"{name} {value}" for name, value in parts.items()))
    sizes = sorted(found.seconds)
    for smaller, larger in itertools.pairwise(sizes):
        times = [statistics.median(found.seconds[size]["file"]) for size in (smaller, larger)]
        ratios[f"time of {larger} / {smaller}"] = round(times[1] / times[0], 2)
        print(f"time of {larger:,} / {smaller:,}: {times[1] / times[0]:.2f}")
    peaks = {name: round(peak / 2**20) for name, peak in found.peaks.items()}
    of_machine = bench.machine(("asyncpg", "sqlalchemy", "pgpq", "pyarrow", "duckdb", "rpgp-py"))
    print("peak memory, MiB:", peaks, "\n", found.invariants, "\n", of_machine)
    bench.write_json(
        path,
        rates={**rates, "peak_mib": peaks},
        ratios=ratios,
        invariants=found.invariants,
        of_machine=of_machine,
    )
    if not all(found.invariants.values()):
        sys.exit("Something that must hold did not.")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="20,000 and 100,000 records, one round")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000, 5_000_000])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.sizes, arguments.rounds = [20_000, 100_000], 1
    with tempfile.TemporaryDirectory(prefix="counterfoil-bench-") as home:
        found = asyncio.run(run(arguments.sizes, arguments.rounds, Path(home)))
    report(found, arguments.json)


if __name__ == "__main__":
    main()
