"""Campaigns that are run here: made, changed, and moved through their states."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row

from counterfoil.db.outbox import publish
from counterfoil.db.transactions import ReadTx, Tx
from counterfoil.errors import ConflictError, FieldError, InvalidError, NotFoundError, RefusedError
from counterfoil.ids import new_id
from counterfoil.vouchers.states import campaign_may
from counterfoil.vouchers.terms import ProductOff, RandomAmount, StoredValue, Terms
from counterfoil.vouchers.types import CampaignState

EVENTS: Final[Mapping[CampaignState, str]] = {
    "active": "campaign.activated",
    "paused": "campaign.paused",
    "stopped": "campaign.stopped",
    "ended": "campaign.ended",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of it there is. Null: unlimited; zero: none."""

    stock: int | None = None
    """Vouchers that may be handed out."""
    budget_minor: int | None = None
    """What all discounts together may cost."""
    max_redemptions: int | None = None
    """Redemptions of all vouchers together."""


@dataclass(frozen=True, slots=True)
class RunCampaign:
    """A campaign that is run here, its limits and its counters."""

    campaign_id: str
    name: str | None
    kind: str | None
    attributes: dict[str, Any]
    state: CampaignState
    terms: Terms
    terms_version: int
    limits: Limits
    counters: Counters
    created_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Counters:
    """How many vouchers are in each state, and what is used of the limits: always equal to the rows."""

    available: int
    issued: int
    reserved: int
    redeemed: int
    expired: int
    voided: int
    handed_out: int
    """Vouchers that were handed out, without those whose place was given back."""
    redemptions: int
    holds: int
    spent_minor: int
    held_minor: int
    stock_left: int | None
    budget_left_minor: int | None
    changed_at: datetime


SELECT: Final = """
    SELECT c.*, p.name, p.kind, p.attributes, t.terms
    FROM campaign_counters c
    JOIN campaigns p USING (merchant_id, campaign_id)
    JOIN campaign_terms t ON t.merchant_id = c.merchant_id AND t.campaign_id = c.campaign_id
         AND t.version = c.terms_version
    WHERE c.merchant_id = :merchant_id"""
_SELECT: Final = SELECT + " AND c.campaign_id = :campaign_id"


def counters_of(row: Row[Any]) -> Counters:
    """The counters in a row of `campaign_counters`."""
    return Counters(
        available=row.available,
        issued=row.issued,
        reserved=row.reserved,
        redeemed=row.redeemed,
        expired=row.expired,
        voided=row.voided,
        handed_out=row.handed_out,
        redemptions=row.redemptions,
        holds=row.holds,
        spent_minor=row.spent_minor,
        held_minor=row.held_minor,
        stock_left=None if row.stock is None else row.stock - row.handed_out,
        budget_left_minor=(
            None if row.budget_minor is None else row.budget_minor - row.spent_minor - row.held_minor
        ),
        changed_at=row.changed_at,
    )


def campaign_of(row: Row[Any]) -> RunCampaign:
    """The campaign in a row of `SELECT`."""
    return RunCampaign(
        row.campaign_id,
        row.name,
        row.kind,
        row.attributes,
        row.state,
        Terms.model_validate_json(json.dumps(row.terms)),
        row.terms_version,
        Limits(row.stock, row.budget_minor, row.max_redemptions),
        counters_of(row),
        row.created_at,
        row.changed_at,
    )


def not_found(campaign_id: str) -> NotFoundError:
    """There is no such campaign, or it is another tenant's, or one that is only recorded here."""
    return NotFoundError(f"There is no campaign {campaign_id!r} that is run here.", code="campaign_not_found")


async def find(tx: ReadTx, *, merchant_id: UUID, campaign_id: str) -> RunCampaign | None:
    """A campaign that is run here, or None."""
    row = await tx.first(_SELECT, {"merchant_id": merchant_id, "campaign_id": campaign_id})
    return None if row is None else campaign_of(row)


async def get(tx: ReadTx, *, merchant_id: UUID, campaign_id: str) -> RunCampaign:
    """A campaign that is run here; `NotFoundError` if there is none."""
    found = await find(tx, merchant_id=merchant_id, campaign_id=campaign_id)
    if found is None:
        raise not_found(campaign_id)
    return found


async def lock(tx: Tx, *, merchant_id: UUID, campaign_id: str) -> RunCampaign:
    """A campaign, kept from all others until this transaction ends."""
    row = await tx.first(
        _SELECT + " FOR UPDATE OF c", {"merchant_id": merchant_id, "campaign_id": campaign_id}
    )
    if row is None:
        raise not_found(campaign_id)
    # Once more, under the lock: the row that was waited for may have come with another version of the terms.
    return await get(tx, merchant_id=merchant_id, campaign_id=campaign_id)


