"""What can become of a voucher and of a campaign: the tables of allowed moves.

Everything else is refused, by the verbs and, for a campaign, by `campaigns.move`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from counterfoil.vouchers.types import CampaignState, Verb, VoucherState

VOUCHER_MOVES: Final[Mapping[VoucherState, frozenset[VoucherState]]] = {
    "available": frozenset({"issued", "expired", "voided"}),
    # A voucher of many uses, or with a balance, stays issued until nothing of it is left.
    "issued": frozenset({"issued", "reserved", "redeemed", "expired", "voided"}),
    "reserved": frozenset({"reserved", "issued", "redeemed", "expired", "voided"}),
    # Reversed: usable again, or expired where its validity is over.
    "redeemed": frozenset({"redeemed", "issued", "reserved", "expired"}),
    # Reversed in part, or a hold was given back: what is over stays over.
    "expired": frozenset({"expired"}),
    "voided": frozenset({"voided"}),
}

CAMPAIGN_MOVES: Final[Mapping[CampaignState, frozenset[CampaignState]]] = {
    "draft": frozenset({"active"}),
    "active": frozenset({"paused", "stopped", "ended"}),
    "paused": frozenset({"active", "stopped", "ended"}),
    "stopped": frozenset({"ended"}),
    "ended": frozenset(),
}

ALLOWED_IN: Final[Mapping[Verb, frozenset[CampaignState]]] = {
    # Handing out before the opening is the merchant's own act; claiming is the public's.
    "issue": frozenset({"active"}),
    "claim": frozenset({"active"}),
    "validate": frozenset({"active", "stopped"}),
    "reserve": frozenset({"active", "stopped"}),
    "redeem": frozenset({"active", "stopped"}),
    # What gives something back is possible whatever became of the campaign.
    "release": frozenset({"draft", "active", "paused", "stopped", "ended"}),
    "reverse": frozenset({"draft", "active", "paused", "stopped", "ended"}),
    "void": frozenset({"draft", "active", "paused", "stopped", "ended"}),
}
"""In which states of its campaign a verb is answered; a redemption of what is reserved also while paused."""


def voucher_may(before: VoucherState, after: VoucherState) -> bool:
    """Whether a voucher may go from one state to another."""
    return after in VOUCHER_MOVES[before]


def campaign_may(before: CampaignState, after: CampaignState) -> bool:
    """Whether a campaign may go from one state to another."""
    return after in CAMPAIGN_MOVES[before]
