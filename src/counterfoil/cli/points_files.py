"""`counterfoil points files|batches|records`: partners' files, how far they are, and where a record is."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from cyclopts import Parameter
from cyclopts.validators import Number

from counterfoil.cli.merchant_work import MerchantName, looking
from counterfoil.cli.platform import Json, show
from counterfoil.db.paging import LARGEST_PAGE
from counterfoil.db.transactions import ReadTx
from counterfoil.errors import InvalidError, NotFoundError
from counterfoil.ids import format_id, parse_id
from counterfoil.points.files import files, queries, record_queries
from counterfoil.points.files.files import File
from counterfoil.points.files.queries import FileItem
from counterfoil.points.files.record_queries import RecordState
from counterfoil.points.files.types import BatchState, FileState

PartnerId = Annotated[str | None, Parameter(help="The partner's short name.")]
FileId = Annotated[
    str | None, Parameter(help="The file's id, pfl_...; or say --partner and --sequence instead.")
]
Sequence = Annotated[int | None, Parameter(validator=Number(gte=1), help="The number of the file.")]
Limit = Annotated[int, Parameter(validator=Number(gte=1, lte=LARGEST_PAGE))]


def list_files(
    *,
    merchant: MerchantName,
    partner: PartnerId = None,
    state: FileState | None = None,
    sequence: Sequence = None,
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """List partners' files, the latest first."""

    async def work(tx: ReadTx, merchant_id: UUID) -> list[dict[str, Any]]:
        page = await queries.list_files(
            tx, merchant_id=merchant_id, partner_id=partner, state=state, sequence=sequence, limit=limit
        )
        return [
            {**file_row(item.file), "decided": item.decided} if json else _short(item) for item in page.data
        ]

    show(looking(merchant, work), as_json=json, title="Files")


def list_batches(
    file_id: FileId = None,
    /,
    *,
    merchant: MerchantName,
    partner: PartnerId = None,
    sequence: Sequence = None,
    state: BatchState | None = None,
    limit: Limit = 100,
    json: Json = False,
) -> None:
    """List the batches of a file, in the order in which they were cut."""

    async def work(tx: ReadTx, merchant_id: UUID) -> list[dict[str, Any]]:
        file = await _find(tx, merchant_id, file_id, partner, sequence)
        page = await queries.list_batches(tx, file=file, state=state, limit=limit)
        return [
            {
                "batch_no": batch.batch_no,
                "state": batch.state,
                "records": batch.to_n - batch.from_n,
                "first_customer": batch.first_customer,
                "last_customer": batch.last_customer,
                "credited": batch.credited,
                "rejected": batch.rejected,
                "duplicate": batch.duplicate,
                "worker": batch.worker,
                "attempts": batch.attempts,
                "seconds": batch.seconds,
                "error": batch.error and batch.error.get("detail"),
            }
            for batch in page.data
        ]

    show(looking(merchant, work), as_json=json, title="Batches")


def list_records(
    file_id: FileId = None,
    /,
    *,
    merchant: MerchantName,
    partner: PartnerId = None,
    sequence: Sequence = None,
    customer: Annotated[str | None, Parameter(help="Of this member: found at once.")] = None,
    reference: Annotated[str | None, Parameter(help="With this reference of the partner's.")] = None,
    state: RecordState | None = None,
    line: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    limit: Limit = 100,
    json: Json = False,
) -> None:
    """List the records of a file with what became of each, also while it runs."""

    async def work(tx: ReadTx, merchant_id: UUID) -> list[dict[str, Any]]:
        file = await _find(tx, merchant_id, file_id, partner, sequence)
        page = await record_queries.list_records(
            tx, file=file, customer_id=customer, reference=reference, state=state, line=line, limit=limit
        )
        names = ("line", "customer_id", "points", "reference", "state", "code", "our_reference", "batch_no")
        return [{name: getattr(item, name) for name in names} for item in page.data]

    show(looking(merchant, work), as_json=json, title="Records")


async def _find(
    tx: ReadTx, merchant_id: UUID, file_id: str | None, partner: str | None, sequence: int | None
) -> File:
    """A file by its id, or the accepted one, else the last one, that a partner gave a number."""
    if file_id is not None:
        return await files.get(tx, merchant_id=merchant_id, file_id=parse_id("partner_file", file_id))
    if partner is None or sequence is None:
        raise InvalidError("Name a file: by its id, or by --partner and --sequence.", code="invalid")
    page = await queries.list_files(
        tx, merchant_id=merchant_id, partner_id=partner, sequence=sequence, limit=LARGEST_PAGE
    )
    found = [item.file for item in page.data]
    taken = [file for file in found if file.state in {"crediting", "credited"}]
    if not found:
        raise NotFoundError(
            f"There is no file {sequence} of the partner {partner!r}.", code="partner_file_not_found"
        )
    return (taken or found)[0]


def _short(item: FileItem) -> dict[str, Any]:
    """A file for people: what fits on a line of a terminal."""
    file = item.file
    return {
        "file_id": format_id("partner_file", file.file_id),
        "partner": file.partner_id,
        "number": file.sequence,
        "state": file.reason or file.state,
        "decided": None if file.records is None else f"{item.decided:,} of {file.records:,}",
        "received": f"{file.received_at:%Y-%m-%d %H:%M}Z",
    }


def file_row(file: File) -> dict[str, Any]:
    """A file on a line of a table."""
    return {
        "file_id": format_id("partner_file", file.file_id),
        "partner_id": file.partner_id,
        "name": file.name,
        "sequence": file.sequence,
        "state": file.state,
        "reason": file.reason,
        "records": file.records,
        "credited": file.credited,
        "rejected": file.rejected,
        "duplicate": file.duplicate,
        "points": file.points,
        "credited_points": file.credited_points,
        "received_at": file.received_at,
        "answered_at": file.answered_at,
        "sent_at": file.sent_at,
    }
