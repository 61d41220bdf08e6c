"""`counterfoil campaigns`: campaigns that are run here, from their terms to their end."""

from __future__ import annotations

import asyncio
import json as json_format
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo

import cyclopts
from cyclopts import Parameter
from cyclopts.validators import Number
from pydantic import ValidationError

from counterfoil import clock
from counterfoil.app import App
from counterfoil.cli.campaign_codes import export_codes, generate, import_codes
from counterfoil.cli.merchant_work import MerchantName, doing, looking, text_of
from counterfoil.cli.platform import Json, say, show, with_platform
from counterfoil.db.paging import LARGEST_PAGE
from counterfoil.db.transactions import Tx, read
from counterfoil.errors import ConflictError, FieldError, InvalidError
from counterfoil.merchants import merchants
from counterfoil.merchants.merchants import Merchant
from counterfoil.vouchers import campaign_actions, campaign_lists, campaigns, counters
from counterfoil.vouchers.campaign_actions import Action
from counterfoil.vouchers.campaign_requests import CampaignChange, NewCampaign
from counterfoil.vouchers.campaigns import Counters, RunCampaign
from counterfoil.vouchers.types import CampaignState

app = cyclopts.App(name="campaigns", help="Campaigns that are run here.")
app.command(generate, name="generate")
app.command(import_codes, name="import-codes")
app.command(export_codes, name="export-codes")

M = TypeVar("M", NewCampaign, CampaignChange)
TermsFile = Annotated[
    Path | None,
    Parameter(help="A JSON file with the terms, as the API takes them; docs/api.md has an example."),
]
Amount = Annotated[int | None, Parameter(validator=Number(gte=0))]
Limit = Annotated[
    str | None, Parameter(help="A whole number (money in minor units, such as cents), or `unlimited`.")
]


def _counters(found: Counters) -> dict[str, Any]:
    return {name: getattr(found, name) for name in Counters.__dataclass_fields__}


def _row(campaign: RunCampaign) -> dict[str, Any]:
    counters = campaign.counters
    return {
        "campaign_id": campaign.campaign_id,
        "name": campaign.name,
        "state": campaign.state,
        "discount": campaign.terms.discount.kind,
        "starts_at": campaign.terms.starts_at,
        "ends_at": campaign.terms.ends_at,
        "handed_out": counters.handed_out,
        "stock": campaign.limits.stock,
        "redemptions": counters.redemptions,
        "spent_minor": counters.spent_minor,
        "budget_minor": campaign.limits.budget_minor,
    }


def _whole(campaign: RunCampaign) -> dict[str, Any]:
    return {
        **_row(campaign),
        "kind": campaign.kind,
        "attributes": campaign.attributes,
        "max_redemptions": campaign.limits.max_redemptions,
        "counters": _counters(campaign.counters),
        "terms_version": campaign.terms_version,
        "terms": campaign.terms.model_dump(mode="json"),
    }


def _show_one(campaign: RunCampaign, *, as_json: bool) -> None:
    whole = _whole(campaign)
    if as_json:
        show([whole], as_json=True)
        return
    lines = {**whole, **whole["counters"]}
    del lines["counters"]
    lines["terms"] = json_format.dumps(lines["terms"], ensure_ascii=False)
    show([{"what": name, "value": value} for name, value in lines.items()], as_json=False)


@app.command(name="list")
def list_campaigns(
    *,
    merchant: MerchantName,
    state: Annotated[CampaignState | None, Parameter(help="Only in this state.")] = None,
    limit: Annotated[
        int, Parameter(help="How many, at most.", validator=Number(gte=1, lte=LARGEST_PAGE))
    ] = 50,
    json: Json = False,
) -> None:
    """List campaigns, the newest first."""
    page = looking(
        merchant,
        lambda tx, merchant_id: campaign_lists.list_campaigns(
            tx, merchant_id=merchant_id, state=state, limit=limit
        ),
    )
    show([_row(campaign) for campaign in page.data], as_json=json, title="Campaigns")


@app.command(name="show")
def show_campaign(campaign_id: str, /, *, merchant: MerchantName, json: Json = False) -> None:
    """Show a campaign with its terms, limits and counters."""
    _show_one(
        looking(
            merchant,
            lambda tx, merchant_id: campaigns.get(tx, merchant_id=merchant_id, campaign_id=campaign_id),
        ),
        as_json=json,
    )


