"""A partner's terms: what its files must look like, what is allowed in them, and how they come and go."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, WithJsonSchema

from counterfoil.points.files.limiter import Bounds
from counterfoil.points.files.outside import Outside
from counterfoil.points.files.sftp import Server

Rule = Literal[
    "fields_wrong",
    "customer_id_missing",
    "points_unreadable",
    "reference_missing",
    "date_unreadable",
    "field_too_long",
    "text_unreadable",
    "points_out_of_range",
    "date_out_of_window",
    "offer_unknown",
    "duplicate",
    "not_found",
    "closed",
]
"""What can be wrong with one record, as far as it is known before anything is credited."""


def _validated(struct: Any) -> Any:
    def convert(value: Any) -> Any:
        return value if isinstance(value, struct) else msgspec.convert(value, struct)

    (schema,) = msgspec.json.schema_components([struct])[1].values()
    return [PlainValidator(convert), PlainSerializer(msgspec.to_builtins), WithJsonSchema(schema)]


class Terms(BaseModel):
    """The terms of a partner."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    sender: Annotated[str, Field(min_length=1, max_length=100)]
    """What the partner calls itself in the header of its files."""
    receiver: Annotated[str, Field(min_length=1, max_length=100)]
    """What it calls us."""
    environment: Annotated[str, Field(min_length=1, max_length=20)] = "production"
    """What the header must say, so that a file for a test is never credited."""
    version: Annotated[str, Field(min_length=1, max_length=20)] = "1"
    """The version of the layout, as the header says it."""
    points_min: Annotated[int, Field(strict=True, ge=1, le=10**12)] = 1
    points_max: Annotated[int, Field(strict=True, ge=1, le=10**12)] = 1_000_000
    """How many points a record may have."""
    days_back: Annotated[int, Field(strict=True, ge=0, le=36_500)] = 400
    """How long before the day of the file's header a record may have occurred."""
    days_ahead: Annotated[int, Field(strict=True, ge=0, le=365)] = 0
    """How long after it."""
    offers: (
        Annotated[tuple[Annotated[str, Field(min_length=1, max_length=100)], ...], Field(max_length=1000)]
        | None
    ) = None
    """The offer codes that are known. None: any, or none."""
    reject_file_on: Annotated[frozenset[Rule], Field(max_length=20)] = frozenset()
    """Rules that reject the whole file as soon as one record breaks them; others reject that record only."""
    limiter: Annotated[Bounds, *_validated(Bounds)] = Field(default_factory=Bounds)
    """Bounds of the batches and of how many are credited at once."""
    outside: Annotated[Outside, *_validated(Outside)] | None = None
    """The outside loyalty system that credits. None: our own ledger."""
    server: Annotated[Server, *_validated(Server)] | None = None
    """The partner's SFTP server. None: files are dropped into our box, or uploaded."""
    collect_every_seconds: Annotated[int, Field(strict=True, ge=5, le=86_400)] = 60
    """How often its server is looked at."""


FILE_TYPE: Final = "ACCRUAL"
"""What the header of a file of points must say it is."""
RESPONSE_TYPE: Final = "RESPONSE"
