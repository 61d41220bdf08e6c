"""Why a request is refused: every reason's stable code, its kind and the sentence for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from counterfoil.errors import Kind
from counterfoil.vouchers.requests import Outcome, Reason

REFUSALS: Final[dict[str, tuple[Kind, str]]] = {
    "campaign_not_found": ("not_found", "There is no such campaign."),
    "voucher_not_found": ("not_found", "There is no such voucher."),
    "reservation_not_found": ("not_found", "There is no such reservation."),
    "redemption_not_found": ("not_found", "There is no such redemption."),
    "campaign_draft": ("refused", "The campaign is still a draft; activate it first."),
    "campaign_paused": ("refused", "The campaign is paused; try again when it goes on."),
    "campaign_stopped": ("refused", "The campaign hands out no more vouchers."),
    "campaign_ended": ("refused", "The campaign has ended."),
    "campaign_not_started": ("refused", "The campaign has not begun yet."),
    "campaign_over": ("refused", "The campaign's time is over."),
    "outside_claim_window": (
        "refused",
        "Vouchers cannot be claimed at this hour; see the campaign's claim windows.",
    ),
    "outside_redemption_window": (
        "refused",
        "It cannot be used at this hour; see the campaign's redemption windows.",
    ),
    "sold_out": ("refused", "All vouchers of the campaign have been handed out."),
    "customer_required": (
        "refused",
        "Say the customer_id: the campaign limits how often each customer takes part.",
    ),
    "claim_limit_reached": ("refused", "This customer has claimed as often as the campaign allows."),
    "claims_per_day_reached": ("refused", "Today's vouchers have all been claimed; try again tomorrow."),
    "voucher_not_issued": ("refused", "It has not been handed out yet."),
    "voucher_not_available": ("conflict", "It has been handed out already, or is none that can be."),
    "voucher_reserved": (
        "conflict",
        "It is reserved for another order; release it, or wait until that runs out.",
    ),
    "voucher_redeemed": ("conflict", "It has been used."),
    "voucher_expired": ("refused", "Its validity is over."),
    "voucher_not_yet_valid": ("refused", "It is not valid yet."),
    "voucher_voided": ("refused", "It was voided."),
    "not_the_holder": ("refused", "It belongs to another customer."),
    "store_not_in_scope": ("refused", "It cannot be used in this store."),
    "store_required": ("refused", "Say the store_id: the voucher is good in some stores only."),
    "amount_required": ("refused", "Say what the order costs: amount_minor, or its lines."),
    "lines_required": ("refused", "Send the order's lines: the voucher is good for some products only."),
    "nothing_eligible": ("refused", "Nothing in the order is in the voucher's scope."),
    "product_missing": ("refused", "The product that the voucher is for is not in the order."),
    "minimum_not_met": ("refused", "The eligible lines cost less than the minimum spend."),
    "reference_required": ("refused", "Say the order_id or the transaction_id."),
    "redemption_limit_reached": (
        "refused",
        "This customer has used as many vouchers as the campaign allows.",
    ),
    "redemptions_per_day_reached": (
        "refused",
        "The campaign's redemptions of today are used up; try tomorrow.",
    ),
    "redemptions_used_up": ("refused", "The campaign's redemptions are used up."),
    "budget_exhausted": ("refused", "The campaign's budget does not cover it."),
    "not_stackable": ("refused", "It cannot be combined with another voucher on this order."),
    "order_differs": ("refused", "This order has redeemed the voucher already, with another amount."),
    "redemption_reversed": (
        "refused",
        "This order's redemption was reversed; a new order needs a new order_id.",
    ),
    "reservation_redeemed": ("conflict", "The reservation was redeemed; reverse the redemption instead."),
    "line_unknown": ("refused", "The redemption has no such line."),
    "restock_impossible": ("refused", "Only a voucher that was handed out and never used can be restocked."),
}
"""In the order of what a user would want to know first."""

_REASONS: Final = {code: Reason(code, detail) for code, (_, detail) in REFUSALS.items()}
_REFUSED: Final = {code: Outcome(False, code, reasons=(reason,)) for code, reason in _REASONS.items()}


def refused(codes: str | Sequence[str]) -> Outcome:
    """The outcome of a request refused for these reasons, each told once; the first one is its code."""
    distinct = [codes] if isinstance(codes, str) else list(dict.fromkeys(codes))
    if len(distinct) == 1:
        return _REFUSED[distinct[0]]
    return Outcome(False, distinct[0], reasons=tuple(_REASONS[code] for code in distinct))
