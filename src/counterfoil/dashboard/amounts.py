"""Amounts, counts and shares as people type them, and as a form shows them again."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from typing import Final

from counterfoil.dashboard.words import N_, digits_of

MOST_MINOR: Final = 10**15
MOST_COUNT: Final = 10**12
NOT_A_NUMBER: Final = N_("Not a number. Write it like 1200 or 1,200.50.")
TOO_LARGE: Final = N_("Too large.")
WHOLE: Final = N_("A whole number, please.")
TOO_FINE: Final = N_("Finer than this currency's smallest unit.")
SHARE: Final = N_("From 0 to 100, with at most two digits after the point.")
_NUMBER: Final = re.compile(r"(\d{1,3}(,\d{3})+|\d+)(\.\d+)?", re.ASCII)


class MistypedError(ValueError):
    """What was typed is not what was asked for; its text is a message to be translated."""


def _number(text: str) -> Decimal:
    # As a Chinese keyboard writes them: full width.
    text = unicodedata.normalize("NFKC", text).strip()
    if len(text) > 40 or not _NUMBER.fullmatch(text):
        raise MistypedError(NOT_A_NUMBER)
    return Decimal(text.replace(",", ""))


def minor_of(text: str, currency: str) -> int:
    """An amount in minor units, typed in major ones."""
    amount = _number(text).scaleb(digits_of(currency))
    if amount != amount.to_integral_value():
        raise MistypedError(TOO_FINE)
    if amount > MOST_MINOR:
        raise MistypedError(TOO_LARGE)
    return int(amount)


def count_of(text: str) -> int:
    """A whole number."""
    number = _number(text)
    if number != number.to_integral_value():
        raise MistypedError(WHOLE)
    if number > MOST_COUNT:
        raise MistypedError(TOO_LARGE)
    return int(number)


def decimal_of(text: str) -> Decimal:
    """A number, with a fraction or without."""
    return _number(text)


def basis_points_of(text: str) -> int:
    """A share in hundredths of a percent, typed in percent."""
    points = _number(text.replace("%", "").replace("\uff05", "")).scaleb(2)
    if points != points.to_integral_value() or points > 10_000:
        raise MistypedError(SHARE)
    return int(points)


def major(minor: int | None, currency: str) -> str:
    """An amount as it is typed: without currency and separators, empty where there is none."""
    if minor is None:
        return ""
    digits = digits_of(currency)
    return f"{Decimal(minor).scaleb(-digits):.{digits}f}"


def percent(basis_points: int) -> str:
    """A share as it is typed, without the sign."""
    return f"{Decimal(basis_points).scaleb(-2).normalize():f}"
