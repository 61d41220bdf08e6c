"""Reading the records of partners' files: what became of each, of a member's, and which one a transfer is of.

Records are sorted by member within their file and have no index but their place in it. So a member's are
found by halving: two dozen look-ups in the largest file, while it runs or at any time later.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final, Literal, get_args
from uuid import UUID

from sqlalchemy import Row

from counterfoil.db.paging import Page, decode_cursor, page_of
from counterfoil.db.transactions import ReadTx
from counterfoil.ids import format_id
from counterfoil.points.files.files import File
from counterfoil.points.files.types import BatchState

RecordState = Literal["waiting", "accepted", "rejected", "duplicate"]
RECORD_STATES: Final[tuple[RecordState, ...]] = get_args(RecordState)


@dataclass(frozen=True, slots=True)
class RecordItem:
    """A record of a file, and where it is."""

    n: int
    """Its place in the order of members, from 0."""
    line: int
    customer_id: str
    points: int | None
    reference: str | None
    occurred_on: date | None
    offer_code: str | None
    state: RecordState
    """`waiting`: its batch is not done. One that breaks a rule by itself is rejected from the beginning."""
    code: str | None
    """Why it was rejected; of a duplicate what became of the first one; None: it waits."""
    field: str | None
    """The field at fault."""
    first_line: int | None
    """Of a repetition within the file: the line that has its reference first."""
    transfer_id: UUID | None
    """What credited it, or the first one with its reference."""
    our_reference: str | None
    """As the response calls it: the public id of the transfer, or what the outside system calls it."""
    batch_no: int | None
    """None: it is not in a batch yet."""
    batch_state: BatchState | None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a transfer came from: a record of a batch of a file."""

    file_id: UUID
    partner_id: str
    file_name: str
    sequence: int
    batch_no: int
    n: int
    line: int


_SEARCH: Final = """{name} (low, high) AS (
        SELECT 0, CAST(:records AS int)
        UNION ALL
        SELECT CASE WHEN r.customer_id {less} :customer_id THEN r.n + 1 ELSE s.low END,
               CASE WHEN r.customer_id {less} :customer_id THEN s.high ELSE r.n END
        FROM {name} s
        JOIN points_records r ON r.file_no = :file_no AND r.n = (s.low + s.high) / 2
        WHERE s.low < s.high)"""
_OF_CUSTOMER: Final = "WITH RECURSIVE {}, {}".format(
    _SEARCH.format(name="first", less="<"), _SEARCH.format(name="beyond", less="<=")
)
_WITHIN: Final = """
      AND r.n >= (SELECT max(low) FROM first) AND r.n < (SELECT min(high) FROM beyond)"""
_RECORDS: Final = """
    SELECT * FROM (
        SELECT r.n, r.line, r.customer_id, r.points, r.reference, r.occurred_on, r.offer_code,
               CASE WHEN r.fault IS NOT NULL THEN 'rejected'
                    WHEN b.state IS DISTINCT FROM 'done' THEN 'waiting'
                    WHEN r.first_line IS NOT NULL THEN 'duplicate'
                    ELSE coalesce(x.status, 'accepted') END AS state,
               r.fault, coalesce(r.fault, x.code) AS code, r.field, r.first_line, x.transfer_id,
               x.outside_reference,
               b.batch_no, b.state AS batch_state, b.transfers, b.from_n
        FROM points_records r
        LEFT JOIN points_results x ON x.file_no = r.file_no AND x.n = r.n
        LEFT JOIN LATERAL (
            SELECT batch_no, state, transfers, from_n, to_n FROM points_batches
            WHERE file_no = r.file_no AND from_n <= r.n
            ORDER BY from_n DESC LIMIT 1) b ON b.to_n > r.n
        WHERE r.file_no = :file_no AND r.n > :after{conditions}
        ORDER BY r.n) r
    {where} ORDER BY n LIMIT :limit"""


def records_statement(
    *, of_customer: bool, reference: bool = False, line: bool = False, state: bool = False
) -> str:
    """The statement that lists records, with these filters."""
    conditions = (_WITHIN if of_customer else "") + (" AND r.reference = :reference" if reference else "")
    conditions += " AND r.line = :line" if line else ""
    found = _RECORDS.format(conditions=conditions, where="WHERE state = :state" if state else "")
    return (_OF_CUSTOMER if of_customer else "") + found


