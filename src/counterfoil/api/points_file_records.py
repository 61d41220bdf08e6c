"""The records of a partner's file over HTTP: where each is, in which batch, and what the limiter decided."""

from __future__ import annotations

import asyncio
from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from counterfoil.api.context import Cursor, Limit, page_body
from counterfoil.api.downloads import CsvStream, download
from counterfoil.api.points_answers import Reading, public_id
from counterfoil.api.points_files import FileId, PublicId
from counterfoil.api.problems import responses
from counterfoil.db.transactions import read
from counterfoil.ids import parse_id
from counterfoil.points import queries as points_queries
from counterfoil.points.files import exports, files, queries, record_queries
from counterfoil.points.files.record_queries import RecordItem, RecordState
from counterfoil.points.files.types import BatchState

router = APIRouter()
_Text = Query(max_length=200, pattern=r"^[^\x00]*$")


class RecordAnswer(BaseModel):
    """A record of a file, and where it is."""

    line: int = Field(description="Its line in the file, from 1.")
    customer_id: str
    points: int | None = Field(description="Null: they could not be read.")
    reference: str | None
    occurred_on: date | None
    offer_code: str | None
    state: RecordState
    code: str | None = Field(
        description="Why it was rejected; of a duplicate what became of the first one; null: it waits."
    )
    field: str | None = Field(description="The field at fault.")
    first_line: int | None = Field(description="The line with the same reference before it.")
    transfer_id: str | None = Field(description="What credited it, or the first one with its reference.")
    our_reference: str | None = Field(description="As the response calls it.")
    batch_no: int | None = Field(description="Null: it is not in a batch yet.")
    batch_state: BatchState | None


class RecordPage(BaseModel):
    """Some records, in the order of members."""

    data: list[RecordAnswer]
    next_cursor: str | None


class BatchAnswer(BaseModel):
    """A batch of a file; its counts are null until it is done."""

    model_config = ConfigDict(from_attributes=True)

    batch_no: int
    state: BatchState
    from_n: int = Field(description="Its first record, in the order of members, from 0.")
    to_n: int = Field(description="The first record after it.")
    first_customer: str
    last_customer: str
    worker: int
    attempts: int
    error: dict[str, Any] | None = Field(description="Why the last attempt failed.")
    credited: int | None
    credited_points: int | None
    rejected: int | None
    rejected_points: int | None
    duplicate: int | None
    duplicate_points: int | None
    points: int | None
    seconds: float | None = Field(description="How long crediting took.")
    cut_at: datetime
    done_at: datetime | None


class BatchPage(BaseModel):
    """Some batches, in the order in which they were cut."""

    data: list[BatchAnswer]
    next_cursor: str | None


class DecisionAnswer(BaseModel):
    """What the limiter decided after a batch, and what it saw; see docs/limiter.md."""

    batch_no: int
    decided_at: datetime
    seconds: float = Field(description="How long the batch took.")
    records: int
    outcome: str
    running: int = Field(description="How many batches ran at the time.")
    batch_size: int = Field(description="From now on.")
    workers: int = Field(description="From now on.")
    why: str
    latency: float | None = Field(description="Seconds of a full batch, now.")
    unloaded: float | None = Field(description="Seconds of a full batch where nothing else runs.")
    pause: float = Field(description="Seconds that the worker waits.")


class DecisionPage(BaseModel):
    """Some decisions, in the order of time."""

    data: list[DecisionAnswer]
    next_cursor: str | None


class FromFile(BaseModel):
    """The record that a transfer came from."""

    model_config = ConfigDict(from_attributes=True)

    file_id: PublicId
    partner_id: str
    file_name: str
    sequence: int
    batch_no: int
    line: int


class OriginAnswer(BaseModel):
    """Where a transfer came from."""

    transfer_id: str
    file: FromFile | None = Field(description="Null: from no file of a partner.")


def _record(item: RecordItem) -> RecordAnswer:
    said = {name: getattr(item, name) for name in RecordAnswer.model_fields}
    return RecordAnswer(**{**said, "transfer_id": public_id(item.transfer_id)})


