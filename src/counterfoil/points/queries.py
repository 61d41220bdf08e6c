"""Reading points: members, their statements, what is pending and what expires, balances of the past."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row

from counterfoil.db.paging import Page, decode_cursor, page_of
from counterfoil.db.transactions import ReadTx
from counterfoil.errors import NotFoundError
from counterfoil.points.accounts import ACCOUNT, Account, get
from counterfoil.points.types import PendingState, Source


@dataclass(frozen=True, slots=True)
class TransferItem:
    """A transfer, as it is shown: both sides of it, and the member's balance after it."""

    transfer_id: UUID
    customer_id: str
    source: Source
    source_name: str
    """Which partner; '' for the other sources."""
    reference: str | None
    points: int
    """Positive: credited to the member; negative: debited."""
    balance: int | None
    version: int | None
    order_id: str | None
    amount_minor: int | None
    note: str | None
    expires_at: datetime | None
    reverses: UUID | None
    settles: UUID | None
    reversed_points: int
    """How much of it was undone by others, without sign."""
    state: PendingState
    """`posted`; or of a pending transfer what became of it."""
    due_at: datetime | None
    posted_at: datetime


@dataclass(frozen=True, slots=True)
class Lot:
    """Points of a member that expire at one moment."""

    expires_at: datetime
    points: int


@dataclass(frozen=True, slots=True)
class SourceTotal:
    """What a source gave (positive) or took (negative), and how many transfers it had."""

    source: Source
    name: str
    points: int
    transfers: int


@dataclass(frozen=True, slots=True)
class Totals:
    """The whole ledger of a merchant in a few figures."""

    members: int
    balance: int
    held: int
    pending: int
    sources: list[SourceTotal]


_TRANSFER: Final = """
    SELECT t.transfer_id, a.name AS customer_id, s.source, s.name AS source_name, t.reference, t.points,
           t.balance, t.version, t.order_id, t.amount_minor, t.note, t.expires_at, t.reverses, t.settles,
           coalesce(r.reversed, 0) AS reversed_points, coalesce(p.state, 'posted') AS state, p.due_at,
           t.posted_at
    FROM points_transfers t
    JOIN points_accounts a ON a.account_no = t.member_no
    JOIN points_accounts s ON s.account_no = t.source_no
    LEFT JOIN points_reversals r ON r.transfer_id = t.transfer_id
    LEFT JOIN points_pending p ON p.transfer_id = t.transfer_id"""
_LATEST: Final = 2**62


async def list_accounts(
    tx: ReadTx, *, merchant_id: UUID, prefix: str = "", limit: int, cursor: str | None = None
) -> Page[Account]:
    """Members by their `customer_id`, those that begin with `prefix`."""
    after = decode_cursor(cursor, kinds=(str,))[0] if cursor is not None else ""
    rows = await tx.all(
        f"""SELECT {ACCOUNT} FROM points_accounts
            WHERE merchant_id = :merchant_id AND source IS NULL AND name > :after
              AND starts_with(name, :prefix) AND name >= :prefix
            ORDER BY name LIMIT :limit""",
        {"merchant_id": merchant_id, "after": after, "prefix": prefix, "limit": limit + 1},
    )
    return page_of(
        [Account(**row._mapping) for row in rows], limit=limit, key=lambda account: (account.customer_id,)
    )


async def statement(
    tx: ReadTx, *, merchant_id: UUID, customer_id: str, limit: int, cursor: str | None = None
) -> Page[TransferItem]:
    """A member's transfers, the latest first; what is pending is in `list_pending`.

    Raises `NotFoundError` (`points_account_not_found`).
    """
    account = await get(tx, merchant_id=merchant_id, customer_id=customer_id)
    before = decode_cursor(cursor, kinds=(int,))[0] if cursor is not None else _LATEST
    rows = await tx.all(
        f"""{_TRANSFER} WHERE t.member_no = :member AND t.version < :before
            ORDER BY t.version DESC LIMIT :limit""",
        {"member": account.account_no, "before": before, "limit": limit + 1},
    )
    return page_of([_transfer(row) for row in rows], limit=limit, key=lambda item: (item.version or 0,))


async def list_pending(tx: ReadTx, *, merchant_id: UUID, customer_id: str, limit: int) -> list[TransferItem]:
    """What a member waits for and what is held of the balance, the soonest due first."""
    account = await get(tx, merchant_id=merchant_id, customer_id=customer_id)
    rows = await tx.all(
        f"""{_TRANSFER} WHERE p.member_no = :member AND p.state = 'pending'
            ORDER BY p.due_at NULLS LAST, t.transfer_id LIMIT :limit""",
        {"member": account.account_no, "limit": limit},
    )
    return [_transfer(row) for row in rows]


