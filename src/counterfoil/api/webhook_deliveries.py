"""The log of webhooks: what was sent to whom, what came back, and sending it again."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field

from counterfoil import clock
from counterfoil.api.context import Acting, Cursor, IdempotencyKey, Limit, acting, once, page_body
from counterfoil.api.problems import responses
from counterfoil.db.transactions import Tx, read
from counterfoil.ids import format_id, parse_id
from counterfoil.webhooks import deliveries, queries
from counterfoil.webhooks.queries import DeliveryDetail
from counterfoil.webhooks.types import Delivery, DeliveryState

router = APIRouter(prefix="/webhook-deliveries", tags=["webhooks"])
Reading = Annotated[Acting, Depends(acting("webhooks:read"))]
Writing = Annotated[Acting, Depends(acting("webhooks:write"))]


class DeliveryAnswer(BaseModel):
    """A message on its way to an endpoint, and how the last attempt went."""

    id: str
    endpoint_id: str
    message_id: str = Field(description="The header `webhook-id`, and the event's `id`.")
    type: str
    subject: str
    state: DeliveryState = Field(description="`failed`: given up, until it is replayed.")
    attempts: int = Field(description="Attempts begun.")
    next_attempt_at: datetime | None = Field(
        description="When it is tried next; while an attempt runs, when another would take over."
    )
    last_status: int | None
    last_error: str | None = Field(description="Where there was no HTTP status.")
    created_at: datetime


class DeliveryPage(BaseModel):
    """A page of deliveries."""

    data: list[DeliveryAnswer]
    next_cursor: str | None


class AttemptAnswer(BaseModel):
    """An attempt that ended: with a status, or with an error."""

    number: int
    at: datetime
    status: int | None
    error: str | None
    milliseconds: int
    response: str | None = Field(description="How the answer's body began: at most 1,000 characters.")


class DeliveryDetailAnswer(DeliveryAnswer):
    """A delivery with the body that is sent, and its attempts."""

    body: str
    log: list[AttemptAnswer] = Field(description="The attempts that ended, the first first.")


def _answer(delivery: Delivery) -> DeliveryAnswer:
    return DeliveryAnswer(**_values(delivery))


def _values(delivery: Delivery) -> dict[str, Any]:
    return {name: getattr(delivery, name) for name in DeliveryAnswer.model_fields} | {
        "id": format_id("webhook_delivery", delivery.id),
        "endpoint_id": format_id("webhook_endpoint", delivery.endpoint_id),
    }


def _detail(found: DeliveryDetail) -> DeliveryDetailAnswer:
    log = [
        AttemptAnswer(**{name: getattr(attempt, name) for name in AttemptAnswer.model_fields})
        for attempt in found.attempts
    ]
    return DeliveryDetailAnswer(**_values(found.delivery), body=found.body, log=log)


@router.get("", responses=responses(404), summary="List webhook deliveries")
async def list_deliveries(
    act: Reading,
    endpoint: Annotated[str | None, Query(max_length=80, description="Only to this endpoint.")] = None,
    state: DeliveryState | None = None,
    message: Annotated[
        str | None, Query(max_length=200, pattern=r"^[^\x00]*$", description="Only of this message.")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> DeliveryPage:
    """The newest first. They are kept for 30 days."""
    merchant_id = act.merchant_id
    async with read(act.engine) as tx:
        page = await queries.list_deliveries(
            tx,
            merchant_id=merchant_id,
            endpoint_id=None if endpoint is None else parse_id("webhook_endpoint", endpoint),
            state=state,
            message_id=message,
            limit=limit,
            cursor=cursor,
        )
    return DeliveryPage(**page_body(page, _answer))


@router.get("/{delivery_id}", responses=responses(404), summary="Get a webhook delivery")
async def get_delivery(delivery_id: str, act: Reading) -> DeliveryDetailAnswer:
    """What is sent, and each attempt with what came back."""
    merchant_id = act.merchant_id
    async with read(act.engine) as tx:
        found = await queries.get_delivery(
            tx, merchant_id=merchant_id, delivery_id=parse_id("webhook_delivery", delivery_id)
        )
    return _detail(found)


@router.post(
    "/{delivery_id}/replay",
    status_code=202,
    response_model=DeliveryDetailAnswer,
    responses=responses(404, 409),
    summary="Replay a webhook delivery",
)
async def replay_delivery(
    delivery_id: str, request: Request, act: Writing, idempotency_key: IdempotencyKey = None
) -> Response:
    """Send it again now, whatever became of it, with the same message id; its schedule begins anew."""
    merchant_id = act.merchant_id

    async def work(tx: Tx) -> tuple[int, BaseModel]:
        parsed = parse_id("webhook_delivery", delivery_id)
        await deliveries.replay(tx, merchant_id=merchant_id, delivery_id=parsed, now=clock.now())
        return 202, _detail(await queries.get_delivery(tx, merchant_id=merchant_id, delivery_id=parsed))

    return await once(request, act, idempotency_key, work)
