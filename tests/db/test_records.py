"""Loading records: what a batch says of itself is what is in the table afterwards."""

from __future__ import annotations

import json
import random
import sys
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import anyio
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.app import RECORD_KINDS
from counterfoil.db.records import LARGEST_INTEGER, LoadOutcome, RecordKind, check_columns
from counterfoil.db.transactions import Tx, begin, read
from counterfoil.errors import InvalidError
from tests.builders import NOW, at, load, make_merchant

Row = dict[str, Any]


def _counts(outcome: LoadOutcome) -> tuple[int, int, int, int, int]:
    return outcome.received, outcome.created, outcome.updated, outcome.unchanged, outcome.refused


def _order(number: int, amount: int | None = 1, **more: Any) -> Row:
    return {"order_id": f"o{number}", "ordered_at": at(number), "amount_minor": amount, **more}


def _payment(number: int, amount: int = 1) -> Row:
    return {"transaction_id": f"t{number}", "paid_at": at(number), "amount_minor": amount}


_OURS = {
    "vouchers": {
        *("state", "customer_id", "uses", "holds", "amount_minor", "balance_minor", "held_minor"),
        *("pool_position", "void_reason", "changed_at"),
    },
    "redemptions": {
        *("campaign_id", "order_id", "amount_minor", "lines"),
        *("reversed_minor", "reversed_lines", "reversed_at"),
    },
}
"""Columns of what is run here, which no record of another system can fill."""


@pytest.mark.parametrize("kind", RECORD_KINDS.values(), ids=lambda kind: kind.name)
def test_a_record_has_exactly_the_columns_of_its_table(kind: RecordKind) -> None:
    ours = {"merchant_id", "recorded_at"} | _OURS.get(kind.name, set())
    assert set(kind.columns) == set(kind.table.c.keys()) - ours
    assert kind.table.primary_key.columns.keys() == ["merchant_id", *kind.key]
    assert kind.announce is None or kind.announce in kind.columns
    assert kind.moves is None or kind.moves in kind.columns
    for name in kind.columns:
        column = kind.table.c[name]
        assert (name in kind.required) is (not column.nullable and column.server_default is None)


async def test_the_same_batch_again_changes_nothing_not_even_when_it_was_recorded(tx: Tx) -> None:
    merchant = await make_merchant(tx)
    for kind, rows in (("orders", [_order(1), _order(2)]), ("transactions", [_payment(1), _payment(2)])):
        assert _counts(await load(tx, merchant, kind, *rows)) == (2, 2, 0, 0, 0)
        before = await tx.all(f"SELECT ctid, * FROM {kind} ORDER BY 3")
        again = await load(tx, merchant, kind, *rows, now=datetime(2030, 1, 1, tzinfo=UTC))
        assert _counts(again) == (2, 0, 0, 2, 0)
        assert await tx.all(f"SELECT ctid, * FROM {kind} ORDER BY 3") == before


async def test_of_one_load_the_last_description_counts_and_the_first_fact(tx: Tx) -> None:
    merchant = await make_merchant(tx)
    assert _counts(await load(tx, merchant, "orders", _order(1, 1), _order(1, 2))) == (2, 1, 0, 1, 0)
    outcome = await load(tx, merchant, "transactions", _payment(1, 1), _payment(1, 2), _payment(1, 1))
    assert _counts(outcome) == (3, 1, 0, 1, 1)
    assert await tx.scalar("SELECT amount_minor FROM orders") == 2
    assert await tx.scalar("SELECT amount_minor FROM transactions") == 1


async def test_a_refusal_names_the_key_and_the_table_keeps_the_fact(tx: Tx) -> None:
    merchant = await make_merchant(tx)
    await load(tx, merchant, "transactions", _payment(1, 10))
    outcome = await load(tx, merchant, "transactions", _payment(2), _payment(1, 11))
    assert _counts(outcome) == (2, 1, 0, 0, 1)
    (refusal,) = outcome.refusals
    assert (refusal.key, refusal.code) == ({"transaction_id": "t1"}, "content_differs")
    assert await tx.scalar("SELECT amount_minor FROM transactions WHERE transaction_id = 't1'") == 10


