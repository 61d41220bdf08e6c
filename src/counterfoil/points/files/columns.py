"""Texts into typed columns, and for each record that is not well formed the first reason why."""

from __future__ import annotations

from datetime import date
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from counterfoil.points.files.faults import RECORD_FAULTS, RecordFault
from counterfoil.points.files.layouts import FieldLayout
from counterfoil.points.files.values import parse_date, parse_integer

Mask = npt.NDArray[np.bool_]


class Faults:
    """One reason and one field for each record, or none; what is marked first stays."""

    def __init__(self, records: int, fields: tuple[str, ...]) -> None:
        self._fields = fields
        self._reason = np.full(records, -1, np.int8)
        self._field = np.full(records, -1, np.int8)

    def mark(self, where: Mask, reason: RecordFault, field: str | None = None) -> None:
        """Give a reason to the records that have none yet."""
        new = where & (self._reason < 0)
        self._reason[new] = RECORD_FAULTS.index(reason)
        if field is not None:
            self._field[new] = self._fields.index(field)

    def columns(self) -> tuple[pa.Array, pa.Array]:
        """The reasons and the fields, null where there is none."""
        return _words(self._reason, RECORD_FAULTS), _words(self._field, self._fields)


def _words(numbers: npt.NDArray[np.int8], words: tuple[str, ...]) -> pa.Array:
    if (numbers < 0).all():
        return pa.nulls(len(numbers), pa.string())
    return pa.array(words, pa.string()).take(pa.array(numbers, mask=numbers < 0))


def mask_of(values: pa.Array) -> Mask:
    """Booleans without nulls, for counting and joining."""
    found: Mask = values.to_numpy(zero_copy_only=False)
    return found


def texts_or_null(texts: pa.Array) -> pa.Array:
    """Null where nothing stands."""
    empty = pc.equal(texts, "")
    return pc.if_else(empty, None, texts) if pc.any(empty).as_py() else texts


def numbers(field: FieldLayout, texts: pa.Array) -> pa.Array:
    """Whole numbers, in points where the layout has a scale; null where there is none to read."""
    usual = pc.match_substring_regex(texts, r"^-?0*[0-9]{1,18}$")
    values = pc.if_else(usual, texts, None).cast(pa.int64())
    if field.scale != 1:
        scaled = pc.divide(values, field.scale)
        values = pc.if_else(pc.equal(pc.multiply(scaled, field.scale), values), scaled, None)
    odd = pc.and_(pc.invert(usual), pc.not_equal(texts, ""))
    if pc.any(odd).as_py():
        found = [_integer(field, text) for text in texts.filter(odd).to_pylist()]
        values = pc.replace_with_mask(values, odd, pa.array(found, pa.int64()))
    return values


def dates(field: FieldLayout, texts: pa.Array) -> pa.Array:
    """Dates; null where there is none to read. A file has few different ones, so each is read once."""
    found = texts.dictionary_encode()
    read = [_date(field, text) for text in found.dictionary.to_pylist()]
    return pa.array(read, pa.date32()).take(found.indices)


def _integer(field: FieldLayout, text: str) -> int | None:
    try:
        return parse_integer(field, text)
    except ValueError:
        return None


@lru_cache(maxsize=4_096)
def _date(field: FieldLayout, text: str) -> date | None:
    try:
        return parse_date(field, text)
    except ValueError:
        return None