async def list_records(
    tx: ReadTx,
    *,
    file: File,
    customer_id: str | None = None,
    reference: str | None = None,
    state: RecordState | None = None,
    line: int | None = None,
    limit: int,
    cursor: str | None = None,
) -> Page[RecordItem]:
    """Records of a file in the order of their members, with what became of each.

    Those of a member are found at once, however large the file is; the other filters look through it.
    """
    after = decode_cursor(cursor, kinds=(int,))[0] if cursor is not None else -1
    statement = records_statement(
        of_customer=customer_id is not None,
        reference=reference is not None,
        line=line is not None,
        state=state is not None,
    )
    values: dict[str, Any] = {
        "file_no": file.file_no, "records": file.records or 0, "after": after, "limit": limit + 1,
        "customer_id": customer_id, "reference": reference, "line": line, "state": state,
    }  # fmt: skip
    rows = await tx.all(statement, {name: value for name, value in values.items() if f":{name}" in statement})
    items = await _with_firsts(tx, file, [_item(row) for row in rows])
    return page_of(items, limit=limit, key=lambda item: (item.n,))


async def every_record(tx: ReadTx, *, file: File, most: int = 5_000) -> AsyncIterator[list[RecordItem]]:
    """All records of a file in the order of their members, so many at a time."""
    cursor: str | None = None
    while True:
        page = await list_records(tx, file=file, limit=most, cursor=cursor)
        if page.data:
            yield list(page.data)
        if (cursor := page.next_cursor) is None:
            return


def _item(row: Row[Any]) -> RecordItem:
    values = dict(row._mapping)
    transfers, from_n, outside, _ = (values.pop(name) for name in _INNER)
    if values["state"] == "accepted":
        values["code"] = values["code"] or "credited"
        if transfers is not None:
            values["transfer_id"] = UUID(int=transfers.int + values["n"] - from_n)
    elif values["state"] == "waiting":
        values["code"] = None
    found = values["transfer_id"]
    return RecordItem(our_reference=outside or (format_id("transfer", found) if found else None), **values)


_INNER: Final = ("transfers", "from_n", "outside_reference", "fault")


async def _with_firsts(tx: ReadTx, file: File, items: list[RecordItem]) -> list[RecordItem]:
    """The same records; repetitions within the file with what became of the first line."""
    lines = [item.first_line for item in items if item.state == "duplicate" and item.first_line]
    if not lines:
        return items
    statement = _RECORDS.format(conditions=" AND r.line = ANY(:lines)", where="")
    rows = await tx.all(
        statement,
        {"file_no": file.file_no, "after": -1, "lines": lines, "limit": len(lines)},
    )
    firsts = {row.line: (_item(row), row.fault) for row in rows}
    return [_as_first(item, *firsts.get(item.first_line or 0, (None, None))) for item in items]


def _as_first(item: RecordItem, first: RecordItem | None, fault: str | None) -> RecordItem:
    if item.state != "duplicate" or first is None:
        return item
    reused = (first.customer_id, first.points) != (item.customer_id, item.points)
    code = "reference_reused" if reused and fault is None else first.code
    return replace(item, code=code, transfer_id=first.transfer_id, our_reference=first.our_reference)


async def find_transfer(tx: ReadTx, *, merchant_id: UUID, transfer_id: UUID) -> Origin | None:
    """Which file, batch and record a transfer came from; None: from none of a partner's files."""
    row = await tx.first(
        """SELECT f.file_id, f.partner_id, f.name AS file_name, f.sequence, b.batch_no, b.from_n, b.to_n,
                  b.file_no, b.transfers
           FROM (SELECT * FROM points_batches WHERE transfers <= :transfer_id
                 ORDER BY transfers DESC LIMIT 1) b
           JOIN points_files f ON f.file_no = b.file_no AND f.merchant_id = :merchant_id
           JOIN points_transfers t ON t.transfer_id = :transfer_id""",
        {"merchant_id": merchant_id, "transfer_id": transfer_id},
    )
    if row is None or (n := row.from_n + transfer_id.int - row.transfers.int) >= row.to_n:
        return None
    line: int = await tx.scalar(
        "SELECT line FROM points_records WHERE file_no = :file_no AND n = :n",
        {"file_no": row.file_no, "n": n},
    )
    return Origin(row.file_id, row.partner_id, row.file_name, row.sequence, row.batch_no, n, line)
