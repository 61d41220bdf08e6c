"""What the pages call the campaigns that are run here, their vouchers and what one can do with them."""

from __future__ import annotations

from typing import Final

from counterfoil.dashboard.words import C_, N_
from counterfoil.vouchers.refusals import REFUSALS as _REFUSALS

REFUSALS: Final[dict[str, str]] = {code: sentence for code, (_, sentence) in _REFUSALS.items()}
"""Why something was refused. `catalog` collects these sentences where they are, so nobody says them twice."""

CAMPAIGN_STATES: Final[dict[str, tuple[str, str, str]]] = {
    "draft": ("calm", C_("a campaign", "Draft"), N_("Being prepared: nothing is handed out yet.")),
    "active": ("good", C_("a campaign", "Active"), N_("Vouchers are handed out and redeemed.")),
    "paused": (
        "warn",
        C_("a campaign", "Paused"),
        N_("Nothing is handed out or redeemed for a while; what an order has reserved is kept."),
    ),
    "stopped": (
        "info",
        C_("a campaign", "Stopped"),
        N_("No more vouchers are handed out; those that people hold stay good."),
    ),
    "ended": ("calm", C_("a campaign", "Ended"), N_("Over for good: nothing is redeemed any more.")),
}
"""State to tone, name and meaning."""

MOVES: Final[dict[str, tuple[str, str, str, bool]]] = {
    "activate": (
        "active",
        N_("Activate"),
        N_("From now on vouchers can be handed out and redeemed, within the period and the limits below."),
        False,
    ),
    "resume": ("active", N_("Resume"), N_("It goes on where it was paused."), False),
    "pause": (
        "paused",
        N_("Pause"),
        N_(
            "Nothing is handed out or redeemed until you resume it. What orders have reserved can still be "
            "paid."
        ),
        False,
    ),
    "stop": (
        "stopped",
        N_("Stop"),
        N_(
            "No voucher is handed out any more, for good. Those that people hold stay good until they expire."
        ),
        True,
    ),
    "end": (
        "ended",
        N_("End"),
        N_("Everything is over, for good: what people hold and have not used expires at once."),
        True,
    ),
}
"""Button to the state that it leads to, its word, what it means, and whether there is no way back."""

VOUCHER_STATES: Final[dict[str, tuple[str, str]]] = {
    "available": ("calm", C_("a voucher", "Available")),
    "issued": ("info", C_("a voucher", "Issued")),
    "reserved": ("warn", C_("a voucher", "Reserved")),
    "redeemed": ("good", C_("a voucher", "Redeemed")),
    "expired": ("calm", C_("a voucher", "Expired")),
    "voided": ("bad", C_("a voucher", "Voided")),
}
VOUCHER_MEANINGS: Final[dict[str, str]] = {
    "available": N_("The code exists and waits to be handed out."),
    "issued": N_("It is in somebody's hands and can be used."),
    "reserved": N_("An order has reserved it and is not paid yet."),
    "redeemed": N_("It was used."),
    "expired": N_("Its validity is over."),
    "voided": N_("Somebody made it useless."),
}

DISCOUNTS: Final[dict[str, tuple[str, str]]] = {
    "amount": (N_("An amount off"), N_("So much less, never more than the order costs.")),
    "percent": (N_("A share off"), N_("A part of what the eligible products cost.")),
    "product": (N_("A product for nothing"), N_("A product in the basket, or handed over the counter.")),
    "stored_value": (N_("A balance"), N_("A gift card: used up bit by bit.")),
    "random": (N_("A lucky amount"), N_("Each voucher draws its amount from a pot.")),
}
VALIDITIES: Final[dict[str, tuple[str, str]]] = {
    "days": (N_("Days from its issue"), N_("The whole of the last day counts.")),
    "hours": (N_("Hours from its issue"), ""),
    "absolute": (N_("From one moment to another"), N_("The same for all vouchers.")),
    "none": (N_("As long as the campaign is not ended"), ""),
}
STACKING: Final[dict[str, tuple[str, str]]] = {
    "one_per_campaign": (
        N_("One of this campaign"),
        N_("Beside vouchers of other campaigns, and no second one of this campaign on the same order."),
    ),
    "alone": (N_("Alone"), N_("With no other voucher on the same order.")),
    "any": (N_("With any other"), N_("With all others, also of this campaign.")),
}
PERIODS: Final[dict[str, str]] = {
    "total": N_("in all"),
    "day": N_("a day"),
    "week": N_("a week"),
    "month": N_("a month"),
}
DONE: Final[dict[str, str]] = {
    "created": N_("The campaign is made, as a draft. Look it over, then activate it."),
    "changed": N_("The changes hold from now on."),
    "limits": N_("The limits are changed."),
    "activate": N_("It is active."),
    "resume": N_("It goes on."),
    "pause": N_("It is paused."),
    "stop": N_("It is stopped."),
    "end": N_("It is ended."),
    "generated": N_("The codes are made."),
    "void": N_("The voucher is void."),
    "reverse": N_("The redemption is reversed."),
    "release": N_("The reservation is released."),
    "repeated": N_("That had been done before; nothing changed."),
}
"""What came of a button."""

PROBLEMS: Final[dict[str, str]] = {
    **REFUSALS,
    "move_not_allowed": N_("That is no longer possible: the campaign has come into another state meanwhile."),
    "limit_below_used": N_("A limit cannot be below what is used already."),
    "not_confirmed": N_("Tick the box to say that you are sure."),
    "reason_required": N_("Say why: it stays in the voucher's history."),
    "reason_too_long": N_("The reason can have 500 characters at most."),
    "nothing_chosen": N_("Choose at least one line."),
    "count_invalid": N_("Say how many codes: a whole number from 1 to 10,000,000."),
    "codes_missing": N_("Put in at least one code, or choose a file."),
    "codes_too_many": N_("At most 10,000 codes at a time: send the others afterwards."),
    "codes_too_dense": N_("So many codes of this form could be guessed: make the codes longer first."),
    "pot_does_not_fit": N_(
        "So many vouchers between the smallest and the largest amount cannot add up to the pot."
    ),
    "stock_required": N_("A pot is shared over a number of vouchers: say how many."),
    "amount_mistyped": N_("That is no number. Write it like 1200 or 1,200.50."),
}
"""What stands above a form that was refused."""

CODE_OUTCOMES: Final[dict[str, str]] = {
    "added": N_("Added"),
    "already_there": N_("There already"),
    "twice_in_request": N_("Twice in what you sent"),
    "invalid": N_("Not valid"),
}
CODE_REASONS: Final[dict[str, str]] = {
    "empty": N_("empty"),
    "too_long": N_("longer than 64 characters"),
    "not_printable": N_("has spaces or signs that no code can have"),
}
