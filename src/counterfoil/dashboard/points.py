"""The overview of points: how the ledger stands, where points come from, what expires, and the members."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final
from zoneinfo import ZoneInfo

from starlette.responses import RedirectResponse, Response

from counterfoil.dashboard import charts, points_labels
from counterfoil.dashboard.campaign_codes import lines_of
from counterfoil.dashboard.charts import Series
from counterfoil.dashboard.forms import UnusableFormError
from counterfoil.dashboard.points_words import ProgramInWords
from counterfoil.dashboard.visits import Visit
from counterfoil.db.transactions import begin, read
from counterfoil.errors import UnavailableError
from counterfoil.points import accounts, figures, programs, queries
from counterfoil.points.queries import SourceTotal, Totals

PAGE_SIZE: Final = 25
LARGEST: Final = 2 * 1024 * 1024
"""Of the form that opens accounts: ten thousand ids, one a line."""
LONGEST_ID: Final = 200
_MONTHS: Final = 12
_SUM_SECONDS: Final = 3
"""How long a page waits for the sums of a large ledger."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A source with its part of the longest bar, of one."""

    total: SourceTotal
    part: float


async def show(visit: Visit, *, problem: tuple[str, str] | None = None, status: int = 200) -> Response:
    """The page; `problem` is a form that was refused, and the code of the reason."""
    prefix, cursor = visit.argument("q"), visit.argument("cursor", longest=2000)
    merchant_id, zone = visit.merchant.id, visit.merchant.time_zone
    async with read(visit.engine) as tx:
        program = await programs.find(tx, merchant_id=merchant_id)
        page = await queries.list_accounts(
            tx, merchant_id=merchant_id, prefix=prefix, limit=PAGE_SIZE, cursor=cursor or None
        )
        expiring = await figures.expiring_by_month(tx, merchant_id=merchant_id, zone=zone, now=visit.now)
    totals, whole = await _totals(visit)
    return visit.render(
        "points.html",
        status=status,
        program=program,
        in_words=ProgramInWords(visit.words, visit.merchant.currency),
        totals=totals,
        whole=whole,
        flows=flows_of(totals.sources),
        expiring=by_month(expiring, this_month(visit)) if expiring else None,
        page=page,
        prefix=prefix,
        first=not cursor,
        problem=problem,
        form=visit.form,
        done=visit.argument("done") if visit.argument("done") in points_labels.DONE else "",
        points=points_labels,
        section="points",
    )


async def _totals(visit: Visit) -> tuple[Totals, bool]:
    """The sums of the ledger, and whether there was time to read all of it: to tell the sources."""
    try:
        async with read(visit.engine) as tx:
            await tx.execute(f"SET LOCAL statement_timeout = '{_SUM_SECONDS}s'")
            return await queries.totals(tx, merchant_id=visit.merchant.id), True
    except UnavailableError as error:
        if error.code != "timed_out":
            raise
    async with read(visit.engine) as tx:
        return await queries.members_together(tx, merchant_id=visit.merchant.id), False


def flows_of(sources: list[SourceTotal]) -> list[Flow]:
    """What came from each source and went to it, in the order of a program's life."""
    order = list(points_labels.SOURCES)
    found = sorted((s for s in sources if s.transfers), key=lambda s: (order.index(s.source), s.name))
    most = max((abs(source.points) for source in found), default=0)
    return [Flow(source, abs(source.points) / most if most else 0.0) for source in found]


def this_month(visit: Visit) -> date:
    """The first day of the month, by the merchant's clock."""
    return visit.now.astimezone(ZoneInfo(visit.merchant.time_zone)).date().replace(day=1)


def by_month(points: dict[date, int], first: date) -> Series:
    """Points that expire in each month, at least for a year."""
    year_on = first.replace(year=first.year + (first.month + _MONTHS - 2) // 12)
    last = year_on.replace(month=(first.month + _MONTHS - 2) % 12 + 1)
    return charts.series("expiring", points, span=[first, last])


async def open_accounts(visit: Visit) -> Response:
    """Open accounts for the customers that were typed in."""
    try:
        customers = _customers(visit)
    except UnusableFormError as error:
        return await show(visit, problem=("open", str(error)), status=422)
    async with begin(visit.engine) as tx:
        await accounts.open_accounts(tx, merchant_id=visit.merchant.id, customer_ids=customers, now=visit.now)
    return RedirectResponse(f"{visit.home}/points?done=opened", status_code=303)


def _customers(visit: Visit) -> list[str]:
    customers = list(dict.fromkeys(lines_of(visit.form.get("customers", ""))))
    if not customers:
        raise UnusableFormError("customers_missing")
    if len(customers) > accounts.MOST_AT_ONCE:
        raise UnusableFormError("customers_too_many")
    if any(len(customer) > LONGEST_ID or "\x00" in customer for customer in customers):
        raise UnusableFormError("customer_too_long")
    return customers
