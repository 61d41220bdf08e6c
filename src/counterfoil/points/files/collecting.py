"""Which partners' servers are to be looked at, and what was found there before."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final

from counterfoil.db.outbox import publish
from counterfoil.db.transactions import ReadTx, Tx
from counterfoil.points.files.partners import Partner
from counterfoil.points.files.remote_files import Remote

_DUE: Final = """
    UPDATE points_partners p SET collected_at = :now
    WHERE p.state = 'open' AND p.terms->'server' <> 'null'
      AND (p.collected_at IS NULL
           OR p.collected_at <= CAST(:now AS timestamptz)
                                - make_interval(secs => (p.terms->>'collect_every_seconds')::int))
    RETURNING p.merchant_id, p.partner_id"""


async def call_due(tx: Tx, *, now: datetime) -> None:
    """Have the servers looked at whose time has come: by one worker each, however many look here at once."""
    for row in await tx.all(_DUE, {"now": now}):
        payload = {"merchant_id": str(row.merchant_id), "partner_id": row.partner_id}
        await publish(tx, "points.collection_due", payload)


async def is_known(tx: ReadTx, *, partner: Partner, remote: Remote) -> bool:
    """Whether this very file was collected before, where the partner leaves files in their place."""
    found = await tx.scalar(
        """SELECT true FROM points_files
           WHERE merchant_id = :merchant_id AND partner_id = :partner_id AND name = :name AND via = 'sftp'
             AND size_bytes = :size AND modified_at = :modified_at LIMIT 1""",
        {
            "merchant_id": partner.merchant_id,
            "partner_id": partner.partner_id,
            "name": remote.name,
            "size": remote.size,
            "modified_at": remote.modified_at,
        },
    )
    return found is True


async def note(tx: Tx, *, partner: Partner, error: dict[str, Any] | None) -> None:
    """Note why a server could not be read; None: it could."""
    await tx.execute(
        """UPDATE points_partners SET collect_error = CAST(:error AS jsonb)
           WHERE merchant_id = :merchant_id AND partner_id = :partner_id""",
        {
            "merchant_id": partner.merchant_id,
            "partner_id": partner.partner_id,
            "error": json.dumps(error) if error else None,
        },
    )
