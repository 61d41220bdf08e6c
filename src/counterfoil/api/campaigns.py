"""Campaigns that are run here: made, changed, brought through their states, and counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.responses import StreamingResponse

from counterfoil import clock
from counterfoil.api.context import Acting, Cursor, IdempotencyKey, Limit, acting, once, page_body
from counterfoil.api.problems import responses
from counterfoil.db.transactions import Tx, read
from counterfoil.errors import CounterfoilError
from counterfoil.vouchers import campaign_lists, campaigns
from counterfoil.vouchers.campaign_actions import ACTIONS, Action
from counterfoil.vouchers.campaign_actions import act as do_action
from counterfoil.vouchers.campaign_requests import CampaignChange, NewCampaign
from counterfoil.vouchers.campaigns import Counters, RunCampaign
from counterfoil.vouchers.counters import read_counters
from counterfoil.vouchers.terms import Discount, Terms
from counterfoil.vouchers.types import CampaignState

router = APIRouter(prefix="/campaigns", tags=["campaigns"])
Reading = Annotated[Acting, Depends(acting("campaigns:read"))]
Writing = Annotated[Acting, Depends(acting("campaigns:write"))]
CampaignId = Annotated[str, Path(max_length=200, pattern=r"^[^\x00]*$")]

LOOKED_AT_SECONDS: Final = 1.0
"""How often a stream looks whether the counters changed."""
COMMENT_SECONDS: Final = 15
"""How often it says something even so, that nobody between takes it for dead."""
LONGEST_STREAM_SECONDS: Final = 3600


class LimitsAnswer(BaseModel):
    """How much of it there is; null: unlimited."""

    model_config = ConfigDict(from_attributes=True)

    stock: int | None
    budget_minor: int | None
    max_redemptions: int | None


class CountersAnswer(BaseModel):
    """How many vouchers are in each state, and what is used of the limits, at this moment."""

    model_config = ConfigDict(from_attributes=True)

    available: int = Field(description="Codes that were made or brought, and not yet handed out.")
    issued: int
    reserved: int
    redeemed: int
    expired: int
    voided: int
    handed_out: int = Field(description="Vouchers handed out, without those whose place was given back.")
    redemptions: int = Field(description="Without those wholly reversed.")
    holds: int = Field(description="Reservations that hold.")
    spent_minor: int = Field(description="Discounts of redemptions, without what was reversed.")
    held_minor: int = Field(description="Discounts of reservations that hold.")
    stock_left: int | None = Field(description="Null: unlimited.")
    budget_left_minor: int | None = Field(description="Null: unlimited.")
    changed_at: datetime


class CampaignSummary(BaseModel):
    """A campaign in a list."""

    campaign_id: str
    name: str | None
    kind: str | None
    state: CampaignState
    discount: Discount
    starts_at: datetime | None
    ends_at: datetime | None
    limits: LimitsAnswer
    counters: CountersAnswer
    created_at: datetime
    changed_at: datetime


class CampaignAnswer(BaseModel):
    """A campaign with its terms, limits and counters."""

    campaign_id: str
    name: str | None
    kind: str | None
    attributes: dict[str, Any]
    state: CampaignState
    terms: Terms
    terms_version: int = Field(description="One more with each change of the terms.")
    limits: LimitsAnswer
    counters: CountersAnswer
    created_at: datetime
    changed_at: datetime


class CampaignPage(BaseModel):
    """A page of campaigns."""

    data: list[CampaignSummary]
    next_cursor: str | None


def counters_answer(counters: Counters) -> CountersAnswer:
    """Counters as the API shows them."""
    return CountersAnswer.model_validate(counters)


def answer(campaign: RunCampaign) -> CampaignAnswer:
    """A campaign as the API shows it."""
    values = {name: getattr(campaign, name) for name in CampaignAnswer.model_fields}
    values["limits"] = LimitsAnswer.model_validate(campaign.limits)
    values["counters"] = counters_answer(campaign.counters)
    return CampaignAnswer(**values)


def _summary(campaign: RunCampaign) -> CampaignSummary:
    whole, terms = answer(campaign), campaign.terms
    shared = CampaignSummary.model_fields.keys() & CampaignAnswer.model_fields.keys()
    return CampaignSummary(
        **{name: getattr(whole, name) for name in shared},
        discount=terms.discount,
        starts_at=terms.starts_at,
        ends_at=terms.ends_at,
    )


@router.post(
    "",
    status_code=201,
    response_model=CampaignAnswer,
    responses=responses(400, 404, 409, 413),
    summary="Create a campaign",
)
async def create_campaign(
    request: Request, body: NewCampaign, act: Writing, idempotency_key: IdempotencyKey = None
) -> Response:
    """A new campaign, as a draft: nothing is handed out until it is activated."""
    merchant = act.for_merchant

    async def work(tx: Tx) -> tuple[int, BaseModel]:
        made = await campaigns.create(
            tx,
            merchant_id=merchant.id,
            campaign_id=body.campaign_id,
            name=body.name,
            kind=body.kind,
            attributes=body.attributes,
            terms=body.terms.in_zone(merchant.time_zone),
            limits=body.limits,
            now=clock.now(),
        )
        return 201, answer(made)

    return await once(request, act, idempotency_key, work)


@router.get("", responses=responses(404), summary="List campaigns")
async def list_campaigns(
    act: Reading,
    state: Annotated[CampaignState | None, Query(description="Only those in this state.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> CampaignPage:
    """Campaigns that are run here, the newest first. Those of other systems are not among them."""
    merchant_id = act.merchant_id
    async with read(act.engine) as tx:
        page = await campaign_lists.list_campaigns(
            tx, merchant_id=merchant_id, state=state, limit=limit, cursor=cursor
        )
    return CampaignPage(**page_body(page, _summary))


@router.get(
    "/{campaign_id}", response_model=CampaignAnswer, responses=responses(404), summary="Get a campaign"
)
async def get_campaign(campaign_id: CampaignId, act: Reading) -> CampaignAnswer:
    """Its terms, its limits and its counters."""
    merchant_id = act.merchant_id
    async with read(act.engine) as tx:
        return answer(await campaigns.get(tx, merchant_id=merchant_id, campaign_id=campaign_id))


@router.patch(
    "/{campaign_id}",
    response_model=CampaignAnswer,
    responses=responses(400, 404, 409, 413),
    summary="Change a campaign",
)
async def change_campaign(
    campaign_id: CampaignId,
    request: Request,
    body: CampaignChange,
    act: Writing,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Only what is said changes, and null lifts a limit. `terms` are replaced as a whole.

    No limit falls below what is used already, and what people hold keeps its meaning: with the first voucher
    the sort of discount, the uses of a voucher, `from_pool` and the time zone are fixed.
    """
    merchant_id = act.merchant_id

    async def work(tx: Tx) -> tuple[int, BaseModel]:
        terms, now = None, clock.now()
        if body.terms is not None:
            before = await campaigns.lock(tx, merchant_id=merchant_id, campaign_id=campaign_id)
            terms = body.terms.in_zone(before.terms.time_zone)
        changed = await campaigns.change(
            tx,
            merchant_id=merchant_id,
            campaign_id=campaign_id,
            limits=body.limits,
            terms=terms,
            words=body.words,
            now=now,
        )
        return 200, answer(changed)

    return await once(request, act, idempotency_key, work)


