"""Accounts: members', by their `customer_id`, and the sources on the other side of their transfers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from counterfoil.db.transactions import Driven, ReadTx, Tx
from counterfoil.errors import ConflictError, NotFoundError
from counterfoil.points.types import AccountState, Source

MOST_AT_ONCE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Account:
    """A member's account as it stands."""

    account_no: int
    customer_id: str
    state: AccountState
    balance: int
    held: int
    pending: int
    version: int
    opened_at: datetime
    closed_at: datetime | None

    @property
    def available(self) -> int:
        """What can be burned now."""
        return self.balance - self.held


ACCOUNT: Final = (
    "account_no, name AS customer_id, state, balance, held, pending, version, opened_at, closed_at"
)
"""The columns of an `Account`."""


async def open_accounts(tx: Driven, *, merchant_id: UUID, customer_ids: Sequence[str], now: datetime) -> int:
    """Open accounts for these customers, those that have none yet; gives how many were opened."""
    db = await tx.driver()
    done = await db.execute(
        """INSERT INTO points_accounts (merchant_id, name, opened_at)
           SELECT $1, name, $3 FROM unnest($2::text[]) AS k(name) GROUP BY name ORDER BY name
           ON CONFLICT (merchant_id, name) WHERE source IS NULL DO NOTHING""",
        merchant_id,
        list(customer_ids),
        now,
    )
    return int(done.rpartition(" ")[2])


async def get(tx: ReadTx, *, merchant_id: UUID, customer_id: str) -> Account:
    """A member's account; `NotFoundError` (`points_account_not_found`) if there is none."""
    row = await tx.first(
        f"""SELECT {ACCOUNT} FROM points_accounts
            WHERE merchant_id = :merchant_id AND source IS NULL AND name = :name""",
        {"merchant_id": merchant_id, "name": customer_id},
    )
    if row is None:
        raise NotFoundError(
            f"The customer {customer_id!r} has no points account; open one first.",
            code="points_account_not_found",
        )
    return Account(**row._mapping)


async def close(tx: Tx, *, merchant_id: UUID, customer_id: str, now: datetime) -> Account:
    """Close an account: nothing is credited to it any more. Closed before, it stays as it is.

    Raises `ConflictError` (`points_account_not_empty`) while it has points, or waits for some.
    """
    await tx.execute(
        """UPDATE points_accounts SET state = 'closed', closed_at = :now
           WHERE merchant_id = :merchant_id AND source IS NULL AND name = :name AND state = 'open'
             AND balance = 0 AND pending = 0""",
        {"merchant_id": merchant_id, "name": customer_id, "now": now},
    )
    account = await get(tx, merchant_id=merchant_id, customer_id=customer_id)
    if account.state != "closed":
        raise ConflictError(
            f"The account has {account.balance} points and waits for {account.pending}; burn, adjust or "
            "void them first.",
            code="points_account_not_empty",
        )
    return account


async def reopen(tx: Tx, *, merchant_id: UUID, customer_id: str) -> Account:
    """Open a closed account again."""
    await tx.execute(
        """UPDATE points_accounts SET state = 'open', closed_at = NULL
           WHERE merchant_id = :merchant_id AND source IS NULL AND name = :name AND state = 'closed'""",
        {"merchant_id": merchant_id, "name": customer_id},
    )
    return await get(tx, merchant_id=merchant_id, customer_id=customer_id)


async def source_no(tx: Driven, *, merchant_id: UUID, source: Source, name: str = "", now: datetime) -> int:
    """The account of a source, made when it is first needed. `name`: which partner."""
    db = await tx.driver()
    values = merchant_id, source, name
    select = "SELECT account_no FROM points_accounts WHERE merchant_id = $1 AND source = $2 AND name = $3"
    found: int | None = await db.fetchval(select, *values)
    if found is None:
        await db.execute(
            """INSERT INTO points_accounts (merchant_id, source, name, opened_at) VALUES ($1, $2, $3, $4)
               ON CONFLICT (merchant_id, source, name) WHERE source IS NOT NULL DO NOTHING""",
            *values,
            now,
        )
        found = await db.fetchval(select, *values)
    assert found is not None
    return found
