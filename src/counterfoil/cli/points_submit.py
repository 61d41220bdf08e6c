"""`counterfoil points submit`: a partner's file handed over, worked at, and its response saved."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil import clock
from counterfoil.app import App
from counterfoil.cli.merchant_work import MerchantName
from counterfoil.cli.platform import Json, say, show, with_platform
from counterfoil.cli.points_files import file_row
from counterfoil.db.transactions import begin, read
from counterfoil.errors import ConflictError, InvalidError, RefusedError
from counterfoil.ids import format_id
from counterfoil.merchants import merchants
from counterfoil.points.files import files, queries, verbs
from counterfoil.points.files.files import File
from counterfoil.worker import run_worker

LOOK_SECONDS: Final = 0.2
"""How often it is looked how far a file is."""


def submit(
    file: Annotated[Path, Parameter(help="The file as the partner encrypted it.")],
    /,
    *,
    merchant: MerchantName,
    partner: Annotated[str, Parameter(help="The partner's short name.")],
    name: Annotated[str | None, Parameter(help="What the partner calls it; by default as it is.")] = None,
    wait: Annotated[bool, Parameter(negative="", help="Until it is answered.")] = False,
    response: Annotated[
        Path | None, Parameter(help="Write the encrypted response here; waits for it.")
    ] = None,
    json: Json = False,
) -> None:
    """Hand over a partner's file, and follow it until it is answered.

    While it waits this command works at it, beside any `counterfoil serve`. Interrupted, the file goes on
    with the next worker.
    """
    waits = wait or response is not None

    async def run(opened: App) -> File:
        async with begin(opened.engine) as tx:
            owner = await merchants.get(tx, name=merchant)
            found = await verbs.receive(
                tx,
                merchant_id=owner.id,
                partner_id=partner,
                name=name or file.name,
                path=file,
                via="api",
                now=clock.now(),
            )
        if waits:
            async with _working(opened) as working:
                found = await _watched(opened.engine, found, working)
        if response is not None and found.answered_at is not None:
            await _save(opened.engine, found, response)
        return found

    found = _with_file(file, run)
    row = file_row(found)
    show(
        [row] if json else [{"what": name, "value": value} for name, value in row.items()],
        as_json=json,
        title="File",
    )
    _tell(found, response, waited=waits)


def _with_file(path: Path, run: Callable[[App], Awaitable[File]]) -> File:
    try:
        return with_platform(run)
    except FileNotFoundError as error:
        raise InvalidError(f"{path}: there is no such file.", code="file_not_found") from error
    except OSError as error:
        raise InvalidError(f"{path}: cannot be read or written: {error}", code="file_unreadable") from error


@asynccontextmanager
async def _working(opened: App) -> AsyncIterator[asyncio.Task[None]]:
    """A worker in this process while the block runs; it ends what it has begun."""
    stop = asyncio.Event()
    working = asyncio.create_task(run_worker(opened, stop))
    try:
        yield working
    finally:
        stop.set()
        await working


async def _watched(engine: AsyncEngine, file: File, working: asyncio.Task[None]) -> File:
    """Show how far a file is until it is answered, or cannot be. What ends the worker ends this too."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("opening", total=None)
        while True:
            async with read(engine) as tx:
                file = await files.by_number(tx, file_no=file.file_no)
                found = await queries.progress(tx, file=file)
            if file.state == "crediting":
                progress.update(task, description="crediting", total=found.records, completed=found.decided)
            elif file.state != "received":
                progress.update(
                    task, description="answering", total=found.records or None, completed=found.decided
                )
            if file.answered_at is not None or file.answer_error is not None:
                return file
            await asyncio.wait({working}, timeout=LOOK_SECONDS)
            if working.done():
                await working


async def _save(engine: AsyncEngine, file: File, target: Path) -> None:
    part = target.with_name(f".{target.name}.part")
    try:
        async with read(engine) as tx:
            await files.write_out(tx, file_no=file.file_no, kind="response", path=part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _tell(file: File, response: Path | None, *, waited: bool) -> None:
    """What became of it, for people; what is not as wanted is an error of the command."""
    if not waited:
        say(f"Kept as {format_id('partner_file', file.file_id)}; a worker opens it (`counterfoil serve`).")
        return
    if file.answered_at is not None and response is not None:
        say(f"The response is in {response}.")
    if file.state == "rejected":
        expected = f" The next file must have the number {file.expected_sequence}."
        raise RefusedError(
            f"The file was rejected: {file.detail} ({file.reason}){expected}", code="partner_file_rejected"
        )
    if file.answered_at is None and file.answer_error is not None:
        raise ConflictError(
            f"The file is {file.state}, but it cannot be answered: {file.answer_error['detail']}",
            code="partner_file_not_answered",
        )
