"""A file's page: where it is, what became of its records, why, and what to do next."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from starlette.background import BackgroundTask
from starlette.responses import FileResponse, RedirectResponse, Response, StreamingResponse

from counterfoil.dashboard import points_file_labels, points_partner_labels
from counterfoil.dashboard.points_file_plot import changes_of, plot_of
from counterfoil.dashboard.points_file_steps import is_running, steps_of, told
from counterfoil.dashboard.visits import Visit
from counterfoil.db.paging import Page
from counterfoil.db.transactions import ReadTx, begin, read
from counterfoil.errors import NotFoundError
from counterfoil.ids import format_id, parse_id
from counterfoil.points.files import files, partners, queries, record_queries
from counterfoil.points.files.files import File
from counterfoil.points.files.queries import Progress
from counterfoil.points.files.record_queries import RecordItem
from counterfoil.points.files.types import PartKind

BATCHES: Final = 10
RECORDS: Final = 20
PROBLEMS: Final = 8
REPEATS: Final = 10
_DECISIONS: Final = 20_000
_EVERY_SECONDS: Final = 0.5
_STREAM_SECONDS: Final = 15
"""Then the browser asks again: a server that stops is not held up by those who watch."""


async def _get(tx: ReadTx, visit: Visit) -> File:
    file_id = parse_id("partner_file", visit.request.path_params["file_id"])
    return await files.get(tx, merchant_id=visit.merchant.id, file_id=file_id)


async def show(visit: Visit) -> Response:
    """The page."""
    cursor = visit.argument("cursor", longest=2000)
    async with read(visit.engine) as tx:
        file = await _get(tx, visit)
        partner = await partners.get(tx, merchant_id=file.merchant_id, partner_id=file.partner_id)
        so_far = await queries.progress(tx, file=file)
        decisions = await queries.list_decisions(tx, file=file, limit=_DECISIONS)
        shown: dict[str, Any] = {
            "codes": await queries.count_codes(tx, file=file, decided=so_far),
            "batches": await queries.list_batches(tx, file=file, limit=BATCHES, cursor=cursor or None),
            "open_batches": (await queries.list_batches(tx, file=file, state="open", limit=BATCHES)).data,
            "first_of": await queries.repeated(tx, file=file),
            "repeats": await queries.list_repeats(tx, file=file, limit=REPEATS),
            "found": await _find(tx, visit, file),
        }
    return visit.render(
        "points_file.html",
        file=file,
        partner=partner,
        here=address_of(visit, file),
        steps=steps_of(file, partner),
        running=is_running(file),
        so_far=so_far,
        live=told(visit, file, so_far),
        plot=plot_of(decisions.data),
        changes=changes_of(decisions.data),
        first=not cursor,
        member=visit.argument("member"),
        reference=visit.argument("reference"),
        public_id=lambda value: format_id("partner_file", value),
        done=visit.argument("done") if visit.argument("done") in points_file_labels.DONE else "",
        most_problems=PROBLEMS,
        of_files=points_file_labels,
        of_partners=points_partner_labels,
        section="points",
        **shown,
    )


def address_of(visit: Visit, file: File) -> str:
    """The address of a file's page."""
    return f"{visit.home}/points/files/{format_id('partner_file', file.file_id)}"


async def _find(tx: ReadTx, visit: Visit, file: File) -> Page[RecordItem] | None:
    """The records that were asked for; None: none was."""
    member, reference = visit.argument("member"), visit.argument("reference")
    if not (member or reference) or file.records is None:
        return None
    return await record_queries.list_records(
        tx, file=file, customer_id=member or None, reference=reference or None, limit=RECORDS
    )


async def progress(visit: Visit) -> Response:
    """How far it is as a stream of server-sent events: now, and whenever it has changed."""
    await _so_far(visit)
    return StreamingResponse(_stream(visit), media_type="text/event-stream")


async def _so_far(visit: Visit) -> tuple[File, Progress]:
    async with read(visit.engine) as tx:
        file = await _get(tx, visit)
        return file, await queries.progress(tx, file=file)


async def _stream(visit: Visit) -> AsyncIterator[str]:
    yield "retry: 1000\n\n"
    before = None
    for _ in range(int(_STREAM_SECONDS / _EVERY_SECONDS)):
        now = told(visit, *await _so_far(visit))
        if now != before:
            yield f"event: counters\ndata: {json.dumps(now)}\n\n"
            before = now
        if await visit.request.is_disconnected():
            return
        await asyncio.sleep(_EVERY_SECONDS)


async def confirm(visit: Visit) -> Response:
    """Note that the partner has the response."""
    file_id = parse_id("partner_file", visit.request.path_params["file_id"])
    async with begin(visit.engine) as tx:
        file = await files.confirm(tx, merchant_id=visit.merchant.id, file_id=file_id, now=visit.now)
    return RedirectResponse(f"{address_of(visit, file)}?done=confirmed", status_code=303)


async def response(visit: Visit) -> Response:
    """The response as the partner gets it: encrypted."""
    return await _download(visit, "response")


async def content(visit: Visit) -> Response:
    """The file as it came: encrypted."""
    return await _download(visit, "received")


async def _download(visit: Visit, kind: PartKind) -> Response:
    directory = tempfile.TemporaryDirectory(prefix="counterfoil-download-")
    try:
        path = Path(directory.name) / "file"
        async with read(visit.engine) as tx:
            file = await _get(tx, visit)
            await files.write_out(tx, file_no=file.file_no, kind=kind, path=path)
        name = file.response_name if kind == "response" else file.name
        if name is None:
            raise NotFoundError("The file has no response yet.", code="partner_file_not_found")
    except BaseException:
        directory.cleanup()
        raise
    return FileResponse(
        path,
        media_type="application/octet-stream",
        filename=re.sub(r"[^\w. -]", "-", name),
        background=BackgroundTask(directory.cleanup),
    )
