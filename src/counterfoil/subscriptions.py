"""Which job follows which event: the flow of the platform on one page.

A verb publishes an event in its own transaction; `db.outbox` enqueues one job for each subscriber named here.
"""

from __future__ import annotations

from typing import Final

SUBSCRIBERS: Final[dict[str, tuple[str, ...]]] = {
    # Records were added or changed: links that were broken may now be whole, and the other way round.
    "records.recorded": ("linkage.rejoin",),
    # Somebody asked for a campaign analysis.
    "analysis.requested": ("linkage.analyse",),
}
