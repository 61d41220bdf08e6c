"""What stands in the fields of the campaign form: of a new campaign, and of one that there is."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from counterfoil.dashboard import amounts
from counterfoil.vouchers.campaigns import Limits, RunCampaign
from counterfoil.vouchers.terms import (
    AfterIssue,
    AmountOff,
    PercentOff,
    ProductOff,
    RandomAmount,
    StoredValue,
    Terms,
    Window,
)


def of_new(time_zone: str, currency: str) -> dict[str, str]:
    """Sensible beginnings: an amount off, once for each customer, good for a month."""
    return {
        "discount.kind": "amount",
        "discount.quantity": "1",
        "discount.smallest": amounts.major(1, currency),
        "validity.kind": "days",
        "validity.days": "30",
        "claims.total": "1",
        "uses_per_voucher": "1",
        "stacking": "one_per_campaign",
        "reservation_seconds": "900",
        "codes.length": "12",
        "codes.check_symbol": "on",
        "time_zone": time_zone,
    }


def of_campaign(campaign: RunCampaign, currency: str) -> dict[str, str]:
    """The fields of a campaign as it is now."""
    terms = campaign.terms
    values: dict[str, Any] = {
        "name": campaign.name,
        "kind": campaign.kind,
        **_discount(terms, currency),
        "starts_at": _moment(terms.starts_at, terms.time_zone),
        "ends_at": _moment(terms.ends_at, terms.time_zone),
        "minimum_spend": amounts.major(terms.minimum_spend_minor or None, currency),
        **_scope(terms),
        **_validity(terms),
        **_windows("claim_windows", terms.claim_windows),
        **_windows("redemption_windows", terms.redemption_windows),
        **{f"claims.{period}": limit for period, limit in terms.claims_per_customer.items()},
        **{f"uses.{period}": limit for period, limit in terms.redemptions_per_customer.items()},
        "claims_per_day": terms.claims_per_day,
        "redemptions_per_day": terms.redemptions_per_day,
        "uses_per_voucher": terms.uses_per_voucher,
        "stacking": terms.stacking,
        "transferable": "on" if terms.transferable else None,
        "reservation_seconds": terms.reservation_seconds,
        "codes.charset": terms.codes.charset,
        "codes.length": terms.codes.length,
        "codes.prefix": terms.codes.prefix,
        "codes.pattern": terms.codes.pattern,
        "codes.check_symbol": "on" if terms.codes.check_symbol else None,
        "from_pool": "on" if terms.from_pool else None,
        "time_zone": terms.time_zone,
        **of_limits(campaign.limits, currency),
    }
    return {name: str(value) for name, value in values.items() if value is not None}


def of_limits(limits: Limits, currency: str) -> dict[str, str]:
    """The fields of the limits; empty: unlimited."""
    return {
        "stock": "" if limits.stock is None else str(limits.stock),
        "budget": amounts.major(limits.budget_minor, currency),
        "max_redemptions": "" if limits.max_redemptions is None else str(limits.max_redemptions),
    }


def _discount(terms: Terms, currency: str) -> dict[str, Any]:
    kind = terms.discount
    values: dict[str, Any] = {"discount.kind": kind.kind, "discount.quantity": 1}
    values["discount.smallest"] = amounts.major(1, currency)
    if isinstance(kind, AmountOff):
        values["discount.amount"] = amounts.major(kind.amount_minor, currency)
    elif isinstance(kind, PercentOff):
        values["discount.percent"] = amounts.percent(kind.basis_points)
        values["discount.cap"] = amounts.major(kind.cap_minor, currency)
    elif isinstance(kind, ProductOff):
        values["discount.product_id"] = kind.product_id
        values["discount.quantity"] = kind.quantity
        values["discount.value"] = amounts.major(kind.value_minor, currency)
    elif isinstance(kind, StoredValue):
        values["discount.stored"] = amounts.major(kind.amount_minor, currency)
    elif isinstance(kind, RandomAmount):
        values["discount.pot"] = amounts.major(kind.pot_minor, currency)
        values["discount.smallest"] = amounts.major(kind.smallest_minor, currency)
        values["discount.largest"] = amounts.major(kind.largest_minor, currency)
    return values


def _moment(at: datetime | None, zone: str) -> str | None:
    if at is None:
        return None
    local = at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    return local.isoformat(timespec="auto" if local.second or local.microsecond else "minutes")


def _hour(at: time) -> str:
    return at.isoformat(timespec="auto" if at.second or at.microsecond else "minutes")


def _scope(terms: Terms) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in ("products", "categories", "stores"):
        ids: tuple[str, ...] | None = getattr(terms.scope, name)
        if ids is not None:
            values[f"scope.{name}"] = "\n".join(ids)
            values[f"scope.{name}.none"] = None if ids else "on"
    return values


def _validity(terms: Terms) -> dict[str, Any]:
    validity = terms.validity
    if validity is None:
        return {"validity.kind": "none"}
    if isinstance(validity, AfterIssue):
        kind = "days" if validity.days is not None else "hours"
        return {"validity.kind": kind, f"validity.{kind}": getattr(validity, kind)}
    return {
        "validity.kind": "absolute",
        "validity.from": _moment(validity.valid_from, terms.time_zone),
        "validity.until": _moment(validity.valid_until, terms.time_zone),
    }


def _windows(name: str, windows: Iterable[Window] | None) -> dict[str, Any]:
    if windows is None:
        return {}
    values: dict[str, Any] = {}
    for row, window in enumerate(windows):
        values |= {f"{name}.{row}.{day}": "on" for day in window.days}
        values[f"{name}.{row}.from"] = _hour(window.begins)
        values[f"{name}.{row}.until"] = _hour(window.until)
    return values or {f"{name}.none": "on"}
