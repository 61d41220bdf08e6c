"""What is decided without looking: when the next attempt is, and when an endpoint has failed for too long."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

SCHEDULE: Final[tuple[timedelta, ...]] = (
    timedelta(0),
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""How long each attempt waits after the one before: the schedule of Standard Webhooks, some 75 hours."""

LONGEST_RETRY_AFTER: Final = timedelta(hours=24)
"""A receiver that asks for more time than this is asked again after this."""

FAILING_FOR: Final = timedelta(days=5)
"""An endpoint at which every attempt has failed for so long is disabled."""

BOTH_SECRETS_FOR: Final = timedelta(hours=24)
"""How long the former secret signs as well after a rotation."""

LONGEST_EXCERPT: Final = 1000
"""Characters of an answer that are kept."""

LEASE: Final = timedelta(minutes=1)
"""How long a claim holds. An attempt ends long before; when its worker dies, another sends it after this."""


def next_attempt(*, attempts: int, now: datetime, retry_after: timedelta | None) -> datetime | None:
    """When to try again after so many attempts have failed; None: give up."""
    if attempts >= len(SCHEDULE):
        return None
    asked = min(retry_after or timedelta(0), LONGEST_RETRY_AFTER)
    return now + max(SCHEDULE[attempts], asked)


def retry_after(header: str | None, *, now: datetime) -> timedelta | None:
    """What a receiver asks for in `Retry-After`, in seconds or as a date; None where it is neither."""
    if header is None:
        return None
    if header.strip().isascii() and header.strip().isdigit():
        return timedelta(seconds=min(int(header.strip()[:12]), LONGEST_RETRY_AFTER.total_seconds()))
    try:
        date = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    return date.replace(tzinfo=date.tzinfo or UTC) - now


_SIGNABLE: Final = re.compile(r"[!-\-/-~]{1,200}")
"""Visible ASCII without a dot: the id is a header, and signed as `id.timestamp.body`."""


def message_id(event_id: str) -> str:
    """The publisher's own id of an event, by which receivers know it; where that can be no header, its hash.

    The same event has the same id, whenever it is asked.
    """
    if _SIGNABLE.fullmatch(event_id):
        return event_id
    return f"sha256:{hashlib.sha256(event_id.encode()).hexdigest()}"


def wants(events: tuple[str, ...], event_type: str) -> bool:
    """Whether an endpoint that asked for these types is told of this one; no types: of all."""
    return not events or event_type in events
