"""Words of this room."""

from __future__ import annotations

from typing import Final, Literal, get_args

Precision = Literal["second", "day"]
"""How exactly a time is known: where a source keeps only days, the time is the day's first moment."""
PRECISIONS: Final[tuple[str, ...]] = get_args(Precision)

Assignment = Literal["random", "targeted"]
"""How the people of an audience were chosen: only `random` lets a difference be called an effect."""
ASSIGNMENTS: Final[tuple[str, ...]] = get_args(Assignment)

Group = Literal["treatment", "holdout"]
"""`holdout`: chosen, and then left alone, to compare with."""
GROUPS: Final[tuple[str, ...]] = get_args(Group)

EvidenceStatus = Literal["linked", "ambiguous", "unmatched"]
"""What the evidence said where the source had no transaction id; null where it had one."""
EVIDENCE_STATUSES: Final[tuple[str, ...]] = get_args(EvidenceStatus)

CampaignState = Literal["draft", "active", "paused", "stopped", "ended"]
"""Of a campaign that is run here. `paused`: nothing moves for a while; `stopped`: nothing is handed out any
more, what people hold stays good; `ended`: nothing is redeemed any more either."""
CAMPAIGN_STATES: Final[tuple[str, ...]] = get_args(CampaignState)

VoucherState = Literal["available", "issued", "reserved", "redeemed", "expired", "voided"]
"""Of a voucher of such a campaign."""
VOUCHER_STATES: Final[tuple[str, ...]] = get_args(VoucherState)

ReservationState = Literal["held", "released", "redeemed", "expired"]
"""`held` keeps a use of the voucher, and its discount of the budget, for one order."""
RESERVATION_STATES: Final[tuple[str, ...]] = get_args(ReservationState)

Verb = Literal["issue", "claim", "validate", "reserve", "release", "redeem", "reverse", "void"]
"""What can be asked of a voucher."""
VERBS: Final[tuple[Verb, ...]] = get_args(Verb)

Period = Literal["total", "day", "week", "month"]
"""What a limit counts in: calendar periods of the campaign's time zone, weeks from Monday."""
PERIODS: Final[tuple[Period, ...]] = get_args(Period)