async def test_all_refusals_are_counted_and_the_first_hundred_named(tx: Tx) -> None:
    merchant = await make_merchant(tx)
    await load(tx, merchant, "transactions", *(_payment(n, 1) for n in range(150)))
    outcome = await load(tx, merchant, "transactions", *(_payment(n, 2) for n in range(150)))
    assert (outcome.refused, len(outcome.refusals)) == (150, 100)
    assert [r.key["transaction_id"] for r in outcome.refusals] == [f"t{n}" for n in range(100)]


async def test_a_fact_whose_content_is_only_its_key_is_never_refused(tx: Tx) -> None:
    merchant = await make_merchant(tx)
    row = {"template_id": "a", "product_id": "p"}
    assert _counts(await load(tx, merchant, "template_products", row, row)) == (2, 1, 0, 1, 0)


async def test_null_is_the_default_where_there_is_one(tx: Tx) -> None:
    merchant = await make_merchant(tx)
    line = {"order_id": "o", "line_number": 1, "product_id": "p", "amount_minor": 5}
    await load(tx, merchant, "order_lines", line)
    written = await tx.first("SELECT quantity, discount_minor, coupon_discount_minor FROM order_lines")
    assert written == (1, 0, 0)
    said = {"quantity": 1, "discount_minor": 0, "coupon_discount_minor": 0}
    assert (await load(tx, merchant, "order_lines", {**line, **said})).unchanged == 1
    await load(tx, merchant, "audience", {"campaign_id": "c", "customer_id": "u"})
    assert await tx.first('SELECT "group", assignment FROM audience') == ("treatment", "targeted")
    await load(tx, merchant, "campaigns", {"campaign_id": "c"})
    assert await tx.scalar("SELECT attributes FROM campaigns") == {}


@pytest.mark.parametrize(
    "text", ["a'b\"c", "%s :name $1", "\\N", "{}", "券-🎟", "a\tb\r\nc", "\u202e", "x" * 200]
)
async def test_an_id_stays_as_it_came(tx: Tx, text: str) -> None:
    merchant = await make_merchant(tx)
    await load(tx, merchant, "stores", {"store_id": text, "name": text, "attributes": {text: [text]}})
    assert await tx.first("SELECT store_id, name, attributes FROM stores") == (text, text, {text: [text]})


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("stores", {"store_id": "a\x00b"}),
        ("stores", {"store_id": "\ud800"}),
        ("stores", {"store_id": "s", "name": "\udfff"}),
        ("stores", {"store_id": " "}),
        ("stores", {"store_id": "x" * 201}),
        ("stores", {"store_id": "s", "attributes": {"a": {"b": ["\x00"]}}}),
        ("stores", {"store_id": "s", "attributes": {"a": {"\x00": 1}}}),
        ("stores", {"store_id": "s", "attributes": {"a": ["\ud83d"]}}),
        ("stores", {"store_id": "s", "attributes": {"a": float("nan")}}),
        ("stores", {"store_id": "s", "attributes": {"a": float("inf")}}),
        ("stores", {"store_id": "s", "attributes": {"a": "x" * 10_000}}),
        ("stores", {"store_id": "s", "attributes": json.loads('{"a":' * 300 + "1" + "}" * 300)}),
        ("transactions", {**_payment(1), "amount_minor": 2**63}),
        ("transactions", {**_payment(1), "amount_minor": -(2**63)}),
        ("transactions", {**_payment(1), "amount_minor": 1.5}),
        ("transactions", {**_payment(1), "paid_at": "2026-01-01T00:00:00"}),
        ("transactions", {**_payment(1), "paid_at": "0001-01-01T00:00:00+14:00"}),
        ("transactions", {**_payment(1), "paid_at": "9999-12-31T23:59:59-12:00"}),
        ("redemptions", {"redemption_id": "r", "voucher_id": "v", "redeemed_at": at(0), "evidence_level": 5}),
        ("vouchers", {"voucher_id": "v", "campaign_id": "c", "max_redemptions": 2**31}),
    ],
    ids=repr,
)
def test_what_cannot_be_stored_is_an_error_of_that_record(kind: str, row: Row) -> None:
    with pytest.raises(ValidationError):
        RECORD_KINDS[kind].record.model_validate(row)