@app.command
def create(
    campaign_id: str,
    /,
    *,
    merchant: MerchantName,
    terms: TermsFile = None,
    name: str | None = None,
    kind: Annotated[str | None, Parameter(help="Your own word for this sort of campaign.")] = None,
    amount_off: Annotated[Amount, Parameter(help="So much less, in minor units.")] = None,
    percent_off: Annotated[float | None, Parameter(help="Such a share less: 12.5 is 12.5 %.")] = None,
    at_most: Annotated[Amount, Parameter(help="With --percent-off: never more, in minor units.")] = None,
    minimum_spend: Annotated[Amount, Parameter(help="What an order must cost, in minor units.")] = None,
    per_customer: Annotated[Amount, Parameter(help="How many each customer may claim.")] = None,
    uses: Annotated[Amount, Parameter(help="How often a voucher can be used.")] = None,
    starts: Annotated[
        datetime | None, Parameter(help="From then on vouchers are handed out, such as 2026-05-01.")
    ] = None,
    ends: Annotated[datetime | None, Parameter(help="From then on no longer.")] = None,
    days: Annotated[Amount, Parameter(help="How many days a voucher is good for.")] = None,
    stock: Limit = None,
    budget: Limit = None,
    max_redemptions: Limit = None,
    from_pool: Annotated[
        bool, Parameter(help="Hand out only codes made or brought before.", negative="")
    ] = False,
    json: Json = False,
) -> None:
    """Create a campaign, as a draft. What an option says goes before what the file says.

    Times without an offset are in the campaign's time zone: the merchant's, unless the file names another.
    """
    if at_most is not None and percent_off is None:
        raise InvalidError("--at-most goes with --percent-off.", code="invalid")
    promised = _terms_file(terms)
    if amount_off is not None:
        promised["discount"] = {"kind": "amount", "amount_minor": amount_off}
    if percent_off is not None:
        points = round(percent_off * 100)
        promised["discount"] = {"kind": "percent", "basis_points": points, "cap_minor": at_most}
    if per_customer is not None:
        promised["claims_per_customer"] = {"total": per_customer}
    if days is not None:
        promised["validity"] = {"kind": "after_issue", "days": days}
    options = {"minimum_spend_minor": minimum_spend, "uses_per_voucher": uses, "from_pool": from_pool or None}
    promised |= {option: value for option, value in options.items() if value is not None}
    values: dict[str, Any] = {"campaign_id": campaign_id, "name": name, "kind": kind, "terms": promised}
    values |= _limits(stock, budget, max_redemptions)

    async def work(tx: Tx, owner: Merchant) -> RunCampaign:
        zone = promised.get("time_zone") or owner.time_zone
        promised.update(_moments(zone, starts_at=starts, ends_at=ends))
        body = _checked(NewCampaign, values)
        return await campaigns.create(
            tx,
            merchant_id=owner.id,
            campaign_id=body.campaign_id,
            name=body.name,
            kind=body.kind,
            attributes=body.attributes,
            terms=body.terms.in_zone(owner.time_zone),
            limits=body.limits,
            now=clock.now(),
        )

    _show_one(doing(merchant, work), as_json=json)
    say(f"It is a draft: `counterfoil campaigns activate {campaign_id} --merchant {merchant}` begins it.")


@app.command
def change(
    campaign_id: str,
    /,
    *,
    merchant: MerchantName,
    terms: TermsFile = None,
    name: str | None = None,
    kind: str | None = None,
    stock: Limit = None,
    budget: Limit = None,
    max_redemptions: Limit = None,
    json: Json = False,
) -> None:
    """Change a campaign: only what is said. Terms are replaced as a whole."""
    said: dict[str, Any] = {
        "name": name,
        "kind": kind,
        "terms": None if terms is None else _terms_file(terms),
    }
    said = {option: value for option, value in said.items() if value is not None}
    body = _checked(CampaignChange, {**said, **_limits(stock, budget, max_redemptions)})

    async def work(tx: Tx, owner: Merchant) -> RunCampaign:
        before = await campaigns.lock(tx, merchant_id=owner.id, campaign_id=campaign_id)
        wanted = None if body.terms is None else body.terms.in_zone(before.terms.time_zone)
        return await campaigns.change(
            tx,
            merchant_id=owner.id,
            campaign_id=campaign_id,
            limits=body.limits,
            terms=wanted,
            words=body.words,
            now=clock.now(),
        )

    _show_one(doing(merchant, work), as_json=json)


