"""The charts of the report: drawn by Altair, made SVG by vl-convert, on this machine and with no network.

A chart is drawn twice, for a desk and for a phone, because an SVG that is shrunk takes its letters with it.
Its colours are those of `PALETTE`, written into the SVG as they are; the page's style sheet knows them by
that and gives each another one where the reader prefers dark.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import altair as alt
import vl_convert

PALETTE: Final[dict[str, tuple[str, str]]] = {
    "ink": ("#1d2530", "#e6eaf0"),
    "muted": ("#5a6675", "#9aa7b8"),
    "grid": ("#e3e8ef", "#2b3441"),
    "pale": ("#cfdcf3", "#33486e"),
    "blue": ("#2a63d6", "#7aa7ff"),
    "teal": ("#0b8f83", "#3fd0c0"),
    "amber": ("#d9822b", "#f2ab5c"),
    "plum": ("#8b54c9", "#bf97f2"),
    "red": ("#c9403f", "#ff8a84"),
}
"""Name to the colour on light and the colour on dark."""

SERIES: Final = ("blue", "teal", "amber", "plum", "red")
WIDE, NARROW = 720, 330
_ROW: Final = 19

Rows = Sequence[Mapping[str, Any]]
Names = Sequence[str]
"""The series of the whole report, so that one has the same colour in every chart."""


def light(name: str) -> str:
    """The colour as it is written into the SVG."""
    return PALETTE[name][0]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A chart as two SVGs, for a wide and for a narrow page, and a sentence for those who cannot see it."""

    wide: str
    narrow: str
    says: str


def draw(make: Callable[[int], alt.TopLevelMixin], says: str) -> Drawn:
    """Draw what `make` gives for a width, twice."""
    return Drawn(_svg(make(WIDE)), _svg(make(NARROW)), says)


def _svg(chart: alt.TopLevelMixin) -> str:
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    svg = str(vl_convert.vegalite_to_svg(chart.to_dict(), vl_version=version))
    # Every SVG counts its ids from nought, and they share one page.
    own = f"c{zlib.crc32(svg.encode()):08x}-"
    return re.sub(r'(\bid="|url\(#)', rf"\g<1>{own}", svg)


def _styled(chart: alt.TopLevelMixin) -> Any:
    axis: dict[str, Any] = {
        "labelColor": light("muted"),
        "titleColor": light("muted"),
        "gridColor": light("grid"),
        "domain": False,
        "ticks": False,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelPadding": 6,
        "titlePadding": 10,
    }
    legend: dict[str, Any] = {
        "labelColor": light("muted"),
        "titleColor": light("muted"),
        "labelFontSize": 12,
        "orient": "top",
        "columnPadding": 22,
        "symbolOpacity": 1,
    }
    return chart.configure(
        background="transparent",
        axis=alt.AxisConfig(**axis),
        legend=alt.LegendConfig(**legend, title=None, symbolType="square"),
        view=alt.ViewConfig(stroke=None),
        font="sans-serif",
        autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
    )


def _values(rows: Rows) -> Any:
    return {"values": [dict(row) for row in rows]}


def _scale(names: Sequence[str]) -> alt.Scale:
    return alt.Scale(domain=list(names), range=[light(name) for name in SERIES[: len(names)]])


def reach(rows: Rows, *, whole: str, part: str) -> Callable[[int], Any]:
    """Bars of all and, in front of them, of those who did: rows have `label`, `of`, `n`, `text`."""

    def make(width: int) -> Any:
        base = alt.Chart(_values(rows)).encode(
            y=alt.Y("label:N", sort=None, title=None, axis=alt.Axis(labelColor=light("ink"), labelLimit=150))
        )
        name = alt.Color(
            "series:N", scale=alt.Scale(domain=[whole, part], range=[light("pale"), light("blue")])
        )
        back = base.transform_calculate(series=f"'{whole}'").mark_bar(height=13, cornerRadiusEnd=2)
        front = base.transform_calculate(series=f"'{part}'").mark_bar(height=13, cornerRadiusEnd=2)
        text = base.mark_text(align="left", dx=5, fontSize=11, color=light("muted")).encode(
            x=alt.X("of:Q"), text="text:N"
        )
        room = max(row["of"] for row in rows) * (1.18 if width == WIDE else 1.42)
        x = alt.X(
            "of:Q",
            title=None,
            scale=alt.Scale(domain=[0, room], nice=False),
            axis=alt.Axis(tickCount=5, format=",d"),
        )
        chart = alt.layer(back.encode(x=x, color=name), front.encode(x=alt.X("n:Q"), color=name), text)
        return _styled(chart.properties(width=width, height=_ROW * len(rows)))

    return make


