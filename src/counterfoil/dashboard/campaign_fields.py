"""The fields of the campaign form: from a campaign to what stands in them, and back to what they mean.

A field is named by where its value belongs in the terms. `Terms` decides what is allowed; what it says of a
value is shown beside the field that the value came from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, time
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from counterfoil.dashboard import amounts
from counterfoil.dashboard.amounts import MistypedError
from counterfoil.dashboard.field_problems import place_of, sentence_of
from counterfoil.dashboard.words import N_, Words
from counterfoil.vouchers.codes import SYMBOLS
from counterfoil.vouchers.terms import DAYS, Terms
from counterfoil.vouchers.types import PERIODS

T = TypeVar("T")
Values = Mapping[str, str]
FILL_IN: Final = N_("Fill this in.")
MOST_WINDOWS: Final = 50
SPARE_WINDOWS: Final = 2
LIMITS: Final = ("stock", "budget", "max_redemptions")
LISTS: Final = ("scope.products", "scope.categories", "scope.stores")
WINDOWS: Final = ("claim_windows", "redemption_windows")


@dataclass
class Reader:
    """Reads fields, and keeps for each of them what is wrong with it, in the reader's language."""

    values: Values
    currency: str
    words: Words
    errors: dict[str, str] = field(default_factory=dict)

    def wrong(self, name: str, message: str, **values: Any) -> None:
        """Note what is wrong; the first thing that was said of a field stays."""
        self.errors.setdefault(name, self.words.say(message, **values))

    def text(self, name: str) -> str | None:
        """What was typed; None where that is nothing."""
        return self.values.get(name, "").strip() or None

    def ticked(self, name: str) -> bool:
        """Whether a box is ticked."""
        return name in self.values

    def _parsed(self, name: str, parse: Callable[[str], T], *, required: bool = False) -> T | None:
        text = self.text(name)
        if text is None:
            if required:
                self.wrong(name, FILL_IN)
            return None
        try:
            return parse(text)
        except MistypedError as error:
            self.wrong(name, str(error))
            return None

    def amount(self, name: str, *, required: bool = False) -> int | None:
        """An amount of money, in minor units."""
        return self._parsed(name, lambda text: amounts.minor_of(text, self.currency), required=required)

    def count(self, name: str, *, required: bool = False) -> int | None:
        """A whole number."""
        return self._parsed(name, amounts.count_of, required=required)

    def decimal(self, name: str, *, required: bool = False) -> float | None:
        """A number that may have a fraction."""
        return self._parsed(name, lambda text: float(amounts.decimal_of(text)), required=required)

    def share(self, name: str) -> int | None:
        """Hundredths of a percent."""
        return self._parsed(name, amounts.basis_points_of, required=True)

    def moment(self, name: str, zone: ZoneInfo) -> datetime | None:
        """A time on the campaign's clock."""

        def parse(text: str) -> datetime:
            try:
                return datetime.fromisoformat(text).replace(tzinfo=zone)
            except ValueError:
                raise MistypedError(N_("A date and a time, such as 2026-12-24 18:00.")) from None

        return self._parsed(name, parse)

    def references(self, name: str) -> list[str] | None:
        """Ids, one a line; None: all. None at all (an empty list) is a box of its own."""
        if self.ticked(f"{name}.none"):
            return []
        return (
            list(dict.fromkeys(filter(None, map(str.strip, self.values.get(name, "").splitlines())))) or None
        )

    def windows(self, name: str) -> list[dict[str, Any]] | None:
        """The rows of a table of windows that say something; None: always."""
        if self.ticked(f"{name}.none"):
            return []
        found: list[dict[str, Any]] = []
        for row in range(MOST_WINDOWS + SPARE_WINDOWS):
            days = [day for day in DAYS if self.ticked(f"{name}.{row}.{day}")]
            begins, until = (self._hour(f"{name}.{row}.{end}") for end in ("from", "until"))
            if days or begins is not None or until is not None:
                found.append({"days": days or DAYS, "from": begins or time(0), "until": until or time(0)})
        return found or None

    def _hour(self, name: str) -> time | None:
        def parse(text: str) -> time:
            try:
                return time.fromisoformat(text)
            except ValueError:
                raise MistypedError(N_("An hour, such as 18:00.")) from None

        return self._parsed(name, parse)


