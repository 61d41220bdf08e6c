"""Reading partners' files: which came, how far they are, their batches, what the limiter decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from counterfoil.db.paging import Page, decode_cursor, page_of
from counterfoil.db.transactions import ReadTx
from counterfoil.points.files.files import COLUMNS, File
from counterfoil.points.files.types import BatchState, FileState, Status

_LATEST: Final = 2**62


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a file is: what its batches have decided so far, in records and in points."""

    records: int
    decided: int
    """Of them, records of batches that are done; the others wait."""
    credited: int
    credited_points: int
    rejected: int
    rejected_points: int
    duplicate: int
    duplicate_points: int
    batches: int
    """Cut so far; the rest of the file is cut as workers ask for more."""
    batches_done: int
    workers: int
    """Batches that are under way."""
    per_second: float | None
    """Records decided in a second, from the first batch's begin to the last one's end; None: not known."""


@dataclass(frozen=True, slots=True)
class FileItem:
    """A file in a list, with how far it is."""

    file: File
    repeats: UUID | None
    """The `file_id` of the file that it is a repetition of."""
    decided: int
    """Records that are decided, of `file.records`."""


@dataclass(frozen=True, slots=True)
class BatchItem:
    """A batch, as it is shown; counts are None until it is done."""

    batch_no: int
    state: BatchState
    from_n: int
    to_n: int
    """Half-open."""
    first_customer: str
    last_customer: str
    worker: int
    attempts: int
    error: dict[str, Any] | None
    credited: int | None
    credited_points: int | None
    rejected: int | None
    rejected_points: int | None
    duplicate: int | None
    duplicate_points: int | None
    points: int | None
    seconds: float | None
    cut_at: datetime
    done_at: datetime | None


@dataclass(frozen=True, slots=True)
class DecisionItem:
    """What the limiter decided after a batch, and what it saw of that batch."""

    decision_no: int
    batch_no: int
    decided_at: datetime
    decision: dict[str, Any]
    """The fields of `limiter.Observation` and `limiter.Decision`."""


@dataclass(frozen=True, slots=True)
class CodeCount:
    """How many records of a file ended so."""

    status: Status
    code: str
    records: int


_BATCH: Final = (
    "batch_no, state, from_n, to_n, first_customer, last_customer, worker, attempts, error, credited, "
    "credited_points, rejected, rejected_points, duplicate, duplicate_points, points, seconds, cut_at, "
    "done_at"
)
_FILE: Final = ", ".join(f"f.{name.strip()}" for name in COLUMNS.split(","))


async def list_files(
    tx: ReadTx,
    *,
    merchant_id: UUID,
    partner_id: str | None = None,
    state: FileState | None = None,
    sequence: int | None = None,
    limit: int,
    cursor: str | None = None,
) -> Page[FileItem]:
    """Files that came, the latest first."""
    before = decode_cursor(cursor, kinds=(int,))[0] if cursor is not None else _LATEST
    wanted = {"partner_id": partner_id, "state": state, "sequence": sequence}
    conditions = "".join(f" AND f.{name} = :{name}" for name, value in wanted.items() if value is not None)
    rows = await tx.all(
        f"""SELECT {_FILE}, o.file_id AS repeats_id,
                   CASE f.state WHEN 'credited' THEN f.records WHEN 'crediting' THEN (
                       SELECT coalesce(sum(b.to_n - b.from_n), 0) FROM points_batches b
                       WHERE b.file_no = f.file_no AND b.state = 'done') ELSE 0 END AS decided
            FROM points_files f LEFT JOIN points_files o ON o.file_no = f.repeats
            WHERE f.merchant_id = :merchant_id AND f.file_no < :before{conditions}
            ORDER BY f.file_no DESC LIMIT :limit""",
        {**wanted, "merchant_id": merchant_id, "before": before, "limit": limit + 1},
    )
    return page_of([_item(row._mapping) for row in rows], limit=limit, key=lambda item: (item.file.file_no,))


def _item(row: Any) -> FileItem:
    values = dict(row)
    repeats, decided = values.pop("repeats_id"), values.pop("decided")
    return FileItem(File(**values), repeats, decided)


async def repeated(tx: ReadTx, *, file: File) -> UUID | None:
    """The `file_id` of the file that this one is a repetition of; None: of none."""
    if file.repeats is None:
        return None
    found: UUID | None = await tx.scalar(
        "SELECT file_id FROM points_files WHERE file_no = :no", {"no": file.repeats}
    )
    return found


