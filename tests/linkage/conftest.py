"""The same tests on each engine."""

from __future__ import annotations

import pytest

from tests.linkage.engines import ENGINES, Engine, why_not

FAST = ("duckdb", "polars", "polars_lazy", "pandas", "pyarrow")


def _engine(name: str) -> Engine:
    reason = why_not(name)
    if reason is not None:
        pytest.skip(f"{name}: {reason}")
    return ENGINES[name]


@pytest.fixture(params=[*FAST, "pyspark"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Every kind of frame, one after the other; Spark is skipped by name where it or Java is missing."""
    return _engine(request.param)


@pytest.fixture(params=FAST)
def fast_engine(request: pytest.FixtureRequest) -> Engine:
    """Every kind of frame but Spark's, for tests that run many times."""
    return _engine(request.param)
