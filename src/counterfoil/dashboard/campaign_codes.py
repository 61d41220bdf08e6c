"""Codes of a campaign: made in bulk by a job, brought from elsewhere."""

from __future__ import annotations

import asyncio
import csv
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, Final

from starlette.responses import RedirectResponse, Response, StreamingResponse

from counterfoil.dashboard.amounts import MistypedError, count_of
from counterfoil.dashboard.forms import UnusableFormError
from counterfoil.dashboard.visits import Visit
from counterfoil.db.transactions import begin, read
from counterfoil.ids import format_id
from counterfoil.vouchers import campaigns, pool, voucher_queries
from counterfoil.vouchers.jobs import request_codes
from counterfoil.vouchers.pool import BroughtCode

MOST_SHOWN: Final = 20
_PART: Final = 64 * 1024
_HEADERS: Final = frozenset({"code", "codes", "voucher_id"})


@dataclass(frozen=True, slots=True)
class Brought:
    """What became of codes that were brought: how many of each outcome, and the first that are not valid."""

    counts: dict[str, int]
    invalid: list[BroughtCode]


async def generate(visit: Visit, campaign_id: str) -> Response:
    """Ask for new codes, and watch how they are made."""
    try:
        count = count_of(visit.form.get("count", ""))
    except MistypedError:
        count = 0
    if not 1 <= count <= pool.MOST_GENERATED:
        raise UnusableFormError("count_invalid")
    async with begin(visit.engine) as tx:
        job = await request_codes(
            tx, merchant_id=visit.merchant.id, campaign_id=campaign_id, count=count, now=visit.now
        )
    return RedirectResponse(f"{visit.home}/jobs/{format_id('job', job.id)}", status_code=303)


async def bring(visit: Visit, campaign_id: str) -> Brought:
    """Add codes that were typed in or sent as a file."""
    codes = lines_of(visit.form.get("codes", "")) + first_column(visit.form.get("file", ""))
    if not codes:
        raise UnusableFormError("codes_missing")
    if len(codes) > pool.MOST_BROUGHT:
        raise UnusableFormError("codes_too_many")
    async with begin(visit.engine) as tx:
        found = await pool.bring(
            tx, merchant_id=visit.merchant.id, campaign_id=campaign_id, brought=codes, now=visit.now
        )
    visit.form = {}
    counts: Counter[str] = Counter(one.outcome for one in found)
    invalid = [one for one in found if one.outcome == "invalid"]
    return Brought(dict(counts), invalid[:MOST_SHOWN])


def lines_of(text: str) -> list[str]:
    """Codes that were typed in, one a line; empty lines are left out."""
    return list(filter(None, map(str.strip, text.splitlines())))


def first_column(text: str) -> list[str]:
    """The codes of a file: its first column, without a heading and empty lines."""
    head = text.partition("\n")[0]
    delimiter = next((mark for mark in ",;\t" if mark in head), ",")
    found = []
    for line in text.splitlines():
        # By the line: an unmatched quotation mark must not swallow those that follow.
        row = next(csv.reader([line], delimiter=delimiter), [])
        if row and row[0].strip():
            found.append(row[0].strip())
    return found[1:] if found and found[0].lower() in _HEADERS else found


async def export(visit: Visit) -> Response:
    """All vouchers of a campaign as a CSV file: written inside the transaction, sent after it."""
    campaign_id = visit.request.path_params["campaign_id"]
    file = TemporaryFile(prefix="counterfoil-")  # noqa: SIM115 - closed when it was sent
    try:
        async with read(visit.engine) as tx:
            await campaigns.get(tx, merchant_id=visit.merchant.id, campaign_id=campaign_id)
            await voucher_queries.export(
                tx, merchant_id=visit.merchant.id, campaign_id=campaign_id, file=file
            )
        size = file.tell()
        file.seek(0)
    except BaseException:
        file.close()
        raise
    headers = {
        "Content-Disposition": f'attachment; filename="{campaign_id}.csv"',
        "Content-Length": str(size),
    }
    return StreamingResponse(_parts(file), media_type="text/csv", headers=headers)


async def _parts(file: IO[bytes]) -> AsyncIterator[bytes]:
    with file:
        while part := await asyncio.to_thread(file.read, _PART):
            yield part
