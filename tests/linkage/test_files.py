"""From files to files: CSV and Parquet, clear errors, and nothing half written."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from counterfoil.cli.link import link as link_command
from counterfoil.linkage.errors import (
    ColumnMapError,
    ColumnTypeError,
    FileError,
    LinkageError,
    MissingColumnError,
)
from counterfoil.linkage.files import FileReport, link_files, read_column_map
from counterfoil.linkage.types import LINK_COLUMNS, Source
from tests.linkage.engines import spark, why_not

GOOD = {
    "issuances": "voucher_id,issued_at,order_id\n007,2026-03-01 09:00:00,o1\n008,2026-03-01 09:30:00,\n",
    "redemptions": "voucher_id,redeemed_at,redemption_id,transaction_id\n007,2026-03-02 10:00:00,r1,t2\n",
    "orders": "order_id,transaction_id,ordered_at,amount\no1,t1,2026-03-01 08:59:00,500\n",
    "transactions": "transaction_id,paid_at,amount\nt1,2026-03-01 08:59:30,500\nt2,2026-03-02 10:00:00,1200",
}


def _write(directory: Path, **changed: str | bytes) -> dict[Source, str]:
    paths: dict[Any, str] = {}
    for name, text in {**GOOD, **changed}.items():
        path = directory / f"{name}.csv"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        paths[name] = str(path)
    return paths


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return sorted(csv.DictReader(file), key=lambda row: row["voucher_id"])


def _link(directory: Path, out: str = "out.csv", **options: Any) -> FileReport:
    changed = {name: options.pop(name) for name in list(GOOD) if name in options}
    return link_files(_write(directory, **changed), directory / out, **options)


def test_csv_files_become_a_csv_file_with_leading_zeros_kept(tmp_path: Path) -> None:
    report = _link(tmp_path)
    rows = _rows(tmp_path / "out.csv")
    assert tuple(rows[0]) == LINK_COLUMNS
    assert [(row["voucher_id"], row["link_status"]) for row in rows] == [("007", "complete"), ("008", "open")]
    assert (rows[0]["purchase_amount"], rows[0]["transaction_amount_allocated"]) == ("500", "1200")
    assert report.by_status == {"complete": 1, "open": 1}
    assert report.breaks == {}
    assert [each.rows_in for each in report.reconciliation] == [2, 1, 1, 2]
    assert report.peak_memory_bytes > 0


@pytest.mark.parametrize("engine", ["duckdb", "polars", "spark"])
def test_every_engine_writes_the_same_parquet(tmp_path: Path, engine: Any) -> None:
    if engine == "spark":
        if (reason := why_not("pyspark")) is not None:
            pytest.skip(f"pyspark: {reason}")
        spark()
    _link(tmp_path, "out.parquet", engine=engine)
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == list(LINK_COLUMNS)
    found = {row["voucher_id"]: (row["link_status"], row["purchase_amount"]) for row in table.to_pylist()}
    assert found == {"007": ("complete", 500), "008": ("open", None)}


def test_globs_and_parquet_and_csv_may_be_mixed(tmp_path: Path) -> None:
    paths = _write(tmp_path)
    for number in (1, 2):
        table = pa.table({"transaction_id": [f"t{number}"], "amount": [number * 100]})
        pq.write_table(table, tmp_path / f"part-{number}.parquet")
    paths["transactions"] = str(tmp_path / "part-*.parquet")
    report = link_files(paths, tmp_path / "out.csv", breaks_out=tmp_path / "breaks.csv")
    assert report.by_status == {"complete": 1, "open": 1}
    assert report.breaks == {"issuances": {"amount_mismatch": 1}}
    assert [row["kind"] for row in _rows(tmp_path / "breaks.csv")] == ["amount_mismatch"]


def test_a_byte_order_mark_quoted_newlines_and_semicolons_are_read(tmp_path: Path) -> None:
    issuances = '\ufeffvoucher_id;issued_at;channel\r\n"007";"2026-03-01";"app,\n ""new"""\r\n'
    _link(tmp_path, issuances=issuances)
    (row,) = _rows(tmp_path / "out.csv")
    assert (row["issued_at"], row["channel"]) == ("2026-03-01", 'app,\n "new"')


