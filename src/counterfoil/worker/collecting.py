"""The job that looks at a partner's server, and keeps the whole files that are new."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil import clock
from counterfoil.db.transactions import begin, read
from counterfoil.errors import CounterfoilError
from counterfoil.points.files import collecting, files, keys, partners, sftp, verbs
from counterfoil.points.files.partners import Partner
from counterfoil.webhooks.addresses import PUBLIC, Guard

_log = structlog.get_logger(__name__)


async def collect_job(engine: AsyncEngine, payload: dict[str, Any], *, guard: Guard = PUBLIC) -> None:
    """Look at a partner's server, and keep the whole files that are new."""
    merchant_id, partner_id = UUID(payload["merchant_id"]), payload["partner_id"]
    async with read(engine) as snapshot:
        partner = await partners.get(snapshot, merchant_id=merchant_id, partner_id=partner_id)
    error = None
    try:
        await collect(engine, partner, guard=guard)
    except CounterfoilError as failed:
        _log.warning("a partner's server could not be read", partner=partner_id, error=failed.detail)
        error = {"code": failed.code, "detail": failed.detail}
    async with begin(engine) as tx:
        await collecting.note(tx, partner=partner, error=error)


async def collect(engine: AsyncEngine, partner: Partner, *, guard: Guard) -> int:
    """Fetch what is new on a partner's server; gives how many files that were."""
    server = partner.terms.server
    if server is None or partner.state == "closed":
        return 0
    async with read(engine) as snapshot:
        key = await keys.client_key(snapshot, merchant_id=partner.merchant_id)
    fetched = 0
    async with sftp.connect(server, client_key=key, guard=guard) as connection:
        for remote in await sftp.list_whole(connection, server):
            async with read(engine) as snapshot:
                known = await collecting.is_known(snapshot, partner=partner, remote=remote)
            if not known:
                with tempfile.TemporaryDirectory(prefix="counterfoil-fetch-") as directory:
                    path = Path(directory) / "file"
                    await sftp.fetch(connection, server, remote.name, path, most_bytes=files.MOST_BYTES)
                    async with begin(engine) as tx:
                        await verbs.receive(
                            tx,
                            merchant_id=partner.merchant_id,
                            partner_id=partner.partner_id,
                            name=remote.name,
                            path=path,
                            via="sftp",
                            modified_at=remote.modified_at,
                            now=clock.now(),
                        )
                fetched += 1
            # Only what is kept here is taken from there: after a crash between the two it comes again, and
            # is known.
            await sftp.put_away(connection, server, remote.name)
    return fetched
