"""From four files to a full-link file: streamed within a memory limit, and never half written."""

from __future__ import annotations

import glob
import os
import resource
import shutil
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

import duckdb
import narwhals as nw
import polars as pl

from counterfoil.linkage.breaks import check_counts, find_breaks
from counterfoil.linkage.columns import ColumnMap, read_inputs
from counterfoil.linkage.csv_files import explain_csv_error, open_csv, read_csv
from counterfoil.linkage.errors import (
    ColumnMapError,
    ColumnTypeError,
    FileError,
    LinkageError,
    MissingColumnError,
)
from counterfoil.linkage.flags import flag_rows
from counterfoil.linkage.link import link
from counterfoil.linkage.repeats import compute_shared_once
from counterfoil.linkage.types import FIELDS, Reconciliation, Role, Source

Engine = Literal["duckdb", "polars", "spark"]
Progress = Callable[[str], None]

_CSV_SUFFIXES: Final = (".csv", ".tsv", ".txt")
_PARQUET_SUFFIXES: Final = (".parquet", ".pq")
_PARQUET: Final = "FORMAT parquet, DICTIONARY_SIZE_LIMIT 1000"
"""Most columns are ids and times: a dictionary of them is work for nothing, and is given up early so."""


@dataclass(frozen=True, slots=True)
class FileReport:
    """What linking files did: rows by link status, breaks by source and kind, and that no record was lost."""

    rows: int
    by_status: dict[str, int]
    breaks: dict[str, dict[str, int]]
    reconciliation: tuple[Reconciliation, ...]
    seconds: float
    peak_memory_bytes: int
    outputs: tuple[str, ...] = field(default=())


