"""A voucher's page: its whole life."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from starlette.responses import Response

from counterfoil.dashboard import labels, run_labels
from counterfoil.dashboard.qr import qr_of
from counterfoil.dashboard.run_timeline import RunTimeline
from counterfoil.dashboard.timeline import Event, Timeline
from counterfoil.dashboard.visits import Visit
from counterfoil.db.transactions import ReadTx, read
from counterfoil.linkage.full_link import FullLink, get_full_link
from counterfoil.merchants.queries import store_names
from counterfoil.orders.queries import OrderLines, order_lines
from counterfoil.vouchers.voucher_queries import VoucherDetail, find_voucher, get_detail


async def show(visit: Visit, *, problem: tuple[str, str] | None = None, status: int = 200) -> Response:
    """The time line of a voucher, from the page views before it to the money after it.

    One whose campaign is run here has its state as well, and what can be done with it; `problem` is a form
    that was refused, and the code of the reason.
    """
    voucher_id = visit.request.path_params["voucher_id"]
    async with read(visit.engine) as tx:
        detail = await find_detail(tx, visit, voucher_id)
        link = await get_full_link(tx, merchant_id=visit.merchant.id, voucher_id=voucher_id)
        lines, stores = await _names(tx, visit, link)
    events = Timeline(visit.words, visit.merchant, lines, stores).events(link)
    state = labels.VOUCHER_STATES[state_of(link, visit.now)]
    if detail is not None:
        events += RunTimeline(visit.words, visit.merchant).events(detail)
        state = run_labels.VOUCHER_STATES[
            shown_state(detail.voucher.state, detail.voucher.valid_until, visit.now)
        ]
    return visit.render(
        "voucher.html",
        status=status,
        link=link,
        detail=detail,
        made_at=datetime.fromisoformat(link.voucher["recorded_at"]) if link.voucher else None,
        problem=problem,
        form=visit.form,
        done=visit.argument("done") if visit.argument("done") in run_labels.DONE else "",
        qr=qr_of(voucher_id) if detail is not None else None,
        state=state,
        standing=labels.LINKS[link.status],
        events=sorted(events, key=Event.order),
        open_breaks=[b for b in link.breaks if b["resolved_at"] is None],
        valid=_validity(link),
        paid=sum(r.transaction["amount_minor"] for r in _paid(link)) if _paid(link) else None,
        section="vouchers",
    )


async def find_detail(tx: ReadTx, visit: Visit, voucher_id: str) -> VoucherDetail | None:
    """A voucher's reservations and redemptions; None where its campaign is not run here."""
    which: dict[str, Any] = {"merchant_id": visit.merchant.id, "voucher_id": voucher_id}
    return None if await find_voucher(tx, **which) is None else await get_detail(tx, **which)


async def _names(tx: ReadTx, visit: Visit, link: FullLink) -> tuple[dict[str, OrderLines], dict[str, str]]:
    orders = [order for redemption in link.redemptions for order in redemption.orders]
    if link.purchase_order is not None:
        orders.append(link.purchase_order)
    records = [
        *orders,
        *(r.redemption for r in link.redemptions),
        *([link.issuance] if link.issuance else []),
    ]
    merchant_id = visit.merchant.id
    lines = await order_lines(tx, merchant_id=merchant_id, order_ids={o["order_id"] for o in orders})
    ids = {record["store_id"] for record in records if record["store_id"] is not None}
    return lines, await store_names(tx, merchant_id=merchant_id, store_ids=ids)


def _paid(link: FullLink) -> list[Any]:
    """Each transaction once, though several redemptions of the voucher may be on it."""
    found = {r.transaction["transaction_id"]: r for r in link.redemptions if r.transaction is not None}
    return list(found.values())


def _validity(link: FullLink) -> tuple[datetime | None, datetime | None]:
    record = link.voucher or {}
    first, last = record.get("valid_from"), record.get("valid_until")
    return (first and datetime.fromisoformat(first), last and datetime.fromisoformat(last))


def shown_state(state: str, until: datetime | None, now: datetime) -> str:
    """The state of a voucher that is run here; one whose time is over is so before somebody has tidied up."""
    return "expired" if state == "issued" and until is not None and until <= now else state


def state_of(link: FullLink, now: datetime) -> str:
    """Where the voucher stands, as far as its records say."""
    until = _validity(link)[1]
    if link.redemptions:
        return "redeemed"
    if until is not None and until <= now:
        return "expired"
    return "issued" if link.issuance is not None else "available"
