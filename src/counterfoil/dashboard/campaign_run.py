"""The page of a campaign that is run here: how it stands, live, and what an operator can do with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final, cast

from starlette.responses import RedirectResponse, Response, StreamingResponse

from counterfoil.dashboard import campaign_codes, campaign_values, run_labels
from counterfoil.dashboard.amounts import MistypedError, count_of, minor_of
from counterfoil.dashboard.campaign_codes import Brought
from counterfoil.dashboard.campaign_figures import read_figures
from counterfoil.dashboard.campaign_form import address_of
from counterfoil.dashboard.campaign_words import TermsInWords
from counterfoil.dashboard.forms import UnusableFormError
from counterfoil.dashboard.gauges import gauges_of, shares_of
from counterfoil.dashboard.live import told
from counterfoil.dashboard.visits import Visit
from counterfoil.db.transactions import begin, read
from counterfoil.errors import CounterfoilError, InvalidError
from counterfoil.linkage import queries
from counterfoil.vouchers import campaign_actions, campaigns
from counterfoil.vouchers.campaign_actions import Action
from counterfoil.vouchers.campaigns import RunCampaign
from counterfoil.vouchers.queries import last_issued
from counterfoil.vouchers.states import CAMPAIGN_MOVES

LAST_VOUCHERS: Final = 12
LARGEST: Final = 2 * 1024 * 1024
"""Of a form: ten thousand codes of 64 characters, and what is around them."""
_EVERY_SECONDS: Final = 1.0
_STREAM_SECONDS: Final = 15
"""Then the browser asks again: a server that stops is not held up by those who watch."""


def moves_of(campaign: RunCampaign) -> list[str]:
    """The buttons of a campaign in its state."""
    return [
        name
        for name, (to, *_) in run_labels.MOVES.items()
        if to in CAMPAIGN_MOVES[campaign.state]
        and (name != "activate" or campaign.state == "draft")
        and (name != "resume" or campaign.state == "paused")
    ]


async def show(
    visit: Visit,
    campaign_id: str,
    *,
    problem: tuple[str, str] | None = None,
    status: int = 200,
    brought: Brought | None = None,
) -> Response:
    """The page; `problem` is a form that was refused, and the code of the reason."""
    async with read(visit.engine) as tx:
        run = await campaigns.get(tx, merchant_id=visit.merchant.id, campaign_id=campaign_id)
        shown = await read_figures(tx, visit, campaign_id)
        breaks = await queries.count_breaks(tx, merchant_id=visit.merchant.id, campaign_id=campaign_id)
        last = await last_issued(
            tx, merchant_id=visit.merchant.id, campaign_id=campaign_id, limit=LAST_VOUCHERS
        )
    in_words = TermsInWords(visit.words, visit.merchant.currency)
    limits = campaign_values.of_limits(run.limits, visit.merchant.currency)
    return visit.render(
        "campaign_run.html",
        status=status,
        campaign=run,
        live=told(visit, run),
        gauges=gauges_of(run.limits, run.counters),
        shares=shares_of(run.counters),
        moves=moves_of(run),
        in_words=in_words,
        values={**limits, **visit.form},
        problem=problem,
        brought=brought,
        done=visit.argument("done") if visit.argument("done") in run_labels.DONE else "",
        breaks=breaks,
        last=last,
        section="campaigns",
        **shown,
    )


async def act(visit: Visit) -> Response:
    """One of the forms of the page. What is refused is said beside it, and nothing typed is lost."""
    campaign_id = visit.request.path_params["campaign_id"]
    wanted = visit.form.get("do", "")
    try:
        if wanted in run_labels.MOVES:
            return await _move(visit, campaign_id, cast("Action", wanted))
        if wanted == "limits":
            return await _change_limits(visit, campaign_id)
        if wanted == "generate":
            return await campaign_codes.generate(visit, campaign_id)
        if wanted == "bring":
            return await show(visit, campaign_id, brought=await campaign_codes.bring(visit, campaign_id))
    except UnusableFormError as error:
        return await show(visit, campaign_id, problem=(wanted, str(error)), status=422)
    except CounterfoilError as error:
        if error.code not in run_labels.PROBLEMS or error.code == "campaign_not_found":
            raise
        return await show(visit, campaign_id, problem=(wanted, error.code), status=error.http_status)
    raise InvalidError("This is not a form of these pages.", code="form_invalid")


async def _move(visit: Visit, campaign_id: str, wanted: Action) -> Response:
    if run_labels.MOVES[wanted][3] and "sure" not in visit.form:
        raise UnusableFormError("not_confirmed")
    async with begin(visit.engine) as tx:
        await campaign_actions.act(
            tx, merchant_id=visit.merchant.id, campaign_id=campaign_id, action=wanted, now=visit.now
        )
    return RedirectResponse(address_of(visit, campaign_id, done=wanted), status_code=303)


async def _change_limits(visit: Visit, campaign_id: str) -> Response:
    """Only what was changed in the form: another limit may have been raised elsewhere meanwhile."""
    parsers: dict[str, Any] = {
        "stock": ("stock", count_of),
        "budget": ("budget_minor", lambda text: minor_of(text, visit.merchant.currency)),
        "max_redemptions": ("max_redemptions", count_of),
    }
    limits: dict[str, int | None] = {}
    for name, (column, parse) in parsers.items():
        text = visit.form.get(name, "").strip()
        if text == visit.form.get(f"was.{name}", ""):
            continue
        try:
            limits[column] = parse(text) if text else None
        except MistypedError as error:
            raise UnusableFormError("amount_mistyped") from error
    async with begin(visit.engine) as tx:
        await campaigns.change(
            tx, merchant_id=visit.merchant.id, campaign_id=campaign_id, limits=limits, now=visit.now
        )
    return RedirectResponse(address_of(visit, campaign_id, done="limits"), status_code=303)


async def counters(visit: Visit) -> Response:
    """The figures as a stream of server-sent events: now, and whenever they have changed."""
    await _read(visit)
    return StreamingResponse(_stream(visit), media_type="text/event-stream")


async def _read(visit: Visit) -> RunCampaign:
    async with read(visit.engine) as tx:
        return await campaigns.get(
            tx, merchant_id=visit.merchant.id, campaign_id=visit.request.path_params["campaign_id"]
        )


async def _stream(visit: Visit) -> AsyncIterator[str]:
    yield "retry: 1000\n\n"
    before = None
    for _ in range(int(_STREAM_SECONDS / _EVERY_SECONDS)):
        now = told(visit, await _read(visit))
        if now != before:
            yield f"event: counters\ndata: {json.dumps(now)}\n\n"
            before = now
        if await visit.request.is_disconnected():
            return
        await asyncio.sleep(_EVERY_SECONDS)
