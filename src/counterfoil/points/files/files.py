"""Files: kept as they came, found again, and rejected as a whole."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row

from counterfoil.db.outbox import publish
from counterfoil.db.transactions import ReadTx, Tx
from counterfoil.errors import ConflictError, InvalidError, NotFoundError, RefusedError
from counterfoil.ids import format_id, new_id
from counterfoil.points.files.types import FileState, PartKind, Via

PART_BYTES: Final = 1 << 20
MOST_BYTES: Final = 1 << 30
"""The largest encrypted file."""
LONGEST_NAME: Final = 200


@dataclass(frozen=True, slots=True)
class File:
    """A file as it stands. Counts and totals are None as long as they are not known."""

    file_no: int
    file_id: UUID
    merchant_id: UUID
    partner_id: str
    name: str
    via: Via
    state: FileState
    received_at: datetime
    size_bytes: int
    digest: bytes
    signer: str | None
    repeats: int | None
    reason: str | None
    detail: str | None
    problems: list[dict[str, Any]] | None
    broken: dict[str, int] | None
    header: dict[str, Any] | None
    sequence: int | None
    expected_sequence: int | None
    records: int | None
    points: int | None
    hash_total: int | None
    cut_to: int
    credited: int | None
    credited_points: int | None
    rejected: int | None
    rejected_points: int | None
    duplicate: int | None
    duplicate_points: int | None
    opened_at: datetime | None
    decided_at: datetime | None
    answered_at: datetime | None
    response_name: str | None
    response_bytes: int | None
    answer_after: datetime | None
    answer_attempts: int
    answer_error: dict[str, Any] | None
    sent_at: datetime | None
    confirmed_at: datetime | None


COLUMNS: Final = ", ".join(field.name for field in fields(File))


def file_of(row: Row[Any]) -> File:
    """A file from a row of `COLUMNS`."""
    return File(**row._mapping)


async def receive(
    tx: Tx,
    *,
    merchant_id: UUID,
    partner_id: str,
    name: str,
    path: Path,
    via: Via,
    modified_at: datetime | None = None,
    now: datetime,
) -> File:
    """Keep a file as it came; a worker opens it as soon as this is committed.

    Raises `NotFoundError` (`partner_not_found`), `RefusedError` (`partner_closed`), `InvalidError`
    (`file_empty`, `file_too_large`).
    """
    state = await tx.scalar(
        "SELECT state FROM points_partners WHERE merchant_id = :merchant_id AND partner_id = :id",
        {"merchant_id": merchant_id, "id": partner_id},
    )
    if state is None:
        raise NotFoundError(f"There is no partner {partner_id!r}; add it first.", code="partner_not_found")
    if state == "closed":
        raise RefusedError("The partner is closed: nothing is taken from it.", code="partner_closed")
    size, digest = await asyncio.to_thread(_measure, path)
    row = await tx.first(
        f"""INSERT INTO points_files (file_id, merchant_id, partner_id, name, via, received_at, size_bytes,
                                      digest, modified_at)
            VALUES (:file_id, :merchant_id, :partner_id, :name, :via, :now, :size, :digest, :modified_at)
            RETURNING {COLUMNS}""",
        {
            "file_id": new_id(),
            "merchant_id": merchant_id,
            "partner_id": partner_id,
            "via": via,
            "name": name[:LONGEST_NAME],
            "size": size,
            "digest": digest,
            "now": now,
            "modified_at": modified_at,
        },
    )
    assert row is not None
    await keep(tx, file_no=row.file_no, kind="received", path=path)
    await publish(tx, "points.file_received", {"file_no": row.file_no, "merchant_id": str(merchant_id)})
    return file_of(row)


def _measure(path: Path) -> tuple[int, bytes]:
    size = path.stat().st_size
    if not size:
        raise InvalidError("The file is empty.", code="file_empty")
    if size > MOST_BYTES:
        raise InvalidError(
            f"The file has {size:,} bytes; {MOST_BYTES:,} is the most. Send it in parts, each a file.",
            code="file_too_large",
        )
    return size, digest_of(path)


def digest_of(path: Path) -> bytes:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


async def keep(tx: Tx, *, file_no: int, kind: PartKind, path: Path) -> None:
    """Keep the bytes of a file, a part at a time."""
    db = await tx.driver()
    part_no = 0
    with path.open("rb") as file:
        while content := await asyncio.to_thread(file.read, PART_BYTES):
            await db.execute(
                "INSERT INTO points_file_parts (file_no, kind, part_no, content) VALUES ($1, $2, $3, $4)",
                *(file_no, kind, part_no, content),
            )
            part_no += 1


async def part(tx: ReadTx, *, file_no: int, kind: PartKind, part_no: int) -> bytes | None:
    """One part of the bytes of a file, counted from 0; None after the last."""
    content: bytes | None = await tx.scalar(
        """SELECT content FROM points_file_parts
           WHERE file_no = :file_no AND kind = :kind AND part_no = :part_no""",
        {"file_no": file_no, "kind": kind, "part_no": part_no},
    )
    return content


async def parts(tx: ReadTx, *, file_no: int, kind: PartKind) -> AsyncIterator[bytes]:
    """The bytes of a file, a part at a time. For a reader who keeps nobody waiting."""
    for part_no in itertools.count():
        content = await part(tx, file_no=file_no, kind=kind, part_no=part_no)
        if content is None:
            return
        yield content


async def write_out(tx: ReadTx, *, file_no: int, kind: PartKind, path: Path) -> None:
    """Write the bytes of a file to `path`."""
    with path.open("wb") as file:
        async for content in parts(tx, file_no=file_no, kind=kind):
            await asyncio.to_thread(file.write, content)


async def get(tx: ReadTx, *, merchant_id: UUID, file_id: UUID) -> File:
    """A file; `NotFoundError` (`partner_file_not_found`) if there is none."""
    row = await tx.first(
        f"SELECT {COLUMNS} FROM points_files WHERE merchant_id = :merchant_id AND file_id = :file_id",
        {"merchant_id": merchant_id, "file_id": file_id},
    )
    if row is None:
        raise NotFoundError(
            f"There is no file {format_id('partner_file', file_id)!r}.", code="partner_file_not_found"
        )
    return file_of(row)


async def by_number(tx: ReadTx, *, file_no: int) -> File:
    """A file by the number that jobs know it by."""
    row = await tx.first(f"SELECT {COLUMNS} FROM points_files WHERE file_no = :no", {"no": file_no})
    assert row is not None
    return file_of(row)


async def confirm(tx: Tx, *, merchant_id: UUID, file_id: UUID, now: datetime) -> File:
    """Note that the partner has the response; noted once, it stays.

    Raises `NotFoundError` (`partner_file_not_found`), `ConflictError` (`partner_file_not_answered`).
    """
    row = await tx.first(
        f"""UPDATE points_files SET confirmed_at = coalesce(confirmed_at, :now)
            WHERE merchant_id = :merchant_id AND file_id = :file_id AND answered_at IS NOT NULL
            RETURNING {COLUMNS}""",
        {"merchant_id": merchant_id, "file_id": file_id, "now": now},
    )
    if row is None:
        await get(tx, merchant_id=merchant_id, file_id=file_id)
        raise ConflictError("The file has no response yet.", code="partner_file_not_answered")
    return file_of(row)
