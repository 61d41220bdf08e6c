"""What the merchant's programs are told of partners' files: how each goes on, not each of its records."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

from counterfoil.db.outbox import publish
from counterfoil.db.transactions import Driven
from counterfoil.ids import format_id
from counterfoil.points.files.files import File

Type = Literal[
    "partner_file.received", "partner_file.rejected", "partner_file.credited", "partner_file.answered"
]

FACTS: Final = (
    "partner_id", "name", "state", "sequence", "reason", "detail", "expected_sequence", "records", "points",
    "credited", "credited_points", "rejected", "rejected_points", "duplicate", "duplicate_points",
    "response_name",
)  # fmt: skip


async def tell(tx: Driven, event: Type, file: File, *, now: datetime) -> None:
    """Tell of a file. The event's id comes from the file, so that telling it twice is telling it once."""
    file_id = format_id("partner_file", file.file_id)
    told = {
        "id": f"{event.partition('.')[2]}:{file_id}",
        "type": event,
        "time": now.isoformat(),
        "subject": file_id,
        "data": {"file_id": file_id, **{name: getattr(file, name) for name in FACTS}},
    }
    await publish(tx, "points.changed", {"merchant_id": str(file.merchant_id), "events": [told]})
