"""What `Terms` and the verbs say of a value: at which field it is shown, and in which words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from counterfoil.dashboard.words import N_
from counterfoil.errors import CounterfoilError

FORM: Final = "form"
"""Where a problem is shown that belongs to no field."""

# Where the names of the form and of the terms differ.
_PLACES: Final[Mapping[str, str]] = {
    "discount.amount.amount_minor": "discount.amount",
    "discount.percent.basis_points": "discount.percent",
    "discount.percent.cap_minor": "discount.cap",
    "discount.product.product_id": "discount.product_id",
    "discount.product.quantity": "discount.quantity",
    "discount.product.value_minor": "discount.value",
    "discount.stored_value.amount_minor": "discount.stored",
    "discount.random": "discount.largest",
    "discount.random.pot_minor": "discount.pot",
    "discount.random.smallest_minor": "discount.smallest",
    "discount.random.largest_minor": "discount.largest",
    "discount": "discount.kind",
    "discount.kind": "discount.kind",
    "minimum_spend_minor": "minimum_spend",
    "validity.absolute": "validity.until",
    "validity.absolute.valid_from": "validity.from",
    "validity.absolute.valid_until": "validity.until",
    "validity.after_issue.days": "validity.days",
    "validity.after_issue.hours": "validity.hours",
    "codes": "codes.length",
    "budget_minor": "budget",
}
_BY_MESSAGE: Final[tuple[tuple[str, str, str], ...]] = (
    ("starts_at must be before ends_at", "ends_at", N_("The end must come after the beginning.")),
    (
        "a product's own id is its scope",
        "scope.products",
        N_("The discount names its product already: leave products and categories empty."),
    ),
    ("largest_minor is less", "", N_("Less than the smallest amount.")),
    ("valid_from must be before", "", N_("The end must come after the beginning.")),
    ("a symbol stands in it twice", "", N_("A symbol stands in it twice.")),
    ("printable ASCII", "", N_("Letters, digits and signs of a plain keyboard only, without spaces.")),
    ("a code has at most", "", N_("A code can have 64 characters at most.")),
    ("such codes could be guessed", "", N_("Such codes could be guessed: make them longer.")),
    ("an IANA time zone", "", N_("Not a known time zone. Write it like Asia/Shanghai.")),
    ("there is no time zone", "", N_("Not a known time zone. Write it like Asia/Shanghai.")),
    ("a time must be within", "", N_("This date is out of range.")),
)
"""The beginning of what a rule says, the field (empty: that of the value), and our words for it."""

_BY_TYPE: Final[Mapping[str, str]] = {
    "greater_than_equal": N_("At least %(ge)s."),
    "less_than_equal": N_("At most %(le)s."),
    "string_too_long": N_("At most %(max_length)s characters."),
    "too_long": N_("At most %(max_length)s of them."),
    "string_too_short": N_("Fill this in."),
    "string_type": N_("Fill this in."),
    "int_type": N_("Fill this in."),
    "union_tag_invalid": N_("Choose one."),
    "literal_error": N_("Choose one."),
}
_OTHERWISE: Final = N_("This value is not allowed here.")

CHANGED_MEANWHILE: Final = N_(
    "Somebody else changed this campaign meanwhile. Open it again to see how, then change it."
)
CODES: Final[Mapping[str, tuple[str, str]]] = {
    "campaign_exists": ("campaign_id", N_("There is a campaign with this id already.")),
    "stock_required": ("stock", N_("A pot is shared over a number of vouchers: say how many.")),
    "pot_does_not_fit": (
        "discount.pot",
        N_("So many vouchers between the smallest and the largest amount cannot add up to this pot."),
    ),
    "limit_below_used": ("", N_("More than that is used already.")),
    "terms_fixed": ("", N_("This cannot change any more, for there are vouchers; make another campaign.")),
    "campaign_ended": (FORM, N_("The campaign has ended; nothing of it changes any more.")),
}
"""A verb's code to its field (empty: as its pointer says) and our words for it."""


def place_of(loc: tuple[int | str, ...], message: str) -> str:
    """The field that a problem of `Terms` belongs to."""
    for beginning, name, _ in _BY_MESSAGE:
        if name and beginning in message:
            return name
    parts = [str(part) for part in loc]
    if parts and parts[0].endswith("_windows"):
        return parts[0]
    if parts and parts[0] == "scope":
        return ".".join(parts[:2])
    if len(parts) > 1 and parts[0] in {"claims_per_customer", "redemptions_per_customer"}:
        return f"{'claims' if parts[0].startswith('claims') else 'uses'}.{parts[1]}"
    name = ".".join(parts)
    return _PLACES.get(name, name or FORM)


def sentence_of(problem: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Our words for what pydantic says, and their values."""
    for beginning, _, sentence in _BY_MESSAGE:
        if beginning in problem["msg"]:
            return sentence, {}
    sentence = _BY_TYPE.get(problem["type"], _OTHERWISE)
    values = {name: value for name, value in problem.get("ctx", {}).items() if f"%({name})s" in sentence}
    return sentence, values


def places_of(error: CounterfoilError) -> list[tuple[str, str]]:
    """The fields that a verb's error belongs to, with the words; empty where it is none of the form's."""
    if error.code not in CODES:
        return []
    place, sentence = CODES[error.code]
    if place:
        return [(place, sentence)]
    found = []
    for problem in error.errors:
        name = problem.pointer.removeprefix("/terms").strip("/").replace("/", ".")
        found.append((_PLACES.get(name, name), sentence))
    return found or [(FORM, sentence)]
