"""From the figures of an analysis to what may be said of them: a number, or why there is none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from counterfoil.dashboard.labels import STEP_MEANINGS, STEPS, UNKNOWN

Figures = dict[str, Any]
COUNTED: Final = ("addressed", "exposed", "issued", "bought", "redeemed")
_SUMS: Final = (
    *COUNTED,
    "revenue",
    "page_views",
    "redemptions",
    "redeemed_issued",
    "responders",
    "discount_cost",
    "discounts_known",
    "incomplete_links",
)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a funnel: its number, or the reason that there is none; `part` of the longest bar."""

    name: str
    label: str
    meaning: str
    value: int | None
    why: str | None
    part: float


def reasons(figures: Figures | None) -> dict[str, str]:
    """The figures that the data cannot say, each with the reason (as a message to be translated).

    A zero is only believed where nothing later contradicts it: vouchers that were redeemed were issued,
    whether or not somebody sent the issuances.
    """
    if figures is None:
        return dict.fromkeys((*STEPS, *_RATES, "time_to_redeem_p50", "discount_cost"), UNKNOWN["no_line"])
    found = {}
    if not figures["addressed"]:
        found["addressed"] = "no_audience"
    if figures["exposed"] is None:
        found["exposed"] = "no_page_log"
    elif figures["exposed"] == 0 and (figures["issued"] or figures["redeemed"]):
        found["exposed"] = "not_in_page_log"
    if not figures["issued"] and figures["redeemed"]:
        found |= {"issued": "no_issuance", "bought": "bought_unknown"}
    nothing = not figures["redemptions"]
    if figures["revenue"] is None:
        found["revenue"] = "nothing_redeemed" if nothing else "no_payment"
    if figures["discount_cost"] is None:
        found["discount_cost"] = "nothing_redeemed" if nothing else "no_discount"
    found |= _rate_reasons(figures, nothing=nothing)
    return {name: UNKNOWN[reason] for name, reason in found.items()}


_RATES: Final = ("redemption_rate", "response_rate", "purchase_rate", "revenue_per_discount")


def _rate_reasons(figures: Figures, *, nothing: bool) -> dict[str, str]:
    found: dict[str, str] = {}
    if not figures["issued"]:
        reason = "no_issuance" if figures["redeemed"] else "nothing_issued"
        found |= {"redemption_rate": reason, "purchase_rate": reason}
    if figures["response_rate"] is None or not figures["addressed"]:
        found["response_rate"] = "no_audience"
    if figures["revenue_per_discount"] is None:
        found["revenue_per_discount"] = "nothing_redeemed" if nothing else "no_discount"
    if not figures.get("times_known"):
        found["time_to_redeem_p50"] = "nothing_redeemed" if nothing else "no_times"
    return found


def funnel(figures: Figures | None) -> list[Step]:
    """The steps from those addressed to the money; money has no bar, for it counts something else."""
    why = reasons(figures)
    known = {name: None if figures is None or name in why else figures[name] for name in STEPS}
    most = max((known[name] or 0 for name in COUNTED), default=0)
    return [
        Step(
            name,
            STEPS[name],
            STEP_MEANINGS[name],
            known[name],
            why.get(name),
            0.0 if name == "revenue" or not most else (known[name] or 0) / most,
        )
        for name in STEPS
    ]


@dataclass(frozen=True, slots=True)
class Totals:
    """Figures over several campaigns, and for how many of them each step is not known."""

    figures: Figures
    unknown: dict[str, int]
    campaigns: int


def total(lines: Sequence[Figures]) -> Totals:
    """The sum of what is known. Rates are of the campaigns for which both sides are known."""
    whys = [reasons(line) for line in lines]
    none_yet = {UNKNOWN["nothing_redeemed"], UNKNOWN["nothing_issued"]}
    unknown = {
        name: sum(why.get(name, UNKNOWN["nothing_issued"]) not in none_yet for why in whys) for name in STEPS
    }

    def known(name: str) -> list[Any]:
        values = (line.get(name) for line, why in zip(lines, whys, strict=True) if name not in why)
        return [value for value in values if value is not None]

    figures: Figures = {name: sum(known(name)) if known(name) else None for name in _SUMS}
    # A customer of two campaigns is one customer: these cannot be added up.
    figures |= {"customers_issued": None, "customers_redeemed": None}
    figures["redemption_rate"] = _ratio(lines, "redeemed_issued", "issued")
    figures["response_rate"] = _ratio(lines, "responders", "addressed")
    return Totals(figures, unknown, len(lines))


def _ratio(lines: Iterable[Figures], above: str, below: str) -> float | None:
    both = [(line[above], line[below]) for line in lines if line.get(below) and line.get(above) is not None]
    whole = sum(under for _, under in both)
    return sum(over for over, _ in both) / whole if whole else None