async def create(
    tx: Tx,
    *,
    merchant_id: UUID,
    campaign_id: str,
    name: str | None,
    kind: str | None,
    attributes: dict[str, Any],
    terms: Terms,
    limits: Limits,
    now: datetime,
) -> RunCampaign:
    """A new draft. `ConflictError` where the id is taken, `InvalidError` for an impossible pot."""
    _check_pot(terms, limits)
    values = {"merchant_id": merchant_id, "campaign_id": campaign_id, "now": now}
    made = await tx.first(
        """INSERT INTO campaigns (merchant_id, campaign_id, name, kind, starts_at, ends_at, attributes,
                                  recorded_at)
           VALUES (:merchant_id, :campaign_id, :name, :kind, :starts_at, :ends_at,
                   CAST(:attributes AS jsonb), :now)
           ON CONFLICT DO NOTHING RETURNING 1""",
        {
            **values,
            "name": name,
            "kind": kind,
            "starts_at": terms.starts_at,
            "ends_at": terms.ends_at,
            "attributes": json.dumps(attributes),
        },
    )
    if made is None:
        raise ConflictError(f"There is a campaign {campaign_id!r} already.", code="campaign_exists")
    await _add_terms(tx, merchant_id, campaign_id, 1, terms, now)
    await tx.execute(
        """INSERT INTO campaign_counters (merchant_id, campaign_id, stock, budget_minor, max_redemptions,
                                          pot_left_minor, expired_through, created_at, changed_at)
           VALUES (:merchant_id, :campaign_id, :stock, :budget_minor, :max_redemptions, :pot,
                   :now, :now, :now)""",
        {**values, **_limits(limits), "pot": _pot(terms)},
    )
    return await get(tx, merchant_id=merchant_id, campaign_id=campaign_id)


def _limits(limits: Limits) -> dict[str, int | None]:
    return {
        "stock": limits.stock,
        "budget_minor": limits.budget_minor,
        "max_redemptions": limits.max_redemptions,
    }


def _pot(terms: Terms) -> int | None:
    return terms.discount.pot_minor if isinstance(terms.discount, RandomAmount) else None


async def _add_terms(
    tx: Tx, merchant_id: UUID, campaign_id: str, version: int, terms: Terms, now: datetime
) -> None:
    await tx.execute(
        """INSERT INTO campaign_terms (merchant_id, campaign_id, version, terms, created_at)
           VALUES (:merchant_id, :campaign_id, :version, CAST(:terms AS jsonb), :now)""",
        {
            "merchant_id": merchant_id,
            "campaign_id": campaign_id,
            "version": version,
            "terms": terms.model_dump_json(),
            "now": now,
        },
    )


def _check_pot(terms: Terms, limits: Limits, *, left_minor: int | None = None, handed_out: int = 0) -> None:
    """A pot is shared out over the whole stock: what is left of both must fit together."""
    pot = terms.discount
    if not isinstance(pot, RandomAmount):
        return
    if limits.stock is None:
        problem = FieldError("/stock", "stock_required", "Say how many vouchers share the pot.")
        raise InvalidError("A pot needs a stock to be shared over.", code="stock_required", errors=(problem,))
    left, vouchers = pot.pot_minor if left_minor is None else left_minor, limits.stock - handed_out
    most = left if pot.largest_minor is None else pot.largest_minor * vouchers
    least = pot.smallest_minor * vouchers
    # A stock of none may still grow; what was handed out to the last has used up the pot.
    fits = least <= left <= most if vouchers else left == 0 or handed_out == 0
    if not fits:
        problem = FieldError(
            "/terms/discount", "pot_does_not_fit", "Change the pot, its bounds or the stock."
        )
        raise InvalidError(
            f"{vouchers} vouchers between the smallest and the largest amount cannot add up to {left}.",
            code="pot_does_not_fit",
            errors=(problem,),
        )


async def change(
    tx: Tx,
    *,
    merchant_id: UUID,
    campaign_id: str,
    now: datetime,
    limits: Mapping[str, int | None] | None = None,
    terms: Terms | None = None,
    words: Mapping[str, Any] | None = None,
) -> RunCampaign:
    """Change limits, terms or the words (name, kind, attributes) of a campaign; what is not said stays.

    Raises `RefusedError` for one that has ended (`campaign_ended`), for a limit below what is used
    (`limit_below_used`), and for terms that would change what people hold (`terms_fixed`).
    """
    campaign = await lock(tx, merchant_id=merchant_id, campaign_id=campaign_id)
    if campaign.state == "ended":
        raise RefusedError("The campaign has ended; nothing of it changes any more.", code="campaign_ended")
    wanted = replace(campaign.limits, **(limits or {}))
    new_terms = terms or campaign.terms
    _check_limits(campaign, wanted)
    _check_terms(campaign, new_terms)
    pot_left = await _pot_left(tx, merchant_id, campaign, new_terms)
    _check_pot(new_terms, wanted, left_minor=pot_left, handed_out=campaign.counters.handed_out)
    version = campaign.terms_version
    if new_terms != campaign.terms:
        version += 1
        await _add_terms(tx, merchant_id, campaign_id, version, new_terms, now)
    values = {"merchant_id": merchant_id, "campaign_id": campaign_id, "now": now}
    await tx.execute(
        """UPDATE campaign_counters SET stock = :stock, budget_minor = :budget_minor, pot_left_minor = :pot,
                  max_redemptions = :max_redemptions, terms_version = :version, changed_at = :now
           WHERE merchant_id = :merchant_id AND campaign_id = :campaign_id""",
        {**values, **_limits(wanted), "pot": pot_left, "version": version},
    )
    said = {"name": campaign.name, "kind": campaign.kind, "attributes": campaign.attributes, **(words or {})}
    await tx.execute(
        """UPDATE campaigns SET name = :name, kind = :kind, attributes = CAST(:attributes AS jsonb),
                  starts_at = :starts_at, ends_at = :ends_at, recorded_at = :now
           WHERE merchant_id = :merchant_id AND campaign_id = :campaign_id""",
        {
            **values,
            **said,
            "attributes": json.dumps(said["attributes"]),
            "starts_at": new_terms.starts_at,
            "ends_at": new_terms.ends_at,
        },
    )
    return await get(tx, merchant_id=merchant_id, campaign_id=campaign_id)


