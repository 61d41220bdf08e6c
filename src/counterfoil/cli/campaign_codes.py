"""Codes of a campaign from the command line: made in bulk, brought from a file, written to a file."""

from __future__ import annotations

import asyncio
import json as json_format
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil import clock
from counterfoil.app import App
from counterfoil.cli.merchant_work import MerchantName, text_of
from counterfoil.cli.platform import Json, say, show, with_platform
from counterfoil.db import jobs
from counterfoil.db.jobs import Job
from counterfoil.db.transactions import begin, read
from counterfoil.errors import ConflictError, InvalidError
from counterfoil.ids import format_id
from counterfoil.merchants import merchants
from counterfoil.vouchers import campaigns, pool, voucher_queries
from counterfoil.vouchers.jobs import generate_job, request_codes
from counterfoil.vouchers.pool import MOST_BROUGHT, MOST_GENERATED, BroughtCode

_MOST_LISTED: Final = 100
"""Invalid codes that are listed; all are counted."""


def generate(
    campaign_id: str,
    count: Annotated[int, Parameter(validator=Number(gte=1, lte=MOST_GENERATED))],
    /,
    *,
    merchant: MerchantName,
    json: Json = False,
) -> None:
    """Make codes for a campaign, and wait until they are there.

    It is a job as any other: should this command be interrupted, a worker finishes it (`counterfoil serve`).
    """

    async def run(opened: App) -> Job:
        async with begin(opened.engine) as tx:
            owner = await merchants.get(tx, name=merchant)
            job = await request_codes(
                tx, merchant_id=owner.id, campaign_id=campaign_id, count=count, now=clock.now()
            )
        return await _watched(opened.engine, job, count)

    job = with_platform(run)
    if job.error is not None:
        raise ConflictError(f"{job.error['detail']} ({job.error['code']})", code="job_failed")
    rows = [{"job": format_id("job", job.id), "campaign_id": campaign_id, "made": job.progress_done}]
    show(rows, as_json=json)


async def _watched(engine: AsyncEngine, job: Job, count: int) -> Job:
    """Work at the job, beside a worker if there is one, and show how far it is."""
    working = asyncio.create_task(generate_job(engine, {"job_id": str(job.id)}))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("codes", total=count)
        while True:
            await asyncio.wait({working}, timeout=0.2)
            async with read(engine) as tx:
                job = await jobs.get(tx, job_id=job.id, merchant_id=None)
            progress.update(task, completed=job.progress_done)
            if working.done():
                await working
            if job.state in {"succeeded", "failed"}:
                return job


def import_codes(
    campaign_id: str,
    file: Annotated[
        Path,
        Parameter(help="A .csv with a column `code` or one code a line; or a .json with a list of codes."),
    ],
    /,
    *,
    merchant: MerchantName,
    json: Json = False,
) -> None:
    """Bring codes from a file of any size. Bringing them again adds nothing."""

    async def run(opened: App) -> tuple[Counter[str], list[BroughtCode]]:
        totals: Counter[str] = Counter(added=0, already_there=0, twice_in_request=0, invalid=0)
        invalid: list[BroughtCode] = []
        for part in _parts(_codes(file)):
            async with begin(opened.engine) as tx:
                owner = await merchants.get(tx, name=merchant)
                outcomes = await pool.bring(
                    tx, merchant_id=owner.id, campaign_id=campaign_id, brought=part, now=clock.now()
                )
            totals.update(one.outcome for one in outcomes)
            invalid += [one for one in outcomes if one.outcome == "invalid"][: _MOST_LISTED - len(invalid)]
        return totals, invalid

    totals, invalid = with_platform(run)
    listed = [{"code": ascii(one.code)[1:-1], "reason": one.reason} for one in invalid]
    show([{**totals, **({"invalid_codes": listed} if json else {})}], as_json=json, title="Codes")
    if not json:
        for one in invalid:
            say(f"{one.code!a}: {one.reason}")
        if totals["invalid"] > len(invalid):
            say(f"{totals['invalid']:,} codes are invalid in all.")


def _parts(codes: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(codes)
    while part := list(islice(remaining, MOST_BROUGHT)):
        yield part


def _codes(path: Path) -> Iterator[str]:
    if path.suffix.lower() == ".json":
        yield from _codes_of_json(path)
        return
    if path.suffix.lower() != ".csv":
        raise InvalidError(f"{path}: the name must end in .csv or .json.", code="file_type_unknown")
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            yield from pool.codes_of_csv(lines)
    except FileNotFoundError as error:
        raise InvalidError(f"{path}: there is no such file.", code="file_not_found") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidError(f"{path}: cannot be read: {error}", code="file_unreadable") from error


def _codes_of_json(path: Path) -> list[str]:
    try:
        found: Any = json_format.loads(text_of(path))
    except (ValueError, RecursionError) as error:
        raise InvalidError(f"{path}: it is not JSON: {error}", code="file_unreadable") from error
    codes = found.get("codes") if isinstance(found, dict) else found
    if not isinstance(codes, list) or not all(isinstance(code, str) for code in codes):
        raise InvalidError(
            f'{path}: a list of codes is wanted, or {{"codes": [...]}}.', code="file_unreadable"
        )
    return codes


def export_codes(campaign_id: str, file: Path, /, *, merchant: MerchantName) -> None:
    """Write all vouchers of a campaign to a CSV file, whole or not at all."""
    if file.suffix.lower() != ".csv":
        raise InvalidError(f"{file}: the name must end in .csv.", code="file_type_unknown")
    part = file.with_name(f".{file.name}.part")

    async def run(opened: App) -> None:
        async with read(opened.engine) as tx:
            owner = await merchants.get(tx, name=merchant)
            await campaigns.get(tx, merchant_id=owner.id, campaign_id=campaign_id)
            with part.open("wb") as target:
                await voucher_queries.export(tx, merchant_id=owner.id, campaign_id=campaign_id, file=target)

    try:
        with_platform(run)
        part.replace(file)
    except OSError as error:
        raise InvalidError(f"{file}: cannot be written: {error}", code="file_unreadable") from error
    finally:
        part.unlink(missing_ok=True)
    say(f"The vouchers of {campaign_id} are in {file}.")
