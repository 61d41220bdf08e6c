"""How a partner's files look, as a description: a new partner is a document, not code.

`docs/layouts.md` explains each part with examples.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from counterfoil.errors import FieldError, InvalidError
from counterfoil.points.files import layout_rules
from counterfoil.points.files.layout_names import TYPES, LineKind, Type

Builtin = Literal["delimited", "fixed", "csv"]
BUILTIN_LAYOUTS: Final[tuple[Builtin, ...]] = get_args(Builtin)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class FieldLayout(_Strict):
    """One field of a line."""

    name: Annotated[str, Field(min_length=1, max_length=40)]
    """What it means: a canonical name, or `filler` for what is skipped when read."""
    title: Annotated[str, Field(max_length=80)] = ""
    """Its name in the line of column names; left out, the canonical name."""
    format: Annotated[str, Field(max_length=40)] = ""
    """How a date or a time is written, in the directives of strptime."""
    utc_offset: Annotated[str, Field(pattern=r"^[+-]([01]\d|2[0-3]):[0-5]\d$")] = "+00:00"
    """How far the clock of a time without a zone is ahead of UTC."""
    scale: Annotated[int, Field(strict=True)] = 1
    """How many of the file's units make one point: 100 where points come in hundredths."""
    required: bool | None = None
    """Whether a record without it is at fault; for `occurred_on` (yes) and `offer_code` (no)."""
    value: Annotated[str, Field(max_length=40)] = ""
    """What is written into a filler."""
    width: Annotated[int, Field(strict=True, ge=1, le=1_000)] | None = None
    """Fixed width only: characters in UTF-8, bytes in GB18030."""
    align: Literal["left", "right"] | None = None
    """Fixed width only; left out, numbers stand right and all else left."""
    pad: Literal[" ", "0"] | None = None
    """Fixed width only; left out, numbers are filled with zeros and all else with spaces."""


class LineLayout(_Strict):
    """One kind of line: the marker that it begins with, then its fields in order."""

    marker: Annotated[str, Field(max_length=10)] = ""
    fields: Annotated[tuple[FieldLayout, ...], Field(min_length=1, max_length=60)]


class Layout(_Strict):
    """What a partner sends and what it is answered."""

    shape: Literal["delimited", "fixed", "csv"]
    encoding: Literal["utf-8", "gb18030"] = "utf-8"
    line_ending: Literal["lf", "crlf"] = "lf"
    """What is written; what is read may end its lines in either way."""
    delimiter: Annotated[str, Field(max_length=1)] = ""
    quote: Annotated[str, Field(min_length=1, max_length=1)] = '"'
    """CSV only: what texts are quoted with; doubled inside of them."""
    column_names: bool = False
    """Whether a line of column names follows the header."""
    header: LineLayout
    record: LineLayout
    trailer: LineLayout
    response_header: LineLayout
    response: LineLayout
    response_trailer: LineLayout

    def line(self, kind: LineKind) -> LineLayout:
        """The layout of one kind of line."""
        found: LineLayout = getattr(self, kind)
        return found

    @property
    def newline(self) -> str:
        """What ends a line that is written."""
        return "\r\n" if self.line_ending == "crlf" else "\n"


def type_of(kind: LineKind, field: FieldLayout) -> Type:
    """What a field holds: its canonical name decides; a filler is text."""
    return TYPES[kind].get(field.name, "text")


def align_of(kind: LineKind, field: FieldLayout) -> Literal["left", "right"]:
    """On which side a field of fixed width stands."""
    return field.align or ("right" if type_of(kind, field) == "integer" else "left")


def pad_of(kind: LineKind, field: FieldLayout) -> Literal[" ", "0"]:
    """What a field of fixed width is filled with."""
    return field.pad or ("0" if type_of(kind, field) == "integer" else " ")


def parse_layout(document: dict[str, Any]) -> Layout:
    """A layout from its document; `InvalidError` (`layout_invalid`) lists everything wrong with it."""
    try:
        layout = Layout.model_validate(document)
    except ValidationError as error:
        found = [("".join(f"/{part}" for part in e["loc"]), e["msg"]) for e in error.errors()]
        raise _invalid(found) from error
    if wrong := layout_rules.faults(layout):
        raise _invalid(wrong)
    return layout


def builtin_layout(name: str) -> Layout:
    """A layout that comes with the platform; `InvalidError` (`layout_unknown`) for any other name."""
    if name not in BUILTIN_LAYOUTS:
        known = ", ".join(BUILTIN_LAYOUTS)
        raise InvalidError(f"There is no layout {name!r}; there are {known}.", code="layout_unknown")
    text = resources.files("counterfoil.points.files").joinpath("builtin", f"{name}.toml").read_text("utf-8")
    return parse_layout(tomllib.loads(text))


def _invalid(found: list[tuple[str, str]]) -> InvalidError:
    told = "; ".join(f"{pointer or '/'}: {detail}" for pointer, detail in found)
    errors = tuple(FieldError(pointer, "layout_invalid", detail) for pointer, detail in found)
    return InvalidError(f"The layout cannot be used: {told}.", code="layout_invalid", errors=errors)