@pytest.mark.parametrize("text", ["\\u0000", "\\ud800", "🎟", "\\\\u0000"])
async def test_json_that_only_looks_dangerous_is_stored(tx: Tx, text: str) -> None:
    merchant = await make_merchant(tx)
    await load(tx, merchant, "stores", {"store_id": "s", "attributes": {text: {"deep": [text, 0.5, 10**30]}}})
    assert await tx.scalar("SELECT attributes FROM stores") == {text: {"deep": [text, 0.5, 10**30]}}


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "2026-01-01T00:00:00.123456-11:30"]
)
async def test_far_times_come_back_as_the_same_moment(tx: Tx, text: str) -> None:
    merchant = await make_merchant(tx)
    await load(tx, merchant, "transactions", {**_payment(1), "paid_at": text})
    assert await tx.scalar("SELECT paid_at FROM transactions") == datetime.fromisoformat(text)


async def test_the_largest_amounts_are_exact(tx: Tx) -> None:
    merchant = await make_merchant(tx)
    await load(
        tx,
        merchant,
        "transactions",
        _payment(1, LARGEST_INTEGER),
        _payment(2, -LARGEST_INTEGER),
        _payment(3, 2**53 + 1),
    )
    amounts = await tx.all("SELECT amount_minor FROM transactions ORDER BY transaction_id")
    assert [row[0] for row in amounts] == [LARGEST_INTEGER, -LARGEST_INTEGER, 2**53 + 1]


async def test_ten_thousand_records_with_json_are_one_load(tx: Tx) -> None:
    merchant = await make_merchant(tx)
    rows = [{"customer_id": f"c{n}", "attributes": {"n": n, "名": "值"}} for n in range(10_000)]
    assert _counts(await load(tx, merchant, "customers", *rows)) == (10_000, 10_000, 0, 0, 0)
    assert _counts(await load(tx, merchant, "customers", *rows[:5_000])) == (5_000, 0, 0, 5_000, 0)
    assert await tx.scalar("SELECT sum((attributes->>'n')::int) FROM customers") == sum(range(10_000))


async def test_an_empty_load_is_nothing(tx: Tx) -> None:
    assert _counts(await load(tx, await make_merchant(tx), "orders")) == (0, 0, 0, 0, 0)


async def test_what_breaks_a_rule_of_the_table_leaves_the_whole_load_out(engine: AsyncEngine) -> None:
    async with begin(engine) as tx:
        merchant = await make_merchant(tx)
    wrong = {"campaign_id": "c2", "starts_at": at(2), "ends_at": at(1)}
    with pytest.raises(InvalidError) as caught:
        async with begin(engine) as tx:
            await load(tx, merchant, "campaigns", {"campaign_id": "c1"}, wrong)
    assert caught.value.code == "rule_broken"
    async with read(engine) as seen:
        assert await seen.scalar("SELECT count(*) FROM campaigns") == 0


def test_a_file_with_other_columns_is_told_which() -> None:
    with pytest.raises(InvalidError, match="missing: ordered_at; unknown: amount"):
        check_columns(RECORD_KINDS["orders"], ["order_id", "amount"], source="o.csv")


_few_keys = st.integers(0, 3)
_content = st.sampled_from([None, 1, 2])
_batches = st.lists(st.lists(st.tuples(_few_keys, _content), max_size=8), min_size=1, max_size=4)


def _apply_updates(table: dict[int, Any], batch: list[tuple[int, Any]]) -> tuple[int, int]:
    created = updated = 0
    for key, content in dict(batch).items():
        created += key not in table
        updated += key in table and table[key] != content
        table[key] = content
    return created, updated


def _apply_facts(table: dict[int, Any], batch: list[tuple[int, Any]]) -> tuple[int, int]:
    created = refused = 0
    for key, content in batch:
        created += key not in table
        refused += table.setdefault(key, content) != content
    return created, refused


@hypothesis_settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(batches=_batches)
async def test_counts_and_rows_are_those_of_a_plain_dictionary(
    shared_engine: AsyncEngine, batches: list[list[tuple[int, Any]]]
) -> None:
    async with shared_engine.connect() as connection:
        transaction = await connection.begin()
        tx = Tx(connection)
        merchant = await make_merchant(tx)
        described: dict[int, Any] = {}
        facts: dict[int, Any] = {}
        for batch in batches:
            created, updated = _apply_updates(described, batch)
            outcome = await load(tx, merchant, "orders", *(_order(k, c) for k, c in batch))
            assert _counts(outcome) == (len(batch), created, updated, len(batch) - created - updated, 0)
            created, refused = _apply_facts(facts, batch)
            rows = ({"view_id": f"o{k}", "viewed_at": at(0), "page": c and str(c)} for k, c in batch)
            outcome = await load(tx, merchant, "page_views", *rows)
            assert _counts(outcome) == (len(batch), created, 0, len(batch) - created - refused, refused)
            assert len(outcome.refusals) == refused
        values = {"merchant": merchant}
        found = await tx.all(
            "SELECT order_id, amount_minor FROM orders WHERE merchant_id = :merchant", values
        )
        assert dict(tuple(row) for row in found) == {f"o{k}": c for k, c in described.items()}
        found = await tx.all("SELECT view_id, page FROM page_views WHERE merchant_id = :merchant", values)
        assert dict(tuple(row) for row in found) == {f"o{k}": c and str(c) for k, c in facts.items()}
        await transaction.rollback()


