"""Which job follows which event: the flow of the platform on one page.

A verb publishes an event in its own transaction; `db.outbox` enqueues one job for each subscriber named here.
"""

from __future__ import annotations

from typing import Final

SUBSCRIBERS: Final[dict[str, tuple[str, ...]]] = {
    # Records were added or changed: links that were broken may now be whole, and the other way round; and
    # orders that were paid may earn points.
    "records.recorded": ("linkage.rejoin", "points.earn"),
    # Somebody asked for a campaign analysis.
    "analysis.requested": ("linkage.analyse",),
    # Somebody asked for codes.
    "codes.requested": ("vouchers.generate",),
    # Vouchers or campaigns changed: the programs that asked for it are told.
    "vouchers.changed": ("webhooks.fan_out",),
    # Points moved, were promised or are about to expire: likewise.
    "points.changed": ("webhooks.fan_out",),
    # A partner's file was kept: it is opened, and what is in it stored.
    "points.file_received": ("points.open_file",),
    # Its records are to be credited by one more worker.
    "points.file_opened": ("points.credit_file",),
    # It was rejected, or its last record decided: it is answered.
    "points.file_decided": ("points.answer_file",),
    # It is time to look at a partner's server.
    "points.collection_due": ("points.collect_files",),
}

ONLY_IF: Final[dict[str, str]] = {
    # Hot verbs publish hundreds of batches a second; where no program listens, no job is made of them.
    "webhooks.fan_out": """EXISTS (SELECT FROM webhook_endpoints
        WHERE merchant_id = $1::uuid AND disabled_at IS NULL)""",
    "points.earn": """EXISTS (SELECT FROM points_programs
        WHERE merchant_id = $1::uuid AND (terms->>'earn_from_orders')::boolean)""",
}
"""A condition, in SQL over the merchant's id ($1), without which a job is not enqueued at all."""