async def list_lots(tx: ReadTx, *, merchant_id: UUID, customer_id: str) -> list[Lot]:
    """What a member has of each lot, the soonest to expire first; the rest of the balance does not expire."""
    account = await get(tx, merchant_id=merchant_id, customer_id=customer_id)
    rows = await tx.all(
        "SELECT expires_at, points FROM points_lots WHERE member_no = :m ORDER BY expires_at",
        {"m": account.account_no},
    )
    return [Lot(**row._mapping) for row in rows]


async def balance_at(tx: ReadTx, *, merchant_id: UUID, customer_id: str, at: datetime) -> int:
    """A member's balance as it was at a moment: after the last transfer that was posted by then."""
    account = await get(tx, merchant_id=merchant_id, customer_id=customer_id)
    found: int | None = await tx.scalar(
        """SELECT balance FROM points_transfers
           WHERE member_no = :member AND version IS NOT NULL AND posted_at <= :at
           ORDER BY version DESC LIMIT 1""",
        {"member": account.account_no, "at": at},
    )
    return found or 0


async def get_transfer(tx: ReadTx, *, merchant_id: UUID, transfer_id: UUID) -> TransferItem:
    """One transfer; `NotFoundError` (`transfer_not_found`) if there is none of this merchant."""
    row = await tx.first(
        f"{_TRANSFER} WHERE t.transfer_id = :transfer_id AND t.merchant_id = :merchant_id",
        {"merchant_id": merchant_id, "transfer_id": transfer_id},
    )
    if row is None:
        raise NotFoundError("There is no such transfer.", code="transfer_not_found")
    return _transfer(row)


async def list_of_order(tx: ReadTx, *, merchant_id: UUID, order_id: str) -> list[TransferItem]:
    """What an order earned and burned, and what of it was undone, in the order of time; at most 500."""
    rows = await tx.all(
        f"""{_TRANSFER} WHERE t.merchant_id = :merchant_id AND t.order_id = :order_id
            ORDER BY t.transfer_id LIMIT 500""",
        {"merchant_id": merchant_id, "order_id": order_id},
    )
    return [_transfer(row) for row in rows]


async def members_together(tx: ReadTx, *, merchant_id: UUID) -> Totals:
    """What all members have together, without what each source gave: that reads the whole ledger."""
    row = await tx.first(
        """SELECT count(*) AS members, coalesce(sum(balance), 0)::bigint AS balance,
                  coalesce(sum(held), 0)::bigint AS held, coalesce(sum(pending), 0)::bigint AS pending
           FROM points_accounts WHERE merchant_id = :merchant_id AND source IS NULL""",
        {"merchant_id": merchant_id},
    )
    assert row is not None
    return Totals(**row._mapping, sources=[])


async def totals(tx: ReadTx, *, merchant_id: UUID) -> Totals:
    """What all members have together, and what each source gave or took. Reads the whole ledger."""
    together = await members_together(tx, merchant_id=merchant_id)
    sources = await tx.all(
        """SELECT s.source, s.name, coalesce(sum(t.points), 0)::bigint AS points, count(t.points) AS transfers
           FROM points_accounts s
           LEFT JOIN points_transfers t ON t.source_no = s.account_no AND t.version IS NOT NULL
           WHERE s.merchant_id = :merchant_id AND s.source IS NOT NULL
           GROUP BY s.account_no ORDER BY s.source, s.name""",
        {"merchant_id": merchant_id},
    )
    return replace(together, sources=[SourceTotal(**source._mapping) for source in sources])


async def export(tx: ReadTx, *, merchant_id: UUID, most: int = 5_000) -> AsyncIterator[list[TransferItem]]:
    """All transfers of a merchant in the order in which they were made, so many at a time."""
    after = UUID(int=0)
    while True:
        rows = await tx.all(
            f"""{_TRANSFER} WHERE t.merchant_id = :merchant_id AND t.transfer_id > :after
                ORDER BY t.transfer_id LIMIT :most""",
            {"merchant_id": merchant_id, "after": after, "most": most},
        )
        if not rows:
            return
        yield [_transfer(row) for row in rows]
        after = rows[-1].transfer_id


def _transfer(row: Row[Any]) -> TransferItem:
    return TransferItem(**row._mapping)