def _check_limits(campaign: RunCampaign, wanted: Limits) -> None:
    counters = campaign.counters
    used = {
        "stock": counters.handed_out,
        "budget_minor": counters.spent_minor + counters.held_minor,
        "max_redemptions": counters.redemptions + counters.holds,
    }
    problems = tuple(
        FieldError(f"/{name}", "limit_below_used", f"{used[name]} are used already.")
        for name, limit in _limits(wanted).items()
        if limit is not None and limit < used[name]
    )
    if problems:
        raise RefusedError("A limit would be below what is used.", code="limit_below_used", errors=problems)


def _check_terms(campaign: RunCampaign, wanted: Terms) -> None:
    """What is in people's hands keeps its meaning: once codes exist, some terms are fixed."""
    counters, have = campaign.counters, campaign.terms
    if counters.handed_out + counters.available + counters.voided + counters.expired == 0:
        return
    fixed = {
        "/terms/discount/kind": wanted.discount.kind == have.discount.kind,
        "/terms/from_pool": wanted.from_pool == have.from_pool,
        "/terms/uses_per_voucher": wanted.uses_per_voucher == have.uses_per_voucher,
        "/terms/time_zone": wanted.time_zone == have.time_zone,
    }
    if isinstance(have.discount, (StoredValue, ProductOff)):
        fixed["/terms/discount"] = wanted.discount == have.discount
    problems = tuple(
        FieldError(pointer, "terms_fixed", "It cannot change once there are vouchers.")
        for pointer, same in fixed.items()
        if not same
    )
    if problems:
        raise RefusedError(
            "These terms cannot change once there are vouchers; make another campaign.",
            code="terms_fixed",
            errors=problems,
        )


async def _pot_left(tx: Tx, merchant_id: UUID, campaign: RunCampaign, wanted: Terms) -> int | None:
    """What is left to draw: raised, or lowered, as the pot is."""
    new, old = _pot(wanted), _pot(campaign.terms)
    if new is None or old is None:
        return new
    left = await tx.scalar(
        "SELECT pot_left_minor FROM campaign_counters WHERE merchant_id = :m AND campaign_id = :c",
        {"m": merchant_id, "c": campaign.campaign_id},
    )
    return int(left) + new - old


async def move(
    tx: Tx, *, merchant_id: UUID, campaign_id: str, to: CampaignState, now: datetime
) -> RunCampaign:
    """Bring a campaign into another state; being there already changes nothing.

    Raises `RefusedError` (`move_not_allowed`) for a move that the table in `states.py` does not have.
    """
    campaign = await lock(tx, merchant_id=merchant_id, campaign_id=campaign_id)
    if campaign.state == to:
        return campaign
    if not campaign_may(campaign.state, to):
        raise RefusedError(
            f"A campaign that is {campaign.state} cannot become {to}.", code="move_not_allowed"
        )
    await tx.execute(
        """UPDATE campaign_counters SET state = :to, changed_at = :now
           WHERE merchant_id = :merchant_id AND campaign_id = :campaign_id""",
        {"to": to, "now": now, "merchant_id": merchant_id, "campaign_id": campaign_id},
    )
    resumed = campaign.state == "paused" and to == "active"
    event = "campaign.resumed" if resumed else EVENTS[to]
    await tell(tx, merchant_id=merchant_id, campaign_id=campaign_id, event=event, now=now)
    return replace(campaign, state=to, changed_at=now)


async def tell(tx: Tx, *, merchant_id: UUID, campaign_id: str, event: str, now: datetime) -> None:
    """Tell the merchant's programs what became of a campaign."""
    told = {
        "id": f"evt_{new_id().hex}",
        "type": event,
        "time": now.isoformat(),
        "subject": campaign_id,
        "data": {"campaign_id": campaign_id},
    }
    await publish(tx, "vouchers.changed", {"merchant_id": str(merchant_id), "events": [told]})
