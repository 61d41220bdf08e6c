"""The whole ledger of points from the command line: summed up, proven, written to a file."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from counterfoil.app import App
from counterfoil.cli.merchant_work import MerchantName, looking
from counterfoil.cli.platform import Json, say, show, with_platform
from counterfoil.db.transactions import read
from counterfoil.errors import ConflictError, InvalidError
from counterfoil.merchants import merchants
from counterfoil.points import exports, figures, queries
from counterfoil.points.verify import Difference
from counterfoil.points.verify import verify as prove


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())


def totals(*, merchant: MerchantName, json: Json = False) -> None:
    """Sum up the ledger: what all members have, and what each source gave and took."""
    found = looking(merchant, lambda tx, merchant_id: queries.totals(tx, merchant_id=merchant_id))
    whole = asdict(found)
    if json:
        show([whole], as_json=True)
        return
    sources = whole.pop("sources")
    show([{"what": name, "value": value} for name, value in whole.items()], as_json=False, title="Points")
    if sources:
        show(sources, as_json=False, title="Where they came from and went")


def verify(*, merchant: MerchantName, json: Json = False) -> None:
    """Prove that every account says what its transfers say, and tell where one does not."""
    accounts, transfers, found = with_platform(lambda opened: _proven(opened, merchant))
    if json:
        told = [asdict(difference) for difference in found]
        show([{"accounts": accounts, "transfers": transfers, "differences": told}], as_json=True)
    elif found:
        show([asdict(difference) for difference in found], as_json=False, title="Differences")
    if found:
        raise ConflictError(
            f"{len(found):,} figures of {accounts:,} accounts do not say what their rows say.",
            code="ledger_differs",
        )
    say(f"{accounts:,} accounts, {transfers:,} transfers: everything adds up.")


async def _proven(opened: App, merchant: str) -> tuple[int, int, list[Difference]]:
    accounts, transfers, found = 0, 0, list[Difference]()
    with _progress() as progress:
        async with read(opened.engine) as tx:
            owner = await merchants.get(tx, name=merchant)
            task = progress.add_task("accounts", total=await figures.count_members(tx, merchant_id=owner.id))
            async for proof in prove(tx, merchant_id=owner.id):
                accounts, transfers = accounts + proof.accounts, transfers + proof.transfers
                found += proof.differences
                progress.update(task, completed=accounts)
    return accounts, transfers, found


def export(file: Path, /, *, merchant: MerchantName) -> None:
    """Write all transfers to a CSV file, whole or not at all."""
    if file.suffix.lower() != ".csv":
        raise InvalidError(f"{file}: the name must end in .csv.", code="file_type_unknown")
    part = file.with_name(f".{file.name}.part")
    try:
        written = with_platform(lambda opened: _written(opened, merchant, part))
        part.replace(file)
    except OSError as error:
        raise InvalidError(f"{file}: cannot be written: {error}", code="file_unreadable") from error
    finally:
        part.unlink(missing_ok=True)
    say(f"{written:,} transfers are in {file}.")


async def _written(opened: App, merchant: str, part: Path) -> int:
    written = 0
    with _progress() as progress, part.open("wb") as target:
        async with read(opened.engine) as tx:
            owner = await merchants.get(tx, name=merchant)
            task: Any = progress.add_task("transfers", total=None)
            async for number, lines in exports.csv_parts(tx, merchant_id=owner.id):
                target.write(lines)
                written += number
                progress.update(task, completed=written)
    return written
