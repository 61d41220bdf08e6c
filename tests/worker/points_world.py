"""A merchant with members in a database where commits are seen, for what workers do to points."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil import clock
from counterfoil.db.transactions import begin, read
from counterfoil.points import accounts, programs, verbs, verify
from counterfoil.points.ledger import Entry, Posted
from counterfoil.points.programs import Program
from counterfoil.webhooks import endpoints
from tests.builders import load, make_merchant


@dataclass
class PointsWorld:
    """A merchant, and short ways to ask."""

    engine: AsyncEngine
    merchant_id: UUID
    bank: int

    async def members(self, *customer_ids: str) -> None:
        """Open accounts."""
        async with begin(self.engine) as tx:
            await accounts.open_accounts(
                tx, merchant_id=self.merchant_id, customer_ids=customer_ids, now=clock.now()
            )

    async def program(self, **said: Any) -> None:
        """Set the program."""
        async with begin(self.engine) as tx:
            await programs.put(
                tx, merchant_id=self.merchant_id, program=Program.model_validate(said), now=clock.now()
            )

    async def listen(self, *events: str) -> None:
        """Let a program of the merchant be told."""
        async with begin(self.engine) as tx:
            await endpoints.create(
                tx,
                merchant_id=self.merchant_id,
                url="https://hooks.invalid/",
                events=events,
                now=clock.now(),
            )

    async def post(self, *entries: tuple[str, str | None, int], **said: Any) -> list[Posted]:
        """Post transfers: of whom, by which reference, how many points."""
        asked = [
            Entry(customer_id=customer_id, source_no=self.bank, reference=reference, points=points, **said)
            for customer_id, reference, points in entries
        ]
        async with begin(self.engine) as tx:
            return await verbs.post(tx, merchant_id=self.merchant_id, entries=asked, now=clock.now())

    async def load(self, kind: str, *rows: dict[str, Any], now: datetime | None = None) -> None:
        """Records of the merchant come in."""
        async with begin(self.engine) as tx:
            await load(tx, self.merchant_id, kind, *rows, now=now or clock.now())

    async def figures(self, customer_id: str = "a") -> tuple[int, int, int]:
        """Balance, held, pending."""
        async with read(self.engine) as tx:
            account = await accounts.get(tx, merchant_id=self.merchant_id, customer_id=customer_id)
        return account.balance, account.held, account.pending

    async def balances(self) -> dict[str, int]:
        """The balance of every member."""
        rows = await self.all("SELECT name, balance FROM points_accounts WHERE source IS NULL")
        return {row.name: row.balance for row in rows}

    async def all(self, statement: str) -> Any:
        """All rows of a statement."""
        async with read(self.engine) as tx:
            return await tx.all(statement)

    async def told(self) -> list[dict[str, Any]]:
        """The events of points that were published so far, in their order."""
        rows = await self.all(
            "SELECT payload FROM pgqueuer WHERE entrypoint = 'webhooks.fan_out' ORDER BY id"
        )
        return [event for row in rows for event in json.loads(row.payload)["events"]]

    async def queued(self, job: str) -> list[dict[str, Any]]:
        """What jobs of a name wait, and forget them."""
        async with begin(self.engine) as tx:
            rows = await tx.all(
                "DELETE FROM pgqueuer WHERE entrypoint = :job RETURNING id, payload", {"job": job}
            )
        return [json.loads(row.payload) for row in sorted(rows, key=lambda row: int(row.id))]

    async def prove(self) -> None:
        """The ledger is what its transfers say."""
        async with read(self.engine) as tx:
            async for proof in verify.verify(tx, merchant_id=self.merchant_id):
                assert not proof.differences


async def make_points_world(engine: AsyncEngine) -> PointsWorld:
    """A new merchant with a member, `a`."""
    async with begin(engine) as tx:
        merchant_id = await make_merchant(tx)
        bank = await accounts.source_no(
            tx, merchant_id=merchant_id, source="partner", name="bank", now=clock.now()
        )
    world = PointsWorld(engine, merchant_id, bank)
    await world.members("a")
    return world


def ago(**duration: float) -> datetime:
    """So long ago."""
    return clock.now() - timedelta(**duration)


def ahead(**duration: float) -> datetime:
    """In so long."""
    return clock.now() + timedelta(**duration)
