"""The verbs of files for the edges: each does its work, and tells the merchant's programs what was done."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from uuid import UUID

from counterfoil.db.transactions import Tx
from counterfoil.points.files import events, files
from counterfoil.points.files.files import File
from counterfoil.points.files.types import Via


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
    """As `files.receive`."""
    file = await files.receive(
        tx,
        merchant_id=merchant_id,
        partner_id=partner_id,
        name=name,
        path=path,
        via=via,
        modified_at=modified_at,
        now=now,
    )
    await events.tell(tx, "partner_file.received", file, now=now)
    return file
