"""Loading records that other systems keep: batches in, one set-based statement, an outcome for each.

A *record kind* ties together the table, the shape in which a record comes (a pydantic model) and what the
same key twice means. The bulk endpoints, `counterfoil import` and the demo all go through `load`, by COPY.
Records come late, twice and out of order, so they refer to each other by the ids that their source gave,
not by foreign keys: what does not fit together is a break that linkage finds, never a row turned away.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from math import isfinite
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy import BigInteger, Boolean, Date, DateTime, Integer, SmallInteger, Table, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.schema import DefaultClause

from counterfoil.db.outbox import publish
from counterfoil.db.transactions import Tx
from counterfoil.errors import InvalidError

LARGEST_INTEGER: Final = 2**63 - 1


def _without_nul(value: str) -> str:
    if "\x00" in value:
        raise ValueError("a NUL character cannot be stored")
    return value


Reference = Annotated[
    str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True), AfterValidator(_without_nul)
]
"""An id that another system gave: kept as it came."""
ShortText = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(_without_nul)]
Amount = Annotated[int, Field(ge=-LARGEST_INTEGER, le=LARGEST_INTEGER)]
"""Money in minor units of the merchant's currency, or a count."""


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("a time must be within the years 1 to 9999 of UTC") from None


Time = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""A time with its offset; stored in UTC."""

DEEPEST_JSON: Final = 20


def _json_object(value: dict[str, Any]) -> dict[str, Any]:
    """JSON as PostgreSQL has it, which is less than what Python reads as JSON."""
    parts: list[tuple[Any, int]] = [(value, 1)]
    while parts:
        part, depth = parts.pop()
        if depth > DEEPEST_JSON:
            raise ValueError(f"at most {DEEPEST_JSON} levels of JSON")
        if isinstance(part, dict):
            parts += [(inner, depth + 1) for pair in part.items() for inner in pair]
        elif isinstance(part, list):
            parts += [(inner, depth + 1) for inner in part]
        elif isinstance(part, float) and not isfinite(part):
            raise ValueError("JSON has no such number")
        elif isinstance(part, str) and any(s == "\x00" or "\ud800" <= s <= "\udfff" for s in part):
            raise ValueError("a NUL character or half a surrogate pair cannot be stored")
    if len(json.dumps(value)) > 10_000:
        raise ValueError("at most 10,000 characters of JSON")
    return value


Attributes = Annotated[dict[str, Any], AfterValidator(_json_object)]
"""Whatever else the source says of it."""


class Record(BaseModel):
    """Base of all records: unknown fields are errors, so that a misspelt one is not lost in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)


SameKey = Literal["update", "keep"]


