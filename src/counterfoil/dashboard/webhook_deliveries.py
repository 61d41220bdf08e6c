"""The log of webhooks: what was sent, what came back, and sending it again."""

from __future__ import annotations

import json
from typing import Final
from uuid import UUID

from starlette.responses import RedirectResponse, Response

from counterfoil.dashboard.labels import DELIVERY_STATES
from counterfoil.dashboard.visits import Visit
from counterfoil.dashboard.webhooks import public_id
from counterfoil.db.transactions import begin, read
from counterfoil.ids import format_id, parse_id
from counterfoil.webhooks import deliveries, endpoints, queries
from counterfoil.webhooks.types import Delivery

PAGE_SIZE: Final = 50


def _delivery_id(delivery: Delivery) -> str:
    return format_id("webhook_delivery", delivery.id)


def _endpoint_id(value: UUID) -> str:
    return format_id("webhook_endpoint", value)


async def show(visit: Visit) -> Response:
    """Deliveries, the newest first; of one state or endpoint, or all."""
    state = visit.argument("state") if visit.argument("state") in DELIVERY_STATES else None
    chosen, cursor = visit.argument("endpoint"), visit.argument("cursor", longest=2000) or None
    async with read(visit.engine) as tx:
        page = await queries.list_deliveries(
            tx,
            merchant_id=visit.merchant.id,
            endpoint_id=parse_id("webhook_endpoint", chosen) if chosen else None,
            state=state,
            limit=PAGE_SIZE,
            cursor=cursor,
        )
        known = await endpoints.list_all(tx, merchant_id=visit.merchant.id)
    return visit.render(
        "webhook_deliveries.html",
        page=page,
        endpoints=known,
        disabled={endpoint.id for endpoint in known if endpoint.disabled_at is not None},
        public_id=public_id,
        delivery_id=_delivery_id,
        state=state,
        chosen=chosen,
        first=cursor is None,
        asked={"state": state, "endpoint": chosen},
        section="webhooks",
    )


async def detail(visit: Visit) -> Response:
    """One delivery: the event, and each attempt with what came back."""
    parsed = parse_id("webhook_delivery", visit.request.path_params["delivery_id"])
    async with read(visit.engine) as tx:
        found = await queries.get_delivery(tx, merchant_id=visit.merchant.id, delivery_id=parsed)
        endpoint = await endpoints.get(
            tx, merchant_id=visit.merchant.id, endpoint_id=found.delivery.endpoint_id
        )
    return visit.render(
        "webhook_delivery.html",
        delivery=found.delivery,
        delivery_id=_delivery_id(found.delivery),
        endpoint=endpoint,
        endpoint_id=_endpoint_id(endpoint.id),
        event=json.loads(found.body),
        attempts=found.attempts,
        replayed=visit.argument("done") == "replay",
        section="webhooks",
    )


async def replay(visit: Visit) -> Response:
    """Send it again now, and show it."""
    public = visit.request.path_params["delivery_id"]
    parsed = parse_id("webhook_delivery", public)
    async with begin(visit.engine) as tx:
        await deliveries.replay(tx, merchant_id=visit.merchant.id, delivery_id=parsed, now=visit.now)
    return RedirectResponse(f"{visit.home}/webhooks/deliveries/{public}?done=replay", status_code=303)