async def _race(
    engine: AsyncEngine, merchant: UUID, kind: str, batches: list[list[Row]]
) -> list[LoadOutcome]:
    outcomes: dict[int, LoadOutcome] = {}

    async def one(place: int, rows: list[Row]) -> None:
        async with begin(engine) as tx:
            outcomes[place] = await load(tx, merchant, kind, *rows)

    async with anyio.create_task_group() as tasks:
        for place, rows in enumerate(batches):
            tasks.start_soon(one, place, rows)
    return [outcomes[place] for place in range(len(batches))]


@pytest.mark.parametrize("kind", ["orders", "transactions"])
async def test_racing_loads_in_opposite_orders_wait_for_each_other_and_never_both_ways(
    engine: AsyncEngine, kind: str
) -> None:
    make = _order if kind == "orders" else _payment
    async with begin(engine) as tx:
        merchant = await make_merchant(tx)
    generator = random.Random(7)
    for number in range(6):
        first = [make(n + number * 150) for n in range(300)]
        others = [list(reversed(first)), generator.sample(first, 300), first[::2] + first[1::2]]
        outcomes = await _race(engine, merchant, kind, [first, *others])
        assert all(o.received == 300 and o.updated == o.refused == 0 for o in outcomes)
        new = 300 if number == 0 else 150
        assert sum(o.created for o in outcomes) == new
    async with read(engine) as seen:
        assert await seen.scalar(f"SELECT count(*) FROM {kind}") == 300 + 5 * 150


@pytest.mark.parametrize("kind", ["orders", "transactions"])
async def test_two_loads_that_begin_at_opposite_ends_do_not_hold_each_other_up(
    engine: AsyncEngine, kind: str
) -> None:
    make = _order if kind == "orders" else _payment
    async with begin(engine) as tx:
        merchant = await make_merchant(tx)
    rows = [make(n) for n in (1, 2, 3)]
    outcomes: list[LoadOutcome] = []

    async def one(batch: list[Row]) -> None:
        async with begin(engine) as tx:
            outcome = await load(tx, merchant, kind, *batch)
        outcomes.append(outcome)

    async with anyio.create_task_group() as tasks, begin(engine) as holding:
        # Both get as far as the middle: in the order of their batches, each would hold the other's end.
        await load(holding, merchant, kind, make(2))
        tasks.start_soon(one, rows)
        tasks.start_soon(one, rows[::-1])
        await _until_waiting(engine, 2)
    assert sorted(outcome.created for outcome in outcomes) == [0, 2]


async def _until_waiting(engine: AsyncEngine, count: int) -> None:
    statement = """SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'"""
    with anyio.fail_after(30):
        while True:
            async with read(engine) as seen:
                if await seen.scalar(statement) == count:
                    return
            await anyio.sleep(0.005)


async def test_of_racing_facts_with_other_content_one_is_kept_and_the_others_are_refused(
    engine: AsyncEngine,
) -> None:
    async with begin(engine) as tx:
        merchant = await make_merchant(tx)
    keys = range(100)
    batches = [[_payment(n, amount) for n in (keys if amount % 2 else reversed(keys))] for amount in range(4)]
    outcomes = await _race(engine, merchant, "transactions", batches)
    assert sum(o.created for o in outcomes) == 100
    assert sum(o.refused for o in outcomes) == 300
    async with read(engine) as seen:
        amounts = await seen.all("SELECT amount_minor, count(*) AS n FROM transactions GROUP BY 1")
    kept = {amount: outcome.created for amount, outcome in enumerate(outcomes) if outcome.created}
    assert {row.amount_minor: row.n for row in amounts} == kept


