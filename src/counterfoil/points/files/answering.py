"""The response to a file: a result for every record, the totals asserted, sealed, kept to be sent."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Final

import asyncpg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from counterfoil.db.transactions import ReadTx, Tx
from counterfoil.errors import ConflictError
from counterfoil.points.files import files
from counterfoil.points.files.files import File
from counterfoil.points.files.partners import Partner
from counterfoil.points.files.references import Numbers, characters, counted_ids, halves, public_ids
from counterfoil.points.files.responses import ResponseHeader
from counterfoil.points.files.terms import RESPONSE_TYPE
from counterfoil.points.files.totals import ResponseTotals
from counterfoil.points.files.writer import write_response

_RESULTS: Final = """
    SELECT r.customer_id, r.points, r.reference, r.n,
           CASE WHEN r.fault IS NOT NULL THEN 'rejected' WHEN {again} THEN 'duplicate'
                ELSE coalesce(x.status, 'accepted') END AS status,
           {told} AS code, {transfer} AS transfer_id, {outside} AS outside_reference
    FROM points_records r
    LEFT JOIN points_results x ON x.file_no = r.file_no AND x.n = r.n {first}
    WHERE r.file_no = $1 ORDER BY r.line"""
_PLAIN: Final = _RESULTS.format(
    again="false",
    told="CASE WHEN r.fault IS NOT NULL THEN r.fault WHEN x.status <> 'accepted' THEN x.code END",
    transfer="x.transfer_id",
    outside="x.outside_reference",
    first="",
)
"""For files without a reference that is there twice, which are nearly all."""
_WITH_DOUBLES: Final = _RESULTS.format(
    again="r.first_line IS NOT NULL",
    told="""CASE WHEN r.fault IS NOT NULL THEN r.fault
                 WHEN r.first_line IS NULL THEN CASE WHEN x.status <> 'accepted' THEN x.code END
                 WHEN f.fault IS NOT NULL THEN f.fault
                 WHEN (f.customer_id, f.points) <> (r.customer_id, r.points) THEN 'reference_reused'
                 ELSE coalesce(y.code, 'credited') END""",
    transfer="""CASE WHEN r.fault IS NOT NULL THEN NULL
                     WHEN r.first_line IS NULL THEN x.transfer_id
                     WHEN f.fault IS NULL AND y.n IS NULL AND b.transfers IS NOT NULL
                     THEN (left(b.transfers::text, -4) || lpad(to_hex(f.n - b.from_n), 4, '0'))::uuid
                     ELSE y.transfer_id END""",
    outside="""CASE WHEN r.fault IS NOT NULL THEN NULL
                    WHEN r.first_line IS NULL THEN x.outside_reference ELSE y.outside_reference END""",
    first="""
    LEFT JOIN points_records f ON f.file_no = r.file_no AND f.line = r.first_line
    LEFT JOIN points_results y ON y.file_no = f.file_no AND y.n = f.n
    LEFT JOIN points_batches b ON b.file_no = f.file_no AND b.from_n <= f.n AND b.to_n > f.n""",
)
_SORTING: Final = """
    SET LOCAL work_mem = '64MB'; SET LOCAL max_parallel_workers_per_gather = 1;
    SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0"""
"""Half of it is sorted by a second process: nothing can be answered before all of it is."""
_TYPES: Final = {
    "customer_id": pa.string(),
    "points": pa.int64(),
    "reference": pa.string(),
    "n": pa.int32(),
    "status": pa.string(),
    "code": pa.string(),
    "transfer_id": pa.string(),
    "outside_reference": pa.string(),
}
_RECORD: Final = ("customer_id", "points", "reference", "status", "code", "our_reference")


class TotalsDifferError(Exception):
    """What would be answered is not what was decided. There must never be one."""


@dataclass(frozen=True, slots=True)
class Results:
    """A file's results as the database gives them, and which ids its batches gave."""

    source: BufferedReader
    """CSV in the order of the file's lines, read while it is being written."""
    copied: Future[None]
    """That all of it was written; or why not."""
    from_n: Numbers
    first: Numbers
    """The first id of each batch as characters, and its lower half as a number."""
    lower: Numbers


def header_of(file: File, partner: Partner) -> ResponseHeader:
    """The header of the response: the file's own with both sides exchanged, and what became of it."""
    assert file.decided_at is not None
    said = file.header or {}
    return ResponseHeader(
        version=said.get("version", partner.terms.version),
        environment=partner.terms.environment,
        sender=partner.terms.receiver,
        receiver=partner.terms.sender,
        file_type=RESPONSE_TYPE,
        sequence=file.sequence or 0,
        created_at=file.decided_at.replace(microsecond=0),
        status="accepted" if file.state == "credited" else "rejected",
        reason=file.reason,
        expected_sequence=file.expected_sequence,
    )


def totals_of(file: File) -> ResponseTotals:
    """What the trailer says. A rejected file has no records: nothing of it was looked at one by one."""
    if file.state == "rejected":
        return ResponseTotals(0, 0, 0, 0, 0, 0, 0, 0, 0)
    return ResponseTotals(
        *(_known(file.records), _known(file.points), _known(file.hash_total)),
        *(_known(file.credited), _known(file.credited_points), _known(file.rejected)),
        *(_known(file.rejected_points), _known(file.duplicate), _known(file.duplicate_points)),
    )


def _known(value: int | None) -> int:
    assert value is not None
    return value


