"""Opaque cursors: a page continues after the last key that was seen, so late rows shift nothing."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar

from counterfoil.errors import FieldError, InvalidError

T = TypeVar("T")

LARGEST_PAGE: Final = 500
"""Rows, at most, in one page."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows, and the cursor of those after them (None at the end)."""

    data: Sequence[T]
    next_cursor: str | None


def encode_cursor(key: Sequence[str | int]) -> str:
    """A cursor that stands after `key`."""
    text = json.dumps(list(key), separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(cursor: str, *, kinds: Sequence[type]) -> list[Any]:
    """The key behind a cursor; `InvalidError` if it was not made by us for this list."""
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error, UnicodeDecodeError, RecursionError):
        key = None
    fits = isinstance(key, list) and len(key) == len(kinds)
    if not fits or any(type(part) is not kind for part, kind in zip(key, kinds, strict=True)):
        raise invalid_cursor()
    if not all(_can_be_asked_for(part) for part in key):
        raise invalid_cursor()
    return list(key)


def _can_be_asked_for(part: str | int) -> bool:
    """Whether the database takes it at all: JSON has texts and numbers that PostgreSQL has not."""
    if isinstance(part, int):
        return -(2**63) <= part < 2**63
    return "\x00" not in part and not any("\ud800" <= symbol <= "\udfff" for symbol in part)


def cursor_time(text: str) -> datetime:
    """A time in a cursor, in UTC; `InvalidError` if it is none."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise invalid_cursor()


def invalid_cursor() -> InvalidError:
    """What is raised for a cursor that we did not give."""
    problem = FieldError("/cursor", "cursor_invalid", "Leave it out to begin at the first page.")
    return InvalidError(
        "The cursor is not one that this list gave.", code="cursor_invalid", errors=(problem,)
    )


def page_of(rows: Sequence[T], *, limit: int, key: Callable[[T], Sequence[str | int]]) -> Page[T]:
    """A page from at most `limit + 1` rows: the one too many tells that there is a next page."""
    shown = rows[:limit]
    more = len(rows) > limit
    return Page(data=shown, next_cursor=encode_cursor(key(shown[-1])) if more else None)
