"""Storing what is in a file: its records, and that it is accepted, in one transaction; or why it is not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder

from counterfoil.db.transactions import ReadTx, Tx
from counterfoil.points.files import batches
from counterfoil.points.files.faults import FileFaultError
from counterfoil.points.files.files import File
from counterfoil.points.files.opening import Content
from counterfoil.points.files.partners import Partner
from counterfoil.points.files.reader import Header

_COLUMNS: Final = (
    ("file_no", pa.int64()),
    ("n", pa.int32()),
    ("line", pa.int32()),
    ("customer_id", pa.string()),
    ("points", pa.int64()),
    ("reference", pa.string()),
    ("occurred_on", pa.date32()),
    ("offer_code", pa.string()),
    ("fault", pa.string()),
    ("field", pa.string()),
    ("first_line", pa.int32()),
)
_SCHEMA: Final = pa.schema(_COLUMNS)
_UNKNOWN_MEMBERS: Final = """
    SELECT CASE WHEN a.account_no IS NULL THEN 'not_found' ELSE 'closed' END AS rule, count(*) AS number
    FROM points_records r
    LEFT JOIN points_accounts a
      ON a.merchant_id = :merchant_id AND a.source IS NULL AND a.name = r.customer_id
    WHERE r.file_no = :file_no AND r.fault IS NULL AND a.state IS DISTINCT FROM 'open'
    GROUP BY 1 ORDER BY 1"""


async def find_same(tx: ReadTx, *, partner: Partner, content_digest: bytes) -> int | None:
    """The number of the accepted file that has the same content."""
    found: int | None = await tx.scalar(
        """SELECT file_no FROM points_files
           WHERE merchant_id = :merchant_id AND partner_id = :partner_id AND content_digest = :digest
             AND state IN ('crediting', 'credited')""",
        {"merchant_id": partner.merchant_id, "partner_id": partner.partner_id, "digest": content_digest},
    )
    return found


def check_sequence(header: Header, partner: Partner) -> None:
    """`FileFaultError` for a file that is not the next one."""
    if header.sequence != partner.last_sequence + 1:
        raise FileFaultError(
            f"The file has the number {header.sequence}; the next one must have {partner.last_sequence + 1}.",
            code="sequence_wrong",
            line=1,
            field="sequence",
        )


async def accept(
    tx: Tx,
    *,
    file: File,
    partner: Partner,
    content: Content,
    signer: str,
    content_digest: bytes,
    now: datetime,
) -> bool:
    """Store the records, take the sequence number and have the crediting begin; False: it was done before.

    Raises `FileFaultError` where the number was taken meanwhile, or members break a rule that rejects files.
    """
    waiting = await tx.scalar(
        "SELECT true FROM points_files WHERE file_no = :no AND state = 'received' FOR UPDATE",
        {"no": file.file_no},
    )
    if not waiting:
        return False
    await _copy(tx, file.file_no, content)
    await _check_members(tx, file, partner)
    await _take_sequence(tx, content.header, partner)
    await tx.execute(
        """UPDATE points_files
           SET state = 'crediting', signer = :signer, content_digest = :digest, opened_at = :now,
               header = CAST(:header AS jsonb), problems = CAST(:problems AS jsonb),
               broken = CAST(:broken AS jsonb), sequence = :sequence, records = :records, points = :points,
               hash_total = :hash_total
           WHERE file_no = :file_no""",
        {
            "file_no": file.file_no,
            "signer": signer,
            "digest": content_digest,
            "now": now,
            "header": _header_json(content.header),
            "problems": json.dumps(content.problems),
            "broken": json.dumps(content.broken),
            "sequence": content.header.sequence,
            "records": content.totals.record_count,
            "points": content.totals.points_total,
            "hash_total": content.totals.hash_total,
        },
    )
    await batches.call_worker(tx, file_no=file.file_no, worker=0)
    await _analyze(tx, content.totals.record_count)
    return True


async def _analyze(tx: Tx, added: int) -> None:
    """Tell the planner of a file that changes the table: without, it took seconds for some batches."""
    known = await tx.scalar("SELECT reltuples FROM pg_class WHERE oid = 'points_records'::regclass")
    if added * 20 > known:
        await tx.execute("ANALYZE points_records")


async def repeat(tx: Tx, *, file: File, of: int, signer: str, content_digest: bytes, now: datetime) -> None:
    """Note that a file came before: it is answered as that one was, or will be."""
    await tx.execute(
        """UPDATE points_files f
           SET state = 'repeated', repeats = :of, signer = :signer, content_digest = :digest,
               header = o.header, sequence = o.sequence, opened_at = :now, decided_at = :now,
               answer_after = :now
           FROM points_files o WHERE f.file_no = :file_no AND f.state = 'received' AND o.file_no = :of""",
        {"file_no": file.file_no, "of": of, "signer": signer, "digest": content_digest, "now": now},
    )
    await batches.call_answer(tx, file_no=file.file_no)


async def reject(
    tx: Tx,
    *,
    file: File,
    reason: str,
    detail: str,
    problems: list[dict[str, Any]] | None = None,
    header: Header | None = None,
    signer: str | None = None,
    content_digest: bytes | None = None,
    now: datetime,
) -> None:
    """Reject a file as a whole: nothing of it is credited, and the partner is told why."""
    await tx.execute(
        """UPDATE points_files f
           SET state = 'rejected', reason = :reason, detail = :detail, problems = CAST(:problems AS jsonb),
               header = CAST(:header AS jsonb), sequence = :sequence, signer = :signer,
               content_digest = :digest, expected_sequence = p.last_sequence + 1, decided_at = :now,
               answer_after = :now
           FROM points_partners p
           WHERE f.file_no = :file_no AND f.state = 'received'
             AND p.merchant_id = f.merchant_id AND p.partner_id = f.partner_id""",
        {
            "file_no": file.file_no,
            "reason": reason,
            "detail": detail,
            "now": now,
            "signer": signer,
            "problems": json.dumps(problems or []),
            "digest": content_digest,
            "header": _header_json(header) if header else None,
            "sequence": header.sequence if header else None,
        },
    )
    await batches.call_answer(tx, file_no=file.file_no)


def _header_json(header: Header) -> str:
    return json.dumps(asdict(header), default=datetime.isoformat)


async def _copy(tx: Tx, file_no: int, content: Content) -> None:
    db = await tx.driver()
    await db.copy_to_table(
        "points_records",
        source=_encoded(file_no, content.records()),
        columns=[name for name, _ in _COLUMNS],
        format="binary",
    )


async def _encoded(file_no: int, records: Iterator[pa.RecordBatch]) -> AsyncIterator[bytes]:
    """COPY's binary form, made in a thread while the database takes in what was made before."""
    encoder = ArrowToPostgresBinaryEncoder(_SCHEMA)
    yield encoder.write_header()
    made = 0

    def following() -> bytes | None:
        nonlocal made
        batch = next(records, None)
        if batch is None:
            return None
        number = np.arange(made, made + batch.num_rows, dtype=np.int32)
        made += batch.num_rows
        columns = [pa.repeat(pa.scalar(file_no, pa.int64()), batch.num_rows), pa.array(number)]
        whole = pa.RecordBatch.from_arrays([*columns, *batch.columns], names=_SCHEMA.names).cast(_SCHEMA)
        encoded: bytes = encoder.write_batch(whole)
        return encoded

    coming = asyncio.create_task(asyncio.to_thread(following))
    try:
        while (part := await coming) is not None:
            coming = asyncio.create_task(asyncio.to_thread(following))
            yield part
    finally:
        # Where storing fails, nobody may go on reading what is about to be removed.
        await asyncio.wait([coming])
    yield encoder.finish()


async def _check_members(tx: Tx, file: File, partner: Partner) -> None:
    if not partner.terms.reject_file_on & {"not_found", "closed"}:
        return
    found = await tx.all(_UNKNOWN_MEMBERS, {"file_no": file.file_no, "merchant_id": file.merchant_id})
    for rule, number in [(row.rule, row.number) for row in found]:
        if rule in partner.terms.reject_file_on:
            raise FileFaultError(
                f"{number:,} of its records break the rule {rule}, which rejects the whole file.",
                code="record_" + rule,
            )


async def _take_sequence(tx: Tx, header: Header, partner: Partner) -> None:
    """The condition is the rule: of two files with the same number one is accepted."""
    taken = await tx.scalar(
        """UPDATE points_partners SET last_sequence = :sequence
           WHERE merchant_id = :merchant_id AND partner_id = :partner_id AND last_sequence = :sequence - 1
           RETURNING true""",
        {
            "merchant_id": partner.merchant_id,
            "partner_id": partner.partner_id,
            "sequence": header.sequence,
        },
    )
    if not taken:
        raise FileFaultError(
            f"A file with the number {header.sequence} was accepted meanwhile.",
            code="sequence_wrong",
            line=1,
            field="sequence",
        )
