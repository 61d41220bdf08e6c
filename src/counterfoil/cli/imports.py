"""`counterfoil import`: records from CSV and Parquet files, all of a file or nothing."""

from __future__ import annotations

import csv
import json as json_format
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import glob
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from cyclopts import Parameter
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from sqlalchemy.dialects.postgresql import JSONB

from counterfoil import clock
from counterfoil.app import RECORD_KINDS, App
from counterfoil.cli.platform import Json, show, with_platform
from counterfoil.db import records
from counterfoil.db.records import LoadOutcome, Record, RecordKind
from counterfoil.db.transactions import begin
from counterfoil.errors import FieldError, InvalidError
from counterfoil.merchants import merchants

Kind = Literal[
    "stores",
    "products",
    "customers",
    "campaigns",
    "voucher_templates",
    "template_products",
    "audience",
    "vouchers",
    "issuances",
    "redemptions",
    "orders",
    "order_lines",
    "transactions",
    "page_views",
]
ROWS: Final = 10_000
"""Records that are checked and sent at a time: memory does not grow with the file."""
MOST_ERRORS: Final = 20
IMPORT_SECONDS: Final = 3600


def import_records(
    kind: Kind,
    files: Annotated[list[str], Parameter(help="CSV or Parquet files, or patterns such as 'orders-*.csv'.")],
    /,
    *,
    merchant: Annotated[str, Parameter(help="Whose records they are, by reference or id.")],
    columns: Annotated[
        Path | None, Parameter(help='A TOML file with your column names: `order_id = "OrderNo"`.')
    ] = None,
    json: Json = False,
) -> None:
    """Load records of one KIND from files. Importing the same files again changes nothing.

    Each file is one transaction: all of its records that are not refused, or, if anything is wrong with it,
    none. Columns are those of the bulk endpoints (see docs/api.md); others are an error, so that a misspelt
    one is not lost in silence.
    """
    paths = _found(files)
    names = _column_names(columns)
    chosen = RECORD_KINDS[kind]

    async def work(app: App) -> list[tuple[Path, LoadOutcome]]:
        with _progress() as progress:
            return [(path, await _load(app, merchant, chosen, path, names, progress)) for path in paths]

    outcomes = with_platform(work)
    rows = [
        {
            "file": str(path),
            "received": outcome.received,
            "created": outcome.created,
            "updated": outcome.updated,
            "unchanged": outcome.unchanged,
            "refused": outcome.refused,
            **({"refusals": [vars_of(refusal) for refusal in outcome.refusals]} if json else {}),
        }
        for path, outcome in outcomes
    ]
    show(rows, as_json=json, title=kind.replace("_", " "))
    if not json:
        _tell_refusals(outcomes)


def vars_of(refusal: records.Refusal) -> dict[str, Any]:
    """A refusal as JSON has it."""
    return {"key": refusal.key, "code": refusal.code, "detail": refusal.detail}


def _tell_refusals(outcomes: Sequence[tuple[Path, LoadOutcome]]) -> None:
    console = Console(stderr=True, highlight=False)
    for path, outcome in outcomes:
        for refusal in outcome.refusals[:MOST_ERRORS]:
            key = ", ".join(f"{name} {value}" for name, value in refusal.key.items())
            console.print(f"{path}: {key}: {refusal.detail}", markup=False)
        if outcome.refused > MOST_ERRORS:
            console.print(f"{path}: {outcome.refused:,} records were refused in all.", markup=False)


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed:,} records"),
        TimeElapsedColumn(),
        console=console,
        disable=not sys.stderr.isatty(),
    )


def _found(patterns: Sequence[str]) -> list[Path]:
    paths = []
    for pattern in patterns:
        # A pattern may be absolute, which Path.glob does not take.
        matches = [pattern] if Path(pattern).exists() else sorted(glob(pattern, recursive=True))  # noqa: PTH207
        if not matches:
            raise InvalidError(f"{pattern}: there is no such file.", code="file_not_found")
        paths += [Path(match) for match in matches]
    return paths


def _column_names(path: Path | None) -> dict[str, str]:
    """From the caller's column names to ours."""
    if path is None:
        return {}
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidError(f"{path}: {error}", code="columns_invalid") from error
    if not all(isinstance(name, str) for name in given.values()):
        raise InvalidError(f'{path}: write lines such as order_id = "OrderNo".', code="columns_invalid")
    return {theirs: ours for ours, theirs in given.items()}


async def _load(
    app: App, merchant: str, kind: RecordKind, path: Path, names: dict[str, str], progress: Progress
) -> LoadOutcome:
    task = progress.add_task(str(path), total=None)
    async with begin(app.engine, statement_timeout_seconds=IMPORT_SECONDS) as tx:
        owner = await merchants.get(tx, name=merchant)
        batches = read_records(path, kind, names=names, told=lambda n: _advance(progress, task, n))
        return await records.load(tx, kind, merchant_id=owner.id, batches=batches, now=clock.now())


