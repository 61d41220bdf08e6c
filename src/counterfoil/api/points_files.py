"""Partners' files of points over HTTP: uploaded, followed, and their responses fetched."""

from __future__ import annotations

import asyncio
import re
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from counterfoil import clock
from counterfoil.api.context import Cursor, Limit, page_body
from counterfoil.api.downloads import ByteStream, download
from counterfoil.api.points_answers import Reading, Writing
from counterfoil.api.points_partners import PartnerId
from counterfoil.api.problems import responses
from counterfoil.db.transactions import begin, read
from counterfoil.errors import ConflictError, InvalidError
from counterfoil.ids import format_id, parse_id
from counterfoil.points.files import files, partners, queries, verbs
from counterfoil.points.files.files import LONGEST_NAME, MOST_BYTES
from counterfoil.points.files.queries import FileItem
from counterfoil.points.files.remote_files import shown, why_unsafe
from counterfoil.points.files.types import FileState, PartKind, Status, Via

BODIES: Final = {
    re.compile(r"/v1/points/partners/[^/]+/files"): MOST_BYTES,
    # The form of the pages that sends a file along: what stands around the file is small.
    re.compile(r"/m/[^/]+/points/files"): MOST_BYTES + (1 << 17),
}
"""Bodies that may be larger than others: they are written to the disk as they come."""

router = APIRouter()


def _public(value: object) -> object:
    return format_id("partner_file", value) if isinstance(value, UUID) else value


FileName = Annotated[str, Query(min_length=1, max_length=LONGEST_NAME, pattern=r"^[^\x00]*$")]
FileId = Annotated[str, InPath(description="The file's id, `pfl_...`.", max_length=64, pattern=r"^[^\x00]*$")]
PublicId = Annotated[str, BeforeValidator(_public)]


class FileAnswer(BaseModel):
    """A file, and what became of it. Counts are null as long as they are not known."""

    model_config = ConfigDict(from_attributes=True)

    file_id: PublicId
    partner_id: str
    name: str = Field(description="As the partner called it.")
    via: Via
    state: FileState
    received_at: datetime
    size_bytes: int = Field(description="Encrypted, as it came.")
    signer: str | None = Field(description="The fingerprint of the key that it was signed with.")
    repeats: PublicId | None = Field(description="The file that it is a repetition of.")
    reason: str | None = Field(description="Why it was rejected as a whole; see docs/partner-files.md.")
    detail: str | None = Field(description="The same for people.")
    sequence: int | None
    expected_sequence: int | None = Field(description="Of a rejected file: what the next one must have.")
    records: int | None
    decided: int = Field(description="How many of its records are decided.")
    points: int | None = Field(description="Of all records whose points could be read.")
    credited: int | None
    credited_points: int | None
    rejected: int | None
    rejected_points: int | None
    duplicate: int | None
    duplicate_points: int | None
    opened_at: datetime | None
    decided_at: datetime | None
    answered_at: datetime | None = Field(description="When its response was made.")
    response_name: str | None
    sent_at: datetime | None = Field(description="When the response was put on the partner's server.")
    confirmed_at: datetime | None = Field(description="When the partner fetched it, or said so.")
    answer_error: dict[str, Any] | None = Field(description="Why the response could not be made or sent.")


class FilePage(BaseModel):
    """Some files, the latest first."""

    data: list[FileAnswer]
    next_cursor: str | None


class ProgressAnswer(BaseModel):
    """How far a file is: what its batches have decided so far, in records and in points."""

    model_config = ConfigDict(from_attributes=True)

    records: int
    decided: int
    credited: int
    credited_points: int
    rejected: int
    rejected_points: int
    duplicate: int
    duplicate_points: int
    batches: int = Field(description="Cut so far; the rest is cut as workers ask for more.")
    batches_done: int
    workers: int = Field(description="Batches that are under way.")
    per_second: float | None = Field(description="Records decided in a second.")


class ProblemAnswer(BaseModel):
    """A fault that was found in a file."""

    line: int | None
    field: str | None
    code: str


class CodeAnswer(BaseModel):
    """How many records ended so."""

    model_config = ConfigDict(from_attributes=True)

    status: Status
    code: str
    records: int


class FileDetail(FileAnswer):
    """A file with all that is known of it."""

    header: dict[str, Any] | None = Field(description="What its first line says.")
    problems: list[ProblemAnswer] = Field(description="The first faults that were found in it.")
    progress: ProgressAnswer
    codes: list[CodeAnswer] = Field(description="What became of its records, the most frequent first.")


def _said(item: FileItem) -> dict[str, Any]:
    said = {name: getattr(item.file, name, None) for name in FileAnswer.model_fields}
    return {**said, "repeats": item.repeats, "decided": item.decided}


def _answer(item: FileItem) -> FileAnswer:
    return FileAnswer.model_validate(_said(item))


