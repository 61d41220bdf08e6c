"""Adding a partner, and changing it: one form that loses nothing of what was typed."""

from __future__ import annotations

import re
from typing import Any, Final

from starlette.responses import RedirectResponse, Response

from counterfoil.dashboard import points_partner_fields as fields
from counterfoil.dashboard import points_partner_labels
from counterfoil.dashboard.campaign_fields import FILL_IN, Reader
from counterfoil.dashboard.field_problems import FORM
from counterfoil.dashboard.visits import Visit
from counterfoil.dashboard.words import N_
from counterfoil.db.transactions import begin, read
from counterfoil.errors import CounterfoilError
from counterfoil.points.files import keys, partners
from counterfoil.points.files.layouts import Layout
from counterfoil.points.files.partners import Partner
from counterfoil.points.files.terms import Terms
from counterfoil.webhooks.addresses import check, guard

LARGEST: Final = 256 * 1024
"""Of the form: a layout of its own is a long text."""
MOST_FIELDS: Final = 100
LONGEST_NAME: Final = 100
CHANGED_MEANWHILE: Final = N_(
    "Somebody else changed this partner meanwhile. Open it again to see how, then change it."
)


def address_of(visit: Visit, partner_id: str) -> str:
    """The address of a partner's page."""
    return f"{visit.home}/points/partners/{partner_id}"


async def new(visit: Visit) -> Response:
    """The form with sensible beginnings."""
    return _page(visit, fields.new_values(), {}, None)


async def edit(visit: Visit) -> Response:
    """The form with what holds now."""
    found = await _read(visit)
    return _page(visit, fields.values_of(found), {}, found)


async def _read(visit: Visit) -> Partner:
    async with read(visit.engine) as tx:
        return await partners.get(
            tx, merchant_id=visit.merchant.id, partner_id=visit.request.path_params["partner_id"]
        )


def _page(visit: Visit, values: dict[str, str], errors: dict[str, str], partner: Partner | None) -> Response:
    shown = {name: value for name, value in values.items() if name != "outside.secret"}
    return visit.render(
        "points_partner_form.html",
        status=422 if errors else 200,
        values=shown,
        errors=errors,
        captions={},
        partner=partner,
        has_secret=bool(partner and partner.terms.outside and partner.terms.outside.secret),
        of_partners=points_partner_labels,
        section="points",
    )


async def create(visit: Visit) -> Response:
    """Add the partner and make our own keys; or the form again, with what is wrong beside each field."""
    reader = Reader(visit.form, visit.merchant.currency, visit.words)
    partner_id, first = reader.text("partner_id"), reader.count("first_sequence", required=True)
    if partner_id is None:
        reader.wrong("partner_id", FILL_IN)
    elif not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", partner_id):
        reader.wrong("partner_id", N_("1 to 63 small letters, digits and hyphens."))
    if first == 0:
        reader.wrong("first_sequence", N_("At least %(ge)s."), ge=1)
    terms, layout, name = await _checked(visit, reader, before=None)
    if partner_id and first and terms and layout and not reader.errors:
        which: dict[str, Any] = {"merchant_id": visit.merchant.id, "now": visit.now}
        try:
            async with begin(visit.engine) as tx:
                await partners.add(
                    tx, **which, partner_id=partner_id, name=name, terms=terms, layout=layout,
                    first_sequence=first,
                )  # fmt: skip
                await keys.ensure(tx, **which, name=visit.merchant.name)
            return RedirectResponse(f"{address_of(visit, partner_id)}?done=added", status_code=303)
        except CounterfoilError as error:
            if error.code != "partner_exists":
                raise
            reader.wrong("partner_id", N_("There is a partner with this id already."))
    return _page(visit, visit.form, reader.errors, None)


async def change(visit: Visit) -> Response:
    """Change the partner; or the form again, with what is wrong beside each field."""
    reader = Reader(visit.form, visit.merchant.currency, visit.words)
    found = await _read(visit)
    terms, layout, name = await _checked(visit, reader, before=found.terms)
    if terms is not None and layout is not None and not reader.errors:
        which: dict[str, Any] = {"merchant_id": visit.merchant.id, "partner_id": found.partner_id}
        async with begin(visit.engine) as tx:
            current = await partners.lock(tx, **which)
            same = current.changed_at.isoformat() == visit.form.get("was", "")
            if same:
                await partners.change(tx, **which, name=name, terms=terms, layout=layout, now=visit.now)
        if same:
            return RedirectResponse(f"{address_of(visit, found.partner_id)}?done=changed", status_code=303)
        reader.wrong(FORM, CHANGED_MEANWHILE)
    return _page(visit, visit.form, reader.errors, found)


async def _checked(
    visit: Visit, reader: Reader, *, before: Terms | None
) -> tuple[Terms | None, Layout | None, str]:
    """What the fields mean; None for what is wrong: then `reader.errors` says why."""
    name = reader.text("name") or ""
    if not name:
        reader.wrong("name", FILL_IN)
    if len(name) > LONGEST_NAME or "\x00" in name:
        reader.wrong("name", N_("At most %(max_length)s characters."), max_length=LONGEST_NAME)
    layout, terms = fields.read_layout(reader), fields.read_terms(reader, before=before)
    if terms is not None and terms.outside is not None:
        try:
            await check(terms.outside.url, guard=guard(visit.app.settings.webhook_allow))
        except CounterfoilError as error:
            reader.wrong("outside.url", points_partner_labels.TROUBLE.get(error.code, error.detail))
    return terms, layout, name
