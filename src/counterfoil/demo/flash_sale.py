"""A flash sale against a running server: too many customers, too few vouchers, and what became of them."""

from __future__ import annotations

import asyncio
import random
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from rich.table import Table

from counterfoil import clock
from counterfoil.access import keys
from counterfoil.app import App
from counterfoil.db.transactions import begin, read
from counterfoil.demo.load_client import Answered, Ask, ask_all
from counterfoil.errors import ConflictError
from counterfoil.ids import new_id
from counterfoil.merchants import merchants
from counterfoil.vouchers import campaigns, counters
from counterfoil.vouchers.campaigns import Counters, Limits
from counterfoil.vouchers.counters import Difference
from counterfoil.vouchers.terms import Terms

SHOP: Final = "flash-sale"
STOCK: Final = 2_000
CUSTOMERS: Final = 6_000
"""Each tries twice, as people do."""
BUDGET_MINOR: Final = 1_500_000
TERMS: Final[dict[str, Any]] = {
    "discount": {"kind": "percent", "basis_points": 2_000, "cap_minor": 2_000},
    "minimum_spend_minor": 1_000,
    "claims_per_customer": {"total": 1},
    "validity": {"kind": "after_issue", "days": 1},
    "time_zone": "America/New_York",
}


@dataclass(frozen=True, slots=True)
class Sale:
    """What happened: the answers, and the campaign's counters proven against its rows."""

    claims: list[Answered]
    claim_seconds: float
    redemptions: list[Answered]
    redemption_seconds: float
    reversals: list[Answered]
    counters: Counters
    differences: list[Difference]
    sum_of_discounts: int


