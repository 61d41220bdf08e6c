"""Making a campaign, and changing it: one form that loses nothing of what was typed."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response

from counterfoil.dashboard import campaign_values
from counterfoil.dashboard.campaign_fields import (
    FILL_IN,
    LIMITS,
    WINDOWS,
    Reader,
    read_limits,
    read_terms,
    window_rows,
)
from counterfoil.dashboard.field_problems import CHANGED_MEANWHILE, FORM, places_of
from counterfoil.dashboard.visits import Visit
from counterfoil.dashboard.words import N_
from counterfoil.db.transactions import Tx, begin, read
from counterfoil.errors import CounterfoilError
from counterfoil.vouchers import campaigns
from counterfoil.vouchers.campaign_requests import CAMPAIGN_ID
from counterfoil.vouchers.campaigns import Limits, RunCampaign
from counterfoil.vouchers.terms import Terms

LARGEST: Final = 2 * 1024 * 1024
"""Of the form: it may name ten thousand products."""
MOST_FIELDS: Final = 1200
LONGEST: Final = 500


def _id_of(visit: Visit) -> str:
    return str(visit.request.path_params["campaign_id"])


async def new(visit: Visit) -> Response:
    """The form with sensible beginnings."""
    return _page(visit, campaign_values.of_new(visit.merchant.time_zone, visit.merchant.currency), {}, None)


async def edit(visit: Visit) -> Response:
    """The form with what holds now."""
    async with read(visit.engine) as tx:
        found = await campaigns.get(tx, merchant_id=visit.merchant.id, campaign_id=_id_of(visit))
    if found.state == "ended":
        return RedirectResponse(address_of(visit, found.campaign_id), status_code=303)
    values = campaign_values.of_campaign(found, visit.merchant.currency)
    was = {f"was.{name}": values[name] for name in LIMITS}
    return _page(visit, {**values, **was, "version": str(found.terms_version)}, {}, found)


def _page(
    visit: Visit, values: dict[str, str], errors: dict[str, str], campaign: RunCampaign | None
) -> Response:
    return visit.render(
        "campaign_form.html",
        status=422 if errors else 200,
        values=values,
        errors=errors,
        captions={},
        campaign=campaign,
        rows={name: window_rows(values, name) for name in WINDOWS},
        section="campaigns",
    )


def address_of(visit: Visit, campaign_id: str, **query: str) -> str:
    """The address of a campaign's page."""
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    return f"{visit.home}/campaigns/{quote(campaign_id, safe='')}" + (f"?{asked}" if asked else "")


def _read(visit: Visit) -> tuple[Reader, Terms | None, dict[str, int | None]]:
    reader = Reader(visit.form, visit.merchant.currency, visit.words)
    limits, terms = read_limits(reader), read_terms(reader)
    for name in ("name", "kind"):
        if len(visit.form.get(name, "")) > LONGEST or "\x00" in visit.form.get(name, ""):
            reader.wrong(name, N_("At most %(max_length)s characters."), max_length=LONGEST)
    return reader, terms, limits


async def create(visit: Visit) -> Response:
    """Make the campaign, as a draft; or the form again, with what is wrong beside each field."""
    reader, terms, limits = _read(visit)
    campaign_id = reader.text("campaign_id")
    if campaign_id is None:
        reader.wrong("campaign_id", FILL_IN)
    elif not re.fullmatch(CAMPAIGN_ID, campaign_id):
        reader.wrong("campaign_id", N_("Up to 100 letters, digits, dots, dashes and underscores."))
    if terms is not None and campaign_id is not None and not reader.errors:
        try:
            async with begin(visit.engine) as tx:
                await campaigns.create(
                    tx,
                    merchant_id=visit.merchant.id,
                    campaign_id=campaign_id,
                    name=reader.text("name"),
                    kind=reader.text("kind"),
                    attributes={},
                    terms=terms,
                    limits=Limits(**limits),
                    now=visit.now,
                )
            return RedirectResponse(address_of(visit, campaign_id, done="created"), status_code=303)
        except CounterfoilError as error:
            _note(reader, error)
    return _page(visit, visit.form, reader.errors, None)


async def change(visit: Visit) -> Response:
    """Change the campaign; or the form again, with what is wrong beside each field."""
    reader, terms, limits = _read(visit)
    async with read(visit.engine) as tx:
        found = await campaigns.get(tx, merchant_id=visit.merchant.id, campaign_id=_id_of(visit))
    if terms is not None and not reader.errors:
        try:
            async with begin(visit.engine) as tx:
                done = await _change(tx, visit, found.campaign_id, terms, limits)
            if done:
                return RedirectResponse(address_of(visit, found.campaign_id, done="changed"), status_code=303)
            reader.wrong(FORM, CHANGED_MEANWHILE)
        except CounterfoilError as error:
            _note(reader, error)
    return _page(visit, visit.form, reader.errors, found)


async def _change(
    tx: Tx, visit: Visit, campaign_id: str, terms: Terms, limits: dict[str, int | None]
) -> bool:
    """Change it, unless somebody else changed the terms since the form was made."""
    which: dict[str, Any] = {"merchant_id": visit.merchant.id, "campaign_id": campaign_id}
    form, current = visit.form, await campaigns.lock(tx, **which)
    if form.get("version") != str(current.terms_version):
        return False
    # A limit that was not touched here may have been raised elsewhere since.
    touched = {
        column: limits[column]
        for column, name in zip(limits, LIMITS, strict=True)
        if form.get(name, "").strip() != form.get(f"was.{name}", "")
    }
    words = {name: form.get(name, "").strip() or None for name in ("name", "kind")}
    await campaigns.change(tx, **which, now=visit.now, limits=touched, terms=terms, words=words)
    return True


def _note(reader: Reader, error: CounterfoilError) -> None:
    """A verb's error beside its fields; one that is none of the form's goes on."""
    places = places_of(error)
    if not places:
        raise error
    for name, sentence in places:
        reader.wrong(name, sentence)