def test_another_encoding_is_read_when_it_is_named_and_explained_when_not(tmp_path: Path) -> None:
    issuances = "voucher_id,issued_at,channel\n007,2026-03-01 09:00:00,门店\n".encode("gb18030")
    with pytest.raises(FileError, match=r"issuances\.csv, line 2: not UTF-8.*--encoding gb18030"):
        _link(tmp_path, issuances=issuances)
    _link(tmp_path, issuances=issuances, encoding="gb18030")
    assert _rows(tmp_path / "out.csv")[0]["channel"] == "门店"


def test_decimal_amounts_stay_exact_however_late_they_come(tmp_path: Path) -> None:
    many = "".join(f"x{number},2026-03-01,1\n" for number in range(30_000))
    _link(
        tmp_path, transactions=f"transaction_id,paid_at,amount\n{many}t1,2026-03-01,0.07\nt2,2026-03-01,0.1\n"
    )
    row = _rows(tmp_path / "out.csv")[0]
    assert (row["purchase_amount"], row["transaction_amount"]) == ("0.07", "0.10")


@pytest.mark.parametrize(
    ("source", "text", "told"),
    [
        ("issuances", "", "issuances.csv is empty"),
        ("issuances", "\n", "issuances.csv is empty: it has no header line"),
        ("issuances", "voucher_id,voucher_id\n", "line 1: the header has voucher_id more than once"),
        (
            "redemptions",
            "voucher_id,redeemed_at\n1,2026-03-01 10:00:00\n2,soon\n",
            "redemptions.csv, line 3, column redeemed_at: 'soon' is not a date or a timestamp",
        ),
        (
            "transactions",
            "transaction_id,amount\nt1,5\nt2,five\n",
            "transactions.csv, line 3, column amount: 'five' is not a number",
        ),
        (
            "orders",
            "order_id,transaction_id,amount\no1,t1,5\no2,t",
            "orders.csv, line 3: 2 columns where the header has 3",
        ),
        (
            "orders",
            'order_id,transaction_id\no1,t1\no2,"t',
            "orders.csv, line 3: a quoted value that does not end",
        ),
        (
            "issuances",
            "voucher_id,issued_at\n1,2026-03-01T10:00:00Z\n2,2026-03-01T10:00:00\n",
            'issuances.csv: The column "issued_at" has times with a time zone and times without one',
        ),
    ],
)
def test_a_wrong_file_is_told_with_line_and_column_and_nothing_is_written(
    tmp_path: Path, source: str, text: str, told: str
) -> None:
    with pytest.raises(FileError) as caught:
        _link(tmp_path, **{source: text})
    assert told in str(caught.value)
    assert caught.value.exit_code == 2
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".csv"] * 4
    assert not (tmp_path / "out.csv").exists()


def test_a_missing_column_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(
        MissingColumnError,
        match=r"issuances\.csv: issuances need the column 'voucher_id'; the file has CouponNo",
    ):
        _link(tmp_path, issuances="CouponNo,issued_at\n007,2026-03-01\n")


def test_a_parquet_column_of_the_wrong_type_names_the_file(tmp_path: Path) -> None:
    paths = _write(tmp_path)
    paths["transactions"] = str(tmp_path / "typed.parquet")
    pq.write_table(pa.table({"transaction_id": ["t1"], "paid_at": ["soon"]}), paths["transactions"])
    with pytest.raises(ColumnTypeError, match=r"typed\.parquet: transactions\.paid_at is of type String"):
        link_files(paths, tmp_path / "out.parquet")


def test_a_column_map_from_toml_names_the_columns(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text('[issuances]\nvoucher_id = "CouponNo"\n')
    columns = read_column_map(tmp_path / "map.toml")
    _link(tmp_path, issuances="CouponNo,issued_at\n007,2026-03-01\n", columns=columns)
    assert _rows(tmp_path / "out.csv")[0]["voucher_id"] == "007"


@pytest.mark.parametrize("text", ["[issuances", "issuances = 1", "[issuances]\nvoucher_id = 1"])
def test_a_wrong_column_map_names_its_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "map.toml").write_text(text)
    with pytest.raises(ColumnMapError, match=r"map\.toml"):
        read_column_map(tmp_path / "map.toml")


