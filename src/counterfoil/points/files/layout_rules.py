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

LONGEST_LINE: Final = 4_000
"""Most characters of a line of fixed width: four bytes each are within the reader's limit."""

_DATE: Final = frozenset("Ymd")
_TIME: Final = frozenset("YmdHMSfz")
_NEEDED: Final = frozenset("Ymd")
_OFTEN: Final[tuple[tuple[LineKind, LineKind, LineKind], ...]] = (
    ("header", "record", "trailer"),
    ("response_header", "response", "response_trailer"),
)
"""The kinds of lines that stand in one file, and so must be told apart."""

_LEAST_WIDTHS: Final = {
    "status": len("duplicate"),
    "code": 32,
    "reason": 32,
    "our_reference": 40,
    "hash_total": 15,
}
"""What we write ourselves must fit, or a file could not be answered."""
_COUNTS: Final = {
    f"{status}_{what}": total
    for status in ("accepted", "rejected", "duplicate")
    for what, total in (("count", "record_count"), ("points", "points_total"))
}
_ECHOES: Final[tuple[tuple[LineKind, LineKind, dict[str, str]], ...]] = (
    (
        "response_header",
        "header",
        {n: n for n in ("version", "environment", "sequence")} | {"sender": "receiver", "receiver": "sender"},
    ),
    ("response", "record", {n: n for n in ("customer_id", "points", "reference")}),
    (
        "response_trailer",
        "trailer",
        {n: n for n in ("record_count", "points_total", "hash_total")} | _COUNTS,
    ),
)
"""Which fields of an answer repeat which fields of a file."""


def faults(layout: Layout) -> list[tuple[str, str]]:
    """Everything wrong with a layout: a JSON pointer and what is wrong there."""
    found = [*_separators(layout), *_markers(layout), *_echoes(layout)]
    for kind in TYPES:
        found += [*_names(kind, layout.line(kind)), *_length(layout, kind)]
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
    if not re.fullmatch(r"[\t!#$%&'\"()*,/;<=>?@\[\]^`{|}~]", layout.delimiter):
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


def _length(layout: Layout, kind: LineKind) -> Faults:
    if sum(field.width or 0 for field in layout.line(kind).fields) > LONGEST_LINE:
        yield f"/{kind}/fields", f"are together wider than {LONGEST_LINE}"


def _echoes(layout: Layout) -> Faults:
    """What was read from a file must fit into its answer."""
    for answer, file, names in _ECHOES:
        read = {field.name: field for field in layout.line(file).fields}
        for number, field in enumerate(layout.line(answer).fields):
            source = read.get(names.get(field.name, ""))
            if source is None:
                continue
            pointer = f"/{answer}/fields/{number}"
            if (field.width or 0) < (source.width or 0):
                yield f"{pointer}/width", f"is less than the {source.width} of {source.name} in {file}"
            if field.scale != source.scale:
                yield f"{pointer}/scale", f"is not the {source.scale} of {source.name} in {file}"
            if field.align != source.align:
                yield f"{pointer}/align", f"is not that of {source.name} in {file}"


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
        yield from _fixed(layout, field, holds == "integer")
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
    if not re.fullmatch(r"[ -~]*", field.format) or (layout.delimiter and layout.delimiter in field.format):
        yield "format", "has ASCII characters only, and not the delimiter"


def _unwritable(layout: Layout, field: FieldLayout) -> Faults:
    for part, text in (("value", field.value), ("title", field.title), ("format", field.format)):
        if re.search(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]", text):
            yield part, "has characters that cannot stand in a line"
        elif layout.delimiter and (layout.delimiter in text or layout.quote in text) and part != "format":
            yield part, "contains the delimiter or the quote"


def _fixed(layout: Layout, field: FieldLayout, is_integer: bool) -> Faults:
    if field.width is None:
        yield "width", "is needed where lines are of fixed width"
        return
    if field.width < _LEAST_WIDTHS.get(field.name, 1):
        yield "width", f"is at least {_LEAST_WIDTHS[field.name]} for what we write there"
    # Characters that count as bytes are never fewer than those that do not.
    if len(field.value.encode(layout.encoding)) > field.width or field.value != field.value.strip(" "):
        yield "value", "is wider than the field, or begins or ends with a space"
    if field.pad == "0" and (not is_integer or field.align == "left"):
        yield "pad", "zeros fill numbers only, and on their left"
