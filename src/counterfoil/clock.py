"""The one place that reads the clock. Verbs take `now` as an argument; the edges call `now()`."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """The time now, aware, in UTC."""
    return datetime.now(UTC)