def test_missing_torn_and_foreign_files_are_named(tmp_path: Path) -> None:
    paths = _write(tmp_path)
    torn = tmp_path / "torn.parquet"
    pq.write_table(pa.table({"transaction_id": ["t1"] * 1000}), torn)
    torn.write_bytes(torn.read_bytes()[:-20])
    (tmp_path / "orders.xlsx").write_bytes(b"PK")
    for path, told in (
        (torn, "torn.parquet cannot be read as Parquet"),
        (tmp_path / "orders.xlsx", "must be CSV files"),
        (tmp_path / "nowhere-*.csv", "there is no file"),
        (tmp_path, "is not a file"),
    ):
        with pytest.raises(FileError, match=told):
            link_files({**paths, "transactions": str(path)}, tmp_path / "out.parquet")
    with pytest.raises(FileError, match=r"must end in \.parquet or \.csv"):
        link_files(paths, tmp_path / "out.xlsx")
    with pytest.raises(FileError, match="is not a directory"):
        link_files(paths, tmp_path / "nowhere" / "out.csv")
    with pytest.raises(LinkageError, match="Memory limit 'lots'"):
        link_files(paths, tmp_path / "out.csv", memory_limit="lots")


def _many(directory: Path, vouchers: int) -> dict[Source, str]:
    connection = duckdb.connect()
    tables = {
        "issuances": "'v' || i AS voucher_id, TIMESTAMP '2026-01-01' AS issued_at, 'o' || i AS order_id",
        "redemptions": "'v' || i AS voucher_id, DATE '2026-02-01' AS redeemed_at, 't' || i AS transaction_id",
        "orders": "'o' || i AS order_id, 't' || i AS transaction_id, i AS amount",
        "transactions": "'t' || i AS transaction_id, i AS amount",
    }
    for name, columns in tables.items():
        target = directory / f"{name}.parquet"
        connection.execute(f"COPY (SELECT {columns} FROM range({vouchers}) r(i)) TO '{target}'")
    return {name: str(directory / f"{name}.parquet") for name in tables}  # type: ignore[misc]


def test_a_small_memory_limit_is_kept_by_spilling_to_disk(tmp_path: Path) -> None:
    paths = _many(tmp_path, 300_000)
    report = link_files(paths, tmp_path / "out.parquet", memory_limit="200MB", threads=2)
    assert report.by_status == {"complete": 300_000}
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_a_memory_limit_that_cannot_do_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    paths = _many(tmp_path, 300_000)
    with pytest.raises(LinkageError, match="memory limit is too small"):
        link_files(paths, tmp_path / "out.parquet", memory_limit="20MB", threads=2)
    assert not (tmp_path / "out.parquet").exists()


def test_kill_9_while_writing_leaves_no_file_with_the_final_name(tmp_path: Path) -> None:
    paths = _many(tmp_path, 300_000)
    out = tmp_path / "out.parquet"
    out.write_text("what was there before")
    arguments = [part for name, path in paths.items() for part in (f"--{name}", path)]
    command = [sys.executable, "-m", "counterfoil", "link", *arguments, "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(tmp_path.glob(".counterfoil-*/full_link.parquet")):
        time.sleep(0.005)
    assert process.poll() is None, "it was done before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert out.read_text() == "what was there before"


def _command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "counterfoil", "link", *arguments], check=False, capture_output=True, text=True
    )


def test_the_command_prints_json_where_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link_command(**_write(tmp_path), out=tmp_path / "out.csv", json=True)  # type: ignore[arg-type]
    assert json.loads(capsys.readouterr().out)["by_status"] == {"complete": 1, "open": 1}


def test_the_command_prints_plain_lines_and_exits_by_kind(tmp_path: Path) -> None:
    paths = _write(tmp_path)
    arguments = [part for name, path in paths.items() for part in (f"--{name}", path)]
    plain = _command(*arguments, "--out", str(tmp_path / "out.csv"))
    assert plain.returncode == 0, plain.stderr
    lines = dict(line.split("\t") for line in plain.stdout.splitlines())
    assert (lines["rows"], lines["rows.complete"], lines["issuances.rows_in"]) == ("2", "1", "2")
    wrong = _command(*arguments, "--out", str(tmp_path / "out.doc"))
    assert wrong.returncode == 2
    assert "must end in .parquet or .csv" in " ".join(wrong.stderr.split())