def window_rows(values: Values, name: str) -> int:
    """How many rows of windows the form shows: those that are used, and spare ones."""
    used = [
        int(key.split(".")[1]) for key in values if key.startswith(f"{name}.") and key.split(".")[1].isdigit()
    ]
    filled = [n for n in used if any(values.get(f"{name}.{n}.{part}") for part in (*DAYS, "from", "until"))]
    return min(max(filled, default=-1) + 1 + SPARE_WINDOWS, MOST_WINDOWS)


def read_terms(reader: Reader) -> Terms | None:
    """The terms that the fields mean, or None: then `reader.errors` says why."""
    raw = _raw(reader)
    try:
        terms = Terms.model_validate(raw)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            name = place_of(problem["loc"], str(problem["msg"]))
            message, values = sentence_of(problem)
            reader.wrong(name, message, **values)
        return None
    return None if reader.errors else terms


def read_limits(reader: Reader) -> dict[str, int | None]:
    """How much of it there is; None: unlimited."""
    return {
        "stock": reader.count("stock"),
        "budget_minor": reader.amount("budget"),
        "max_redemptions": reader.count("max_redemptions"),
    }


def _raw(reader: Reader) -> dict[str, Any]:
    try:
        zone = ZoneInfo(reader.values.get("time_zone", ""))
    except (KeyError, ValueError, OSError):
        zone = ZoneInfo("UTC")  # `Terms` will say that there is no such zone.
    return {
        "discount": _raw_discount(reader),
        "starts_at": reader.moment("starts_at", zone),
        "ends_at": reader.moment("ends_at", zone),
        "minimum_spend_minor": reader.amount("minimum_spend") or 0,
        "scope": {name.partition(".")[2]: reader.references(name) for name in LISTS},
        "validity": _raw_validity(reader, zone),
        **{name: reader.windows(name) for name in WINDOWS},
        "claims_per_customer": {period: reader.count(f"claims.{period}") for period in PERIODS},
        "redemptions_per_customer": {period: reader.count(f"uses.{period}") for period in PERIODS},
        "claims_per_day": reader.count("claims_per_day"),
        "redemptions_per_day": reader.count("redemptions_per_day"),
        "uses_per_voucher": reader.count("uses_per_voucher"),
        "stacking": reader.values.get("stacking", ""),
        "transferable": reader.ticked("transferable"),
        "reservation_seconds": reader.count("reservation_seconds", required=True),
        "codes": _raw_codes(reader),
        "from_pool": reader.ticked("from_pool"),
        "time_zone": reader.text("time_zone") or "",
    }


def _raw_discount(reader: Reader) -> dict[str, Any]:
    kind = reader.values.get("discount.kind", "")
    raw: dict[str, Any] = {"kind": kind}
    if kind == "amount":
        raw["amount_minor"] = reader.amount("discount.amount", required=True)
    elif kind == "percent":
        raw["basis_points"] = reader.share("discount.percent")
        raw["cap_minor"] = reader.amount("discount.cap")
    elif kind == "product":
        raw["product_id"] = reader.text("discount.product_id")
        raw["quantity"] = reader.count("discount.quantity", required=True)
        raw["value_minor"] = reader.amount("discount.value")
    elif kind == "stored_value":
        raw["amount_minor"] = reader.amount("discount.stored", required=True)
    elif kind == "random":
        raw["pot_minor"] = reader.amount("discount.pot", required=True)
        raw["smallest_minor"] = reader.amount("discount.smallest", required=True)
        raw["largest_minor"] = reader.amount("discount.largest")
    return raw


def _raw_validity(reader: Reader, zone: ZoneInfo) -> dict[str, Any] | None:
    kind = reader.values.get("validity.kind", "none")
    if kind == "absolute":
        return {
            "kind": "absolute",
            "valid_from": reader.moment("validity.from", zone),
            "valid_until": reader.moment("validity.until", zone),
        }
    if kind in {"days", "hours"}:
        number = reader.count(f"validity.{kind}", required=True)
        return None if number is None else {"kind": "after_issue", kind: number}
    return None


def _raw_codes(reader: Reader) -> dict[str, Any]:
    raw: dict[str, Any] = {
        "charset": reader.text("codes.charset") or SYMBOLS,
        "check_symbol": reader.ticked("codes.check_symbol"),
    }
    pattern = reader.text("codes.pattern")
    if pattern is not None:
        return {**raw, "pattern": pattern}
    length = reader.count("codes.length", required=True)
    return {**raw, "prefix": reader.text("codes.prefix") or "", "length": length}