@asynccontextmanager
async def results(tx: ReadTx, *, file: File) -> AsyncIterator[Results]:
    """What became of each record, in the order of the lines; a thread reads it while the block runs."""
    db = await tx.driver()
    rows = await db.fetch(
        "SELECT from_n, transfers FROM points_batches WHERE file_no = $1 ORDER BY from_n", file.file_no
    )
    known = [row for row in rows if row["transfers"] is not None]
    upper, lower = halves([row["transfers"] for row in known])
    first = characters(upper, lower)
    from_n = np.array([row["from_n"] for row in known], dtype=np.int64)
    await db.execute(_SORTING)
    theirs, ours = os.pipe()
    with os.fdopen(theirs, "rb") as source:
        copied: Future[None] = Future()
        copying = asyncio.create_task(_copy(db, file, ours))
        copying.add_done_callback(partial(_tell, copied))
        try:
            yield Results(source, copied, from_n, first, lower)
        finally:
            # Before the end that is read is closed: whoever waits there for more would keep it open.
            copying.cancel()
            await asyncio.wait([copying])


async def _copy(db: asyncpg.Connection, file: File, pipe: int) -> None:
    doubles = (file.broken or {}).get("duplicate")
    with os.fdopen(pipe, "wb", 0) as out:
        await db.copy_from_query(_WITH_DOUBLES if doubles else _PLAIN, file.file_no, output=out, format="csv")


def _tell(copied: Future[None], copying: asyncio.Task[None]) -> None:
    if copying.cancelled():
        copied.cancel()
    elif error := copying.exception():
        copied.set_exception(error)
    else:
        copied.set_result(None)


def write_plain(out: BinaryIO, file: File, partner: Partner, results: Results | None) -> None:
    """Write the response as the partner will read it. Raises `TotalsDifferError`: it must not be signed then.

    What is written is counted, and held against what was decided: received = credited + rejected +
    duplicate, in records and in points.
    """
    totals, found = totals_of(file), dict.fromkeys(("accepted", "rejected", "duplicate"), (0, 0))

    def counted() -> Iterator[pa.RecordBatch]:
        for batch in _records(results) if results else ():
            for status in found:
                points = batch["points"].filter(pc.equal(batch["status"], status))
                number, sum_of = found[status]
                found[status] = number + len(points), sum_of + (pc.sum(points).as_py() or 0)
            yield batch

    write_response(out, partner.layout, header_of(file, partner), counted(), totals)
    written = ResponseTotals(
        *(sum(n for n, _ in found.values()), sum(p for _, p in found.values()), totals.hash_total),
        *(*found["accepted"], *found["rejected"], *found["duplicate"]),
    )
    if written != totals:
        raise TotalsDifferError(f"decided {totals}, but written {written}")


def _records(results: Results) -> Iterator[pa.RecordBatch]:
    if results.source.peek(1):
        reader = pacsv.open_csv(
            results.source,
            pacsv.ReadOptions(column_names=list(_TYPES), block_size=1 << 21),
            convert_options=pacsv.ConvertOptions(
                column_types=_TYPES,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        for batch in reader:
            yield batch.append_column("our_reference", _our_reference(batch, results)).select(_RECORD)
    results.copied.result()


def _our_reference(batch: pa.RecordBatch, results: Results) -> pa.Array:
    """What we call each: the transfer that credited it or the one before it, or the outside system's name."""
    found = pc.coalesce(batch["outside_reference"], _earlier(batch["transfer_id"]))
    if not len(results.from_n):
        return found
    n = batch["n"].to_numpy()
    at = np.searchsorted(results.from_n, n, side="right") - 1
    lower = results.lower[at] + (n - results.from_n[at]).astype(np.uint64)
    given = counted_ids(results.first[at], lower)
    return pc.if_else(pc.equal(batch["status"], "accepted"), pc.coalesce(found, given), found)


def _earlier(transfer_id: pa.Array) -> pa.Array:
    if transfer_id.null_count == len(transfer_id):
        return transfer_id
    text = pc.replace_substring(pc.fill_null(transfer_id, "0" * 32), "-", "")
    number = np.frombuffer(bytes.fromhex("".join(text.to_pylist())), dtype=">u8").reshape(-1, 2)
    ids = public_ids(*number.astype(np.uint64).T)
    return pc.if_else(pc.is_null(transfer_id), pa.scalar(None, pa.string()), ids)


def response_name(file: File) -> str:
    """What the response is called: as the file, and that it is the response; safe for any server."""
    stem = re.sub(r"\.(pgp|gpg|asc)$", "", file.name, flags=re.IGNORECASE)
    plain = re.sub(r"[^\w.-]", "-", stem).lstrip(".-")[:150]
    return f"{plain or 'file'}.response.pgp"


def no_key(*, ours: bool) -> ConflictError:
    """Why no response can be sealed."""
    if ours:
        return ConflictError("We have no key to sign with; make one.", code="own_key_missing")
    return ConflictError(
        "The partner has no OpenPGP key to which a response could be encrypted; add one.",
        code="partner_key_missing",
    )


async def keep(tx: Tx, *, file: File, path: Path, name: str, sends: bool, now: datetime) -> bool:
    """Keep the sealed response, to be sent or fetched; False where another worker did so before.

    `sends`: whether there is a server to send it to.
    """
    size = (await asyncio.to_thread(path.stat)).st_size
    kept = await tx.scalar(
        """UPDATE points_files
           SET answered_at = :now, response_name = :name, response_bytes = :size, answer_attempts = 0,
               answer_error = NULL, answer_after = CASE WHEN :sends THEN CAST(:now AS timestamptz) END
           WHERE file_no = :file_no AND answered_at IS NULL RETURNING true""",
        {"file_no": file.file_no, "now": now, "name": name, "size": size, "sends": sends},
    )
    if not kept:
        return False
    await files.keep(tx, file_no=file.file_no, kind="response", path=path)
    return True
