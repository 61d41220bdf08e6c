"""The SQL of the benchmark, which somebody wrote by hand, gives the same table as the library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
from hypothesis import given, settings

import counterfoil
from counterfoil.linkage.types import FIELDS
from tests.linkage.engines import arrow, sort_rows
from tests.linkage.worlds import Tables, tables

SQL = (Path(__file__).parents[2] / "benchmarks" / "link.sql").read_text(encoding="utf-8")


@settings(max_examples=5, deadline=None)
@given(world=tables(most=10))
def test_sql_by_hand_gives_the_same_table(world: Tables) -> None:
    connection = duckdb.connect()
    frames: dict[Any, Any] = {}
    for source, rows in world.items():
        # All columns, since the SQL names them.
        empty = {field.name: None for field in FIELDS[source]}
        full = [{**empty, **row} for row in rows]
        frames[source] = connection.from_arrow(arrow(source, [*full, empty]).slice(0, len(rows)))
        frames[source].create_view(source)
    by_hand = connection.sql(SQL)
    ours = counterfoil.link(**frames)
    assert by_hand.columns == ours.columns
    assert sort_rows(by_hand.to_arrow_table().to_pylist()) == sort_rows(ours.to_arrow_table().to_pylist())