async def test_racing_descriptions_leave_the_last_one_whole(engine: AsyncEngine) -> None:
    async with begin(engine) as tx:
        merchant = await make_merchant(tx)
    keys = range(100)
    batches = [[_order(n, amount) for n in (keys if amount % 2 else reversed(keys))] for amount in range(4)]
    outcomes = await _race(engine, merchant, "orders", batches)
    assert sum(o.created for o in outcomes) == 100
    assert sum(o.updated for o in outcomes) == 300
    async with read(engine) as seen:
        amounts = await seen.all("SELECT DISTINCT amount_minor FROM orders")
    # Each load holds all of its rows until it commits: no mixture of two can be left.
    assert len(amounts) == 1


_DYING_CLIENT = """
import asyncio, os, sys
from counterfoil.app import RECORD_KINDS
from counterfoil.db import records
from counterfoil.db.engine import create_engine
from counterfoil.db.transactions import begin
from tests.builders import NOW, at, make_merchant

def batches():
    kind = RECORD_KINDS["transactions"]
    for start in range(0, 10**9, 20_000):
        numbers = range(start, start + 20_000)
        rows = [{"transaction_id": f"t{n}", "paid_at": at(0), "amount_minor": 1} for n in numbers]
        yield records.to_batch(kind, [kind.record.model_validate(row) for row in rows])
        if start == 60_000:
            print("copying", flush=True)

async def main():
    engine = create_engine(sys.argv[1])
    async with begin(engine) as tx:
        merchant = await make_merchant(tx)
    async with begin(engine) as tx:
        await records.load(tx, RECORD_KINDS["transactions"], merchant_id=merchant, batches=batches(), now=NOW)

asyncio.run(main())
"""


async def test_a_client_that_is_killed_while_it_copies_leaves_nothing(
    database: URL, engine: AsyncEngine
) -> None:
    address = database.render_as_string(hide_password=False)
    async with await anyio.open_process(
        [sys.executable, "-c", _DYING_CLIENT, address], stderr=None
    ) as client:
        assert client.stdout is not None
        assert (await client.stdout.receive()).startswith(b"copying")
        client.kill()
    others = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with anyio.fail_after(30):
        while True:
            async with read(engine) as seen:
                if await seen.scalar(f"{others} AND backend_type = 'client backend'") == 0:
                    break
            await anyio.sleep(0.02)
    async with begin(engine) as tx:
        assert await tx.scalar("SELECT count(*) FROM transactions") == 0
        assert await tx.scalar("SELECT count(*) FROM pgqueuer") == 0
        # No temporary table is left behind, and the same load is possible at once.
        merchant = await tx.scalar("SELECT id FROM merchants")
        assert (await load(tx, merchant, "transactions", _payment(1))).created == 1


async def test_a_load_tells_which_keys_it_touched_in_its_own_transaction(tx: Tx) -> None:
    merchant = await make_merchant(tx)
    await load(tx, merchant, "orders", _order(1, transaction_id="t1"), _order(2))
    await load(tx, merchant, "orders", _order(1, transaction_id="t2"), _order(2, 5))
    await load(tx, merchant, "orders", _order(1, transaction_id="t2"), _order(2, 5))
    await load(tx, merchant, "stores", {"store_id": "s"})
    jobs = [json.loads(row.payload) for row in await tx.all("SELECT payload FROM pgqueuer ORDER BY id")]
    assert [sorted(job["keys"]) for job in jobs] == [["o1", "o2"], ["o1", "o2"]]
    assert [job["former"] for job in jobs] == [[], ["t1"]]
    assert {job["transaction"] for job in jobs} == {await tx.scalar("SELECT pg_current_xact_id()::text")}
    assert {(job["kind"], job["merchant_id"]) for job in jobs} == {("orders", str(merchant))}


async def test_a_large_load_tells_only_that_it_was_large(tx: Tx) -> None:
    merchant = await make_merchant(tx)
    await load(tx, merchant, "orders", *(_order(n, transaction_id="t") for n in range(2_001)))
    assert json.loads(await tx.scalar("SELECT payload FROM pgqueuer"))["keys"] is None


async def test_two_merchants_never_share_a_row(tx: Tx) -> None:
    first, second = await make_merchant(tx), await make_merchant(tx)
    await load(tx, first, "transactions", _payment(1, 1))
    assert _counts(await load(tx, second, "transactions", _payment(1, 2))) == (1, 1, 0, 0, 0)
    assert await tx.scalar("SELECT max(recorded_at) FROM transactions") == NOW
