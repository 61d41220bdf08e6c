"""What can be wrong with a partner's file: as a whole, or with one of its records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from counterfoil.errors import FieldError, InvalidError

RecordFault = Literal[
    "fields_wrong",
    "text_unreadable",
    "field_too_long",
    "customer_id_missing",
    "points_unreadable",
    "reference_missing",
    "date_unreadable",
    "offer_code_missing",
]
"""Why a record is not well formed. Where several hold, the first of this order is told."""

RECORD_FAULTS: Final[tuple[RecordFault, ...]] = get_args(RecordFault)


class FileFaultError(InvalidError):
    """A file is broken as a whole: nothing of it may be credited."""

    def __init__(self, detail: str, *, code: str, line: int | None = None, field: str | None = None) -> None:
        pointer = "/" + "/".join(str(part) for part in (line, field) if part is not None)
        super().__init__(detail, code=code, errors=(FieldError(pointer, code, detail),) if line else ())
        self.line = line
        self.field = field


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a reader takes; whatever the file, its memory stays within a few blocks."""

    line_bytes: int = 16_384
    """Longest line without its ending: twenty fields of `text_chars` characters of four bytes each."""
    records: int = 10_000_000
    """Most records of a file: the sum of as many nine-digit numbers is still exact in the hash total."""
    text_chars: int = 200
    """Longest text of a field: the longest id that the platform takes anywhere."""
    block_bytes: int = 4 * 1024 * 1024
    """Bytes that are looked at together."""


DEFAULT_LIMITS: Final = Limits()
