"""CSV files, read with nothing guessed from a sample: keys stay text, money stays exact.

Every file is read twice. The first pass looks at all values of the time and amount columns and decides
their types, so that no later row can contradict them. The second pass converts.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb

from counterfoil.linkage.errors import FileError
from counterfoil.linkage.types import Role

_DELIMITERS: Final = (",", ";", "\t", "|")
_CHUNK: Final = 1 << 20
_MOST_DECIMALS: Final = 9


@dataclass(frozen=True, slots=True)
class Csv:
    """CSV files with one header."""

    paths: tuple[Path, ...]
    delimiter: str
    columns: tuple[str, ...]


def open_csv(paths: Sequence[Path], encoding: str, scratch: Path) -> Csv:
    """Find out the delimiter and the header; files in another encoding are rewritten to `scratch` as UTF-8.

    Raises `FileError` for an empty file, a header that names a column twice, files of one set whose headers
    differ, and bytes that are not of `encoding`.
    """
    ready = tuple(_to_utf8(path, encoding, scratch) for path in paths)
    headers = [_read_header(path, shown) for path, shown in zip(ready, paths, strict=True)]
    for shown, header in zip(paths, headers, strict=True):
        if header != headers[0]:
            raise FileError(f"{shown} has the columns {header[1]}, {paths[0]} has {headers[0][1]}.")
    delimiter, columns = headers[0]
    return Csv(ready, delimiter, tuple(columns))


def _to_utf8(path: Path, encoding: str, scratch: Path) -> Path:
    try:
        codec = codecs.lookup(encoding)
    except LookupError as error:
        raise FileError(f"{encoding!r} is not an encoding that Python knows.") from error
    if codec.name == "utf-8":
        return path
    target = scratch / f"{len(list(scratch.iterdir()))}-{path.name}"
    with (
        path.open(encoding=encoding, newline="") as source,
        target.open("w", encoding="utf-8", newline="") as out,
    ):
        try:
            while chunk := source.read(_CHUNK):
                out.write(chunk)
        except UnicodeError as error:
            raise FileError(f"{path} is not {encoding}: {error}.") from error
    return target


def _read_header(path: Path, shown: Path) -> tuple[str, list[str]]:
    try:
        with path.open("rb") as file:
            line = file.readline().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(_not_utf8(str(shown), "1")) from error
    if not line.strip():
        raise FileError(f"{shown} is empty: it has no header line.")
    delimiter = max(_DELIMITERS, key=line.count)
    columns = next(csv.reader([line], delimiter=delimiter))
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise FileError(f"{shown}, line 1: the header has {', '.join(twice)} more than once.")
    return delimiter, columns


def _not_utf8(path: str, line: str) -> str:
    return f"{path}, line {line}: not UTF-8. If it is another encoding, name it: --encoding gb18030."


def read_csv(
    connection: duckdb.DuckDBPyConnection, file: Csv, roles: Mapping[str, Role]
) -> duckdb.DuckDBPyRelation:
    """The columns `roles` (name to what it is for) of `file`, typed by all of their values.

    Keys and attributes are text. Times are dates, timestamps or timestamps with a time zone. Amounts are
    integers, or decimals with as many places as the file has, or floats if there are more than 9.
    """
    plain = _scan(connection, file, dict.fromkeys(file.columns, "VARCHAR"))
    looked_at = {name: role for name, role in roles.items() if role in {"time", "amount"}}
    types = dict.fromkeys(file.columns, "VARCHAR")
    for name, role in looked_at.items():
        quoted = '"' + name.replace('"', '""') + '"'
        find = _find_time_type if role == "time" else _find_amount_type
        types[name] = find(plain, quoted)
    return _scan(connection, file, types).select(*[duckdb.ColumnExpression(name) for name in roles])


def _scan(
    connection: duckdb.DuckDBPyConnection, file: Csv, types: Mapping[str, str]
) -> duckdb.DuckDBPyRelation:
    paths: Any = [str(path) for path in file.paths]  # a list is taken, though the stubs say otherwise
    return connection.read_csv(
        paths,
        header=True,
        auto_detect=False,
        columns=dict(types),
        sep=file.delimiter,
        quotechar='"',
        escapechar='"',
        strict_mode=True,
    )


def _one_row(relation: duckdb.DuckDBPyRelation, expressions: str) -> tuple[Any, ...]:
    return relation.aggregate(expressions).fetchall()[0]


def _find_time_type(plain: duckdb.DuckDBPyRelation, column: str) -> str:
    clock, zoned = f"contains({column}, ':')", rf"regexp_matches({column}, ':.*(Z|[+-]\d\d(:?\d\d)?)$')"
    any_clock, any_zone, all_zones = _one_row(plain, f"bool_or({clock}), bool_or({zoned}), bool_and({zoned})")
    if any_zone and not all_zones:
        raise FileError(
            f"The column {column} has times with a time zone and times without one. Give all one, or none."
        )
    if any_zone:
        return "TIMESTAMPTZ"
    return "DATE" if any_clock is False else "TIMESTAMP"


def _find_amount_type(plain: duckdb.DuckDBPyRelation, column: str) -> str:
    places = rf"max(length(regexp_extract({column}, '\.(\d*)$', 1)))"
    odd = rf"bool_or(NOT regexp_matches({column}, '^\s*[+-]?\d*\.?\d*\s*$'))"
    most, has_odd = _one_row(plain, f"{places}, {odd}")
    if has_odd or (most or 0) > _MOST_DECIMALS:
        return "DOUBLE"
    return f"DECIMAL(18, {most})" if most else "BIGINT"


def explain_csv_error(error: duckdb.Error, file: Csv, shown: Sequence[Path]) -> FileError:
    """DuckDB's long message about a CSV file as one sentence with file, line and column."""
    text = str(error)
    line = _first(r"CSV Error on Line: (\d+)", text) or "?"
    named = _first(r"file = (.+)", text) or str(file.paths[0])
    own = dict(zip(map(str, file.paths), shown, strict=True)).get(named.strip(), named.strip())
    if "unicode" in text:
        return FileError(_not_utf8(str(own), line))
    column, value = (
        _first(r'converting column "([^"]+)"', text),
        _first(r'Could not convert string "([^"]*)"', text),
    )
    if column is not None:
        wanted = "a number" if "DOUBLE" in text or "BIGINT" in text else "a date or a timestamp"
        return FileError(f"{own}, line {line}, column {column}: {value!r} is not {wanted}.")
    expected, found = _first(r"Expected Number of Columns: (\d+)", text), _first(r"Found: (\d+)", text)
    if expected is not None:
        return FileError(
            f"{own}, line {line}: {found} columns where the header has {expected}. Is the file torn?"
        )
    if "quote" in text:
        return FileError(f"{own}, line {line}: a quoted value that does not end. Is the file torn?")
    return FileError(f"{own}, line {line}: {text.splitlines()[0]}")


def _first(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found.group(1) if found else None
