"""Webhooks: the endpoints of a merchant's programs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from counterfoil import clock
from counterfoil.api.context import Acting, IdempotencyKey, Platform, acting, once
from counterfoil.api.problems import responses
from counterfoil.db.transactions import Tx, begin, read
from counterfoil.ids import format_id, parse_id
from counterfoil.webhooks import deliveries, endpoints
from counterfoil.webhooks.addresses import LONGEST_URL, check, guard
from counterfoil.webhooks.types import DisabledReason, Endpoint, EventType

router = APIRouter(prefix="/webhooks", tags=["webhooks"])
Reading = Annotated[Acting, Depends(acting("webhooks:read"))]
Writing = Annotated[Acting, Depends(acting("webhooks:write"))]

Url = Annotated[
    str,
    Field(
        min_length=8,
        max_length=LONGEST_URL,
        pattern=r"^https?://[^\x00]+$",
        description="Where events are posted: of the public internet, without user and password.",
        examples=["https://erp.example.com/counterfoil"],
    ),
]
Events = Annotated[
    list[EventType], Field(max_length=50, description="The types that it wants; empty: all, new ones too.")
]
Description = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$", examples=["the ERP"])]


class NewEndpoint(BaseModel):
    """An endpoint to be."""

    model_config = ConfigDict(extra="forbid")

    url: Url
    events: Events = []
    description: Description = ""


class EndpointChange(BaseModel):
    """What to change; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    url: Url | None = None
    events: Events | None = None
    description: Description | None = None
    enabled: bool | None = None


class EndpointAnswer(BaseModel):
    """An endpoint, without its secret."""

    id: str
    url: str
    events: list[str] = Field(description="Empty: all.")
    description: str
    enabled: bool
    disabled_at: datetime | None
    disabled_reason: DisabledReason | None = Field(
        description="`failing`: every attempt failed for five days; `gone`: it answered 410; `by_hand`."
    )
    failing_since: datetime | None = Field(description="Since when every attempt has failed.")
    previous_secret_until: datetime | None = Field(
        description="After a rotation: until when the former secret signs as well."
    )
    created_at: datetime


class EndpointWithSecret(EndpointAnswer):
    """An endpoint with its secret: this once."""

    secret: str = Field(examples=["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"])


class EndpointList(BaseModel):
    """All endpoints of a merchant."""

    data: list[EndpointAnswer]


class MessageSent(BaseModel):
    """A message that is on its way; `GET /v1/webhook-deliveries?message=` tells what becomes of it."""

    message_id: str


class ReplaySince(BaseModel):
    """From when on deliveries that were given up are sent again."""

    model_config = ConfigDict(extra="forbid")

    since: AwareDatetime


class Replayed(BaseModel):
    """How many deliveries are on their way again."""

    replayed: int


def answer(endpoint: Endpoint) -> EndpointAnswer:
    """An endpoint as the API shows it."""
    return EndpointAnswer(
        id=format_id("webhook_endpoint", endpoint.id),
        url=endpoint.url,
        events=list(endpoint.events),
        description=endpoint.description,
        enabled=endpoint.disabled_at is None,
        disabled_at=endpoint.disabled_at,
        disabled_reason=endpoint.disabled_reason,
        failing_since=endpoint.failing_since,
        previous_secret_until=endpoint.previous_secret_until,
        created_at=endpoint.created_at,
    )


def _with_secret(endpoint: Endpoint, secret: str) -> EndpointWithSecret:
    return EndpointWithSecret(**answer(endpoint).model_dump(), secret=secret)


@router.post("", status_code=201, responses=responses(400, 404, 413), summary="Create a webhook endpoint")
async def create_endpoint(body: NewEndpoint, act: Writing, app: Platform) -> EndpointWithSecret:
    """The secret is shown in this answer and never again, so it is not kept for a repeated request either."""
    merchant_id = act.merchant_id
    await check(body.url, guard=guard(app.settings.webhook_allow))
    async with begin(act.engine) as tx:
        made, secret = await endpoints.create(
            tx,
            merchant_id=merchant_id,
            url=body.url,
            events=body.events,
            description=body.description,
            now=clock.now(),
        )
    return _with_secret(made, secret)