def read_column_map(path: Path) -> ColumnMap:
    """The column map in a TOML file: a table per source, canonical name = the file's name.

    Raises `ColumnMapError`, naming the file, if it is not such a file.
    """
    try:
        columns = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ColumnMapError(f"{path} does not exist.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ColumnMapError(f"{path} is not TOML: {error}.") from error
    for source, names in columns.items():
        if not isinstance(names, dict) or not all(isinstance(own, str) for own in names.values()):
            raise ColumnMapError(f'{path}: [{source}] must hold lines such as voucher_id = "CouponNo".')
    return columns


def link_files(
    paths: Mapping[Source, str],
    out: Path,
    *,
    engine: Engine = "duckdb",
    columns: ColumnMap | None = None,
    memory_limit: str = "2GB",
    threads: int | None = None,
    breaks_out: Path | None = None,
    as_of: datetime | None = None,
    max_redemptions: int | None = 1,
    time_zone: str = "UTC",
    encoding: str = "utf-8",
    progress: Progress = lambda _: None,
) -> FileReport:
    """Link the issuances, redemptions, orders and transactions in `paths` and write the full link to `out`.

    A path is a CSV or Parquet file or a glob of them. `out` and `breaks_out` are CSV or Parquet by their
    suffix; they are written under another name and renamed when all is done, so that nothing half is ever
    there under the final name. DuckDB reads, checks and links within `memory_limit`, with room on the disk
    beside `out`; `engine` says which engine links, and the limit is not Polars' or Spark's. The other
    arguments are those of `counterfoil.breaks`.

    Raises `LinkageError`: a wrong file (`FileError`, with file, line and column), column or type.
    """
    started = time.monotonic()
    for target in (out, *([breaks_out] if breaks_out else [])):
        check_target(target)
    with _scratch(out.parent) as scratch, _connection(scratch, memory_limit, threads) as connection:
        work = _Work(connection, scratch, paths, engine, columns or {}, encoding, progress)
        sources = work.read()
        linked = work.link(sources)
        found, report = work.find_breaks(sources, linked, as_of, max_redemptions, time_zone)
        progress("writing")
        written = [(work.finish(linked, out), out)]
        if breaks_out is not None:
            written.append((work.finish(found, breaks_out), breaks_out))
        for ready, target in reversed(written):
            ready.replace(target)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    names = tuple(str(target) for _, target in written)
    return FileReport(**report, seconds=time.monotonic() - started, peak_memory_bytes=peak, outputs=names)


@contextmanager
def open_files(
    paths: Mapping[Source, str],
    *,
    beside: Path,
    columns: ColumnMap | None = None,
    memory_limit: str = "2GB",
    encoding: str = "utf-8",
) -> Iterator[dict[Source, duckdb.DuckDBPyRelation]]:
    """The files in `paths` as DuckDB relations, checked and typed as `link_files` does it.

    They hold while the context does; what does not fit into `memory_limit` goes to the disk in `beside`.
    Raises `LinkageError` as `link_files` does.
    """
    with _scratch(beside) as scratch, _connection(scratch, memory_limit, None) as connection:
        work = _Work(connection, scratch, paths, "duckdb", columns or {}, encoding, lambda _: None)
        yield work.relations(work.read())


def write_whole(rows: duckdb.DuckDBPyRelation, out: Path) -> int:
    """Write `rows`, ordered by their first columns, as CSV or Parquet by the suffix of `out`.

    Whoever looks finds the old file or the whole new one. Returns how many rows there were; raises
    `FileError` for another suffix or directory.
    """
    check_target(out)
    part = out.with_name(f".{out.name}.part")
    ordered = rows.order(", ".join(f'"{name}"' for name in rows.columns[:3]))
    try:
        write = ordered.write_csv if out.suffix.lower() == ".csv" else ordered.write_parquet
        write(str(part))
        counted = rows.count("*").fetchall()[0][0]
        part.replace(out)
    except duckdb.Error as error:
        raise FileError(" ".join(str(error).splitlines()[:2])) from error
    finally:
        part.unlink(missing_ok=True)
    return int(counted)


def check_target(path: Path) -> None:
    """`FileError` unless a CSV or Parquet file of this name can be written."""
    if path.suffix.lower() not in {".csv", *_PARQUET_SUFFIXES}:
        raise FileError(f"{path} must end in .parquet or .csv.")
    if not path.parent.is_dir():
        raise FileError(f"{path.parent} is not a directory.")


@contextmanager
def _scratch(beside: Path) -> Iterator[Path]:
    """A directory for what is not finished, on the file system of the result, so that a rename is atomic."""
    path = Path(tempfile.mkdtemp(prefix=".counterfoil-", dir=beside))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _connection(scratch: Path, memory_limit: str, threads: int | None) -> Iterator[duckdb.DuckDBPyConnection]:
    (scratch / "spill").mkdir()
    config: dict[str, Any] = {
        "memory_limit": memory_limit,
        "temp_directory": str(scratch / "spill"),
        "preserve_insertion_order": "false",
    }
    if threads is not None:
        config["threads"] = threads
    try:
        connection = duckdb.connect(config=config)
    except duckdb.Error as error:
        raise LinkageError(f"Memory limit {memory_limit!r}: {str(error).splitlines()[0]}") from error
    try:
        # Times are shown and compared as instants; the machine's own time zone must not matter.
        connection.execute("SET TimeZone = 'UTC'")
        yield connection
    finally:
        connection.close()


@dataclass(frozen=True, slots=True)
class _Work:
    """One run: its connection, its scratch directory and what the caller asked for."""

    connection: duckdb.DuckDBPyConnection
    scratch: Path
    paths: Mapping[Source, str]
    engine: Engine
    columns: ColumnMap
    encoding: str
    progress: Progress

    def read(self) -> dict[Source, list[str]]:
        """Parquet files with each source: its own, or what its CSV files were converted to."""
        return {source: self._read_one(source, pattern) for source, pattern in self.paths.items()}

    def _read_one(self, source: Source, pattern: str) -> list[str]:
        self.progress(f"reading {source}")
        files = _find_files(source, pattern)
        if all(path.suffix.lower() in _PARQUET_SUFFIXES for path in files):
            self._check_parquet(source, files)
            return [str(path) for path in files]
        if not all(path.suffix.lower() in _CSV_SUFFIXES for path in files):
            raise FileError(
                f"{source}: {pattern} must be CSV files (.csv, .tsv, .txt) or Parquet files (.parquet)."
            )
        target = self.scratch / f"{source}.parquet"
        self._convert(source, files, target)
        return [str(target)]

    def _check_parquet(self, source: Source, files: Sequence[Path]) -> None:
        for path in files:
            try:
                there = self.connection.read_parquet(str(path)).columns
            except duckdb.Error as error:
                told = str(error).splitlines()[0]
                raise FileError(f"{source}: {path} cannot be read as Parquet: {told}") from error
            _check_columns(source, path, there, self.columns.get(source, {}))

    def _convert(self, source: Source, files: Sequence[Path], target: Path) -> None:
        encoded = self.scratch / f"{source}-utf8"
        encoded.mkdir()
        file = open_csv(files, self.encoding, encoded)
        own_names = self.columns.get(source, {})
        _check_columns(source, files[0], file.columns, own_names)
        roles: dict[str, Role] = {}
        for each in FIELDS[source]:
            own = own_names.get(each.name, each.name)
            if own in file.columns:
                roles[own] = each.role
        try:
            self.copy(read_csv(self.connection, file, roles), target, _PARQUET)
        except duckdb.Error as error:
            raise explain_csv_error(error, file, files) from error
        except FileError as error:
            raise FileError(f"{files[0]}: {error}") from error

    def copy(self, relation: duckdb.DuckDBPyRelation, target: Path, options: str) -> None:
        """Write `relation` to `target`, streaming."""
        self.connection.execute(f"COPY ({relation.sql_query()}) TO '{_quoted(target)}' ({options})")

    def link(self, sources: Mapping[Source, list[str]]) -> Path:
        """The full link of `sources` as a Parquet file in the scratch directory."""
        self.progress("linking")
        target = self.scratch / "full_link.parquet"
        try:
            if self.engine == "duckdb":
                self.copy(link(**self.relations(sources), columns=self.columns), target, _PARQUET)
            elif self.engine == "polars":
                frames: dict[Any, Any] = {source: pl.scan_parquet(files) for source, files in sources.items()}
                link(**frames, columns=self.columns).sink_parquet(target)
            else:
                _link_on_spark(sources, self.columns, target)
        except ColumnTypeError as error:
            where = next(
                (self.paths[source] for source in sources if error.detail.startswith(f"{source}.")), None
            )
            raise ColumnTypeError(f"{where}: {error.detail}" if where else error.detail) from error
        except duckdb.OutOfMemoryException as error:
            raise LinkageError(f"The memory limit is too small: {str(error).splitlines()[0]}") from error
        return target

    def relations(self, sources: Mapping[Source, list[str]]) -> dict[Any, Any]:
        """The Parquet files of every source as relations."""
        return {source: self.connection.read_parquet(files) for source, files in sources.items()}

    def find_breaks(
        self,
        sources: Mapping[Source, list[str]],
        linked: Path,
        as_of: datetime | None,
        max_redemptions: int | None,
        time_zone: str,
    ) -> tuple[Path, dict[str, Any]]:
        """The breaks as a Parquet file, and what there is to report."""
        self.progress("looking for breaks")
        inputs = read_inputs(self.relations(sources), self.columns)
        rows = nw.from_native(self.connection.read_parquet(str(linked)))
        rule: Any = {"max_redemptions": max_redemptions, "time_zone": time_zone}
        found = find_breaks(inputs, rows, as_of=as_of, **rule)
        target = self.scratch / "breaks.parquet"
        self.copy(compute_shared_once(found, *inputs.frames.values()).to_native(), target, _PARQUET)
        self.progress("reconciling")
        written = nw.from_native(self.connection.read_parquet(str(target)))
        counts = check_counts(inputs, flag_rows(inputs, rows, **rule), written)
        by_status = self._count(linked, "link_status")
        breaks: dict[str, dict[str, int]] = {}
        for (source, kind), number in self._count(target, "source", "kind").items():
            breaks.setdefault(source, {})[kind] = number
        status = {key[0]: number for key, number in by_status.items()}
        total = sum(status.values())
        return target, {"rows": total, "by_status": status, "breaks": breaks, "reconciliation": counts}

    def _count(self, path: Path, *names: str) -> dict[tuple[str, ...], int]:
        keys = ", ".join(names)
        query = f"SELECT {keys}, count(*) FROM '{_quoted(path)}' GROUP BY {keys} ORDER BY {keys}"
        return {tuple(row[:-1]): row[-1] for row in self.connection.execute(query).fetchall()}

    def finish(self, ready: Path, target: Path) -> Path:
        """`ready` in the format of `target`, safe on the disk, under a temporary name."""
        done = ready
        if target.suffix.lower() == ".csv":
            done = ready.with_suffix(".csv")
            self.copy(self.connection.read_parquet(str(ready)), done, "FORMAT csv, HEADER")
        with done.open("rb") as file:
            os.fsync(file.fileno())
        return done


def _find_files(source: Source, pattern: str) -> list[Path]:
    # Not `Path.glob`: a pattern may be absolute.
    files = [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207
    if not files:
        raise FileError(f"{source}: there is no file {pattern}.")
    for path in files:
        if not path.is_file():
            raise FileError(
                f"{source}: {path} is not a file. For all files in a directory, say {path}/*.parquet."
            )
        if path.stat().st_size == 0:
            raise FileError(f"{source}: {path} is empty.")
    return files


def _check_columns(source: Source, path: Path, there: Sequence[str], own_names: Mapping[str, str]) -> None:
    for each in FIELDS[source]:
        own = own_names.get(each.name, each.name)
        if own not in there and (each.required or each.name in own_names):
            raise MissingColumnError(
                f"{path}: {source} need the column {own!r}; the file has {', '.join(there)}. If one of these "
                f'is it, say so in a map file (--columns map.toml): [{source}] {each.name} = "<your column>".'
            )


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def _link_on_spark(sources: Mapping[Source, list[str]], columns: ColumnMap, target: Path) -> None:
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise LinkageError("The engine spark needs the extra: pip install 'counterfoil[spark]'.") from error
    session = SparkSession.builder.master("local[*]").config("spark.ui.enabled", "false").getOrCreate()
    frames: dict[Any, Any] = {source: session.read.parquet(*files) for source, files in sources.items()}
    parts = target.with_suffix(".parts")
    link(**frames, columns=columns).coalesce(1).write.parquet(str(parts))
    next(parts.glob("part-*.parquet")).replace(target)
