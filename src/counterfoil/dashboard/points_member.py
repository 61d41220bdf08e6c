"""A member's page: what they have, what is to come, what expires when, and every transfer."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final
from urllib.parse import quote
from zoneinfo import ZoneInfo

from starlette.responses import Response

from counterfoil.dashboard import charts, points_labels
from counterfoil.dashboard.points import by_month, this_month
from counterfoil.dashboard.visits import Visit
from counterfoil.db.transactions import read
from counterfoil.ids import format_id, new_id
from counterfoil.points import accounts, programs, queries
from counterfoil.points.accounts import Account
from counterfoil.points.programs import Program
from counterfoil.points.queries import Lot, TransferItem

PAGE_SIZE: Final = 25
MOST_WAITING: Final = 50
"""Pending transfers that are shown, the soonest due first."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The balance as parts of a bar that is 100 wide, with what is to come after it."""

    available: float
    held: float
    pending: float


def address_of(visit: Visit, customer_id: str) -> str:
    """The address of a member's page."""
    return f"{visit.home}/points/members/{quote(customer_id, safe='')}"


async def show(visit: Visit, *, problem: tuple[str, str] | None = None, status: int = 200) -> Response:
    """The page; `problem` is a form that was refused, and the code of the reason."""
    cursor = visit.argument("cursor", longest=2000)
    which: dict[str, Any] = {
        "merchant_id": visit.merchant.id,
        "customer_id": visit.request.path_params["customer_id"],
    }
    async with read(visit.engine) as tx:
        account = await accounts.get(tx, **which)
        program = await programs.find(tx, merchant_id=visit.merchant.id)
        lots = await queries.list_lots(tx, **which)
        waiting = await queries.list_pending(tx, **which, limit=MOST_WAITING + 1)
        page = await queries.statement(tx, **which, limit=PAGE_SIZE, cursor=cursor or None)
    return visit.render(
        "points_member.html",
        status=status,
        account=account,
        here=address_of(visit, account.customer_id),
        standing=standing_of(account),
        program=program,
        worth=(program or Program()).burn.worth_minor(account.available) if program else None,
        expires_at=program.expires_at(visit.now) if program else None,
        lots=lots,
        lasting=account.balance - sum(lot.points for lot in lots),
        expiring=by_month(_by_month(visit, lots), this_month(visit)) if lots else None,
        waiting=waiting[:MOST_WAITING],
        more_waiting=len(waiting) > MOST_WAITING,
        page=page,
        spark=charts.sparkline([item.balance or 0 for item in reversed(page.data)]),
        first=not cursor,
        problem=problem,
        form=visit.form,
        done=visit.argument("done") if visit.argument("done") in points_labels.DONE else "",
        fresh=new_reference(),
        transfer_id=transfer_id,
        left_of=left_of,
        points=points_labels,
        section="points",
    )


def new_reference() -> str:
    """A name for what a form does, so that sending the form twice does it once."""
    return f"desk-{new_id().hex}"


def transfer_id(item: TransferItem) -> str:
    """The public id of a transfer."""
    return format_id("transfer", item.transfer_id)


def left_of(item: TransferItem) -> int:
    """How many points of a transfer can still be undone; none of what undoes another itself."""
    return 0 if item.reverses is not None else abs(item.points) - item.reversed_points


def standing_of(account: Account) -> Standing:
    """How balance and promises share a bar."""
    whole = account.balance + account.pending
    parts = (account.available, account.held, account.pending)
    return Standing(*(round(100 * part / whole, 2) if whole else 0.0 for part in parts))


def _by_month(visit: Visit, lots: list[Lot]) -> dict[date, int]:
    zone, found = ZoneInfo(visit.merchant.time_zone), defaultdict[date, int](int)
    for lot in lots:
        last = (lot.expires_at - timedelta(microseconds=1)).astimezone(zone).date()
        found[last.replace(day=1)] += lot.points
    return dict(found)
