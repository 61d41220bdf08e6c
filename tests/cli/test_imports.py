from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from counterfoil.app import RECORD_KINDS
from counterfoil.cli.imports import read_records
from counterfoil.errors import InvalidError

ORDERS = RECORD_KINDS["orders"]


def read(path: Path, kind: str = "orders", **names: str) -> list[dict[str, Any]]:
    batches = read_records(path, RECORD_KINDS[kind], names=names)
    return [row for batch in batches for row in batch.to_pylist()]


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def test_ids_keep_their_zeros(tmp_path: Path) -> None:
    path = write(tmp_path / "o.csv", "order_id,ordered_at\n007,2026-01-01T10:00:00Z\n")
    assert read(path)[0]["order_id"] == "007"


def test_a_byte_order_mark_is_not_part_of_a_name(tmp_path: Path) -> None:
    path = write(tmp_path / "o.csv", "order_id,ordered_at\n1,2026-01-01T10:00:00Z\n", "utf-8-sig")
    assert read(path)[0]["order_id"] == "1"


def test_an_empty_cell_is_null(tmp_path: Path) -> None:
    path = write(tmp_path / "o.csv", "order_id,ordered_at,customer_id\n1,2026-01-01T10:00:00Z,\n")
    assert read(path)[0]["customer_id"] is None


def test_own_column_names_are_mapped(tmp_path: Path) -> None:
    path = write(tmp_path / "o.csv", "OrderNo,At\n1,2026-01-01T10:00:00Z\n")
    assert read(path, OrderNo="order_id", At="ordered_at")[0]["order_id"] == "1"


def test_a_wrong_value_is_named_by_file_line_and_column(tmp_path: Path) -> None:
    lines = ["store_id,name", '1,"two\nlines"', "", "2,ok", ",no id"]
    path = write(tmp_path / "s.csv", "\n".join(lines) + "\n")
    with pytest.raises(InvalidError) as caught:
        read(path, "stores")
    assert [problem.pointer for problem in caught.value.errors] == [f"{path}, line 6, store_id"]


def test_a_time_without_an_offset_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "o.csv", "order_id,ordered_at\n1,2026-01-01T10:00:00\n")
    with pytest.raises(InvalidError) as caught:
        read(path)
    assert caught.value.errors[0].code == "timezone_aware"


def test_unknown_and_missing_columns_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "o.csv", "order_id,orderd_at\n1,x\n")
    with pytest.raises(InvalidError, match=r"missing: ordered_at; unknown: orderd_at"):
        read(path)


@pytest.mark.parametrize(
    "content", [b"", b"order_id,ordered_at\n\xff\xfe,x\n", b"order_id,ordered_at\n1,2,3\n"]
)
def test_an_empty_or_torn_file_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "o.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidError, match=str(path)):
        read(path)


def test_a_torn_parquet_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "o.parquet"
    pa.parquet.write_table(pa.table({"store_id": ["a"] * 1000}), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InvalidError, match=str(path)):
        read(path, "stores")


def test_ids_that_are_numbers_in_parquet_become_text(tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    pa.parquet.write_table(pa.table({"store_id": [31862]}), path)
    assert read(path, "stores")[0]["store_id"] == "31862"


def test_attributes_are_json_in_a_csv_file(tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", 'store_id,attributes\n1,"{""city"": ""上海""}"\n')
    assert read(path, "stores")[0]["attributes"] == '{"city": "\\u4e0a\\u6d77"}'


def test_a_large_file_is_read_in_bounded_batches(tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", "store_id\n" + "".join(f"{number}\n" for number in range(25_000)))
    sizes = [batch.num_rows for batch in read_records(path, RECORD_KINDS["stores"], names={})]
    assert sum(sizes) == 25_000
    assert max(sizes) <= 10_000
