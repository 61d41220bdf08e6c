"""Members' accounts over HTTP: opened, looked at, closed; their statements and balances of the past."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from counterfoil import clock
from counterfoil.api.context import Cursor, IdempotencyKey, Limit, once, page_body
from counterfoil.api.points_answers import CustomerId, Moment, Reading, TransferAnswer, Wanted, Writing
from counterfoil.api.problems import responses
from counterfoil.db.records import Reference
from counterfoil.db.transactions import Tx, read
from counterfoil.points import accounts, queries
from counterfoil.points.types import AccountState

MOST_SHOWN: Final = 500
"""Lots and pending transfers of a member, at most, that are shown with the account."""

router = APIRouter(prefix="/accounts")


class NewAccounts(Wanted):
    """Members to be."""

    customer_ids: list[Reference] = Field(min_length=1, max_length=accounts.MOST_AT_ONCE)


class OpenedAnswer(BaseModel):
    """How many accounts were opened."""

    opened: int
    existing: int = Field(description="Customers who had one before, open or closed.")


class AccountAnswer(BaseModel):
    """A member's account as it stands."""

    model_config = ConfigDict(from_attributes=True)

    customer_id: str
    state: AccountState
    balance: int
    held: int = Field(description="Of the balance: kept for orders that are not paid yet.")
    available: int = Field(description="What can be burned now: the balance without what is held.")
    pending: int = Field(description="Promised, and not in the balance yet.")
    version: int = Field(description="How many transfers the account has had.")
    opened_at: datetime
    closed_at: datetime | None


class LotAnswer(BaseModel):
    """Points that expire at one moment."""

    model_config = ConfigDict(from_attributes=True)

    expires_at: datetime
    points: int


class AccountDetail(AccountAnswer):
    """An account with what expires of it and what is pending."""

    lots: list[LotAnswer] = Field(
        description=f"The soonest to expire first, at most {MOST_SHOWN}; the rest of the balance does not."
    )
    pending_transfers: list[TransferAnswer] = Field(
        description=f"What is promised and what is held, the soonest due first; at most {MOST_SHOWN}."
    )


class AccountPage(BaseModel):
    """A page of accounts."""

    data: list[AccountAnswer]
    next_cursor: str | None


class StatementPage(BaseModel):
    """A page of a statement."""

    data: list[TransferAnswer]
    next_cursor: str | None


class BalanceAnswer(BaseModel):
    """A balance as it was at a moment."""

    customer_id: str
    at: datetime
    balance: int


@router.post(
    "", response_model=OpenedAnswer, responses=responses(400, 404, 409, 413), summary="Open points accounts"
)
async def open_accounts(
    request: Request, body: NewAccounts, act: Writing, idempotency_key: IdempotencyKey = None
) -> Response:
    """Up to 10,000 customers become members. Who is one already stays as they are."""
    merchant_id = act.merchant_id
    customers = set(body.customer_ids)

    async def work(tx: Tx) -> tuple[int, BaseModel]:
        opened = await accounts.open_accounts(
            tx, merchant_id=merchant_id, customer_ids=sorted(customers), now=clock.now()
        )
        return 200, OpenedAnswer(opened=opened, existing=len(customers) - opened)

    return await once(request, act, idempotency_key, work)


@router.get("", responses=responses(404), summary="List points accounts")
async def list_accounts(
    act: Reading,
    prefix: Annotated[
        str,
        Query(max_length=200, pattern=r"^[^\x00]*$", description="Only ids that begin with it."),
    ] = "",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> AccountPage:
    """Members by their `customer_id`."""
    merchant_id = act.merchant_id
    async with read(act.engine) as tx:
        page = await queries.list_accounts(
            tx, merchant_id=merchant_id, prefix=prefix, limit=limit, cursor=cursor
        )
    return AccountPage(**page_body(page, AccountAnswer.model_validate))


@router.get("/{customer_id:path}/statement", responses=responses(404), summary="Get a member's statement")
async def get_statement(
    customer_id: CustomerId, act: Reading, limit: Limit = 50, cursor: Cursor = None
) -> StatementPage:
    """What moved the balance, the latest first, each with the balance after it."""
    merchant_id = act.merchant_id
    async with read(act.engine) as tx:
        page = await queries.statement(
            tx, merchant_id=merchant_id, customer_id=customer_id, limit=limit, cursor=cursor
        )
    return StatementPage(**page_body(page, TransferAnswer.model_validate))


@router.get("/{customer_id:path}/balance", responses=responses(404), summary="Get a balance of the past")
async def get_balance(
    customer_id: CustomerId,
    act: Reading,
    at: Annotated[Moment | None, Query(description="When; left out: now.")] = None,
) -> BalanceAnswer:
    """What the member had at a moment: after the last transfer that was posted by then."""
    merchant_id, moment = act.merchant_id, at or clock.now()
    async with read(act.engine) as tx:
        balance = await queries.balance_at(tx, merchant_id=merchant_id, customer_id=customer_id, at=moment)
    return BalanceAnswer(customer_id=customer_id, at=moment, balance=balance)


@router.post(
    "/{customer_id:path}/close",
    response_model=AccountAnswer,
    responses=responses(404, 409),
    summary="Close a points account",
)
async def close_account(
    customer_id: CustomerId, request: Request, act: Writing, idempotency_key: IdempotencyKey = None
) -> Response:
    """Nothing is credited to it any more. It must have no points and wait for none."""
    merchant_id = act.merchant_id

    async def work(tx: Tx) -> tuple[int, BaseModel]:
        closed = await accounts.close(tx, merchant_id=merchant_id, customer_id=customer_id, now=clock.now())
        return 200, AccountAnswer.model_validate(closed)

    return await once(request, act, idempotency_key, work)


@router.post(
    "/{customer_id:path}/reopen",
    response_model=AccountAnswer,
    responses=responses(404, 409),
    summary="Reopen a points account",
)
async def reopen_account(
    customer_id: CustomerId, request: Request, act: Writing, idempotency_key: IdempotencyKey = None
) -> Response:
    """A closed account is open again. Where it is open already, nothing changes."""
    merchant_id = act.merchant_id

    async def work(tx: Tx) -> tuple[int, BaseModel]:
        opened = await accounts.reopen(tx, merchant_id=merchant_id, customer_id=customer_id)
        return 200, AccountAnswer.model_validate(opened)

    return await once(request, act, idempotency_key, work)


@router.get("/{customer_id:path}", responses=responses(404), summary="Get a points account")
async def get_account(customer_id: CustomerId, act: Reading) -> AccountDetail:
    """A member's balance, which of it expires when, and what is promised and held."""
    merchant_id = act.merchant_id
    async with read(act.engine) as tx:
        account = await accounts.get(tx, merchant_id=merchant_id, customer_id=customer_id)
        lots = await queries.list_lots(tx, merchant_id=merchant_id, customer_id=customer_id)
        waiting = await queries.list_pending(
            tx, merchant_id=merchant_id, customer_id=customer_id, limit=MOST_SHOWN
        )
    return AccountDetail(
        **AccountAnswer.model_validate(account).model_dump(),
        lots=[LotAnswer.model_validate(lot) for lot in lots[:MOST_SHOWN]],
        pending_transfers=[TransferAnswer.model_validate(item) for item in waiting],
    )
