"""Merchants: the operator makes them; a merchant's key sees only its own."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from counterfoil import clock
from counterfoil.api.context import Acting, Cursor, IdempotencyKey, Limit, acting, once, page_body
from counterfoil.api.problems import responses
from counterfoil.db.transactions import Tx, read
from counterfoil.errors import NotFoundError
from counterfoil.ids import format_id
from counterfoil.merchants import merchants
from counterfoil.merchants.merchants import Merchant

router = APIRouter(prefix="/merchants", tags=["merchants"])


class NewMerchant(BaseModel):
    """A merchant to be."""

    model_config = ConfigDict(extra="forbid")

    reference: str = Field(
        description="Small letters, digits and hyphens.", max_length=63, examples=["grocer"]
    )
    name: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")
    time_zone: str = Field(max_length=80, examples=["Asia/Shanghai"], pattern=r"^[^\x00]*$")
    currency: str = Field(max_length=3, examples=["CNY"])


class MerchantAnswer(BaseModel):
    """A merchant."""

    id: str
    reference: str
    name: str
    time_zone: str
    currency: str
    created_at: datetime


class MerchantPage(BaseModel):
    """A page of merchants."""

    data: list[MerchantAnswer]
    next_cursor: str | None


def _answer(merchant: Merchant) -> MerchantAnswer:
    return MerchantAnswer(
        id=format_id("merchant", merchant.id),
        reference=merchant.reference,
        name=merchant.name,
        time_zone=merchant.time_zone,
        currency=merchant.currency,
        created_at=merchant.created_at,
    )


@router.post(
    "",
    status_code=201,
    response_model=MerchantAnswer,
    responses=responses(400, 404, 409, 413),
    summary="Create a merchant",
)
async def create_merchant(
    request: Request,
    body: NewMerchant,
    act: Annotated[Acting, Depends(acting("merchants:write"))],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """A new tenant. Everything else belongs to one."""

    async def work(tx: Tx) -> tuple[int, BaseModel]:
        return 201, _answer(await merchants.create(tx, **body.model_dump(), now=clock.now()))

    return await once(request, act, idempotency_key, work)


@router.get("", response_model=MerchantPage, responses=responses(404), summary="List merchants")
async def list_merchants(
    act: Annotated[Acting, Depends(acting("merchants:read"))], limit: Limit = 50, cursor: Cursor = None
) -> MerchantPage:
    """All merchants for the operator, by reference; for a merchant's key, itself."""
    async with read(act.engine) as tx:
        page = await merchants.list_page(tx, limit=limit, cursor=cursor, merchant_id=act.tenant_id)
    return MerchantPage(**page_body(page, _answer))


@router.get("/{merchant}", response_model=MerchantAnswer, responses=responses(404), summary="Get a merchant")
async def get_merchant(
    merchant: Annotated[str, Path(description="Its id or its reference.", max_length=80)],
    act: Annotated[Acting, Depends(acting("merchants:read"))],
) -> MerchantAnswer:
    """A merchant by id or by reference."""
    async with read(act.engine) as tx:
        found = await merchants.get(tx, name=merchant)
    if act.tenant_id not in {None, found.id}:
        raise NotFoundError(f"There is no merchant {merchant!r}.", code="merchant_not_found")
    return _answer(found)
