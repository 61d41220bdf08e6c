from __future__ import annotations

import json

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.db.outbox import publish
from counterfoil.db.transactions import begin, read


async def _queued(engine: AsyncEngine) -> list[tuple[str, dict[str, object]]]:
    async with read(engine) as seen:
        rows = await seen.all("SELECT entrypoint, payload FROM pgqueuer ORDER BY id")
    return [(row.entrypoint, json.loads(row.payload)) for row in rows]


async def test_a_job_is_queued_if_and_only_if_its_transaction_commits(engine: AsyncEngine) -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with begin(engine) as tx:
            await publish(tx, "analysis.requested", {"job_id": "lost"})
            raise ZeroDivisionError
    async with begin(engine) as tx:
        await publish(tx, "analysis.requested", {"job_id": "kept"})
        assert await _queued(engine) == []
    assert await _queued(engine) == [
        ("linkage.analyse", {"event": "analysis.requested", "job_id": "kept"}),
    ]


async def test_an_event_that_nobody_declared_is_a_bug(engine: AsyncEngine) -> None:
    with pytest.raises(KeyError):
        async with begin(engine) as tx:
            await publish(tx, "nobody.knows", {})