def _advance(progress: Progress, task: TaskID, rows: int) -> None:
    progress.advance(task, rows)


@dataclass(frozen=True, slots=True)
class _Source:
    path: Path
    names: list[str]
    """The file's columns, by our names."""
    batches: Iterator[pa.RecordBatch]
    is_csv: bool


def read_records(
    path: Path, kind: RecordKind, *, names: dict[str, str], told: Any = lambda _rows: None
) -> Iterator[pa.RecordBatch]:
    """The records of a file, checked by the same rules as those of the API, in batches of bounded size.

    Raises `InvalidError` that names the file, and for wrong values their line (or record) and column.
    """
    source = _open(path, names)
    records.check_columns(kind, source.names, source=str(path))
    checked = TypeAdapter(list[kind.record])  # type: ignore[name-defined]
    as_text = [name for name in source.names if pa.types.is_string(kind.arrow_schema.field(name).type)]
    as_json = [name for name in source.names if isinstance(kind.table.c[name].type, JSONB)]
    done = 0
    for batch in _torn_is_an_error(source):
        rows = _rows(batch.rename_columns(source.names), as_text, as_json)
        try:
            found: list[Record] = checked.validate_python(rows)
        except ValidationError as error:
            raise _wrong_values(source, error, done) from None
        yield records.to_batch(kind, found)
        done += len(rows)
        told(len(rows))


def _open(path: Path, names: dict[str, str]) -> _Source:
    try:
        if path.suffix.lower() == ".parquet":
            file = pa.parquet.ParquetFile(path)
            theirs, batches, is_csv = file.schema_arrow.names, file.iter_batches(ROWS), False
        elif path.suffix.lower() == ".csv":
            if path.stat().st_size == 0:
                raise InvalidError(f"{path}: the file is empty.", code="file_empty")
            theirs, batches, is_csv = *_open_csv(path), True
        else:
            raise InvalidError(f"{path}: the name must end in .csv or .parquet.", code="file_type_unknown")
    except (OSError, pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise InvalidError(f"{path}: cannot be read: {error}", code="file_unreadable") from error
    return _Source(path, [names.get(name, name) for name in theirs], iter(batches), is_csv)


def _open_csv(path: Path) -> tuple[list[str], Iterator[pa.RecordBatch]]:
    with path.open(encoding="utf-8-sig", newline="") as text:
        theirs = next(csv.reader(text), [])
    reader = pa.csv.open_csv(
        path,
        read_options=pa.csv.ReadOptions(block_size=1 << 20),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            # Everything stays text until it is checked, so that 007 is not 7.
            column_types=dict.fromkeys(theirs, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
        ),
    )
    return theirs, (part for batch in reader for part in _slices(batch))


def _slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, ROWS):
        yield batch.slice(start, ROWS)


def _torn_is_an_error(source: _Source) -> Iterator[pa.RecordBatch]:
    try:
        yield from source.batches
    except (OSError, pa.ArrowInvalid) as error:
        raise InvalidError(f"{source.path}: cannot be read: {error}", code="file_unreadable") from error


def _rows(batch: pa.RecordBatch, as_text: Sequence[str], as_json: Sequence[str]) -> list[dict[str, Any]]:
    """Rows as the API would get them: ids that are numbers in the file as text, JSON text as JSON."""
    for name in as_text:
        place = batch.schema.get_field_index(name)
        if pa.types.is_integer(batch.schema.field(place).type):
            batch = batch.set_column(place, name, batch.column(place).cast(pa.string()))
    rows: list[dict[str, Any]] = batch.to_pylist()
    for name in as_json:
        for row in rows:
            if isinstance(row[name], str):
                try:
                    row[name] = json_format.loads(row[name])
                except ValueError:
                    continue  # the check says that it is not an object
    return rows


def _wrong_values(source: _Source, error: ValidationError, done: int) -> InvalidError:
    wrong = error.errors(include_url=False)
    problems = []
    for problem in wrong[:MOST_ERRORS]:
        index, *column = problem["loc"]
        record = done + int(index) + 1
        place = f"line {_line_of(source.path, record)}" if source.is_csv else f"record {record}"
        name = ".".join(map(str, column))
        problems.append(FieldError(f"{source.path}, {place}, {name}", problem["type"], problem["msg"]))
    more = f" (the first {MOST_ERRORS} of {len(wrong)} are named)" if len(wrong) > MOST_ERRORS else ""
    return InvalidError(
        f"{source.path}: wrong values{more}; nothing of this file was imported.",
        code="file_values_invalid",
        errors=tuple(problems),
    )


def _line_of(path: Path, record: int) -> int:
    """The line on which a record begins; records with line breaks in their values take more than one."""
    with path.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text)
        rows = (row for row in reader if row)
        row = next(islice(rows, record, None), [])
        return reader.line_num - sum(value.count("\n") for value in row)
