"""`counterfoil webhooks`: the endpoints of a merchant's programs, and what was sent to them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

import cyclopts
from cyclopts import Parameter
from cyclopts.validators import Number

from counterfoil import clock
from counterfoil.app import App
from counterfoil.cli.platform import Json, say, show, with_platform
from counterfoil.db.paging import LARGEST_PAGE
from counterfoil.db.transactions import Tx, begin
from counterfoil.errors import InvalidError
from counterfoil.ids import PREFIXES, format_id, parse_id
from counterfoil.merchants import merchants
from counterfoil.webhooks import deliveries, endpoints, queries
from counterfoil.webhooks.addresses import check, guard
from counterfoil.webhooks.types import Delivery, DeliveryState, Endpoint, EventType

app = cyclopts.App(name="webhooks", help="Programs of customers that are told what happens.")

T = TypeVar("T")
Merchant = Annotated[str, Parameter(help="Whose endpoints they are, by id or reference.")]
EndpointId = Annotated[str, Parameter(help="The endpoint, such as `whe_...`.")]


def _row(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "id": format_id("webhook_endpoint", endpoint.id),
        "url": endpoint.url,
        "events": " ".join(endpoint.events) or "all",
        "description": endpoint.description,
        "disabled": endpoint.disabled_reason,
        "failing_since": endpoint.failing_since,
        "created_at": endpoint.created_at,
    }


def _delivery_row(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": format_id("webhook_delivery", delivery.id),
        "created_at": delivery.created_at,
        "type": delivery.type,
        "subject": delivery.subject,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "last": delivery.last_status or delivery.last_error,
        "next_attempt_at": delivery.next_attempt_at,
        "url": delivery.url,
    }


def _for(merchant: str, work: Callable[[Tx, UUID], Awaitable[T]]) -> T:
    """Do some work for a merchant in one transaction."""

    async def run(opened: App) -> T:
        async with begin(opened.engine) as tx:
            return await work(tx, (await merchants.get(tx, name=merchant)).id)

    return with_platform(run)


def _told(endpoint: Endpoint, secret: str, *, json: bool) -> None:
    if json:
        show([{**_row(endpoint), "secret": secret}], as_json=True)
        return
    say(f"{format_id('webhook_endpoint', endpoint.id)} ({endpoint.url}).")
    say("Keep the secret; it is not shown again:")
    print(secret)


@app.command(name="list")
def list_endpoints(*, merchant: Merchant, json: Json = False) -> None:
    """List the endpoints of a merchant."""
    found = _for(merchant, lambda tx, merchant_id: endpoints.list_all(tx, merchant_id=merchant_id))
    show([_row(endpoint) for endpoint in found], as_json=json, title="Webhook endpoints")


@app.command
def create(
    url: str,
    /,
    *,
    merchant: Merchant,
    event: Annotated[
        list[EventType] | None,
        Parameter(help="A type that it wants (repeat it); by default all.", negative=""),
    ] = None,
    description: Annotated[str, Parameter(help="What it is, so that you know it again.")] = "",
    json: Json = False,
) -> None:
    """Tell the program at this URL of events. Its secret is printed now and never again."""

    async def run(opened: App) -> tuple[Endpoint, str]:
        await check(url, guard=guard(opened.settings.webhook_allow))
        async with begin(opened.engine) as tx:
            owner = await merchants.get(tx, name=merchant)
            return await endpoints.create(
                tx,
                merchant_id=owner.id,
                url=url,
                events=event or (),
                description=description,
                now=clock.now(),
            )

    _told(*with_platform(run), json=json)


@app.command(name="show")
def show_endpoint(endpoint: EndpointId, /, *, merchant: Merchant, json: Json = False) -> None:
    """Show one endpoint, and how it fares."""

    async def work(tx: Tx, merchant_id: UUID) -> dict[str, Any]:
        parsed = parse_id("webhook_endpoint", endpoint)
        found = await endpoints.get(tx, merchant_id=merchant_id, endpoint_id=parsed)
        missing = (await queries.undelivered(tx, merchant_id=merchant_id)).get(parsed, queries.Undelivered())
        return {**_row(found), "waiting": missing.waiting, "failed": missing.failed}

    show([_for(merchant, work)], as_json=json)


def _switch(endpoint: str, merchant: str, *, on: bool) -> None:
    _for(
        merchant,
        lambda tx, merchant_id: endpoints.change(
            tx,
            merchant_id=merchant_id,
            endpoint_id=parse_id("webhook_endpoint", endpoint),
            enabled=on,
            now=clock.now(),
        ),
    )
    say(f"{endpoint} is {'enabled' if on else 'disabled'}.")


@app.command
def enable(endpoint: EndpointId, /, *, merchant: Merchant) -> None:
    """Send to an endpoint again; what waits for it goes on."""
    _switch(endpoint, merchant, on=True)


@app.command
def disable(endpoint: EndpointId, /, *, merchant: Merchant) -> None:
    """Send nothing to an endpoint until it is enabled; what waits for it stays."""
    _switch(endpoint, merchant, on=False)


@app.command(name="rotate-secret")
def rotate_secret(endpoint: EndpointId, /, *, merchant: Merchant, json: Json = False) -> None:
    """Give an endpoint another secret; for 24 hours both sign."""
    changed, secret = _for(
        merchant,
        lambda tx, merchant_id: endpoints.rotate_secret(
            tx,
            merchant_id=merchant_id,
            endpoint_id=parse_id("webhook_endpoint", endpoint),
            now=clock.now(),
        ),
    )
    _told(changed, secret, json=json)


@app.command
def test(endpoint: EndpointId, /, *, merchant: Merchant) -> None:
    """Send `webhook.test` to an endpoint; a worker must be running (`counterfoil serve`)."""
    message_id = _for(
        merchant,
        lambda tx, merchant_id: endpoints.test(
            tx,
            merchant_id=merchant_id,
            endpoint_id=parse_id("webhook_endpoint", endpoint),
            now=clock.now(),
        ),
    )
    say("It is on its way; `counterfoil webhooks deliveries` tells what becomes of it.")
    print(message_id)


@app.command(name="deliveries")
def list_deliveries(
    *,
    merchant: Merchant,
    endpoint: Annotated[str | None, Parameter(help="Only to this endpoint.")] = None,
    state: Annotated[DeliveryState | None, Parameter(help="Only in this state.")] = None,
    limit: Annotated[
        int, Parameter(help="How many, at most.", validator=Number(gte=1, lte=LARGEST_PAGE))
    ] = 50,
    json: Json = False,
) -> None:
    """List what was sent, the newest first."""
    endpoint_id = None if endpoint is None else parse_id("webhook_endpoint", endpoint)
    page = _for(
        merchant,
        lambda tx, merchant_id: queries.list_deliveries(
            tx, merchant_id=merchant_id, endpoint_id=endpoint_id, state=state, limit=limit
        ),
    )
    show([_delivery_row(delivery) for delivery in page.data], as_json=json, title="Webhook deliveries")


@app.command
def replay(
    what: Annotated[str, Parameter(help="A delivery (`whd_...`), or an endpoint (`whe_...`) with --since.")],
    /,
    *,
    merchant: Merchant,
    since: Annotated[datetime | None, Parameter(help="For an endpoint: all given up since then.")] = None,
) -> None:
    """Send a delivery again, or all that an endpoint has not got since a time."""
    if not what.startswith(f"{PREFIXES['webhook_endpoint']}_"):
        delivery_id = parse_id("webhook_delivery", what)
        _for(
            merchant,
            lambda tx, merchant_id: deliveries.replay(
                tx, merchant_id=merchant_id, delivery_id=delivery_id, now=clock.now()
            ),
        )
        say(f"{what} is on its way again.")
        return
    if since is None:
        raise InvalidError("Say since when: --since 2026-05-01.", code="invalid")
    endpoint_id, moment = parse_id("webhook_endpoint", what), since.astimezone()
    replayed = _for(
        merchant,
        lambda tx, merchant_id: deliveries.replay_failed(
            tx, merchant_id=merchant_id, endpoint_id=endpoint_id, since=moment, now=clock.now()
        ),
    )
    say(f"Deliveries on their way again: {replayed}.")


@app.command
def delete(endpoint: EndpointId, /, *, merchant: Merchant) -> None:
    """Delete an endpoint with its log."""
    _for(
        merchant,
        lambda tx, merchant_id: endpoints.remove(
            tx, merchant_id=merchant_id, endpoint_id=parse_id("webhook_endpoint", endpoint)
        ),
    )
    say(f"{endpoint} is deleted.")
