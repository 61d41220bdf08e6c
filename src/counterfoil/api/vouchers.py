"""Vouchers whose campaign is run here, as programs look at them. What moves them is in `verbs.py`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from counterfoil.api.context import Acting, Cursor, Limit, acting, page_body
from counterfoil.api.guessing import acting_on_code
from counterfoil.api.problems import responses
from counterfoil.db.transactions import read
from counterfoil.errors import InvalidError
from counterfoil.vouchers import voucher_queries
from counterfoil.vouchers.qr_codes import qr_svg
from counterfoil.vouchers.types import ReservationState, VoucherState
from counterfoil.vouchers.voucher_queries import MOST_SHOWN

router = APIRouter(tags=["vouchers"])
Reading = Annotated[Acting, Depends(acting("vouchers:read"))]
Looking = Annotated[Acting, Depends(acting_on_code("vouchers:read"))]
VoucherId = Annotated[str, Path(description="The voucher's code.", max_length=200, pattern=r"^[^\x00]*$")]
Asked = Annotated[str | None, Query(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]


class VoucherItem(BaseModel):
    """A voucher as it is now."""

    model_config = ConfigDict(from_attributes=True)

    voucher_id: str
    campaign_id: str
    state: VoucherState
    customer_id: str | None = Field(description="Who holds it; null: whoever has the code.")
    issued_at: datetime | None
    valid_from: datetime | None
    valid_until: datetime | None = Field(description="Exclusive; null: without end.")
    uses: int = Field(description="Redemptions, without those wholly reversed.")
    holds: int = Field(description="Reservations that hold.")
    max_uses: int | None = Field(description="Null: as often as they like.")
    amount_minor: int | None = Field(
        description="What it was worth at first, where it has a value of its own."
    )
    balance_minor: int | None = Field(description="What is left of a stored value.")
    held_minor: int = Field(description="What reservations hold of the balance.")
    void_reason: str | None
    changed_at: datetime | None


class VoucherPage(BaseModel):
    """A page of vouchers."""

    data: list[VoucherItem]
    next_cursor: str | None


class ReservationItem(BaseModel):
    """A reservation."""

    model_config = ConfigDict(from_attributes=True)

    reservation_id: str
    order_id: str
    customer_id: str | None
    state: ReservationState
    amount_minor: int | None = Field(description="What the order was to cost.")
    discount_minor: int
    reserved_at: datetime
    expires_at: datetime
    ended_at: datetime | None


class LineItem(BaseModel):
    """What was taken off one line."""

    line_id: str
    discount_minor: int


class ReversalItem(BaseModel):
    """A redemption was undone."""

    model_config = ConfigDict(from_attributes=True)

    reversal_id: str
    line_ids: list[str] | None = Field(description="Null: all that was left of it.")
    discount_minor: int = Field(description="What was given back.")
    whole: bool = Field(description="Whether nothing of the redemption is left.")
    reason: str | None
    reversed_at: datetime


class RedemptionItem(BaseModel):
    """A redemption, and what of it was reversed."""

    redemption_id: str
    voucher_id: str
    campaign_id: str
    customer_id: str | None
    order_id: str | None
    transaction_id: str | None
    store_id: str | None
    amount_minor: int | None = Field(description="What the order cost before the discount.")
    discount_minor: int
    lines: list[LineItem]
    redeemed_at: datetime
    reversed_minor: int
    reversed_at: datetime | None = Field(description="When nothing was left of it; null: it stands.")
    reversals: list[ReversalItem]


class RedemptionPage(BaseModel):
    """A page of redemptions."""

    data: list[RedemptionItem]
    next_cursor: str | None


class VoucherDetail(VoucherItem):
    """A voucher with what became of it."""

    reservations: list[ReservationItem] = Field(description=f"The newest first; at most {MOST_SHOWN}.")
    redemptions: list[RedemptionItem] = Field(
        description=f"The oldest first; at most {MOST_SHOWN}. `GET /v1/redemptions?voucher_id=` has all."
    )


def _voucher(voucher: voucher_queries.VoucherItem) -> VoucherItem:
    return VoucherItem.model_validate(voucher)


def _redemption(found: voucher_queries.RedemptionItem) -> RedemptionItem:
    own = {"lines", "reversals"}
    return RedemptionItem(
        **{name: getattr(found, name) for name in RedemptionItem.model_fields if name not in own},
        lines=[LineItem(line_id=line, discount_minor=minor) for line, minor in found.lines],
        reversals=[ReversalItem.model_validate(reversal) for reversal in found.reversals],
    )


def _nothing_asked(*names: str) -> InvalidError:
    listed = " or ".join(names)
    return InvalidError(f"Say which: {listed}.", code="filter_missing")


@router.get("/vouchers", responses=responses(404), summary="List vouchers")
async def list_vouchers(
    act: Reading,
    campaign_id: Asked = None,
    customer_id: Asked = None,
    state: Annotated[VoucherState | None, Query(description="Only those in this state.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> VoucherPage:
    """The vouchers of a campaign, those that end soonest first; or of a customer, by their codes; or of both.

    Only those whose campaign is run here.
    """
    merchant_id = act.merchant_id
    async with read(act.engine) as tx:
        if customer_id is not None:
            page = await voucher_queries.list_of_customer(
                tx,
                merchant_id=merchant_id,
                customer_id=customer_id,
                campaign_id=campaign_id,
                state=state,
                limit=limit,
                cursor=cursor,
            )
        elif campaign_id is not None:
            page = await voucher_queries.list_of_campaign(
                tx, merchant_id=merchant_id, campaign_id=campaign_id, state=state, limit=limit, cursor=cursor
            )
        else:
            raise _nothing_asked("campaign_id", "customer_id")
    return VoucherPage(**page_body(page, _voucher))


@router.get("/redemptions", responses=responses(404), summary="List redemptions")
async def list_redemptions(
    act: Reading,
    order_id: Asked = None,
    transaction_id: Asked = None,
    voucher_id: Asked = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> RedemptionPage:
    """The redemptions of an order, a payment or a voucher, the oldest first: what a refund has to reverse.

    Only those of vouchers whose campaign is run here.
    """
    merchant_id = act.merchant_id
    if order_id is None and transaction_id is None and voucher_id is None:
        raise _nothing_asked("order_id", "transaction_id", "voucher_id")
    async with read(act.engine) as tx:
        page = await voucher_queries.list_redemptions(
            tx,
            merchant_id=merchant_id,
            order_id=order_id,
            transaction_id=transaction_id,
            voucher_id=voucher_id,
            limit=limit,
            cursor=cursor,
        )
    return RedemptionPage(**page_body(page, _redemption))


class Svg(Response):
    """An image."""

    media_type = "image/svg+xml"


@router.get(
    "/vouchers/{voucher_id:path}/qr.svg",
    response_class=Svg,
    responses={**responses(404, 429), 200: {"content": {"image/svg+xml": {"schema": {"type": "string"}}}}},
    summary="Get a voucher's QR code",
)
async def get_qr(voucher_id: VoucherId, act: Looking) -> Svg:
    """Its code, to be read by a till's scanner: an image that keeps sharp at any size."""
    merchant_id = act.merchant_id
    async with read(act.engine) as tx:
        found = await voucher_queries.get_voucher(tx, merchant_id=merchant_id, voucher_id=voucher_id)
    return Svg(qr_svg(found.voucher_id), headers={"X-Content-Type-Options": "nosniff"})


@router.get("/vouchers/{voucher_id:path}", responses=responses(404, 429), summary="Get a voucher")
async def get_voucher(voucher_id: VoucherId, act: Looking) -> VoucherDetail:
    """How it stands, its reservations, and its redemptions with what was reversed of them.

    Only of a campaign that is run here; `GET /v1/vouchers/{voucher_id}/full-link` tells of any.
    """
    merchant_id = act.merchant_id
    async with read(act.engine) as tx:
        found = await voucher_queries.get_detail(tx, merchant_id=merchant_id, voucher_id=voucher_id)
    return VoucherDetail(
        **_voucher(found.voucher).model_dump(),
        reservations=[ReservationItem.model_validate(one) for one in found.reservations],
        redemptions=[_redemption(one) for one in found.redemptions],
    )
