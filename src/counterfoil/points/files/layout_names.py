"""The canonical names: what the fields of a partner's files can mean, and what they hold."""

from __future__ import annotations

from typing import Final, Literal

Type = Literal["text", "integer", "date", "datetime"]
LineKind = Literal["header", "record", "trailer", "response_header", "response", "response_trailer"]

FILLER: Final = "filler"
"""A field that means nothing to us: skipped when read, written with a constant."""

_HEADER: Final[dict[str, Type]] = {
    "version": "text",
    "environment": "text",
    "sender": "text",
    "receiver": "text",
    "file_type": "text",
    "sequence": "integer",
    "created_at": "datetime",
}
_TRAILER: Final[dict[str, Type]] = {
    "record_count": "integer",
    "points_total": "integer",
    "hash_total": "integer",
}

TYPES: Final[dict[LineKind, dict[str, Type]]] = {
    "header": _HEADER,
    "record": {
        "customer_id": "text",
        "points": "integer",
        "reference": "text",
        "occurred_on": "date",
        "offer_code": "text",
    },
    "trailer": _TRAILER,
    "response_header": {**_HEADER, "status": "text", "reason": "text", "expected_sequence": "integer"},
    "response": {
        "customer_id": "text",
        "points": "integer",
        "reference": "text",
        "status": "text",
        "code": "text",
        "our_reference": "text",
    },
    "response_trailer": {
        **_TRAILER,
        "accepted_count": "integer",
        "accepted_points": "integer",
        "rejected_count": "integer",
        "rejected_points": "integer",
        "duplicate_count": "integer",
        "duplicate_points": "integer",
    },
}
"""For each kind of line the names of its fields and their types."""

MAY_BE_LEFT_OUT: Final = frozenset({"offer_code"})
"""Names that a layout need not have."""

MAY_BE_EMPTY: Final = frozenset({"reason", "expected_sequence"})
"""Fields of headers that may be empty."""

POINTS: Final = frozenset(
    {"points", "points_total", "accepted_points", "rejected_points", "duplicate_points"}
)
"""Fields that count points and so can be scaled."""
