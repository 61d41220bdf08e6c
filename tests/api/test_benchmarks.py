"""The parts of the benchmarks that could be wrong without anybody noticing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from counterfoil.db.transactions import Tx

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any, Any]]:
    known = set(sys.modules)
    monkeypatch.syspath_prepend(BENCHMARKS)
    import _load
    import _redis
    import _stage

    yield _stage, _redis, _load
    for name in {"_load", "_redis", "_stage", "_bench"} - known:
        sys.modules.pop(name, None)


async def test_a_voucher_has_the_same_code_in_python_and_in_the_tables(modules: Any, tx: Tx) -> None:
    stage = modules[0]
    numbers = [0, 1, 2, 999_999, 20_000_000]
    rows = await tx.all(
        f"SELECT {stage._CODE} FROM unnest(CAST(:numbers AS bigint[])) i", {"numbers": numbers}
    )
    assert [row[0] for row in rows] == [stage.code(number) for number in numbers]


def test_codes_differ_and_are_spread_over_all_codes(modules: Any) -> None:
    stage = modules[0]
    made = [stage.code(number) for number in range(100_000)]
    assert len(set(made)) == 100_000
    assert {len(code) for code in made} == {12}
    assert len({code[:3] for code in made}) > 4_000


@pytest.mark.parametrize("size", [130_000, 70_000, 650_000, 13_000_000])
def test_each_voucher_has_one_turn(modules: Any, size: int) -> None:
    stage = modules[0]
    part = stage.Part(100, size)
    assert size % stage.STRIDE != 0
    turns = [part.number(turn) for turn in range(min(size, 50_000))]
    assert len(set(turns)) == len(turns)
    assert min(turns) >= 100
    assert max(turns) < 100 + size


def test_more_redemptions_than_there_are_vouchers_are_no_result(modules: Any) -> None:
    part = modules[0].Part(0, 10)
    assert part.take(6) == 0
    assert part.take(4) == 6
    with pytest.raises(SystemExit):
        part.take(1)


async def test_answers_of_redis_are_read_whatever_pieces_they_come_in(modules: Any) -> None:
    stream = b"+OK\r\n:17\r\n$4\r\na\r\nb\r\n-ERR no\r\n$0\r\n\r\n"
    for cut in range(1, len(stream)):
        client = modules[1].Client()
        futures = [asyncio.get_running_loop().create_future() for _ in range(5)]
        client._asked.extend(futures)
        client.data_received(stream[:cut])
        client.data_received(stream[cut:])
        assert [f.result() for f in (*futures[:3], futures[4])] == ["OK", "17", "a\r\nb", ""]
        assert str(futures[3].exception()) == "ERR no"


def test_what_was_refused_is_not_counted_as_done(modules: Any) -> None:
    load = modules[2]
    counted = {"microseconds": 2_000_000, "requests": 100, "refused": 40, "broken": 0, "p50": 1, "p99": 2}
    assert load.measured(counted, 0.0, 0.0, may_refuse=True).per_second == 30
    with pytest.raises(SystemExit):
        load.measured(counted, 0.0, 0.0)