def rates(rows: Rows, *, names: Names, overall: float, title: str) -> Callable[[int], Any]:
    """Rates with their intervals, ranked: rows have `label`, `rate`, `low`, `high`, `series`."""

    def make(width: int) -> Any:
        base = alt.Chart(_values(rows)).encode(
            y=alt.Y("label:N", sort=None, title=None, axis=alt.Axis(labelColor=light("ink"), labelLimit=150)),
            color=alt.Color("series:N", scale=_scale(names), legend=None if len(names) < 2 else alt.Legend()),
        )
        axis = alt.Axis(format=".0%", tickCount=6 if width == WIDE else 4)
        span = base.mark_rule(strokeWidth=3, opacity=0.35).encode(
            x=alt.X("low:Q", title=title, axis=axis), x2="high:Q"
        )
        dot = base.mark_circle(size=64, opacity=1).encode(x="rate:Q")
        mean = alt.Chart(_values([{"at": overall}])).mark_rule(strokeDash=[4, 4], color=light("muted"))
        chart = alt.layer(mean.encode(x="at:Q"), span, dot)
        return _styled(chart.properties(width=width, height=_ROW * len(rows)))

    return make


def histogram(rows: Rows, *, names: Names, title: str, marks: Rows) -> Callable[[int], Any]:
    """Counts per bin, stacked: rows have `start`, `end`, `n`, `series`; `marks` are lines: `at`, `text`."""

    def make(width: int) -> Any:
        bars = (
            alt.Chart(_values(rows))
            .mark_bar(binSpacing=1)
            .encode(
                x=alt.X(
                    "start:Q",
                    bin="binned",
                    title=title,
                    axis=alt.Axis(grid=False, tickCount=8 if width == WIDE else 5),
                ),
                x2="end:Q",
                y=alt.Y("n:Q", title="redemptions", stack="zero", axis=alt.Axis(tickCount=5)),
                color=alt.Color(
                    "series:N", scale=_scale(names), legend=None if len(names) < 2 else alt.Legend()
                ),
            )
        )
        line = alt.Chart(_values(marks)).mark_rule(color=light("ink"), strokeDash=[3, 3]).encode(x="at:Q")
        text = alt.Chart(_values(marks)).mark_text(
            color=light("ink"), align="left", dx=4, dy=2, baseline="top", fontSize=11
        )
        chart = alt.layer(bars, line, text.encode(x="at:Q", y=alt.value(0), text="text:N"))
        return _styled(chart.properties(width=width, height=230))

    return make


def weekly(rows: Rows, *, names: Names) -> Callable[[int], Any]:
    """Redemptions by week: rows have `week` (ISO date), `n`, `series`."""

    def make(width: int) -> Any:
        axis = alt.Axis(format="%b", tickCount="month", grid=False, labelOverlap=True)
        bars = (
            alt.Chart(_values(rows))
            .mark_bar(width=max(2, width // 75))
            .encode(
                x=alt.X("week:T", title=None, axis=axis),
                y=alt.Y("n:Q", title="redemptions a week", stack="zero", axis=alt.Axis(tickCount=5)),
                color=alt.Color(
                    "series:N", scale=_scale(names), legend=None if len(names) < 2 else alt.Legend()
                ),
            )
        )
        return _styled(bars.properties(width=width, height=210))

    return make


def money(rows: Rows, *, names: Names, unit: str) -> Callable[[int], Any]:
    """Revenue against discount, both logarithmic: rows have `label`, `discount`, `revenue`, `series`."""

    def make(width: int) -> Any:
        def axis(field: str, title: str) -> dict[str, Any]:
            values = [10.0**power for power in range(-1, 8)]
            at = alt.Axis(values=values, format=",~r")
            return {"shorthand": f"{field}:Q", "title": title, "scale": alt.Scale(type="log"), "axis": at}

        base = alt.Chart(_values(rows)).encode(
            x=alt.X(**axis("discount", f"known discount, {unit}")),
            y=alt.Y(**axis("revenue", f"paid on those transactions, {unit}")),
            color=alt.Color("series:N", scale=_scale(names), legend=None if len(names) < 2 else alt.Legend()),
        )
        dots = base.mark_circle(size=70, opacity=0.85)
        text = base.mark_text(dx=8, align="left", fontSize=11).encode(
            text="short:N", color=alt.value(light("muted"))
        )
        return _styled(alt.layer(dots, text).properties(width=width, height=320))

    return make


def stacked(rows: Rows, *, title: str, order: Names, colours: Names) -> Callable[[int], Any]:
    """Horizontal stacked bars: rows have `label`, `n`, `series` (one of `order`, in `colours`), `rank`."""
    scale = alt.Scale(domain=list(order), range=[light(name) for name in colours])

    def make(width: int) -> Any:
        label = alt.Axis(labelColor=light("ink"), labelLimit=320 if width == WIDE else 130)
        bars = (
            alt.Chart(_values(rows))
            .mark_bar(height=16)
            .encode(
                y=alt.Y("label:N", sort=None, title=None, axis=label),
                x=alt.X("n:Q", title=title, stack="zero", axis=alt.Axis(tickCount=5, format=",d")),
                color=alt.Color(
                    "series:N", scale=scale, legend=alt.Legend(columns=0 if width == WIDE else 2)
                ),
                order=alt.Order("rank:Q"),
            )
        )
        return _styled(bars.properties(width=width, height=30 * len({row["label"] for row in rows})))

    return make
