"""What must hold for any input, against a slow model in plain Python."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import counterfoil
from counterfoil.linkage.types import LINK_COLUMNS
from tests.linkage import reference
from tests.linkage.engines import ENGINES, Engine, sort_rows
from tests.linkage.worlds import Row, Tables, tables

# The engine is chosen per test, not per example; each example is a whole link.
few = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
many = settings(max_examples=60, deadline=None)


def _link(engine: Engine, world: Tables) -> list[Row]:
    return engine.rows(counterfoil.link(**engine.frames(world)))


@few
@given(world=tables())
def test_the_full_link_is_that_of_the_plain_model(fast_engine: Engine, world: Tables) -> None:
    rows = _link(fast_engine, world)
    assert all(tuple(row) == LINK_COLUMNS for row in rows)
    assert sort_rows(rows) == sort_rows(reference.link(world))


@many
@given(world=tables())
def test_the_full_link_is_that_of_the_plain_model_in_many_worlds(world: Tables) -> None:
    assert sort_rows(_link(ENGINES["polars"], world)) == sort_rows(reference.link(world))


@many
@given(world=tables(most=12), seed=st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(world: Tables, seed: random.Random) -> None:
    shuffled: Tables = {source: seed.sample(rows, len(rows)) for source, rows in world.items()}
    assert sort_rows(_link(ENGINES["polars"], shuffled)) == sort_rows(_link(ENGINES["polars"], world))


@many
@given(world=tables(), late=tables(most=3))
def test_late_records_join_what_was_there_before(world: Tables, late: Tables) -> None:
    together: Tables = {source: [*rows, *late[source]] for source, rows in world.items()}
    rows = _link(ENGINES["polars"], together)
    assert sort_rows(rows) == sort_rows(reference.link(together))
    redeemed = {row["voucher_id"] for row in together["redemptions"]} - {None}
    issued = {row["voucher_id"] for row in together["issuances"]} - {None}
    assert {row["voucher_id"] for row in rows} - {None} == redeemed | issued


@many
@given(world=tables(most=12))
def test_allocated_amounts_add_up_to_the_transactions_that_the_rows_name(world: Tables) -> None:
    rows = _link(ENGINES["polars"], world)
    for key, amount in (
        ("transaction_id", "transaction_amount"),
        ("purchase_transaction_id", "purchase_amount"),
    ):
        distinct = {row[key]: row[amount] for row in rows if row[amount] is not None}
        assert sum(row[f"{amount}_allocated"] or 0 for row in rows) == sum(distinct.values())
