"""A merchant with members, and short ways to ask the verbs of points for something at a chosen time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from counterfoil.db.transactions import Tx
from counterfoil.points import accounts, burning, earning, expiry, ledger, pending, queries, reversals, verify
from counterfoil.points.accounts import Account
from counterfoil.points.burning import Burn, Burned
from counterfoil.points.earning import Paid, Refund, TakenBack
from counterfoil.points.ledger import Entry, Posted
from counterfoil.points.pending import Settled, Settlement
from counterfoil.points.programs import Program
from counterfoil.points.reversals import Reversal, Reversed
from counterfoil.points.verify import Difference
from tests.builders import NOW, make_merchant


@dataclass
class World:
    """A merchant, its members, a partner, and what time it is there."""

    tx: Tx
    merchant_id: UUID
    bank: int
    """The account of a partner: where points come from unless something else is said."""
    now: datetime = NOW
    program: Program = field(default_factory=Program)

    def later(self, **duration: float) -> datetime:
        """Let time pass; gives the time then."""
        self.now += timedelta(**duration)
        return self.now

    def after(self, **duration: float) -> datetime:
        """So much later than now."""
        return self.now + timedelta(**duration)

    @asynccontextmanager
    async def apart(self) -> AsyncIterator[None]:
        """What fails in this block is undone, and the transaction goes on."""
        db = await self.tx.driver()
        async with db.transaction():
            yield

    async def members(self, *customer_ids: str) -> None:
        """Open accounts."""
        await accounts.open_accounts(
            self.tx, merchant_id=self.merchant_id, customer_ids=customer_ids, now=self.now
        )

    async def account(self, customer_id: str = "a") -> Account:
        """A member's account as it stands."""
        return await accounts.get(self.tx, merchant_id=self.merchant_id, customer_id=customer_id)

    async def close(self, customer_id: str = "a") -> Account:
        """Close an account."""
        return await accounts.close(
            self.tx, merchant_id=self.merchant_id, customer_id=customer_id, now=self.now
        )

    def entry(self, points: int, reference: str | None = None, customer_id: str = "a", **said: Any) -> Entry:
        """A transfer to ask for, from the bank."""
        said = {"source_no": self.bank, **said}
        return Entry(customer_id=customer_id, reference=reference, points=points, **said)

    async def post(self, *entries: Entry, limit: int | None = None) -> list[Posted]:
        """Post a batch."""
        return await ledger.post(
            self.tx, merchant_id=self.merchant_id, entries=entries, now=self.now, limit=limit
        )

    async def give(self, points: int, reference: str | None = None, **said: Any) -> Posted:
        """Post one transfer."""
        return (await self.post(self.entry(points, reference, **said)))[0]

    async def settle(self, *asked: tuple[UUID | None, int | None]) -> list[Settled]:
        """Settle pending transfers: which, and how many points of each."""
        settlements = [Settlement(known(transfer_id), points) for transfer_id, points in asked]
        return await pending.settle(
            self.tx, merchant_id=self.merchant_id, settlements=settlements, now=self.now
        )

    async def reverse(self, *asked: Reversal) -> list[Reversed]:
        """Undo transfers."""
        return await reversals.reverse(self.tx, merchant_id=self.merchant_id, reversals=asked, now=self.now)

    async def undo(self, transfer_id: UUID | None, points: int | None = None, **said: Any) -> Reversed:
        """Undo one transfer."""
        return (await self.reverse(Reversal(known(transfer_id), points=points, **said)))[0]

    async def earn(
        self, *orders: tuple[str, int], customer_id: str = "a", **said: Any
    ) -> list[Posted | None]:
        """Orders that were paid now: which, and how much."""
        paid_at = said.get("paid_at", self.now)
        paid = [Paid(order_id, customer_id, paid_minor, paid_at) for order_id, paid_minor in orders]
        return await earning.earn(
            self.tx, merchant_id=self.merchant_id, program=self.program, orders=paid, now=self.now
        )

    async def take_back(self, *refunds: tuple[str, str, int | None]) -> list[TakenBack]:
        """Money that goes back: of which order, which refund, how much."""
        return await earning.take_back(
            self.tx, merchant_id=self.merchant_id, refunds=[Refund(*r) for r in refunds], now=self.now
        )

    async def burn(self, *burns: Burn) -> list[Burned]:
        """Burn points, or hold them."""
        return await burning.burn(
            self.tx, merchant_id=self.merchant_id, program=self.program, burns=burns, now=self.now
        )

    async def expire(self, most: int = 1000) -> int:
        """Expire what is due; gives how many members lost points."""
        return len(await expiry.expire(self.tx, merchant_id=self.merchant_id, now=self.now, most=most))

    async def fall_due(self) -> list[Settled]:
        """Settle what time settles."""
        due = await pending.find_due(self.tx, now=self.now, limit=1000)
        return await pending.settle(
            self.tx, merchant_id=self.merchant_id, settlements=due.get(self.merchant_id, []), now=self.now
        )

    async def lots(self, customer_id: str = "a") -> dict[datetime, int]:
        """What a member has of each lot."""
        found = await queries.list_lots(self.tx, merchant_id=self.merchant_id, customer_id=customer_id)
        return {lot.expires_at: lot.points for lot in found}

    async def figures(self, customer_id: str = "a") -> tuple[int, int, int]:
        """Balance, held, pending."""
        account = await self.account(customer_id)
        return account.balance, account.held, account.pending


def known(transfer_id: UUID | None) -> UUID:
    """A transfer that must have been made."""
    assert transfer_id is not None
    return transfer_id


def codes(outcomes: Sequence[Any]) -> list[str]:
    """The code of each outcome."""
    return [outcome.code for outcome in outcomes]


async def make_world(tx: Tx, *members: str, now: datetime = NOW) -> World:
    """A new merchant with these members."""
    merchant_id = await make_merchant(tx)
    bank = await accounts.source_no(tx, merchant_id=merchant_id, source="partner", name="bank", now=now)
    made = World(tx, merchant_id, bank, now)
    await made.members(*members)
    return made


async def differences(tx: Tx, merchant_id: UUID) -> list[Difference]:
    """Whatever the proof of a merchant's ledger finds."""
    return [d async for proof in verify.verify(tx, merchant_id=merchant_id) for d in proof.differences]
