from __future__ import annotations

from zoneinfo import available_timezones

import anyio
import duckdb
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.db.transactions import Tx, begin, read
from counterfoil.errors import ConflictError, InvalidError, NotFoundError
from counterfoil.ids import format_id, new_id
from counterfoil.merchants import merchants
from counterfoil.merchants.queries import store_names
from tests.builders import NOW, load, make_merchant

RIGHT = {"reference": "grocer", "time_zone": "Asia/Shanghai", "currency": "CNY"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("reference", v) for v in ("", "-a", "A", "a_b", "a b", "x" * 64, "grocer\n", "é")),
        *(
            ("time_zone", v)
            for v in ("", "Mars/Base", "asia/shanghai", "Asia", "../etc", "localtime", "\x00", "x" * 999)
        ),
        *(("currency", v) for v in ("", "cny", "CN", "CNYY", "C1Y", "CNY\n")),
    ],
)
def test_a_wrong_value_is_named(field: str, value: str) -> None:
    with pytest.raises(InvalidError) as caught:
        merchants.check(**{**RIGHT, field: value})
    assert [problem.pointer for problem in caught.value.errors] == [f"/{field}"]


@pytest.mark.parametrize("reference", ["a", "0", "a-b-", "x" * 63])
def test_a_right_reference_is_taken(reference: str) -> None:
    merchants.check(**{**RIGHT, "reference": reference})


async def test_every_time_zone_that_a_merchant_can_have_is_known_everywhere(tx: Tx) -> None:
    names = merchants.time_zones()
    assert len(available_timezones()) - len(names) <= 1
    assert names <= {row.name for row in await tx.all("SELECT name FROM pg_timezone_names")}
    with duckdb.connect() as connection:
        rows = connection.execute("SELECT name FROM pg_timezone_names()").fetchall()
    assert names <= {row[0] for row in rows}


async def test_a_merchant_is_found_by_id_and_by_reference(tx: Tx) -> None:
    made = await make_merchant(tx, "grocer")
    for name in ("grocer", format_id("merchant", made)):
        assert (await merchants.get(tx, name=name)).id == made
    for name in ("Grocer", "", "mer_", "mer_x", format_id("merchant", new_id()), format_id("job", made)):
        assert await merchants.find(tx, name=name) is None
        with pytest.raises(NotFoundError) as caught:
            await merchants.get(tx, name=name)
        assert caught.value.code == "merchant_not_found"
    with pytest.raises(NotFoundError):
        await merchants.get_by_id(tx, merchant_id=new_id())


async def test_of_two_who_want_the_same_reference_at_once_one_gets_it(engine: AsyncEngine) -> None:
    outcomes: list[str] = []

    async def make() -> None:
        try:
            async with begin(engine) as tx:
                await merchants.create(tx, name="x", now=NOW, **RIGHT)
        except ConflictError as error:
            outcomes.append(error.code)
        else:
            outcomes.append("made")

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(make)
    assert sorted(outcomes) == ["made", *["merchant_exists"] * 4]
    async with read(engine) as seen:
        assert await seen.scalar("SELECT count(*) FROM merchants") == 1


async def test_names_of_stores_are_those_of_this_merchant_that_have_one(tx: Tx) -> None:
    mine, other = await make_merchant(tx), await make_merchant(tx)
    await load(tx, mine, "stores", {"store_id": "a", "name": "A"}, {"store_id": "b"})
    await load(tx, other, "stores", {"store_id": "c", "name": "C"})
    assert await store_names(tx, merchant_id=mine, store_ids=["a", "b", "c", "d"]) == {"a": "A"}
    assert await store_names(tx, merchant_id=mine, store_ids=[]) == {}