@router.get("", responses=responses(404), summary="List webhook endpoints")
async def list_endpoints(act: Reading) -> EndpointList:
    """All of them, the oldest first; there are at most 50."""
    async with read(act.engine) as tx:
        found = await endpoints.list_all(tx, merchant_id=act.merchant_id)
    return EndpointList(data=[answer(endpoint) for endpoint in found])


@router.get("/{endpoint_id}", responses=responses(404), summary="Get a webhook endpoint")
async def get_endpoint(endpoint_id: str, act: Reading) -> EndpointAnswer:
    """How it is set up, and how it fares."""
    merchant_id = act.merchant_id
    async with read(act.engine) as tx:
        found = await endpoints.get(
            tx, merchant_id=merchant_id, endpoint_id=parse_id("webhook_endpoint", endpoint_id)
        )
    return answer(found)


@router.patch("/{endpoint_id}", responses=responses(400, 404, 413), summary="Change a webhook endpoint")
async def change_endpoint(
    endpoint_id: str, body: EndpointChange, act: Writing, app: Platform
) -> EndpointAnswer:
    """What waits at a disabled endpoint stays, and goes on when it is enabled again."""
    merchant_id = act.merchant_id
    if body.url is not None:
        await check(body.url, guard=guard(app.settings.webhook_allow))
    async with begin(act.engine) as tx:
        changed = await endpoints.change(
            tx,
            merchant_id=merchant_id,
            endpoint_id=parse_id("webhook_endpoint", endpoint_id),
            url=body.url,
            events=body.events,
            description=body.description,
            enabled=body.enabled,
            now=clock.now(),
        )
    return answer(changed)


@router.delete(
    "/{endpoint_id}", status_code=204, responses=responses(404), summary="Delete a webhook endpoint"
)
async def delete_endpoint(endpoint_id: str, act: Writing) -> None:
    """With its deliveries. To stop it for a while, disable it."""
    merchant_id = act.merchant_id
    async with begin(act.engine) as tx:
        await endpoints.remove(
            tx, merchant_id=merchant_id, endpoint_id=parse_id("webhook_endpoint", endpoint_id)
        )


@router.post("/{endpoint_id}/rotate-secret", responses=responses(404), summary="Rotate a webhook's secret")
async def rotate_secret(endpoint_id: str, act: Writing) -> EndpointWithSecret:
    """Another secret, shown now and never again. The former one signs as well for 24 hours."""
    merchant_id = act.merchant_id
    async with begin(act.engine) as tx:
        changed, secret = await endpoints.rotate_secret(
            tx,
            merchant_id=merchant_id,
            endpoint_id=parse_id("webhook_endpoint", endpoint_id),
            now=clock.now(),
        )
    return _with_secret(changed, secret)


@router.post(
    "/{endpoint_id}/test",
    status_code=202,
    response_model=MessageSent,
    responses=responses(404, 409),
    summary="Test a webhook endpoint",
)
async def send_test(
    endpoint_id: str, request: Request, act: Writing, idempotency_key: IdempotencyKey = None
) -> Response:
    """Send it a `webhook.test`, by the way that every event takes."""
    merchant_id = act.merchant_id

    async def work(tx: Tx) -> tuple[int, BaseModel]:
        message_id = await endpoints.test(
            tx,
            merchant_id=merchant_id,
            endpoint_id=parse_id("webhook_endpoint", endpoint_id),
            now=clock.now(),
        )
        return 202, MessageSent(message_id=message_id)

    return await once(request, act, idempotency_key, work)


@router.post(
    "/{endpoint_id}/replay",
    status_code=202,
    response_model=Replayed,
    responses=responses(400, 404, 409, 413),
    summary="Replay what a webhook endpoint has not got",
)
async def replay_endpoint(
    endpoint_id: str,
    body: ReplaySince,
    request: Request,
    act: Writing,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Send all deliveries since then again that were given up, with the message ids that they had."""
    merchant_id = act.merchant_id

    async def work(tx: Tx) -> tuple[int, BaseModel]:
        replayed = await deliveries.replay_failed(
            tx,
            merchant_id=merchant_id,
            endpoint_id=parse_id("webhook_endpoint", endpoint_id),
            since=body.since,
            now=clock.now(),
        )
        return 202, Replayed(replayed=replayed)

    return await once(request, act, idempotency_key, work)
