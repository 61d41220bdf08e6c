"""The endpoints of a merchant's programs: how they fare, and setting them up."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from counterfoil.dashboard.labels import WEBHOOK_DONE, WEBHOOK_PROBLEMS
from counterfoil.dashboard.visits import Visit
from counterfoil.db.transactions import Tx, begin, read
from counterfoil.errors import CounterfoilError, InvalidError
from counterfoil.ids import format_id, parse_id
from counterfoil.webhooks import deliveries, endpoints, queries
from counterfoil.webhooks.addresses import LONGEST_URL, check, guard
from counterfoil.webhooks.types import EVENT_TYPES, Endpoint

LONGEST_DESCRIPTION: Final = 200
KEPT: Final = timedelta(days=30)
"""How far back deliveries can be sent again: older ones are not kept."""
CHOICES: Final = tuple(name for name in EVENT_TYPES if name != "webhook.test")


def public_id(endpoint: Endpoint) -> str:
    """An endpoint's id, for its address."""
    return format_id("webhook_endpoint", endpoint.id)


async def show(visit: Visit) -> Response:
    """All endpoints, what they have not got, and the form for another."""
    return await _page(visit)


async def _page(
    visit: Visit, *, status: int = 200, problem: str = "", made: tuple[Endpoint, str] | None = None
) -> Response:
    async with read(visit.engine) as tx:
        found = await endpoints.list_all(tx, merchant_id=visit.merchant.id)
        missing = await queries.undelivered(tx, merchant_id=visit.merchant.id)
    done = visit.argument("done") if visit.argument("done") in WEBHOOK_DONE else ""
    number = visit.argument("n", longest=9)
    return visit.render(
        "webhooks.html",
        status=status,
        endpoints=found,
        missing=missing,
        nothing=queries.Undelivered(),
        problem=problem,
        made=made,
        done=done,
        done_at=next((e for e in found if public_id(e) == visit.argument("of")), None),
        replayed=int(number) if number.isascii() and number.isdigit() else 0,
        public_id=public_id,
        choices=CHOICES,
        form=visit.form,
        section="webhooks",
    )


async def add(visit: Visit) -> Response:
    """Make an endpoint, and show its secret: in this answer only, so there is no address that has it."""
    url = visit.form.get("url", "").strip()
    try:
        if not url or len(url) > LONGEST_URL:
            raise InvalidError("The address is missing or too long.", code="webhook_url_forbidden")
        await check(url, guard=guard(visit.app.settings.webhook_allow))
        async with begin(visit.engine) as tx:
            made = await endpoints.create(
                tx,
                merchant_id=visit.merchant.id,
                url=url,
                events=[name for name in CHOICES if f"event.{name}" in visit.form],
                description=visit.form.get("description", "").strip()[:LONGEST_DESCRIPTION],
                now=visit.now,
            )
    except CounterfoilError as error:
        if error.code not in WEBHOOK_PROBLEMS:
            raise
        return await _page(visit, status=error.http_status, problem=error.code)
    visit.form = {}
    return await _page(visit, made=made)


async def act(visit: Visit) -> Response:
    """One of the buttons of an endpoint; the page then says what came of it."""
    endpoint_id = parse_id("webhook_endpoint", visit.request.path_params["endpoint_id"])
    wanted = visit.form.get("do", "")
    which: dict[str, Any] = {"merchant_id": visit.merchant.id, "endpoint_id": endpoint_id, "now": visit.now}
    if wanted == "rotate":
        async with begin(visit.engine) as tx:
            made = await endpoints.rotate_secret(tx, **which)
        return await _page(visit, made=made)
    async with begin(visit.engine) as tx:
        more = await _do(tx, wanted, which)
    said = {"done": wanted, "of": visit.request.path_params["endpoint_id"], **more}
    return RedirectResponse(f"{visit.home}/webhooks?{urlencode(said)}", status_code=303)


async def _do(tx: Tx, wanted: str, which: dict[str, Any]) -> dict[str, Any]:
    """Do it; returns what the next page must know besides."""
    if wanted in {"enable", "disable"}:
        await endpoints.change(tx, **which, enabled=wanted == "enable")
    elif wanted == "test":
        await endpoints.test(tx, **which)
    elif wanted == "replay":
        return {"n": await deliveries.replay_failed(tx, **which, since=which["now"] - KEPT)}
    elif wanted == "delete":
        await endpoints.remove(tx, merchant_id=which["merchant_id"], endpoint_id=which["endpoint_id"])
    else:
        raise InvalidError("This is not a form of these pages.", code="form_invalid")
    return {}
