"""What the limiter decided, as marks of small charts over time: numbers only, drawn by the template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from counterfoil.points.files.queries import DecisionItem

WIDTH: Final = 1000
HEIGHT: Final = 100
MOST_MARKS: Final = 240
"""More than a screen has room for say nothing: of a long file, evenly many are drawn."""
MOST_TOLD: Final = 12
"""Decisions that changed something, and are told in words."""


@dataclass(frozen=True, slots=True)
class Plot:
    """Lines and dots over the time of a file, each chart 1000 wide and 100 high, with its highest value."""

    begins_at: datetime
    ends_at: datetime
    workers: str
    most_workers: int
    batch_size: str
    most_records: int
    dots: str
    """What each batch took, as a path of dots."""
    latency: str
    """The median of each round."""
    unloaded: str
    """What a full batch takes alone."""
    most_seconds: float


@dataclass(frozen=True, slots=True)
class Change:
    """A decision that changed something, in numbers before and after."""

    item: DecisionItem
    workers_before: int | None
    batch_size_before: int | None


def plot_of(items: Sequence[DecisionItem]) -> Plot | None:
    """The charts; None for fewer than two decisions, which make no line."""
    if len(items) < 2:
        return None
    step = -(-len(items) // MOST_MARKS)
    chosen = [*items[::step]] if (len(items) - 1) % step == 0 else [*items[::step], items[-1]]
    begin, end = chosen[0].decided_at, chosen[-1].decided_at
    span = (end - begin).total_seconds() or 1.0
    xs = [WIDTH * (item.decided_at - begin).total_seconds() / span for item in chosen]
    said = [item.decision for item in chosen]
    most_seconds = max(1e-9, *(_seconds(one) for one in said))
    workers = [int(one["workers"]) for one in said]
    sizes = [int(one["batch_size"]) for one in said]
    return Plot(
        begins_at=begin,
        ends_at=end,
        workers=_steps(xs, workers, max(workers)),
        most_workers=max(workers),
        batch_size=_steps(xs, sizes, max(sizes)),
        most_records=max(sizes),
        dots="".join(
            f"M{x:.0f} {_y(one['seconds'], most_seconds)}h0" for x, one in zip(xs, said, strict=True)
        ),
        latency=_line(xs, [one.get("latency") for one in said], most_seconds),
        unloaded=_line(xs, [one.get("unloaded") for one in said], most_seconds),
        most_seconds=most_seconds,
    )


def _seconds(decision: dict[str, Any]) -> float:
    return max(float(decision.get(name) or 0) for name in ("seconds", "latency", "unloaded"))


def _y(value: float, most: float) -> str:
    """How far from the top; a little room above the highest."""
    return f"{HEIGHT - 94 * min(max(value, 0) / most, 1):.0f}"


def _steps(xs: Sequence[float], values: Sequence[int], most: int) -> str:
    """A line that stays level until it changes; what does not change needs no point."""
    points, before = [], None
    for x, value in zip(xs, values, strict=True):
        if value != before:
            if before is not None:
                points.append(f"{x:.0f},{_y(before, most)}")
            points.append(f"{x:.0f},{_y(value, most)}")
            before = value
    return " ".join([*points, f"{WIDTH},{_y(values[-1], most)}"])


def _line(xs: Sequence[float], values: Sequence[float | None], most: float) -> str:
    return " ".join(
        f"{x:.0f},{_y(value, most)}" for x, value in zip(xs, values, strict=True) if value is not None
    )


def changes_of(items: Sequence[DecisionItem]) -> list[Change]:
    """The latest decisions after which workers or batches were others, the newest first."""
    found, workers, size = [], None, None
    for item in items:
        now = int(item.decision["workers"]), int(item.decision["batch_size"])
        if workers is not None and now != (workers, size):
            found.append(Change(item, workers, size))
        workers, size = now
    return found[::-1][:MOST_TOLD]