@router.post(
    "/partners/{partner_id}/files",
    status_code=202,
    response_model=FileAnswer,
    responses=responses(404, 413),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
    summary="Upload a partner's file",
)
async def upload_file(partner_id: PartnerId, name: FileName, request: Request, act: Writing) -> Response:
    """The encrypted file as the body, up to 1 GiB. It is opened and credited by the workers: follow it.

    Sent again it is a repetition, which is answered as the first time, so that an upload of which nobody
    knows how it ended can be repeated without an `Idempotency-Key`.
    """
    which: dict[str, Any] = {"merchant_id": act.merchant_id, "partner_id": partner_id}
    if (wrong := why_unsafe(name)) is not None:
        raise InvalidError(f"The name {shown(name)!r} {wrong}.", code="partner_file_name_invalid")
    async with read(act.engine) as snapshot:
        await partners.get(snapshot, **which)
    with tempfile.TemporaryDirectory(prefix="counterfoil-upload-") as directory:
        path = Path(directory) / "file"
        if not await _written(request, path):
            return Response(status_code=400)
        async with begin(act.engine) as tx:
            file = await verbs.receive(tx, **which, name=name, path=path, via="api", now=clock.now())
    answer = _answer(FileItem(file, None, 0))
    return JSONResponse(answer.model_dump(mode="json"), status_code=202)


async def _written(request: Request, path: Path) -> bool:
    """Write the body down as it comes; False where the client went away before its end."""
    with path.open("wb") as target:
        try:
            async for part in request.stream():
                await asyncio.to_thread(target.write, part)
        except ClientDisconnect:
            return False
    return True


@router.get("/files", responses=responses(404), summary="List files")
async def list_files(
    act: Reading,
    partner_id: Annotated[str | None, Query(max_length=63, pattern=r"^[^\x00]*$")] = None,
    state: FileState | None = None,
    sequence: Annotated[int | None, Query(ge=0, le=2**62)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> FilePage:
    """The latest first; of one partner, in one state, or with one number, where that is said."""
    merchant_id = act.merchant_id
    async with read(act.engine) as tx:
        page = await queries.list_files(
            tx,
            merchant_id=merchant_id,
            partner_id=partner_id,
            state=state,
            sequence=sequence,
            limit=limit,
            cursor=cursor,
        )
    return FilePage(**page_body(page, _answer))


@router.get("/files/{file_id}", responses=responses(404), summary="Get a file")
async def get_file(file_id: FileId, act: Reading) -> FileDetail:
    """Where it is, how far, and what became of its records; while it runs and ever after."""
    merchant_id, number = act.merchant_id, parse_id("partner_file", file_id)
    async with read(act.engine) as tx:
        file = await files.get(tx, merchant_id=merchant_id, file_id=number)
        repeats = await queries.repeated(tx, file=file)
        progress = await queries.progress(tx, file=file)
        codes = await queries.count_codes(tx, file=file, decided=progress)
    return FileDetail(
        **_said(FileItem(file, repeats, progress.decided)),
        header=file.header,
        problems=[ProblemAnswer(**problem) for problem in file.problems or []],
        progress=ProgressAnswer.model_validate(progress),
        codes=[CodeAnswer.model_validate(count) for count in codes],
    )


async def _content(act: Reading, file_id: str, kind: PartKind) -> ByteStream:
    merchant_id, number = act.merchant_id, parse_id("partner_file", file_id)
    with download() as made:
        async with read(act.engine) as tx:
            file = await files.get(tx, merchant_id=merchant_id, file_id=number)
            if kind == "response" and file.answered_at is None:
                raise ConflictError("The file has no response yet.", code="partner_file_not_answered")
            async for part in files.parts(tx, file_no=file.file_no, kind=kind):
                await asyncio.to_thread(made.file.write, part)
        return made.as_it_is(file.response_name or "response" if kind == "response" else file.name)


@router.get(
    "/files/{file_id}/content",
    response_class=ByteStream,
    responses=responses(404),
    summary="Get a file as it came",
)
async def get_content(file_id: FileId, act: Reading) -> ByteStream:
    """Encrypted, byte for byte."""
    return await _content(act, file_id, "received")


@router.get(
    "/files/{file_id}/response",
    response_class=ByteStream,
    responses=responses(404, 409),
    summary="Get the response to a file",
)
async def get_response(file_id: FileId, act: Reading) -> ByteStream:
    """Signed by us and encrypted to the partner, the same bytes every time.

    Whoever fetches it for the partner says with `confirm` that the partner has it.
    """
    return await _content(act, file_id, "response")


@router.post(
    "/files/{file_id}/confirm", responses=responses(404, 409), summary="Confirm that the partner has it"
)
async def confirm_response(file_id: FileId, act: Writing) -> FileAnswer:
    """Noted once; said again it changes nothing."""
    merchant_id, number = act.merchant_id, parse_id("partner_file", file_id)
    async with begin(act.engine) as tx:
        file = await files.confirm(tx, merchant_id=merchant_id, file_id=number, now=clock.now())
        repeats = await queries.repeated(tx, file=file)
        progress = await queries.progress(tx, file=file)
    return _answer(FileItem(file, repeats, progress.decided))