@dataclass(frozen=True)
class RecordKind:
    """One kind of record.

    `same_key`: with "update" a record describes how things are, and a later one replaces it; with "keep" it
    is a fact, and the same key with other content is refused.
    """

    name: str
    table: Table
    record: type[Record]
    key: tuple[str, ...]
    same_key: SameKey
    announce: str | None = None
    """The column whose values the event `records.recorded` carries; None: nobody waits for this kind."""
    managed: str | None = None
    """SQL over the stage `s`: whether a record is about what is run here, and not for others to tell."""
    moves: str | None = None
    """A column whose former values the event carries too: what a changed record no longer belongs to."""

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The record's fields, which are columns of the table by the same names."""
        return tuple(self.record.model_fields)

    @cached_property
    def required(self) -> frozenset[str]:
        """Fields that a record cannot do without."""
        return frozenset(n for n, f in self.record.model_fields.items() if f.is_required())

    @cached_property
    def arrow_schema(self) -> pa.Schema:
        """The shape of a batch of these records in Arrow; JSON travels as text."""
        return pa.schema([pa.field(name, _arrow_type(self.table.c[name].type)) for name in self.columns])


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that was not taken: its key, a stable code and why."""

    key: dict[str, Any]
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class LoadOutcome:
    """What became of a batch: received = created + updated + unchanged + refused."""

    received: int
    created: int
    updated: int
    unchanged: int
    refused: int
    refusals: tuple[Refusal, ...]
    """The first of the refused ones, at most `MOST_REFUSALS`."""


MOST_REFUSALS: Final = 100
MOST_ANNOUNCED: Final = 2_000
"""Keys in one event; where more changed, those who listen look at everything."""


def _arrow_type(sql_type: object) -> pa.DataType:
    for kinds, arrow in _ARROW_TYPES:
        if isinstance(sql_type, kinds):
            return arrow
    raise TypeError(f"no Arrow type for {sql_type!r}")


_ARROW_TYPES: Final[tuple[tuple[type | tuple[type, ...], pa.DataType], ...]] = (
    (SmallInteger, pa.int16()),
    (BigInteger, pa.int64()),
    (Integer, pa.int32()),
    (Boolean, pa.bool_()),
    (DateTime, pa.timestamp("us", tz="UTC")),
    (Date, pa.date32()),
    ((JSONB, Text), pa.string()),
)

_STAGE_TYPES: Final = {
    pa.int16(): "smallint",
    pa.int64(): "bigint",
    pa.int32(): "integer",
    pa.bool_(): "boolean",
    pa.timestamp("us", tz="UTC"): "timestamptz",
    pa.date32(): "date",
    pa.string(): "text",
}


def to_batch(kind: RecordKind, records: Sequence[Record]) -> pa.RecordBatch:
    """Checked records as one Arrow batch."""
    columns = []
    for field in kind.arrow_schema:
        values: Iterable[Any] = (getattr(record, field.name) for record in records)
        if isinstance(kind.table.c[field.name].type, JSONB):
            values = (None if value is None else json.dumps(value, sort_keys=True) for value in values)
        columns.append(pa.array(values, type=field.type, size=len(records)))
    return pa.RecordBatch.from_arrays(columns, schema=kind.arrow_schema)


async def load(
    tx: Tx,
    kind: RecordKind,
    *,
    merchant_id: UUID,
    batches: Iterable[pa.RecordBatch],
    now: datetime,
) -> LoadOutcome:
    """Take in any number of batches, in bounded memory, in one transaction: all of them or none.

    The same record again changes nothing. Where one load has the same key twice with "update", the last one
    counts; with "keep", the first.
    """
    no_refusals: tuple[Refusal, ...] = ()
    await _stage(tx, kind, batches)
    parameters = {"merchant_id": merchant_id, "now": now}
    received = await tx.scalar("SELECT count(*) FROM stage")
    managed = await _turn_away_managed(tx, kind, merchant_id)
    former = await _former(tx, kind, merchant_id)
    # The check of the foreign key is a statement for every row: planned each time, it takes three quarters of
    # the load.
    await tx.execute("SET LOCAL plan_cache_mode = 'auto'")
    written = (await tx.execute(_upsert(kind), parameters)).one()
    created, updated = int(written.created), int(written.updated)
    refused, refusals = 0, no_refusals
    if kind.same_key == "keep" and created < received:
        refused, refusals = await _refusals(tx, kind, parameters)
    refused, refusals = refused + len(managed), (*managed, *refusals)[:MOST_REFUSALS]
    if kind.announce is not None and (created or updated):
        await _announce(tx, kind, merchant_id, former, now)
    await tx.execute("DROP TABLE stage")
    return LoadOutcome(
        received=received,
        created=created,
        updated=updated,
        unchanged=received - created - updated - refused,
        refused=refused,
        refusals=refusals,
    )


async def _turn_away_managed(tx: Tx, kind: RecordKind, merchant_id: UUID) -> list[Refusal]:
    """Take records of what is run here out of the stage: its state is ours to keep."""
    if kind.managed is None:
        return []
    rows = await tx.all(
        f"DELETE FROM stage s WHERE {kind.managed} RETURNING {_quoted(kind.key)}",
        {"merchant_id": merchant_id},
    )
    detail = "It belongs to a campaign that is run here; use the verbs of the API instead."
    return [Refusal(dict(row._mapping), "managed_here", detail) for row in rows]


async def _former(tx: Tx, kind: RecordKind, merchant_id: UUID) -> list[str]:
    """What the records that are about to change belong to now, at most `MOST_ANNOUNCED` and one more.

    All rows are locked, in the order of their keys as `_upsert` does it, so that nobody moves one meanwhile.
    """
    if kind.moves is None:
        return []
    match = " AND ".join(f't."{name}" = s."{name}"' for name in kind.key)
    rows = await tx.all(
        f"""SELECT DISTINCT former FROM (
                SELECT t."{kind.moves}" AS former,
                       EXISTS (SELECT FROM stage s
                               WHERE {match} AND s."{kind.moves}" IS DISTINCT FROM t."{kind.moves}") AS moved
                FROM {kind.table.name} t
                WHERE t.merchant_id = :merchant_id
                  AND ({_quoted(kind.key, "t.")}) IN (SELECT {_quoted(kind.key)} FROM stage)
                ORDER BY {_quoted(kind.key, "t.")} FOR UPDATE OF t) locked
            WHERE moved AND former IS NOT NULL LIMIT {MOST_ANNOUNCED + 1}""",
        {"merchant_id": merchant_id},
    )
    return [row.former for row in rows]


async def _announce(
    tx: Tx, kind: RecordKind, merchant_id: UUID, former: list[str], recorded_at: datetime
) -> None:
    """Tell what was recorded: which keys where they are few, otherwise only that it was a lot."""
    rows = await tx.all(f'SELECT DISTINCT "{kind.announce}" AS key FROM stage LIMIT {MOST_ANNOUNCED + 1}')
    few = max(len(rows), len(former)) <= MOST_ANNOUNCED
    payload = {
        "merchant_id": str(merchant_id),
        "kind": kind.name,
        "keys": [row.key for row in rows] if few else None,
        "former": former if few else [],
        "recorded_at": recorded_at.isoformat(),
        "transaction": str(await tx.scalar("SELECT pg_current_xact_id()::text")),
    }
    await publish(tx, "records.recorded", payload)


async def _stage(tx: Tx, kind: RecordKind, batches: Iterable[pa.RecordBatch]) -> None:
    """COPY the batches into a temporary table, numbered as they came."""
    driver = await tx.driver()
    columns = ", ".join(f'"{f.name}" {_STAGE_TYPES[f.type]}' for f in kind.arrow_schema)
    await driver.execute(
        f"""CREATE TEMPORARY TABLE stage (
            {columns}, position bigint GENERATED ALWAYS AS IDENTITY) ON COMMIT DROP"""
    )
    encoder = ArrowToPostgresBinaryEncoder(kind.arrow_schema)

    async def encoded() -> Any:
        yield encoder.write_header()
        for batch in _sliced(batches):
            yield encoder.write_batch(batch)
        yield encoder.finish()

    await driver.copy_to_table("stage", source=encoded(), columns=list(kind.columns), format="binary")
    await driver.execute("ANALYZE stage")


def _sliced(batches: Iterable[pa.RecordBatch], rows: int = 20_000) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)


def _quoted(names: Iterable[str], prefix: str = "") -> str:
    return ", ".join(f'{prefix}"{name}"' for name in names)


def _expression(kind: RecordKind, name: str) -> str:
    """The value of a column from the stage, with the table's default for null."""
    column = kind.table.c[name]
    value = f's."{name}"::jsonb' if isinstance(column.type, JSONB) else f's."{name}"'
    default = column.server_default
    if not isinstance(default, DefaultClause):
        return value
    literal = str(default.arg).replace("'", "''")
    return f"coalesce({value}, '{literal}')"


