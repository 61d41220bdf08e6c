"""Where the marks of the small charts go: numbers only, drawn by the templates as inline SVG.

Charts stretch to the width of the page, so their texts stand outside of the drawing, in HTML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final, Literal

Period = Literal["day", "week", "month"]
MOST_PERIODS: Final = 400
"""More columns than a screen has room for say nothing; the last ones are shown."""


@dataclass(frozen=True, slots=True)
class Column:
    """A bar of a chart that is 100 high and one wide for each column."""

    x: float
    y: float
    height: float
    start: date
    value: int


@dataclass(frozen=True, slots=True)
class Series:
    """One measure over time, with a column for each period, also for those without anything."""

    name: str
    columns: list[Column]
    most: int
    period: Period


def period_of(starts: Sequence[date]) -> Period:
    """What kind of periods begin on these days."""
    if len(starts) > 1 and all(start.day == 1 for start in starts):
        return "month"
    return "week" if all(start.weekday() == 0 for start in starts) else "day"


def _next(start: date, period: Period) -> date:
    if period == "month":
        return (start.replace(day=1) + timedelta(days=32)).replace(day=1)
    return start + timedelta(days=7 if period == "week" else 1)


def series(name: str, values: Mapping[date, int], *, span: Sequence[date] = ()) -> Series:
    """The columns of one measure from the first to the last day of `span` and of its own."""
    days = sorted({*values, *span})
    period = period_of(days)
    starts = []
    if days:
        start = days[0]
        while start <= days[-1]:
            starts.append(start)
            start = _next(start, period)
    starts = starts[-MOST_PERIODS:]
    most = max((values.get(start, 0) for start in starts), default=0)
    columns = []
    for position, start in enumerate(starts):
        value = values.get(start, 0)
        height = round(100 * max(value, 0) / most, 2) if most > 0 else 0.0
        columns.append(Column(position, round(100 - height, 2), height, start, value))
    return Series(name, columns, most, period)


def by_period(lines: Sequence[Mapping[str, Any]], name: str) -> dict[date, int]:
    """The sum of a measure for each period; what is null adds nothing."""
    sums: dict[date, int] = {}
    for line in lines:
        if line["period_start"] is not None and line[name] is not None:
            start = date.fromisoformat(line["period_start"])
            sums[start] = sums.get(start, 0) + int(line[name])
    return sums


def sparkline(values: Sequence[int], *, width: float = 100, height: float = 24) -> str:
    """The points of a small line, for SVG's `polyline`; empty where there is nothing to see."""
    if len(values) < 2 or max(values) <= 0:
        return ""
    step, most = width / (len(values) - 1), max(values)
    points = (
        f"{position * step:.1f},{1 + (height - 2) * (1 - max(value, 0) / most):.1f}"
        for position, value in enumerate(values)
    )
    return " ".join(points)
