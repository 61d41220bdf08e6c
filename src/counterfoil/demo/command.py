"""`counterfoil demo`: a year of a real grocer's coupons through the platform, and what became of each."""

from __future__ import annotations

import asyncio
import secrets
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

from cyclopts import Parameter
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

import counterfoil
from counterfoil import clock
from counterfoil.access import operators
from counterfoil.app import App
from counterfoil.cli.platform import with_platform
from counterfoil.db import jobs, outbox, records
from counterfoil.db.transactions import begin, read
from counterfoil.demo import bank, flash_sale, outputs, partner_file, partner_tables, points, tables
from counterfoil.demo.complete_journey import CURRENCY, MERCHANT_ID, MERCHANT_NAME, TIME_ZONE, CompleteJourney
from counterfoil.demo.load import ORDER, records_of
from counterfoil.errors import ConflictError
from counterfoil.linkage.extract import extract, open_extract
from counterfoil.merchants import merchants
from counterfoil.merchants.merchants import Merchant
from counterfoil.worker import run_worker

OPERATOR: Final = "demo@counterfoil.example"
LOAD_SECONDS: Final = 300


def demo(
    *,
    out: Annotated[Path, Parameter(help="Where the files and the report are written.")] = Path("demo-out"),
) -> None:
    """Take the Complete Journey data through the platform, and say of every voucher what became of it.

    Then points: its orders earn, some members burn, and the ledger is proven; a bank sends an encrypted file
    of points for all baskets, the same again, and a forged one. Then a flash sale: more customers than
    vouchers, against a server of its own. Running it again changes nothing of the data and writes the same
    files; the bank's records are duplicates then, and another sale is held.
    """
    started = time.monotonic()
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    shown = with_platform(lambda app: _demo(app, out, console))
    console.print(f"\nDone in {time.monotonic() - started:.0f} s. What it wrote:")
    for path in (shown.full_link, shown.campaigns, shown.evidence):
        console.print(f"  {path}", soft_wrap=True)
    console.print(f"  [bold]{shown.report.resolve()}[/]   open it in a browser", soft_wrap=True)


async def _demo(app: App, out: Path, console: Console) -> outputs.Written:
    with _progress(console) as progress:
        reading = progress.add_task("reading the data", total=None)
        journey = await asyncio.to_thread(CompleteJourney)
        progress.update(reading, total=1, completed=1)
        merchant = await _merchant(app)
        await _load(app, merchant, journey, progress)
        await _work(app, merchant, progress)
        writing = progress.add_task("linking, and writing the report", total=None)
        with tempfile.TemporaryDirectory(prefix="counterfoil-") as place:
            written, shown = await _write(app, merchant, journey, Path(place), out)
        progress.update(writing, total=1, completed=1)
    for table in shown:
        console.print()
        console.print(table)
    await _give_points(app, merchant, console)
    await _credit_a_file(app, merchant, journey, console)
    with _progress(console) as progress:
        selling = progress.add_task("holding a flash sale", total=None)
        sale = await flash_sale.hold_sale(app)
        progress.update(selling, total=1, completed=1)
    for table in (flash_sale.figures_table(sale), flash_sale.invariants_table(sale)):
        console.print()
        console.print(table)
    await _tell_how_to_look(app, console)
    return written


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


async def _merchant(app: App) -> Merchant:
    async with begin(app.engine) as tx:
        found = await merchants.find(tx, name=MERCHANT_ID)
        return found or await merchants.create(
            tx,
            reference=MERCHANT_ID,
            name=MERCHANT_NAME,
            time_zone=TIME_ZONE,
            currency=CURRENCY,
            now=clock.now(),
        )


async def _load(app: App, merchant: Merchant, journey: CompleteJourney, progress: Progress) -> None:
    loading = progress.add_task("loading", total=len(ORDER))
    for kind, table in records_of(journey):
        progress.update(loading, description=f"loading {table.num_rows:,} {kind.name.replace('_', ' ')}")
        async with begin(app.engine, statement_timeout_seconds=LOAD_SECONDS) as tx:
            await records.load(tx, kind, merchant_id=merchant.id, batches=table.to_batches(), now=clock.now())
        progress.advance(loading)
    progress.update(loading, description=f"loaded {len(ORDER)} kinds of records")