def _moments(time_zone: str, **said: datetime | None) -> dict[str, datetime]:
    """The times that are said; without an offset they are meant in the campaign's time zone."""
    moments = {}
    for name, moment in said.items():
        if moment is not None:
            try:
                moments[name] = moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(time_zone))
            except (KeyError, ValueError, OSError, TypeError):
                moments[name] = moment.replace(tzinfo=UTC)  # the check of the terms names the zone
    return moments


def _terms_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        found = json_format.loads(text_of(path))
    except (ValueError, RecursionError) as error:
        raise InvalidError(f"{path}: it is not JSON: {error}", code="file_unreadable") from error
    if not isinstance(found, dict):
        raise InvalidError(f"{path}: terms are a JSON object.", code="file_unreadable")
    return found


def _limits(stock: str | None, budget: str | None, max_redemptions: str | None) -> dict[str, int | None]:
    """The limits that are said; `unlimited` is null."""
    said = {"stock": stock, "budget_minor": budget, "max_redemptions": max_redemptions}
    found: dict[str, int | None] = {}
    for name, text in said.items():
        if text is not None and text != "unlimited" and not (text.isascii() and text.isdigit()):
            problem = FieldError(f"/{name}", "invalid_value", "A whole number, or `unlimited`.")
            raise InvalidError("A limit is wrong.", code="invalid", errors=(problem,))
        if text is not None:
            found[name] = None if text == "unlimited" else int(text)
    return found


def _checked(model: type[M], values: dict[str, Any]) -> M:
    """What was asked for; `InvalidError` names all that is wrong with it."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = tuple(
            FieldError("/" + "/".join(map(str, e["loc"])), e["type"], e["msg"].removeprefix("Value error, "))
            for e in error.errors(include_url=False)
        )
        raise InvalidError("The campaign cannot be so.", code="invalid", errors=problems) from error


def _act(action: Action, campaign_id: str, merchant: str) -> None:
    async def work(tx: Tx, owner: Merchant) -> RunCampaign:
        return await campaign_actions.act(
            tx, merchant_id=owner.id, campaign_id=campaign_id, action=action, now=clock.now()
        )

    say(f"{campaign_id} is {doing(merchant, work).state}.")


@app.command
def activate(campaign_id: str, /, *, merchant: MerchantName) -> None:
    """Hand out vouchers from now on, or from the time at which it starts."""
    _act("activate", campaign_id, merchant)


@app.command
def pause(campaign_id: str, /, *, merchant: MerchantName) -> None:
    """Let nothing move for a while."""
    _act("pause", campaign_id, merchant)


@app.command
def resume(campaign_id: str, /, *, merchant: MerchantName) -> None:
    """Go on after a pause."""
    _act("resume", campaign_id, merchant)


@app.command
def stop(campaign_id: str, /, *, merchant: MerchantName) -> None:
    """Hand out nothing any more; what people hold stays good. There is no way back."""
    _act("stop", campaign_id, merchant)


@app.command
def end(campaign_id: str, /, *, merchant: MerchantName) -> None:
    """Redeem nothing any more either. There is no way back."""
    _act("end", campaign_id, merchant)


@app.command(name="counters")
def show_counters(
    campaign_id: str,
    /,
    *,
    merchant: MerchantName,
    watch: Annotated[bool, Parameter(help="Go on, and tell whenever they changed.", negative="")] = False,
    json: Json = False,
) -> None:
    """Show how many vouchers are in each state, and what is left of the limits."""

    async def run(opened: App) -> None:
        async for found in _changes(opened, merchant, campaign_id):
            show([_counters(found)], as_json=json, title=campaign_id)
            sys.stdout.flush()
            if not watch:
                return

    with_platform(run)


async def _changes(opened: App, merchant: str, campaign_id: str) -> AsyncIterator[Counters]:
    last = None
    while True:
        async with read(opened.engine) as tx:
            owner = await merchants.get(tx, name=merchant)
            found = await counters.read_counters(tx, merchant_id=owner.id, campaign_id=campaign_id)
        if found != last:
            yield found
        last = found
        await asyncio.sleep(1)


@app.command
def verify(campaign_id: str, /, *, merchant: MerchantName, json: Json = False) -> None:
    """Count all rows of a campaign, and tell where its counters say something else."""
    found = looking(
        merchant,
        lambda tx, merchant_id: counters.verify(tx, merchant_id=merchant_id, campaign_id=campaign_id),
    )
    rows = [{"name": one.name, "told": one.told, "counted": one.counted} for one in found]
    show(rows, as_json=json, title="Differences")
    if found:
        raise ConflictError("The counters do not say what the rows say.", code="counters_differ")
    say(f"The counters of {campaign_id} say what its rows say.")