@asynccontextmanager
async def _server() -> AsyncIterator[int]:
    """A server process of its own on the demo's database; gives its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [sys.executable, "-m", "counterfoil", "serve", "--role", "api", "--port", str(port)]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await _ready(process, port)
        yield port
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _ready(process: asyncio.subprocess.Process, port: int) -> None:
    for _ in range(600):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if process.returncode is not None:
                break
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return
    raise ConflictError("The server of the flash sale did not start.", code="demo_failed")


async def _open(app: App) -> tuple[UUID, str, str]:
    """A shop (once), a new campaign of it, and a key for an hour."""
    now = clock.now()
    campaign_id = f"flash-{new_id().hex}"
    async with begin(app.engine) as tx:
        shop = await merchants.find(tx, name=SHOP) or await merchants.create(
            tx,
            reference=SHOP,
            name="Flash sale (demo)",
            time_zone="America/New_York",
            currency="USD",
            now=now,
        )
        _, secret = await keys.create(
            tx,
            name="flash sale of the demo",
            merchant_id=shop.id,
            scopes=["vouchers:read", "vouchers:write"],
            expires_at=now + timedelta(hours=1),
            now=now,
        )
        await campaigns.create(
            tx,
            merchant_id=shop.id,
            campaign_id=campaign_id,
            name=f"20 % off for the first {STOCK:,}",
            kind="flash sale",
            attributes={},
            terms=Terms.model_validate(TERMS),
            limits=Limits(stock=STOCK, budget_minor=BUDGET_MINOR),
            now=now,
        )
        await campaigns.move(tx, merchant_id=shop.id, campaign_id=campaign_id, to="active", now=now)
    return shop.id, campaign_id, secret


async def hold_sale(app: App) -> Sale:
    """Hold the sale: claim, redeem, and give a tenth back; each voucher is redeemed by two orders at once."""
    merchant_id, campaign_id, secret = await _open(app)
    chance = random.Random(campaign_id)
    claims = [
        Ask("/v1/vouchers/claim", {"campaign_id": campaign_id, "customer_id": f"customer-{n}"})
        for n in range(CUSTOMERS)
    ] * 2
    chance.shuffle(claims)
    async with _server() as port:
        claimed, claim_seconds = await _timed(port, secret, claims)
        orders = [ask for a in claimed if a.status == 200 for ask in _orders(a, chance)]
        chance.shuffle(orders)
        redeemed, redemption_seconds = await _timed(port, secret, orders)
        done = [a.body["redemption"]["redemption_id"] for a in redeemed if a.status == 200]
        back = [Ask("/v1/vouchers/reverse", {"redemption_id": it, "reason": "returned"}) for it in done[::10]]
        # Twice each: a shop that is not sure says it again.
        reversals, _ = await _timed(port, secret, back * 2)
    async with read(app.engine) as tx:
        names: dict[str, Any] = {"merchant_id": merchant_id, "campaign_id": campaign_id}
        told = await counters.read_counters(tx, **names)
        differences = await counters.verify(tx, **names)
        spent = await tx.scalar(
            """SELECT coalesce(sum(discount_minor - reversed_minor), 0) FROM redemptions
               WHERE merchant_id = :merchant_id AND campaign_id = :campaign_id""",
            names,
        )
    return Sale(
        claimed, claim_seconds, redeemed, redemption_seconds, reversals, told, differences, int(spent)
    )


def _orders(claimed: Answered, chance: random.Random) -> list[Ask]:
    """Two orders for the same voucher, of which one will have it."""
    voucher = claimed.body["voucher"]
    return [
        Ask(
            "/v1/vouchers/redeem",
            {
                "voucher_id": voucher["voucher_id"],
                "customer_id": voucher["customer_id"],
                "order_id": f"order-{voucher['voucher_id']}-{n}",
                "transaction_id": f"payment-{voucher['voucher_id']}-{n}",
                "amount_minor": chance.randrange(1_000, 12_000),
            },
        )
        for n in range(2)
    ]


async def _timed(port: int, secret: str, asks: Sequence[Ask]) -> tuple[list[Answered], float]:
    started = time.perf_counter()
    answers = await ask_all("127.0.0.1", port, secret, asks)
    return answers, time.perf_counter() - started


def figures_table(sale: Sale) -> Table:
    """What was asked and answered, and how fast."""
    table = Table(title="A flash sale, over HTTP, 64 connections, everything on this machine")
    for name in ("", "requests", "done", "refused", "a second", "p50 ms", "p99 ms"):
        table.add_column(name, justify="left" if not name else "right")
    for name, answers, seconds in (
        ("claims", sale.claims, sale.claim_seconds),
        ("redemptions", sale.redemptions, sale.redemption_seconds),
    ):
        times = sorted(a.seconds for a in answers)
        done = sum(a.status == 200 for a in answers)
        table.add_row(
            name,
            f"{len(answers):,}",
            f"{done:,}",
            f"{len(answers) - done:,}",
            f"{len(answers) / seconds:,.0f}",
            f"{times[len(times) // 2] * 1000:.1f}",
            f"{times[len(times) * 99 // 100] * 1000:.1f}",
        )
    return table


def invariants_table(sale: Sale) -> Table:
    """What must hold after any flash sale, and whether it does."""
    codes = [a.body["voucher"]["voucher_id"] for a in sale.claims if a.status == 200]
    customers = Counter(a.body["voucher"]["customer_id"] for a in sale.claims if a.status == 200)
    used = Counter(a.ask.body["voucher_id"] for a in sale.redemptions if a.status == 200)
    told = sale.counters
    rows = (
        ("never oversold", f"{len(set(codes)):,} of {STOCK:,}", len(codes) == len(set(codes)) == STOCK),
        ("no customer has two", f"{len(customers):,} customers", max(customers.values()) == 1),
        ("no voucher used twice", f"{sum(used.values()):,} redemptions", max(used.values(), default=1) == 1),
        (
            "within the budget",
            f"{told.spent_minor / 100:,.2f} of {BUDGET_MINOR / 100:,.2f}",
            told.spent_minor <= BUDGET_MINOR,
        ),
        (
            "the budget is the sum of discounts",
            f"{sale.sum_of_discounts / 100:,.2f}",
            told.spent_minor == sale.sum_of_discounts,
        ),
        ("the counters equal the rows", f"{len(sale.differences)} differ", not sale.differences),
    )
    table = Table(title="What must hold, and does")
    for name in ("", "", ""):
        table.add_column(name)
    for name, found, holds in rows:
        table.add_row(name, found, "[green]yes" if holds else "[red]NO")
    if not all(holds for _, _, holds in rows):
        raise ConflictError("An invariant of the flash sale does not hold.", code="demo_failed")
    return table
