"""One value of a header or a trailer, and one date: from the text in the file, and back."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Final

from counterfoil.points.files.layout_names import LineKind
from counterfoil.points.files.layouts import FieldLayout, type_of

Value = str | int | date | datetime | None

INT64_MAX: Final = 2**63 - 1


def parse_value(kind: LineKind, field: FieldLayout, text: str) -> Value:
    """What a text means; None where it is empty. `ValueError` if it means nothing."""
    holds = type_of(kind, field)
    if not text or holds == "text":
        return text or None
    if holds == "integer":
        return parse_integer(field, text)
    return parse_date(field, text) if holds == "date" else _parse_time(field, text)


def format_value(kind: LineKind, field: FieldLayout, value: Value) -> str:
    """The text of a value; empty for None. `ValueError` if it cannot be written and read again."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return _format_time(field, value)
    if isinstance(value, date):
        return format_date(field, value)
    text = str(value * field.scale) if isinstance(value, int) else value
    if parse_value(kind, field, text) != (value or None if isinstance(value, str) else value):
        raise ValueError("is out of range")
    return text


def parse_integer(field: FieldLayout, text: str) -> int:
    """A whole number of at most 64 bits, in points where the layout has a scale."""
    if not re.fullmatch(r"-?0*[0-9]{1,19}", text, re.ASCII):
        raise ValueError("is not a whole number of at most 19 digits")
    number, left = divmod(int(text), field.scale)
    if left:
        raise ValueError(f"is not a multiple of {field.scale}")
    if not -INT64_MAX - 1 <= int(text) <= INT64_MAX:
        raise ValueError("is out of range")
    return number


def parse_date(field: FieldLayout, text: str) -> date:
    """A date that is written exactly as the layout's format writes it."""
    return _read_as(field, text).date()


def format_date(field: FieldLayout, value: date) -> str:
    """The text of a date; `ValueError` for years that the format cannot write in four digits."""
    text = value.strftime(field.format)
    if parse_date(field, text) != value:
        raise ValueError("is out of range")
    return text


def _read_as(field: FieldLayout, text: str) -> datetime:
    """A moment without a zone, unless the text has one; `strptime` alone takes more than is written."""
    try:
        found = datetime.strptime(text, field.format)  # noqa: DTZ007 - the layout says its zone
    except ValueError as error:
        raise ValueError(f"is no date written as {field.format}") from error
    if found.strftime(field.format) != text:
        raise ValueError(f"is no date written as {field.format}")
    return found


def _parse_time(field: FieldLayout, text: str) -> datetime:
    found = _read_as(field, text)
    zoned = found if found.tzinfo else found.replace(tzinfo=_zone(field))
    try:
        return zoned.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is out of range") from error


def _format_time(field: FieldLayout, value: datetime) -> str:
    """Seconds are cut where the format has none of their parts."""
    cut = value if "%f" in field.format else value.replace(microsecond=0)
    try:
        text = cut.astimezone(_zone(field)).strftime(field.format)
    except OverflowError as error:
        raise ValueError("is out of range") from error
    if _parse_time(field, text) != cut:
        raise ValueError("is out of range")
    return text


def _zone(field: FieldLayout) -> timezone:
    hours, minutes = field.utc_offset[1:].split(":")
    ahead = timedelta(hours=int(hours), minutes=int(minutes))
    return timezone(-ahead if field.utc_offset[0] == "-" else ahead)
