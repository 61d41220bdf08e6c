"""Words, numbers, money and times in the reader's language."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_datetime, format_time, get_day_names
from babel.numbers import (
    format_currency,
    format_decimal,
    format_percent,
    get_currency_precision,
    get_currency_symbol,
)
from babel.support import NullTranslations, Translations
from babel.units import format_unit

from counterfoil.dashboard.preferences import Language

LOCALES: Final = Path(__file__).parent / "locales"
DOMAIN: Final = "counterfoil"

_CONTEXT: Final = "\x04"
"""Between a context and its message, in gettext's own files."""

# CLDR's digits are those of daily use; an amount in minor units counts in those of ISO 4217.
_ISO_DIGITS: Final = {
    "AFN": 2,
    "ALL": 2,
    "IQD": 3,
    "IRR": 2,
    "KPW": 2,
    "LAK": 2,
    "LBP": 2,
    "MGA": 2,
    "MMK": 2,
    "RSD": 2,
    "SOS": 2,
    "SYP": 2,
    "YER": 2,
}


def N_(message: str) -> str:  # noqa: N802 - the name that gettext's tools look for
    """Mark a message for the catalog; it is translated where it is shown."""
    return message


def C_(context: str, message: str) -> str:  # noqa: N802 - as above
    """Mark a message that another language says otherwise in this context."""
    return f"{context}{_CONTEXT}{message}"


def digits_of(currency: str) -> int:
    """Digits after the point of an amount in this currency."""
    return _ISO_DIGITS.get(currency, get_currency_precision(currency))


class Words:
    """How one language says things."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self.locale = Locale.parse("zh_Hans_CN" if language == "zh" else "en")
        # Chinese has one form of its units, and its data keep it under "short".
        self._length: Literal["long", "short"] = "short" if language == "zh" else "long"
        self.translations: NullTranslations = (
            NullTranslations() if language == "en" else Translations.load(LOCALES, [language], DOMAIN)
        )

    def say(self, message: str, **values: Any) -> str:
        """A message in this language, with its `%(name)s` filled in."""
        text: str = self.translations.gettext(message)
        text = text.rpartition(_CONTEXT)[2]
        return text % values if values else text

    def count(self, one: str, many: str, n: int, **values: Any) -> str:
        """A message with a count, `%(n)s` being the number as this language writes it."""
        text: str = self.translations.ngettext(one, many, n)
        return text % {"n": self.number(n), **values}

    def number(self, value: float) -> str:
        """A number with its separators; at most two digits after the point."""
        return format_decimal(round(value, 2), locale=self.locale)

    def percent(self, value: float) -> str:
        """A part of one, with one digit after the point where it is small enough to matter."""
        pattern = "#,##0%" if value == 0 or value >= 0.9995 else "#,##0.0%"
        return format_percent(value, format=pattern, locale=self.locale)

    def money(self, minor: int, currency: str, *, short: bool = False) -> str:
        """An amount in minor units, with its currency; `short` leaves the fraction of large amounts out."""
        digits = digits_of(currency)
        amount = Decimal(minor).scaleb(-digits)
        shown = 0 if short and abs(amount) >= 1000 else digits
        # A symbol of letters needs room: KWD 1.000, but $1.00.
        room = "\xa0" if get_currency_symbol(currency, self.locale)[-1].isalpha() else ""
        pattern = f"¤{room}#,##0" + ("." + "0" * shown if shown else "")
        return format_currency(amount, currency, format=pattern, locale=self.locale, currency_digits=False)

    def day(self, value: date | None) -> str:
        """A date."""
        return "" if value is None else format_date(value, format="medium", locale=self.locale)

    def moment(self, at: datetime, zone: str, *, precision: str | None = "second") -> str:
        """A time in a merchant's zone; where only the day is known, the date alone."""
        local = at.astimezone(ZoneInfo(zone))
        if precision == "day":
            return self.day(local.date())
        return format_datetime(local, format="medium", tzinfo=local.tzinfo, locale=self.locale)

    def minute(self, at: datetime, zone: str) -> str:
        """A time in a merchant's zone, without its seconds."""
        local = at.astimezone(ZoneInfo(zone))
        time = format_time(local, format="short", tzinfo=local.tzinfo, locale=self.locale)
        return f"{self.day(local.date())} {time}"

    def local_day(self, at: datetime, zone: str, *, last_of_open: bool = False) -> str:
        """The local date of a time; `last_of_open`: the last day of a period that ends there, exclusively."""
        local = at - timedelta(microseconds=1) if last_of_open else at
        return self.day(local.astimezone(ZoneInfo(zone)).date())

    def day_name(self, n: int) -> str:
        """A short name of a day of the week, Monday being 0."""
        return str(get_day_names("abbreviated", context="stand-alone", locale=self.locale)[n])

    def duration(self, seconds: float) -> str:
        """A length of time in the unit that people would use, with a digit where few are counted."""
        for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
            if seconds >= 2 * size or unit == "minute":
                value = seconds / size
                shown = round(value, 1) if value < 10 and unit == "day" else round(value)
                return format_unit(shown, f"duration-{unit}", length=self._length, locale=self.locale)
        raise AssertionError

    def age(self, since: datetime, until: datetime) -> str:
        """How long ago; over two years, in years."""
        seconds = max((until - since).total_seconds(), 0)
        if seconds < 730 * 86_400:
            return self.duration(seconds)
        years = round(seconds / (365.25 * 86_400), 1)
        return format_unit(years, "duration-year", length=self._length, locale=self.locale)


@cache
def words_of(language: Language) -> Words:
    """The words of a language, loaded once."""
    return Words(language)