def _upsert(kind: RecordKind) -> str:
    """One statement for the whole load, that answers with (created, updated)."""
    key = _quoted(kind.key)
    values = ", ".join(_expression(kind, name) for name in kind.columns)
    rest = [name for name in kind.columns if name not in kind.key]
    keep = kind.same_key == "keep" or not rest
    which = "ASC" if keep else "DESC"
    # In the order of the keys: two loads that meet wait for each other, and never both ways.
    source = f"(SELECT DISTINCT ON ({key}) * FROM stage ORDER BY {key}, position {which}) s ORDER BY {key}"
    if keep:
        action = "DO NOTHING"
    else:
        changes = ", ".join(f'"{name}" = excluded."{name}"' for name in rest)
        action = f"""DO UPDATE SET {changes}, recorded_at = excluded.recorded_at
            WHERE ({_quoted(rest, "t.")}) IS DISTINCT FROM ({_quoted(rest, "excluded.")})"""
    return f"""
        WITH written AS (
            INSERT INTO {kind.table.name} AS t (merchant_id, recorded_at, {_quoted(kind.columns)})
            SELECT CAST(:merchant_id AS uuid), CAST(:now AS timestamptz), {values} FROM {source}
            ON CONFLICT (merchant_id, {key}) {action}
            -- a row that this statement inserted has never been locked or changed by anybody
            RETURNING (xmax = 0) AS created
        )
        SELECT count(*) FILTER (WHERE created) AS created, count(*) FILTER (WHERE NOT created) AS updated
        FROM written"""


async def _refusals(
    tx: Tx, kind: RecordKind, parameters: Mapping[str, Any]
) -> tuple[int, tuple[Refusal, ...]]:
    """Facts that are there already with another content: how many, and the first of them."""
    rest = [name for name in kind.columns if name not in kind.key]
    if not rest:
        return 0, ()
    staged = ", ".join(_expression(kind, name) for name in rest)
    match = " AND ".join(f't."{name}" = s."{name}"' for name in kind.key)
    rows = await tx.all(
        f"""SELECT count(*) OVER () AS total, {_quoted(kind.key, "s.")}
            FROM stage s JOIN {kind.table.name} t ON t.merchant_id = :merchant_id AND {match}
            WHERE ({_quoted(rest, "t.")}) IS DISTINCT FROM ({staged})
            ORDER BY s.position LIMIT {MOST_REFUSALS}""",
        {"merchant_id": parameters["merchant_id"]},
    )
    refusals = tuple(
        Refusal(
            key={name: row._mapping[name] for name in kind.key},
            code="content_differs",
            detail="It is recorded already with another content, and a fact does not change.",
        )
        for row in rows
    )
    return (rows[0].total if rows else 0), refusals


def check_columns(kind: RecordKind, names: Sequence[str], *, source: str) -> None:
    """`InvalidError` if a file's columns are not those of this kind; it names what is missing and unknown."""
    missing = sorted(kind.required - set(names))
    unknown = sorted(set(names) - set(kind.columns))
    if missing or unknown:
        parts = [
            f"{what}: {', '.join(names)}"
            for what, names in (("missing", missing), ("unknown", unknown))
            if names
        ]
        raise InvalidError(
            f"{source}: the columns are not those of {kind.name} ({'; '.join(parts)}). "
            f"It has: {', '.join(kind.columns)}.",
            code="columns_invalid",
        )