async def list_repeats(tx: ReadTx, *, file: File, limit: int) -> list[FileItem]:
    """Files that came later and are a repetition of this one, the latest first."""
    rows = await tx.all(
        f"""SELECT {_FILE}, CAST(:file_id AS uuid) AS repeats_id, 0 AS decided FROM points_files f
            WHERE f.merchant_id = :merchant_id AND f.partner_id = :partner_id AND f.file_no > :file_no
              AND f.repeats = :file_no
            ORDER BY f.file_no DESC LIMIT :limit""",
        {
            "file_id": file.file_id,
            "merchant_id": file.merchant_id,
            "partner_id": file.partner_id,
            "file_no": file.file_no,
            "limit": limit,
        },
    )
    return [_item(row._mapping) for row in rows]


async def progress(tx: ReadTx, *, file: File) -> Progress:
    """How far a file is, while it runs and afterwards; of a file without batches, nothing is decided."""
    row = await tx.first(
        """SELECT coalesce(sum(to_n - from_n) FILTER (WHERE state = 'done'), 0)::int AS decided,
                  coalesce(sum(credited), 0)::int AS credited,
                  coalesce(sum(credited_points), 0)::bigint AS credited_points,
                  coalesce(sum(rejected), 0)::int AS rejected,
                  coalesce(sum(rejected_points), 0)::bigint AS rejected_points,
                  coalesce(sum(duplicate), 0)::int AS duplicate,
                  coalesce(sum(duplicate_points), 0)::bigint AS duplicate_points,
                  count(*) AS batches, count(*) FILTER (WHERE state = 'done') AS batches_done,
                  count(*) FILTER (WHERE state = 'open') AS workers,
                  extract(epoch FROM max(done_at) - min(cut_at))::float8 AS seconds
           FROM points_batches WHERE file_no = :file_no""",
        {"file_no": file.file_no},
    )
    assert row is not None
    values = dict(row._mapping)
    seconds = values.pop("seconds")
    rate = values["decided"] / seconds if seconds else None
    return Progress(records=file.records or 0, per_second=rate, **values)


async def list_batches(
    tx: ReadTx, *, file: File, state: BatchState | None = None, limit: int, cursor: str | None = None
) -> Page[BatchItem]:
    """The batches of a file in the order in which they were cut."""
    after = decode_cursor(cursor, kinds=(int,))[0] if cursor is not None else 0
    condition = "" if state is None else " AND state = :state"
    rows = await tx.all(
        f"""SELECT {_BATCH} FROM points_batches WHERE file_no = :file_no AND batch_no > :after{condition}
            ORDER BY batch_no LIMIT :limit""",
        {"file_no": file.file_no, "after": after, "limit": limit + 1, "state": state},
    )
    items = [BatchItem(**row._mapping) for row in rows]
    return page_of(items, limit=limit, key=lambda item: (item.batch_no,))


async def list_decisions(
    tx: ReadTx, *, file: File, limit: int, cursor: str | None = None
) -> Page[DecisionItem]:
    """What the limiter decided while a file ran, in the order of time."""
    after = decode_cursor(cursor, kinds=(int,))[0] if cursor is not None else 0
    rows = await tx.all(
        """SELECT decision_no, batch_no, decided_at, decision FROM points_decisions
           WHERE file_no = :file_no AND decision_no > :after ORDER BY decision_no LIMIT :limit""",
        {"file_no": file.file_no, "after": after, "limit": limit + 1},
    )
    items = [DecisionItem(**row._mapping) for row in rows]
    return page_of(items, limit=limit, key=lambda item: (item.decision_no,))


async def count_codes(tx: ReadTx, *, file: File, decided: Progress) -> Sequence[CodeCount]:
    """How many records ended with which code, the most frequent first.

    Records that break a rule by themselves are counted as soon as the file is opened; `repeated_in_file`
    counts those whose reference stands in an earlier line of the same file.
    """
    rows = await tx.all(
        """SELECT status, code, count(*) AS records FROM points_results WHERE file_no = :file_no
           GROUP BY status, code""",
        {"file_no": file.file_no},
    )
    counts = [CodeCount(**row._mapping) for row in rows]
    noted = {status: sum(c.records for c in counts if c.status == status) for status in _STATUSES}
    counts += [
        CodeCount("rejected", code, number)
        for code, number in (file.broken or {}).items()
        if code != "duplicate" and file.state in {"crediting", "credited"}
    ]
    counts.append(CodeCount("accepted", "credited", decided.credited - noted["accepted"]))
    counts.append(CodeCount("duplicate", "repeated_in_file", decided.duplicate - noted["duplicate"]))
    return sorted((c for c in counts if c.records), key=lambda c: (-c.records, c.status, c.code))


_STATUSES: Final = ("accepted", "duplicate")