async def _work(app: App, merchant: Merchant, progress: Progress) -> None:
    """Let a worker find the breaks and then take an analysis, as it would for anybody."""
    stop = asyncio.Event()
    worker = asyncio.create_task(run_worker(app, stop))
    try:
        joining = progress.add_task("looking for breaks", total=None)
        await _until(worker, lambda: _all_joined(app))
        progress.update(joining, total=1, completed=1)
        analysing = progress.add_task("analysing the campaigns", total=None)
        async with begin(app.engine) as tx:
            job = await jobs.create(
                tx, kind="analysis", merchant_id=merchant.id, request={"period": "week"}, now=clock.now()
            )
            await outbox.publish(tx, "analysis.requested", {"job_id": str(job.id)})
        await _until(worker, lambda: _analysed(app, job.id, progress, analysing))
    finally:
        stop.set()
        await worker


async def _until(worker: asyncio.Task[None], ready: Callable[[], Awaitable[bool]]) -> None:
    while not await ready():
        if worker.done():
            worker.result()
        await asyncio.sleep(0.1)


async def _all_joined(app: App) -> bool:
    async with read(app.engine) as tx:
        waiting = await tx.scalar("SELECT count(*) FROM pgqueuer WHERE entrypoint = 'linkage.rejoin'")
    return bool(waiting == 0)


async def _analysed(app: App, job_id: UUID, progress: Progress, task: TaskID) -> bool:
    async with read(app.engine) as tx:
        job = await jobs.get(tx, job_id=job_id, merchant_id=None)
    progress.update(task, total=job.progress_total, completed=job.progress_done)
    if job.state == "failed":
        raise ConflictError(f"The analysis failed: {job.error}", code="demo_failed")
    return job.state == "succeeded"


async def _write(
    app: App, merchant: Merchant, journey: CompleteJourney, place: Path, out: Path
) -> tuple[outputs.Written, list[Any]]:
    """Read the records back, link them with the library, and write what came out."""
    async with read(app.engine) as tx:
        taken_at = await tx.scalar("SELECT now()")
        await extract(tx, merchant_id=merchant.id, directory=place)

    def work() -> tuple[outputs.Written, list[Any]]:
        connection, frames = open_extract(place)
        sources = {name: frames[name] for name in ("issuances", "redemptions", "orders", "transactions")}
        full_link = counterfoil.link(**sources).to_arrow_table()
        found = counterfoil.breaks(**sources, as_of=taken_at).to_arrow_table()
        connection.close()
        written = outputs.write_outputs(
            journey, full_link=full_link, breaks=found, folder=out, taken_at=taken_at
        )
        campaigns = outputs.analyse_campaigns(journey, full_link, found)
        shown = [
            tables.campaigns_table(campaigns),
            tables.evidence_table(journey.evidence),
            tables.breaks_table(found),
        ]
        return written, shown

    return await asyncio.to_thread(work)


async def _give_points(app: App, merchant: Merchant, console: Console) -> None:
    """Let the year's orders earn points, and show what came of it."""
    with _progress(console) as progress:
        earning = progress.add_task("earning points for the orders", total=None)
        year = await points.give_points(
            app.engine,
            merchant_id=merchant.id,
            tell=lambda done, total: progress.update(earning, completed=done, total=total),
        )
    for table in (points.statement_table(year), points.figures_table(year)):
        console.print()
        console.print(table)


async def _credit_a_file(app: App, merchant: Merchant, journey: CompleteJourney, console: Console) -> None:
    """Let a bank send points for the year's baskets in a file, the same again, and a forged one."""
    with _progress(console) as progress:
        crediting = progress.add_task("crediting a bank's encrypted file", total=None)
        records = await asyncio.to_thread(bank.accruals, journey)
        exchange = await partner_file.exchange_files(
            app,
            merchant_id=merchant.id,
            records=records,
            tell=lambda done, total: progress.update(crediting, completed=done, total=total),
        )
        progress.update(crediting, completed=len(records), total=len(records))
    for table in partner_tables.exchange_tables(exchange):
        console.print()
        console.print(table)


async def _tell_how_to_look(app: App, console: Console) -> None:
    """Let a newcomer sign in to the pages, with a password made up for this run."""
    password = secrets.token_urlsafe(12)
    password_hash = await asyncio.to_thread(operators.hash_password, password)
    async with begin(app.engine) as tx:
        if await operators.find_credentials(tx, email=OPERATOR) is None:
            await operators.add(tx, email=OPERATOR, name="Demo", password_hash=password_hash, now=clock.now())
        else:
            await operators.set_password(tx, email=OPERATOR, password_hash=password_hash)
    console.print("\nTo look at it live: [bold]make serve[/], then sign in as")
    console.print(f"  {OPERATOR}   [bold]{password}[/]")
