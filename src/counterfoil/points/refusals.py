"""Why something about points is refused: every code of the verbs' outcomes, its kind and a sentence."""

from __future__ import annotations

from typing import Final

from counterfoil.errors import Kind

REFUSALS: Final[dict[str, tuple[Kind, str]]] = {
    "not_found": ("not_found", "There is no such points account, or no such transfer."),
    "closed": ("refused", "The points account is closed; reopen it first."),
    "limit_exceeded": ("refused", "The balance would rise above the program's maximum."),
    "insufficient": ("refused", "The member has not that many points available."),
    "duplicate": ("conflict", "The reference was used before, for something else."),
    "not_reversible": ("refused", "It is a reversal itself, or is pending still: settle that instead."),
    "reversed_already": ("conflict", "All of its points have been moved back already."),
    "too_many_points": ("refused", "It has not that many points left."),
    "already_posted": ("conflict", "It has been carried out already."),
    "already_voided": ("conflict", "It has been voided already."),
    "order_not_earned": ("not_found", "The order has earned no points; it may later."),
    "refund_too_large": ("refused", "More would go back than was paid for the order."),
}
"""Code to its kind and sentence. The pages translate the sentences."""