def _decision(item: queries.DecisionItem) -> DecisionAnswer:
    return DecisionAnswer(batch_no=item.batch_no, decided_at=item.decided_at, **item.decision)


@router.get("/files/{file_id}/records", responses=responses(404), summary="List the records of a file")
async def list_records(
    file_id: FileId,
    act: Reading,
    customer_id: Annotated[str | None, _Text] = None,
    reference: Annotated[str | None, _Text] = None,
    state: RecordState | None = None,
    line: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> RecordPage:
    """In the order of members, each with its batch and what became of it, also while the file runs.

    A member's records are found at once however large the file is; the other filters look through it.
    """
    merchant_id, number = act.merchant_id, parse_id("partner_file", file_id)
    async with read(act.engine) as tx:
        page = await record_queries.list_records(
            tx,
            file=await files.get(tx, merchant_id=merchant_id, file_id=number),
            customer_id=customer_id,
            reference=reference,
            state=state,
            line=line,
            limit=limit,
            cursor=cursor,
        )
    return RecordPage(**page_body(page, _record))


@router.get(
    "/files/{file_id}/export",
    response_class=CsvStream,
    responses=responses(404),
    summary="Export the records of a file",
)
async def export_records(file_id: FileId, act: Reading) -> CsvStream:
    """All records with what became of each, in the order of members, as CSV.

    What a spreadsheet would take for a formula has an apostrophe before it.
    """
    merchant_id, number = act.merchant_id, parse_id("partner_file", file_id)
    with download() as made:
        async with read(act.engine) as tx:
            file = await files.get(tx, merchant_id=merchant_id, file_id=number)
            async for lines in exports.csv_parts(tx, file=file):
                await asyncio.to_thread(made.file.write, lines)
        return made.answer(f"{file.partner_id}-{file.sequence or file_id}-records")


@router.get("/files/{file_id}/batches", responses=responses(404), summary="List the batches of a file")
async def list_batches(
    file_id: FileId,
    act: Reading,
    state: BatchState | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> BatchPage:
    """In the order in which they were cut: which members, how far, by which worker, why it failed."""
    merchant_id, number = act.merchant_id, parse_id("partner_file", file_id)
    async with read(act.engine) as tx:
        file = await files.get(tx, merchant_id=merchant_id, file_id=number)
        page = await queries.list_batches(tx, file=file, state=state, limit=limit, cursor=cursor)
    return BatchPage(**page_body(page, BatchAnswer.model_validate))


@router.get("/files/{file_id}/decisions", responses=responses(404), summary="List what the limiter decided")
async def list_decisions(
    file_id: FileId, act: Reading, limit: Limit = 50, cursor: Cursor = None
) -> DecisionPage:
    """After each batch: how large and how many at once the next ones are, and why."""
    merchant_id, number = act.merchant_id, parse_id("partner_file", file_id)
    async with read(act.engine) as tx:
        file = await files.get(tx, merchant_id=merchant_id, file_id=number)
        page = await queries.list_decisions(tx, file=file, limit=limit, cursor=cursor)
    return DecisionPage(**page_body(page, _decision))


@router.get(
    "/transfers/{transfer_id}/origin", responses=responses(404), summary="Find where a transfer came from"
)
async def get_origin(
    transfer_id: Annotated[str, Path(max_length=64, pattern=r"^[^\x00]*$")], act: Reading
) -> OriginAnswer:
    """The partner's file, the batch and the line that a transfer credits."""
    merchant_id, number = act.merchant_id, parse_id("transfer", transfer_id)
    async with read(act.engine) as tx:
        await points_queries.get_transfer(tx, merchant_id=merchant_id, transfer_id=number)
        found = await record_queries.find_transfer(tx, merchant_id=merchant_id, transfer_id=number)
    file = None if found is None else FromFile.model_validate(found)
    return OriginAnswer(transfer_id=transfer_id, file=file)
