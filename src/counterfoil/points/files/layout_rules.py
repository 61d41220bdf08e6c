"""What a layout must be, beyond the shape of its document, so that files can be read and written by it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import permutations
from typing import TYPE_CHECKING, Final

from counterfoil.points.files.layout_names import FILLER, MAY_BE_LEFT_OUT, POINTS, TYPES, LineKind

if TYPE_CHECKING:
    from counterfoil.points.files.layouts import FieldLayout, Layout, LineLayout

Faults = Iterator[tuple[str, str]]

_DATE: Final = frozenset("Ymd")
_TIME: Final = frozenset("YmdHMSfz")
_NEEDED: Final = frozenset("Ymd")
_OFTEN: Final[tuple[tuple[LineKind, LineKind, LineKind], ...]] = (
    ("header", "record", "trailer"),
    ("response_header", "response", "response_trailer"),
)
"""The kinds of lines that stand in one file, and so must be told apart."""


def faults(layout: Layout) -> list[tuple[str, str]]:
    """Everything wrong with a layout: a JSON pointer and what is wrong there."""
    found = [*_separators(layout), *_markers(layout)]
    for kind in TYPES:
        found += _names(kind, layout.line(kind))
        for number, field in enumerate(layout.line(kind).fields):
            pointer = f"/{kind}/fields/{number}"
            found += [(f"{pointer}/{part}", detail) for part, detail in _field(layout, kind, field)]
    return found


def _separators(layout: Layout) -> Faults:
    if layout.shape == "fixed":
        if layout.delimiter:
            yield "/delimiter", "lines of fixed width have no delimiter"
        if layout.column_names:
            yield "/column_names", "lines of fixed width have no column names"
        return
    if not re.fullmatch(r"[\t!#$%&'\"()*,/;<=>?@\[\]^_`{|}~]", layout.delimiter):
        yield "/delimiter", "a tab or one ASCII mark that stands in no number, such as | , ; or a tab"
    if layout.shape == "csv" and layout.quote not in {'"', "'"}:
        yield "/quote", "one of \" and '"
    if layout.shape == "csv" and layout.quote == layout.delimiter:
        yield "/quote", "is the delimiter as well"


def _markers(layout: Layout) -> Faults:
    for kinds in _OFTEN:
        for kind in kinds:
            marker = layout.line(kind).marker
            if not marker and not (layout.shape == "csv" and kind == kinds[1]):
                yield f"/{kind}/marker", "is needed to tell this line from the others"
            elif not re.fullmatch(r"[!-~]*", marker):
                yield f"/{kind}/marker", "has ASCII characters only, and no spaces"
            elif layout.delimiter and (layout.delimiter in marker or layout.quote in marker):
                yield f"/{kind}/marker", "contains the delimiter or the quote"
        for one, other in permutations(kinds, 2):
            mine, theirs = layout.line(one).marker, layout.line(other).marker
            same = theirs.startswith(mine) if layout.shape == "fixed" else mine == theirs
            if mine and same:
                yield f"/{one}/marker", f"cannot be told from the marker of {other}"


def _names(kind: LineKind, line: LineLayout) -> Faults:
    names = [field.name for field in line.fields if field.name != FILLER]
    for name in dict.fromkeys(names):
        if name not in TYPES[kind]:
            yield f"/{kind}/fields", f"{name!r} is not a field of this line; {', '.join(TYPES[kind])} are"
        elif names.count(name) > 1:
            yield f"/{kind}/fields", f"{name!r} stands there twice"
    for name in TYPES[kind]:
        if name not in names and name not in MAY_BE_LEFT_OUT:
            yield f"/{kind}/fields", f"{name!r} is missing"


def _field(layout: Layout, kind: LineKind, field: FieldLayout) -> Faults:
    holds = TYPES[kind].get(field.name, "text")
    if holds in {"date", "datetime"}:
        yield from _format(layout, field, holds == "date")
    elif field.format:
        yield "format", "only a date or a time has one"
    if field.scale != 1 and field.name not in POINTS:
        yield "scale", "only points have one"
    if field.scale not in {10**n for n in range(10)}:
        yield "scale", "is 1, 10, 100 and so on, at most 1000000000"
    if field.required is not None and (kind != "record" or field.name not in {"occurred_on", "offer_code"}):
        yield "required", "can be said of `occurred_on` and `offer_code` of records"
    if field.name != FILLER and field.value:
        yield "value", "only a filler has one"
    yield from _unwritable(layout, field)
    if layout.shape == "fixed":
        yield from _fixed(field, holds == "integer")
    elif field.width or field.align or field.pad:
        yield "width", "only lines of fixed width have width, align and pad"


def _format(layout: Layout, field: FieldLayout, is_date: bool) -> Faults:
    if re.sub(r"%[A-Za-z]", "", field.format).count("%"):
        yield "format", "has a % that begins no directive"
    used = re.findall(r"%([A-Za-z])", field.format)
    allowed = _DATE if is_date else _TIME
    if strange := sorted(set(used) - allowed):
        yield "format", f"%{strange[0]} cannot be used; {', '.join(f'%{d}' for d in sorted(allowed))} can"
    needed = _NEEDED if is_date else _NEEDED | set("HMS")
    if missing := sorted(needed - set(used)):
        yield "format", f"lacks %{', %'.join(missing)}"
    if len(used) != len(set(used)):
        yield "format", "has a directive twice"
    if layout.delimiter and layout.delimiter in field.format:
        yield "format", "contains the delimiter"


def _unwritable(layout: Layout, field: FieldLayout) -> Faults:
    for part, text in (("value", field.value), ("title", field.title), ("format", field.format)):
        if re.search(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]", text):
            yield part, "has characters that cannot stand in a line"
        elif layout.delimiter and (layout.delimiter in text or layout.quote in text) and part != "format":
            yield part, "contains the delimiter or the quote"


def _fixed(field: FieldLayout, is_integer: bool) -> Faults:
    if field.width is None:
        yield "width", "is needed where lines are of fixed width"
    if field.pad == "0" and (not is_integer or field.align == "left"):
        yield "pad", "zeros fill numbers only, and on their left"
