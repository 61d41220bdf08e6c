"""What the pages call points: where they come from, what becomes of them, and why not."""

from __future__ import annotations

from typing import Final

from counterfoil.dashboard.words import C_, N_
from counterfoil.points.refusals import REFUSALS as _REFUSALS

SOURCES: Final[dict[str, tuple[str, str]]] = {
    "earned": (C_("points", "Orders"), N_("Earned by orders that were paid, less what went back.")),
    "partner": (C_("points", "Partner"), N_("Given or taken by a partner's program.")),
    "adjusted": (C_("points", "By hand"), N_("Given or taken by an operator or a program of yours.")),
    "burned": (C_("points", "Burned"), N_("Used on orders, less what was given back.")),
    "expired": (C_("points", "Expired"), N_("Not used in time.")),
}
"""Source to its name and meaning."""

ACCOUNT_STATES: Final[dict[str, tuple[str, str]]] = {
    "open": ("good", C_("an account", "Open")),
    "closed": ("calm", C_("an account", "Closed")),
}

TITLES: Final[dict[tuple[str, bool], str]] = {
    ("earned", True): N_("Earned by an order"),
    ("earned", False): N_("Taken back"),
    ("partner", True): N_("From a partner"),
    ("partner", False): N_("To a partner"),
    ("adjusted", True): N_("Given by hand"),
    ("adjusted", False): N_("Taken by hand"),
    ("burned", True): N_("Given back"),
    ("burned", False): N_("Burned on an order"),
    ("expired", True): N_("Given back after expiring"),
    ("expired", False): N_("Expired"),
}
"""Source, and whether the member has more after it, to what a statement calls it."""

EXPIRY: Final[dict[str, tuple[str, str]]] = {
    "never": (N_("Never"), N_("Points stay until they are burned.")),
    "months": (N_("After some months"), N_("Each lot by itself, the soonest to expire is burned first.")),
}
EXPIRY_AT: Final[dict[str, tuple[str, str]]] = {
    "month_end": (N_("At the end of that month"), N_("All points of a month go together.")),
    "year_end": (N_("At the end of that year"), N_("Once a year, on the last day of December.")),
    "exact": (N_("To the minute"), N_("So many months after they were earned.")),
}

DONE: Final[dict[str, str]] = {
    "opened": N_("The accounts are open."),
    "program": N_("The program holds from now on. What was earned before keeps its expiry."),
    "give": N_("The points are given."),
    "take": N_("The points are taken."),
    "reverse": N_("The transfer is undone."),
    "reverse_part": N_("A part of the transfer is undone."),
    "post": N_("It is carried out."),
    "void": N_("It is voided."),
    "close": N_("The account is closed."),
    "reopen": N_("The account is open again."),
    "repeated": N_("That had been done before; nothing changed."),
}
"""What came of a button."""

PROBLEMS: Final[dict[str, str]] = {
    **{code: sentence for code, (_, sentence) in _REFUSALS.items()},
    "points_account_not_empty": N_(
        "An account with points, or with some to come, cannot be closed: burn, take or void them first."
    ),
    "points_invalid": N_("How many points? A whole number from 1 up, such as 500."),
    "reason_required": N_("Say why: it stays in the ledger."),
    "reason_too_long": N_("The reason can have 500 characters at most."),
    "customers_missing": N_("Name at least one customer."),
    "customers_too_many": N_("At most 10,000 customers at a time."),
    "customer_too_long": N_("A customer's id has 200 characters at most."),
    "not_confirmed": N_("Tick the box to say that you are sure."),
}
"""Code to the sentence that is shown above a form."""


def title_of(source: str, points: int) -> str:
    """What a statement calls a transfer."""
    return TITLES[source, points > 0]
