"""The files that came from partners, and the form that uploads one."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Final

from starlette.datastructures import UploadFile
from starlette.responses import RedirectResponse, Response

from counterfoil.dashboard import points_file_labels, points_partner_labels
from counterfoil.dashboard.forms import UnusableFormError
from counterfoil.dashboard.points_partners import file_id
from counterfoil.dashboard.visits import Visit
from counterfoil.db.transactions import begin, read
from counterfoil.errors import CounterfoilError
from counterfoil.ids import format_id
from counterfoil.points.files import partners, queries, verbs
from counterfoil.points.files.files import LONGEST_NAME
from counterfoil.points.files.types import FILE_STATES

PAGE_SIZE: Final = 25


async def show(visit: Visit, *, problem: str = "", status: int = 200) -> Response:
    """The files, the latest first; `problem` is why an upload was refused."""
    partner_id, cursor = visit.argument("partner"), visit.argument("cursor", longest=2000)
    state = next((name for name in FILE_STATES if name == visit.argument("state")), None)
    async with read(visit.engine) as tx:
        found = await partners.list_all(tx, merchant_id=visit.merchant.id)
        page = await queries.list_files(
            tx,
            merchant_id=visit.merchant.id,
            partner_id=partner_id or None,
            state=state,
            limit=PAGE_SIZE,
            cursor=cursor or None,
        )
    return visit.render(
        "points_files.html",
        status=status,
        partners=found,
        names={partner.partner_id: partner.name for partner in found},
        page=page,
        partner_id=partner_id,
        state=state or "",
        first=not cursor,
        problem=problem,
        form=visit.form,
        file_id=file_id,
        of_files=points_file_labels,
        of_partners=points_partner_labels,
        section="points",
    )


async def upload(visit: Visit) -> Response:
    """Keep a file that was sent with the form; a worker opens it."""
    try:
        if visit.upload is None:
            raise UnusableFormError("file_missing")
        partner_id = visit.form.get("partner", "")
        if not partner_id:
            raise UnusableFormError("partner_missing")
        received = await _receive(visit, visit.upload, partner_id)
    except UnusableFormError as error:
        return await show(visit, problem=str(error), status=422)
    except CounterfoilError as error:
        if error.code not in points_file_labels.PROBLEMS:
            raise
        return await show(visit, problem=error.code, status=error.http_status)
    return RedirectResponse(f"{visit.home}/points/files/{received}?done=uploaded", status_code=303)


async def _receive(visit: Visit, sent: UploadFile, partner_id: str) -> str:
    with tempfile.TemporaryDirectory(prefix="counterfoil-upload-") as directory:
        path = Path(directory) / "received"
        await asyncio.to_thread(_copy, sent, path)
        async with begin(visit.engine) as tx:
            file = await verbs.receive(
                tx,
                merchant_id=visit.merchant.id,
                partner_id=partner_id,
                name=_name_of(sent),
                path=path,
                via="api",
                now=visit.now,
            )
    return format_id("partner_file", file.file_id)


def _copy(sent: UploadFile, path: Path) -> None:
    sent.file.seek(0)
    with path.open("wb") as file:
        shutil.copyfileobj(sent.file, file, 1 << 20)


def _name_of(sent: UploadFile) -> str:
    """The file's own name: some browsers send a path, and nobody sends characters that cannot be seen."""
    name = (sent.filename or "").replace("\\", "/").rpartition("/")[2]
    return "".join(symbol for symbol in name if symbol.isprintable())[:LONGEST_NAME] or "file"
