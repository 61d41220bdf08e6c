"""Points for a year of a grocer's baskets: what they earned, what was burned, and the proof of the ledger."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Final
from uuid import UUID

from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.db.transactions import begin, read
from counterfoil.demo.complete_journey import TIME_ZONE
from counterfoil.errors import ConflictError
from counterfoil.points import accounts, programs, queries, verbs, verify
from counterfoil.points.accounts import Account
from counterfoil.points.burning import Burn
from counterfoil.points.earning import Refund
from counterfoil.points.programs import Program, Rate
from counterfoil.points.queries import TransferItem
from counterfoil.worker.earning import earn_paid

PROGRAM: Final = Program(
    earn=Rate(points=1, minor=100), burn=Rate(points=1, minor=1), earn_from_orders=True, time_zone=TIME_ZONE
)
"""A point for each dollar, worth a cent."""
BURNED: Final = 500
ENOUGH: Final = 1_000
"""Whoever earned so many points in the year burns `BURNED` of them on the last order."""
_SHOWN: Final = 8

_ORDERS: Final = """
    SELECT order_id, ordered_at FROM orders
    WHERE merchant_id = :merchant_id AND transaction_id IS NOT NULL AND customer_id IS NOT NULL
    ORDER BY ordered_at, order_id"""
_BURNING: Final = """
    SELECT a.name AS customer_id, e.order_id FROM points_accounts a, LATERAL (
        SELECT sum(t.points) AS points, (array_agg(t.order_id ORDER BY t.version DESC))[1] AS order_id
        FROM points_transfers t
        WHERE t.member_no = a.account_no AND t.points > 0 AND t.order_id IS NOT NULL) e
    WHERE a.merchant_id = :merchant_id AND a.source IS NULL AND e.points >= :enough
    ORDER BY e.points DESC, a.name LIMIT 5000"""


@dataclass(frozen=True, slots=True)
class YearOfPoints:
    """What was done, how long the earning took, and what the proof of the ledger looked at."""

    members: int
    orders: int
    earned: int
    seconds: float
    burned: int
    taken_back: int
    account: Account | None
    statement: list[TransferItem]
    proven_accounts: int
    proven_transfers: int
    differences: int


async def give_points(
    engine: AsyncEngine, *, merchant_id: UUID, tell: Callable[[int, int], None]
) -> YearOfPoints:
    """Let the paid orders that are recorded earn; burn some of it, take some back, and prove the ledger.

    Week by week, as of the last order of each, so that statements read as of that year. Doing it again
    changes nothing.
    """
    async with read(engine) as tx:
        rows = await tx.all(_ORDERS, {"merchant_id": merchant_id})
    orders = [(row.order_id, row.ordered_at) for row in rows]
    if not orders:
        raise ConflictError("There are no paid orders to earn points for.", code="demo_failed")
    opened_at, ended_at = orders[0][1], orders[-1][1]
    members = await _join(engine, merchant_id, opened_at)
    started = time.perf_counter()
    earned = 0
    done = 0
    for _, week in groupby(orders, key=lambda order: order[1].isocalendar()[:2]):
        names, times = zip(*week, strict=True)
        async with begin(engine) as tx:
            earned += await earn_paid(tx, merchant_id=merchant_id, kind="orders", keys=names, now=times[-1])
        done += len(names)
        tell(done, len(orders))
    seconds = time.perf_counter() - started
    burned, taken_back, shown = await _use(engine, merchant_id, ended_at)
    account, statement = await _look(engine, merchant_id, shown)
    return YearOfPoints(
        members, len(orders), earned, seconds, burned, taken_back, account, statement,
        *await prove(engine, merchant_id),
    )  # fmt: skip


async def _join(engine: AsyncEngine, merchant_id: UUID, now: datetime) -> int:
    """Set the program, and open an account for everybody who ever paid an order; gives how many there are."""
    names = {"merchant_id": merchant_id}
    async with begin(engine) as tx:
        if await programs.find(tx, merchant_id=merchant_id) is None:
            await programs.put(tx, merchant_id=merchant_id, program=PROGRAM, now=now)
        rows = await tx.all(
            """SELECT DISTINCT customer_id FROM orders
               WHERE merchant_id = :merchant_id AND transaction_id IS NOT NULL AND customer_id IS NOT NULL""",
            names,
        )
        customers = [row.customer_id for row in rows]
        await accounts.open_accounts(tx, merchant_id=merchant_id, customer_ids=customers, now=now)
    return len(customers)


async def _use(engine: AsyncEngine, merchant_id: UUID, now: datetime) -> tuple[int, int, str | None]:
    """Burn points of those who have many, and take back what one order earned.

    Gives how many burned, how many points were taken back, and whose.
    """
    async with begin(engine) as tx:
        rows = await tx.all(_BURNING, {"merchant_id": merchant_id, "enough": ENOUGH})
        burns = [Burn(row.customer_id, row.order_id, BURNED) for row in rows]
        burned = await verbs.burn(tx, merchant_id=merchant_id, program=PROGRAM, burns=burns, now=now)
        refunds = [Refund(row.order_id, "sent back") for row in rows[:1]]
        taken = await verbs.take_back(tx, merchant_id=merchant_id, refunds=refunds, now=now)
    shown = rows[0].customer_id if rows else None
    return sum(b.posted.ok for b in burned), sum(t.points for t in taken), shown


async def _look(
    engine: AsyncEngine, merchant_id: UUID, customer_id: str | None
) -> tuple[Account | None, list[TransferItem]]:
    if customer_id is None:
        return None, []
    async with read(engine) as tx:
        account = await accounts.get(tx, merchant_id=merchant_id, customer_id=customer_id)
        page = await queries.statement(tx, merchant_id=merchant_id, customer_id=customer_id, limit=_SHOWN)
    return account, list(page.data)


async def prove(engine: AsyncEngine, merchant_id: UUID) -> tuple[int, int, int]:
    """Accounts and transfers that were looked at, and differences that were found."""
    async with read(engine) as tx:
        proofs = [proof async for proof in verify.verify(tx, merchant_id=merchant_id)]
    return (
        sum(proof.accounts for proof in proofs),
        sum(proof.transfers for proof in proofs),
        sum(len(proof.differences) for proof in proofs),
    )


def statement_table(year: YearOfPoints) -> Table:
    """The end of one member's statement, the latest first."""
    account = year.account
    told = "nobody has enough points" if account is None else f"member {account.customer_id}"
    table = Table(title=f"A statement of points: {told}", title_justify="left")
    for head in ("when", "what", "order"):
        table.add_column(head)
    for head in ("points", "balance"):
        table.add_column(head, justify="right")
    for item in year.statement:
        what = "taken back" if item.reverses else item.source
        table.add_row(
            f"{item.posted_at:%Y-%m-%d %H:%M}",
            what,
            item.order_id or "",
            f"{item.points:+,}",
            f"{item.balance or 0:,}",
        )
    return table


def figures_table(year: YearOfPoints) -> Table:
    """What the year came to, and that the ledger is proven; `ConflictError` where it is not."""
    table = Table(title="A year of points", title_justify="left")
    table.add_column("")
    table.add_column("")
    speed = f"{year.orders / year.seconds:,.0f} orders a second" if year.earned else "all of it before"
    for name, said in (
        ("members", f"{year.members:,}"),
        ("paid orders", f"{year.orders:,}"),
        ("earned now", f"{year.earned:,}  ({speed})"),
        ("burned by", f"{year.burned:,} members, {BURNED} points each"),
        ("taken back", f"{year.taken_back:,} points of an order that was sent back"),
        (
            "ledger proven",
            f"{year.proven_accounts:,} accounts, {year.proven_transfers:,} transfers, "
            f"[{'red' if year.differences else 'green'}]{year.differences} differences",
        ),
    ):
        table.add_row(name, said)
    if year.differences:
        raise ConflictError("The ledger of points is not what its transfers say.", code="demo_failed")
    return table
