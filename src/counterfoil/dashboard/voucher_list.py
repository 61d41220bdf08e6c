"""Finding vouchers: by the beginning of the code, by customer, by campaign."""

from __future__ import annotations

from typing import Final, cast, get_args

from starlette.responses import Response

from counterfoil.dashboard.visits import Visit
from counterfoil.db.paging import Page
from counterfoil.db.transactions import ReadTx, read
from counterfoil.vouchers import queries
from counterfoil.vouchers.queries import VoucherFilter, VoucherLine

PAGE_SIZE: Final = 25
FILTERS: Final[tuple[str, ...]] = get_args(VoucherFilter)


async def show(visit: Visit) -> Response:
    """The search, and what it found."""
    code, customer = visit.argument("code"), visit.argument("customer")
    async with read(visit.engine) as tx:
        found = await _find(tx, visit, code=code, customer=customer)
    return visit.render(
        "vouchers.html",
        code=code,
        customer=customer,
        page=found,
        first=not visit.argument("cursor", longest=2000),
        section="vouchers",
    )


async def _find(tx: ReadTx, visit: Visit, *, code: str, customer: str) -> Page[VoucherLine]:
    merchant_id = visit.merchant.id
    cursor = visit.argument("cursor", longest=2000) or None
    if customer:
        return await queries.list_vouchers_of_customer(
            tx, merchant_id=merchant_id, customer_id=customer, limit=PAGE_SIZE, cursor=cursor
        )
    return await queries.search_vouchers(
        tx, merchant_id=merchant_id, prefix=code, limit=PAGE_SIZE, cursor=cursor
    )


def filter_of(visit: Visit) -> VoucherFilter:
    """Which vouchers of a campaign are asked for."""
    chosen = visit.argument("only")
    return cast("VoucherFilter", chosen if chosen in FILTERS else "all")