_MEANS: Final[dict[Action, str]] = {
    "activate": "From a draft: vouchers are handed out from now on, or from `starts_at` on.",
    "pause": "Nothing is handed out, reserved or redeemed until it is resumed, but what is reserved.",
    "resume": "It goes on.",
    "stop": "Nothing is handed out any more; what people hold stays good. There is no way back.",
    "end": "Nothing is redeemed any more either, and what people hold expires. There is no way back.",
}


def _add_action(action: Action) -> None:
    async def do(
        campaign_id: CampaignId,
        request: Request,
        act: Writing,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        merchant_id = act.merchant_id

        async def work(tx: Tx) -> tuple[int, BaseModel]:
            moved = await do_action(
                tx, merchant_id=merchant_id, campaign_id=campaign_id, action=action, now=clock.now()
            )
            return 200, answer(moved)

        return await once(request, act, idempotency_key, work)

    router.add_api_route(
        f"/{{campaign_id}}/{action}",
        do,
        methods=["POST"],
        response_model=CampaignAnswer,
        responses=responses(404, 409),
        operation_id=f"{action}_campaign",
        summary=f"{action.capitalize()} a campaign",
        description=f"{_MEANS[action]} Where it is so already, nothing changes.",
    )


for _action in ACTIONS:
    _add_action(_action)


@router.get("/{campaign_id}/counters", responses=responses(404), summary="Count a campaign")
async def get_counters(campaign_id: CampaignId, act: Reading) -> CountersAnswer:
    """Its counters as they are now: one row is read, however many vouchers there are."""
    merchant_id = act.merchant_id
    async with read(act.engine) as tx:
        return counters_answer(await read_counters(tx, merchant_id=merchant_id, campaign_id=campaign_id))


class EventStream(StreamingResponse):
    """Server-sent events."""

    media_type = "text/event-stream"


@router.get(
    "/{campaign_id}/counters/stream",
    response_class=EventStream,
    responses=responses(404),
    summary="Watch a campaign's counters",
)
async def stream_counters(
    campaign_id: CampaignId,
    request: Request,
    act: Reading,
    for_seconds: Annotated[
        float, Query(ge=0, le=LONGEST_STREAM_SECONDS, description="How long, at most.")
    ] = LONGEST_STREAM_SECONDS,
) -> EventStream:
    """Server-sent events: `counters` with the counters at once, and again whenever they changed.

    They are looked at every second; a comment comes every 15 seconds. After an hour it ends, so that a key
    that was revoked sees nothing more: ask again.
    """
    merchant_id = act.merchant_id
    async with read(act.engine) as tx:
        first = await read_counters(tx, merchant_id=merchant_id, campaign_id=campaign_id)
    events = _events(request, act.engine, (merchant_id, campaign_id), first, for_seconds)
    return EventStream(events, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})


async def _events(
    request: Request, engine: AsyncEngine, key: tuple[UUID, str], last: Counters, seconds: float
) -> AsyncIterator[str]:
    merchant_id, campaign_id = key
    began = said = time.monotonic()
    yield _event(last)
    while time.monotonic() - began < seconds:
        await asyncio.sleep(LOOKED_AT_SECONDS)
        if await request.is_disconnected():
            return
        try:
            async with read(engine) as tx:
                now = await read_counters(tx, merchant_id=merchant_id, campaign_id=campaign_id)
        except CounterfoilError:
            return  # the answer has begun, so it cannot say why; whoever asks again is told
        if now != last:
            yield _event(now)
        elif time.monotonic() - said >= COMMENT_SECONDS:
            yield ": still here\n\n"
        else:
            continue
        last, said = now, time.monotonic()


def _event(counters: Counters) -> str:
    return f"event: counters\ndata: {counters_answer(counters).model_dump_json()}\n\n"
