"""A merchant, a receiver, and the little that tests of webhooks share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import anyio
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil import clock
from counterfoil.db.transactions import begin, read
from counterfoil.webhooks import deliveries, endpoints
from counterfoil.webhooks.addresses import guard
from counterfoil.webhooks.jobs import send_webhooks
from counterfoil.webhooks.types import Endpoint
from tests.builders import make_merchant
from tests.webhooks.receiver import Receiver, receiving

HERE = guard("127.0.0.0/8")
"""Lets webhooks come to this machine, as a developer would."""


def event(number: int | str = 1, event_type: str = "voucher.redeemed", **data: Any) -> dict[str, Any]:
    """An event as a publisher tells it."""
    return {
        "id": f"e{number}",
        "type": event_type,
        "time": "2026-06-01T12:00:00+00:00",
        "subject": f"v{number}",
        "data": {"voucher_id": f"v{number}", **data},
    }


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what must come about; far longer than it takes."""
    with anyio.fail_after(60):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.01)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


@dataclass(frozen=True)
class World:
    """A merchant whose programs are told of events."""

    engine: AsyncEngine
    merchant: UUID

    async def endpoint(self, url: str, **more: Any) -> tuple[Endpoint, str]:
        async with begin(self.engine) as tx:
            return await endpoints.create(tx, merchant_id=self.merchant, url=url, now=clock.now(), **more)

    async def tell(self, *events: dict[str, Any], now: datetime | None = None) -> int:
        async with begin(self.engine) as tx:
            return await deliveries.fan_out(
                tx, merchant_id=self.merchant, events=events, now=now or clock.now()
            )

    async def send(self, now: datetime | None = None) -> None:
        """Send until nothing is due; the time stands still at `now` where it is given."""
        await send_webhooks(self.engine, None, guard=HERE, now=clock.now if now is None else lambda: now)

    async def change(self, endpoint: Endpoint, **changes: Any) -> Endpoint:
        async with begin(self.engine) as tx:
            return await endpoints.change(
                tx, merchant_id=self.merchant, endpoint_id=endpoint.id, now=clock.now(), **changes
            )

    async def get(self, endpoint: Endpoint) -> Endpoint:
        async with read(self.engine) as tx:
            return await endpoints.get(tx, merchant_id=self.merchant, endpoint_id=endpoint.id)

    async def all(self, statement: str) -> list[Any]:
        async with read(self.engine) as tx:
            return [tuple(row) for row in await tx.all(statement)]


@pytest.fixture
async def world(engine: AsyncEngine) -> World:
    async with begin(engine) as tx:
        return World(engine, await make_merchant(tx, "grocer"))
