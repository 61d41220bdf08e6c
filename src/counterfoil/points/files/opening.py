"""What is in a file: read, held against the partner's terms, sorted by member, doubles marked.

All of it happens on the disk beside the database, so that a file which is broken leaves nothing behind, and
in memory that does not grow with the file: DuckDB sorts on the disk what is more than it may keep.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from counterfoil.points.files.faults import FileFaultError
from counterfoil.points.files.partners import Partner
from counterfoil.points.files.reader import RECORDS, Header, open_accruals
from counterfoil.points.files.terms import FILE_TYPE, Terms
from counterfoil.points.files.totals import Totals

MEMORY: Final = "256MB"
THREADS: Final = 2
MOST_PROBLEMS: Final = 100
"""Faults that are shown with a file; all of them stand with the records."""
AT_ONCE: Final = 65_536


@dataclass(frozen=True, slots=True)
class Content:
    """A file whose records are sorted and ready to be stored."""

    header: Header
    totals: Totals
    problems: list[dict[str, Any]]
    """The first of the records at fault: line, field, code."""
    broken: dict[str, int]
    """How many records break which rule."""
    path: Path

    def records(self) -> Iterator[pa.RecordBatch]:
        """The records in the order of their members, numbered from 0."""
        with _database(self.path) as db:
            found = db.sql(
                """SELECT r.line, r.customer_id, r.points, r.reference, r.occurred_on, r.offer_code, r.fault,
                          r.field, CASE WHEN r.line > d.line THEN d.line END AS first_line
                   FROM records r LEFT JOIN doubles d ON d.reference = r.reference
                   ORDER BY r.customer_id, r.line"""
            )
            reader: pa.RecordBatchReader = found.to_arrow_reader(AT_ONCE)
            yield from reader


def open_content(path: Path, partner: Partner, *, workspace: Path, now: datetime) -> Content:
    """Read a file and hold it against the partner's terms. `FileFaultError` where it is broken as a whole.

    The sequence number is for the caller to check, where nobody else can take it meanwhile.
    """
    with open_accruals(path, partner.layout) as reader:
        check_header(reader.header, partner.terms, now=now)
        at = workspace / "records.duckdb"
        with _database(at) as db:
            faults: list[FileFaultError] = []
            source = pa.RecordBatchReader.from_batches(RECORDS, _as_far_as_whole(reader.batches(), faults))
            db.register("source", source)
            db.execute(f"CREATE TABLE records AS {_RULED}", _limits(partner.terms, reader.header))
            if faults:
                raise faults[0]
            _compare(reader.trailer, reader.counted)
            db.execute(_DOUBLES)
            found: pa.Table = db.sql(_PROBLEMS).to_arrow_table()
            broken = dict(db.execute(_BROKEN).fetchall())
    for rule in sorted(partner.terms.reject_file_on & broken.keys()):
        raise FileFaultError(
            f"{broken[rule]:,} of its records break the rule {rule}, which rejects the whole file.",
            code="record_" + rule,
        )
    return Content(reader.header, reader.counted, found.to_pylist(), broken, at)


def _as_far_as_whole(
    batches: Iterator[pa.RecordBatch], faults: list[FileFaultError]
) -> Iterator[pa.RecordBatch]:
    """The batches before a fault of the file: raised through DuckDB, it would be an error of DuckDB's."""
    try:
        yield from batches
    except FileFaultError as fault:
        faults.append(fault)


_RULED: Final = """
    SELECT line, customer_id, points, reference, occurred_on, offer_code,
           CASE WHEN fault IS NOT NULL THEN fault
                WHEN points NOT BETWEEN $points_min AND $points_max THEN 'points_out_of_range'
                WHEN occurred_on NOT BETWEEN $oldest AND $newest THEN 'date_out_of_window'
                WHEN $known AND offer_code NOT IN (SELECT unnest($offers)) THEN 'offer_unknown'
           END AS fault,
           CASE WHEN fault IS NOT NULL THEN field
                WHEN points NOT BETWEEN $points_min AND $points_max THEN 'points'
                WHEN occurred_on NOT BETWEEN $oldest AND $newest THEN 'occurred_on'
                WHEN $known AND offer_code NOT IN (SELECT unnest($offers)) THEN 'offer_code'
           END AS field
    FROM source"""
_DOUBLES: Final = """
    CREATE TABLE doubles AS
    SELECT reference, min(line) AS line FROM records WHERE reference IS NOT NULL
    GROUP BY reference HAVING count(*) > 1"""
_PROBLEMS: Final = f"""
    SELECT line, field, fault AS code FROM records WHERE fault IS NOT NULL
    ORDER BY line LIMIT {MOST_PROBLEMS}"""
_BROKEN: Final = """
    SELECT fault, count(*) FROM records WHERE fault IS NOT NULL GROUP BY fault
    UNION ALL
    SELECT 'duplicate', count(*) FROM records r JOIN doubles d USING (reference)
    WHERE r.line > d.line HAVING count(*) > 0"""


def _limits(terms: Terms, header: Header) -> dict[str, Any]:
    day = header.created_at.date()
    return {
        "points_min": terms.points_min,
        "points_max": terms.points_max,
        "oldest": day - timedelta(days=terms.days_back),
        "newest": day + timedelta(days=terms.days_ahead),
        "known": terms.offers is not None,
        "offers": list(terms.offers or ()),
    }


def check_header(header: Header, terms: Terms, *, now: datetime) -> None:
    """`FileFaultError` where a file is not meant for us, or not meant so."""
    wanted = {
        "version": terms.version,
        "environment": terms.environment,
        "sender": terms.sender,
        "receiver": terms.receiver,
        "file_type": FILE_TYPE,
    }
    for field, value in wanted.items():
        if (found := getattr(header, field)) != value:
            raise FileFaultError(
                f"The header says {found!r} where {value!r} was agreed.",
                code=field + "_wrong",
                line=1,
                field=field,
            )
    if header.created_at > now + timedelta(days=1):
        raise FileFaultError(
            f"The header says that it was made at {header.created_at.isoformat()}, which is still to come.",
            code="created_at_wrong",
            line=1,
            field="created_at",
        )


def _compare(trailer: Totals | None, counted: Totals) -> None:
    said = asdict(trailer) if trailer else {}
    for name, found in asdict(counted).items():
        if said.get(name) != found:
            raise FileFaultError(
                f"The trailer says {name} {said.get(name)}, but the file has {found}.",
                code=name + "_wrong",
                field=name,
            )


def _database(path: Path) -> duckdb.DuckDBPyConnection:
    config: dict[str, Any] = {
        "memory_limit": MEMORY,
        "threads": THREADS,
        "temp_directory": str(path.with_suffix(".spill")),
        "preserve_insertion_order": False,
        # Nobody needs it after a crash; and the disk may be busy with what the database has to write.
        "fsync_mode": "none",
    }
    database = duckdb.connect(str(path), config=config)
    # A partner's file is data: nothing in it may make DuckDB read another file, or fetch anything.
    database.execute("SET enable_external_access = false")
    return database
