"""The SQL of the benchmark, which somebody wrote by hand, gives the same table as the library."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "link.py"


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("benchmarks_link", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("keys", ["text", "integer"])
def test_sql_by_hand_gives_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: str) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    benchmark = _load()
    data = tmp_path / "data"
    benchmark.generate(5_000, keys, data)
    made = {name: tmp_path / f"{name}.parquet" for name in ("duckdb link", "hand-written SQL")}
    for name, path in made.items():
        benchmark.CASES[name](data, path, "1GB")
    # Raises if the tables differ, or the allocated amounts do not add up to the transactions.
    assert benchmark.check(data, made)["rows"] > 5_000
