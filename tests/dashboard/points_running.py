"""The fair's points program: members with points of every origin, some held, some to come, some undone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from counterfoil import clock
from counterfoil.app import App
from counterfoil.db.transactions import Tx, begin
from counterfoil.merchants.merchants import Merchant
from counterfoil.points import accounts, programs, verbs
from counterfoil.points.burning import Burn
from counterfoil.points.earning import Paid, Refund
from counterfoil.points.ledger import Entry
from counterfoil.points.programs import Expiry, Program, Rate

PROGRAM: Final = Program(
    earn=Rate(points=1, minor=100),
    burn=Rate(points=100, minor=100),
    expiry=Expiry(after_months=12),
    max_balance=100_000,
    time_zone="Asia/Shanghai",
)
STRANGE: Final = "<script>alert('x')</script>/../m b?#&\"%2F"


async def give(tx: Tx, merchant: Merchant, customer_id: str, points: int, **more: Any) -> None:
    """Points by hand; they must be posted."""
    now = clock.now()
    source = await accounts.source_no(tx, merchant_id=merchant.id, source="adjusted", now=now)
    reference = more.pop("reference", None)
    entry = Entry(customer_id=customer_id, source_no=source, reference=reference, points=points, **more)
    (posted,) = await verbs.post(tx, merchant_id=merchant.id, entries=[entry], now=now)
    assert posted.ok, posted


async def run_points(app: App, fair: Merchant) -> None:
    """The program, its members and what happened to their points."""
    now = clock.now()
    which: dict[str, Any] = {"merchant_id": fair.id, "now": now}
    async with begin(app.engine) as tx:
        await programs.put(tx, **which, program=PROGRAM)
        members = ["ann", "bob", "closed", STRANGE, *(f"guest{n:02}" for n in range(30))]
        await accounts.open_accounts(tx, **which, customer_ids=members)
        orders = [Paid(f"O-{n}", "ann", 5_000 + 100 * n, now - timedelta(days=31 * n)) for n in range(1, 4)]
        later = PROGRAM.model_copy(update={"activate_after_days": 14})
        await verbs.earn(tx, **which, program=PROGRAM, orders=orders)
        await verbs.earn(tx, **which, program=later, orders=[Paid("O-9", "ann", 9_000, now)])
        await verbs.take_back(tx, **which, refunds=[Refund("O-2", "R-1", 2_600)])
        await give(tx, fair, "ann", 40, note="<b>late</b> parcel (Ada)", reference="desk-1")
        burns = [Burn("ann", "B-1", 25), Burn("ann", "B-2", 30, now + timedelta(hours=1))]
        await verbs.burn(tx, **which, program=PROGRAM, burns=burns)
        await give(tx, fair, STRANGE, 7, note="<i>x</i>")
        await accounts.close(tx, **which, customer_id="closed")
