"""Breaks: found as records come, mended as late ones come, whatever the order and however many at once."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import anyio
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.db.transactions import Tx, begin, read
from counterfoil.linkage.jobs import rejoin_job
from counterfoil.linkage.rejoin import RejoinOutcome, rejoin
from tests.builders import NOW, at, load, make_merchant
from tests.linkage_platform.model import Break, Row, World

ISSUED = {"voucher_id": "v", "issued_at": at(0), "campaign_id": "c"}
BOUGHT = {**ISSUED, "order_id": "o"}
REDEEMED = {"redemption_id": "r", "voucher_id": "v", "redeemed_at": at(5), "transaction_id": "t"}
ORDER = {"order_id": "o", "ordered_at": at(0), "amount_minor": 100, "transaction_id": "t"}
PAYMENT = {"transaction_id": "t", "paid_at": at(0), "amount_minor": 100}
Part = tuple[str, Row]


async def _record(tx: Tx, merchant_id: UUID, kind: str, *rows: Row) -> None:
    """Load rows, then run the job that the load asked for."""
    await load(tx, merchant_id, kind, *rows)
    await _run_queued(tx)


async def _run_queued(tx: Tx) -> list[RejoinOutcome]:
    jobs = await tx.all("DELETE FROM pgqueuer RETURNING id, payload")
    return [await _run(tx, json.loads(job.payload)) for job in sorted(jobs, key=lambda job: job.id)]


async def _run(tx: Tx, payload: dict[str, Any], *, now: datetime = NOW) -> RejoinOutcome:
    return await rejoin(
        tx,
        merchant_id=UUID(payload["merchant_id"]),
        kind=payload["kind"],
        keys=payload["keys"],
        former=payload["former"],
        transaction=payload["transaction"],
        now=now,
    )


async def _standing(tx: Any, merchant_id: UUID) -> set[Break]:
    rows = await tx.all(
        "SELECT kind, source, record_id FROM breaks WHERE merchant_id = :m AND resolved_at IS NULL",
        {"m": merchant_id},
    )
    return {(row.kind, row.source, row.record_id) for row in rows}


MENDED: dict[str, tuple[list[Part], set[Break], Part]] = {
    "a redemption before its issuance came": (
        [("transactions", PAYMENT), ("redemptions", REDEEMED)],
        {("orphan_redemption", "redemptions", "r")},
        ("issuances", ISSUED),
    ),
    "a purchase before its order came": (
        [("transactions", PAYMENT), ("issuances", BOUGHT)],
        {("missing_order", "issuances", "v")},
        ("orders", ORDER),
    ),
    "a purchase before its payment came": (
        [("orders", ORDER), ("issuances", BOUGHT)],
        {("missing_transaction", "issuances", "v")},
        ("transactions", PAYMENT),
    ),
    "an order that was not paid yet": (
        [("orders", {**ORDER, "transaction_id": None}), ("transactions", PAYMENT), ("issuances", BOUGHT)],
        {("missing_transaction", "issuances", "v")},
        ("orders", ORDER),
    ),
    "a redemption before its payment came": (
        [("issuances", ISSUED), ("redemptions", REDEEMED)],
        {("missing_transaction", "redemptions", "r")},
        ("transactions", PAYMENT),
    ),
    "a second redemption of a voucher that turned out to allow it": (
        [
            ("issuances", ISSUED),
            ("transactions", PAYMENT),
            ("redemptions", REDEEMED),
            ("redemptions", {**REDEEMED, "redemption_id": "r2", "redeemed_at": at(6)}),
        ],
        {("redeemed_twice", "redemptions", "r2")},
        ("vouchers", {"voucher_id": "v", "campaign_id": "c", "max_redemptions": 2}),
    ),
    "a payment whose order was corrected": (
        [
            ("issuances", ISSUED),
            ("transactions", PAYMENT),
            ("redemptions", REDEEMED),
            ("orders", {**ORDER, "amount_minor": 99}),
        ],
        {("amount_mismatch", "redemptions", "r")},
        ("orders", ORDER),
    ),
    "a purchase whose payment was for another order too, that came late": (
        [("transactions", {**PAYMENT, "amount_minor": 150}), ("issuances", BOUGHT), ("orders", ORDER)],
        {("amount_mismatch", "issuances", "v")},
        ("orders", {**ORDER, "order_id": "other", "amount_minor": 50}),
    ),
    "a redemption whose payment was for another order too, that came late": (
        [
            ("issuances", ISSUED),
            ("transactions", {**PAYMENT, "amount_minor": 150}),
            ("redemptions", REDEEMED),
            ("orders", ORDER),
        ],
        {("amount_mismatch", "redemptions", "r")},
        ("orders", {**ORDER, "order_id": "other", "amount_minor": 50}),
    ),
    "a redemption on a payment to which an order did not belong": (
        [
            ("issuances", ISSUED),
            ("transactions", PAYMENT),
            ("redemptions", REDEEMED),
            ("orders", ORDER),
            ("orders", {**ORDER, "order_id": "wrong", "amount_minor": 50}),
        ],
        {("amount_mismatch", "redemptions", "r")},
        ("orders", {**ORDER, "order_id": "wrong", "amount_minor": 50, "transaction_id": "elsewhere"}),
    ),
    "a purchase with a payment to which another order did not belong": (
        [
            ("issuances", BOUGHT),
            ("transactions", PAYMENT),
            ("orders", ORDER),
            ("orders", {**ORDER, "order_id": "wrong", "amount_minor": 50}),
        ],
        {("amount_mismatch", "issuances", "v")},
        ("orders", {**ORDER, "order_id": "wrong", "amount_minor": 50, "transaction_id": None}),
    ),
}


@pytest.mark.parametrize("name", MENDED)
async def test_what_a_late_record_mends_is_resolved_and_not_forgotten(tx: Tx, name: str) -> None:
    before, expected, late = MENDED[name]
    merchant = await make_merchant(tx)
    for kind, row in before:
        await _record(tx, merchant, kind, row)
    assert await _standing(tx, merchant) == expected
    await _record(tx, merchant, late[0], late[1])
    assert await _standing(tx, merchant) == set()
    rows = await tx.all("SELECT kind, source, record_id, resolved_at FROM breaks")
    assert expected <= {(row.kind, row.source, row.record_id) for row in rows}
    assert all(row.resolved_at == NOW for row in rows)


async def test_an_order_that_moves_away_breaks_what_it_leaves(tx: Tx) -> None:
    merchant = await make_merchant(tx)
    for kind, row in (
        ("issuances", ISSUED),
        ("transactions", {**PAYMENT, "amount_minor": 150}),
        ("redemptions", REDEEMED),
        ("orders", ORDER),
        ("orders", {**ORDER, "order_id": "o2", "amount_minor": 50}),
    ):
        await _record(tx, merchant, kind, row)
    assert await _standing(tx, merchant) == set()
    await _record(
        tx, merchant, "orders", {**ORDER, "order_id": "o2", "amount_minor": 50, "transaction_id": "x"}
    )
    assert await _standing(tx, merchant) == {("amount_mismatch", "redemptions", "r")}


async def test_no_transaction_id_stands_for_ever_and_says_so(tx: Tx) -> None:
    merchant = await make_merchant(tx)
    await _record(tx, merchant, "issuances", ISSUED)
    await _record(tx, merchant, "redemptions", {**REDEEMED, "transaction_id": None})
    assert await _standing(tx, merchant) == {("no_transaction_id", "redemptions", "r")}


async def test_a_break_keeps_the_age_and_the_details_of_what_is_wrong(tx: Tx) -> None:
    merchant = await make_merchant(tx)
    await _record(tx, merchant, "issuances", BOUGHT)
    row = await tx.first("SELECT * FROM breaks")
    assert row is not None
    assert (row.missing_id, row.campaign_id, row.occurred_at, row.detected_at) == ("o", "c", at(0), NOW)
    await _record(tx, merchant, "orders", ORDER)
    await _record(tx, merchant, "transactions", {**PAYMENT, "amount_minor": 1})
    row = await tx.first("SELECT * FROM breaks WHERE kind = 'amount_mismatch'")
    assert row is not None
    assert row.detail == {"ordered_minor": 100, "paid_minor": 1}


async def test_a_break_is_of_the_campaign_of_its_voucher_where_the_issuance_names_none(tx: Tx) -> None:
    merchant = await make_merchant(tx)
    await load(tx, merchant, "vouchers", {"voucher_id": "v", "campaign_id": "of the voucher"})
    await load(tx, merchant, "issuances", {**BOUGHT, "campaign_id": None})
    await load(tx, merchant, "redemptions", {**REDEEMED, "transaction_id": None})
    await rejoin(tx, merchant_id=merchant, kind="vouchers", keys=None, now=NOW)
    rows = await tx.all("SELECT kind, campaign_id FROM breaks ORDER BY 1")
    assert [(row.kind, row.campaign_id) for row in rows] == [
        ("missing_order", "of the voucher"),
        ("no_transaction_id", "of the voucher"),
    ]


async def test_running_it_twice_changes_nothing(tx: Tx) -> None:
    merchant = await make_merchant(tx)
    await load(tx, merchant, "issuances", BOUGHT)
    await load(tx, merchant, "redemptions", REDEEMED)
    first = await rejoin(tx, merchant_id=merchant, kind="issuances", keys=None, now=NOW)
    assert (first.vouchers, first.opened, first.resolved) == (1, 2, 0)
    before = await tx.all("SELECT ctid, * FROM breaks ORDER BY kind")
    for keys in (None, ["v"]):
        again = await rejoin(
            tx, merchant_id=merchant, kind="issuances", keys=keys, now=NOW + timedelta(days=1)
        )
        assert (again.opened, again.resolved) == (0, 0)
    assert await tx.all("SELECT ctid, * FROM breaks ORDER BY kind") == before


async def test_a_break_that_comes_again_counts_from_when_it_came_again(tx: Tx) -> None:
    merchant = await make_merchant(tx)
    twice = {**REDEEMED, "redemption_id": "r2", "redeemed_at": at(6)}
    await load(tx, merchant, "issuances", ISSUED)
    await load(tx, merchant, "transactions", PAYMENT)
    await load(tx, merchant, "redemptions", REDEEMED, twice)
    limit = {"voucher_id": "v", "campaign_id": "c"}
    for day, allowed in enumerate((1, 2, 1)):
        await load(tx, merchant, "vouchers", {**limit, "max_redemptions": allowed})
        await rejoin(tx, merchant_id=merchant, kind="vouchers", keys=["v"], now=NOW + timedelta(days=day))
    (row,) = await tx.all("SELECT kind, detected_at, resolved_at FROM breaks")
    assert (row.kind, row.detected_at, row.resolved_at) == ("redeemed_twice", NOW + timedelta(days=2), None)


@pytest.mark.parametrize(
    ("allowed", "broken"),
    [(None, set()), (0, {"r1", "r2", "r3"}), (1, {"r2", "r3"}), (2, {"r3"}), (3, set())],
)
async def test_each_redemption_beyond_what_its_voucher_allows_is_a_break(
    tx: Tx, allowed: int | None, broken: set[str]
) -> None:
    merchant = await make_merchant(tx)
    await load(tx, merchant, "vouchers", {"voucher_id": "v", "campaign_id": "c", "max_redemptions": allowed})
    rows = [{**REDEEMED, "redemption_id": f"r{n}", "redeemed_at": at(9 + n // 3)} for n in (3, 1, 2)]
    await load(tx, merchant, "redemptions", *rows)
    await rejoin(tx, merchant_id=merchant, kind="redemptions", keys=None, now=NOW)
    standing = {b[2] for b in await _standing(tx, merchant) if b[0] == "redeemed_twice"}
    assert standing == broken


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "issued", "precision", "redeemed", "broken"),
    [
        ("UTC", "2026-03-01T10:00", "second", "2026-03-01T09:59:59", True),
        ("UTC", "2026-03-01T10:00", "second", "2026-03-01T10:00", False),
        # The redemption's day is known, not its hour: that day began before the voucher was issued.
        ("UTC", "2026-03-01T10:00", "day", "2026-03-01T00:00", False),
        ("UTC", "2026-03-02T00:00", "day", "2026-03-01T23:59:59", True),
        # 18:00 UTC of one day is the next day in Shanghai, where both are on the second of March.
        ("Asia/Shanghai", "2026-03-02T01:00", "day", "2026-03-01T16:00", False),
        ("Asia/Shanghai", "2026-03-02T01:00", "day", "2026-03-01T15:59:59", True),
        # New York goes to summer time on the eighth of March 2026: that day has 23 hours, from 05:00 UTC.
        ("America/New_York", "2026-03-08T12:00", "day", "2026-03-08T05:00", False),
        ("America/New_York", "2026-03-08T12:00", "day", "2026-03-08T04:59:59", True),
        ("America/New_York", "2026-03-09T03:59:59", "day", "2026-03-08T05:00", False),
        ("America/New_York", "2026-03-09T04:00:00", "day", "2026-03-08T05:00", True),
        # And back on the first of November: 25 hours.
        ("America/New_York", "2026-11-02T04:59:59", "day", "2026-11-01T04:00", False),
        ("America/New_York", "2026-11-02T05:00:00", "day", "2026-11-01T04:00", True),
    ],
)
async def test_where_only_days_are_known_the_merchants_days_are_compared(
    tx: Tx, zone: str, issued: str, precision: str, redeemed: str, broken: bool
) -> None:
    merchant = await make_merchant(tx, time_zone=zone)
    await load(tx, merchant, "issuances", {"voucher_id": "v", "issued_at": _utc(issued)})
    redemption = {**REDEEMED, "redeemed_at": _utc(redeemed), "redeemed_at_precision": precision}
    await load(tx, merchant, "redemptions", redemption)
    await rejoin(tx, merchant_id=merchant, kind="redemptions", keys=["v"], now=NOW)
    kinds = {b[0] for b in await _standing(tx, merchant)}
    assert ("redeemed_before_issued" in kinds) is broken


_ids = {"voucher": "abc", "order": "xyz", "transaction": "tuw", "redemption": "pqr"}


def _some(kind: str) -> st.SearchStrategy[str]:
    return st.sampled_from(_ids[kind])


_moments = st.integers(0, 8).map(lambda n: _utc("2026-03-07T20:00") + timedelta(hours=4 * n))
_amount = st.sampled_from([None, 50, 100])
_precision = st.sampled_from(["second", "day"])
_parts = st.one_of(
    st.tuples(
        st.just("issuances"),
        st.fixed_dictionaries(
            {
                "voucher_id": _some("voucher"),
                "issued_at": _moments,
                "issued_at_precision": _precision,
                "order_id": st.none() | _some("order"),
            }
        ),
    ),
    st.tuples(
        st.just("redemptions"),
        st.fixed_dictionaries(
            {
                "redemption_id": _some("redemption"),
                "voucher_id": _some("voucher"),
                "redeemed_at": _moments,
                "redeemed_at_precision": _precision,
                "transaction_id": st.none() | _some("transaction"),
            }
        ),
    ),
    st.tuples(
        st.just("orders"),
        st.fixed_dictionaries(
            {
                "order_id": _some("order"),
                "ordered_at": _moments,
                "amount_minor": _amount,
                "transaction_id": st.none() | _some("transaction"),
            }
        ),
    ),
    st.tuples(
        st.just("transactions"),
        st.fixed_dictionaries(
            {
                "transaction_id": _some("transaction"),
                "paid_at": _moments,
                "amount_minor": st.sampled_from([50, 100, 150]),
            }
        ),
    ),
    st.tuples(
        st.just("vouchers"),
        st.fixed_dictionaries(
            {
                "voucher_id": _some("voucher"),
                "campaign_id": st.just("c"),
                "max_redemptions": st.sampled_from([None, 0, 1, 2]),
            }
        ),
    ),
)


@hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(parts=st.lists(_parts, max_size=16), zone=st.sampled_from(["UTC", "America/New_York"]))
async def test_the_breaks_are_those_of_a_plain_model_after_every_record(
    shared_engine: AsyncEngine, parts: list[Part], zone: str
) -> None:
    async with shared_engine.connect() as connection:
        transaction = await connection.begin()
        tx = Tx(connection)
        merchant = await make_merchant(tx, time_zone=zone)
        world = World()
        for kind, row in parts:
            world.record(kind, [row])
            await _record(tx, merchant, kind, row)
            assert await _standing(tx, merchant) == world.breaks(ZoneInfo(zone))
        whole = await rejoin(tx, merchant_id=merchant, kind="orders", keys=None, now=NOW)
        assert (whole.opened, whole.resolved) == (0, 0)
        await transaction.rollback()


async def test_many_loads_and_rejoins_at_once_end_with_the_breaks_of_the_plain_model(
    engine: AsyncEngine,
) -> None:
    generator = random.Random(11)
    async with begin(engine) as tx:
        merchant = await make_merchant(tx)
    facts: list[Part] = []
    for n in range(120):
        few = generator.randrange(40)
        facts += [
            (
                "issuances",
                {**ISSUED, "voucher_id": f"v{n}", "issued_at_precision": "second", "order_id": f"o{n}"},
            ),
            (
                "redemptions",
                {
                    **REDEEMED,
                    "redemption_id": f"r{n}",
                    "voucher_id": f"v{few}",
                    "redeemed_at_precision": "second",
                    "transaction_id": f"t{few}",
                },
            ),
            ("transactions", {**PAYMENT, "transaction_id": f"t{n}"}),
            ("orders", {**ORDER, "order_id": f"o{n}", "transaction_id": f"t{few}"}),
        ]
    kept = [part for part in facts if generator.random() < 0.8]
    generator.shuffle(kept)
    world = World()
    for kind, row in kept:
        world.record(kind, [row])

    async def one(parts: list[Part]) -> None:
        for start in range(0, len(parts), 10):
            async with begin(engine) as tx:
                for kind in ("transactions", "orders", "redemptions", "issuances"):
                    rows = [row for k, row in parts[start : start + 10] if k == kind]
                    if rows:
                        await load(tx, merchant, kind, *rows)
            await _work(engine)

    async with anyio.create_task_group() as tasks:
        for worker in range(4):
            tasks.start_soon(one, kept[worker::4])
    await _work(engine)
    async with read(engine) as seen:
        assert await _standing(seen, merchant) == world.breaks(ZoneInfo("UTC"))


async def _work(engine: AsyncEngine) -> None:
    """Take jobs as a worker does, each in a transaction of its own, until there are none."""
    while True:
        async with begin(engine) as tx:
            job = await tx.first(
                """DELETE FROM pgqueuer WHERE id = (SELECT id FROM pgqueuer ORDER BY random()
                   LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING payload"""
            )
        if job is None:
            return
        await rejoin_job(engine, json.loads(job.payload))


async def _load_committed(engine: AsyncEngine, merchant: UUID, kind: str, row: Row) -> dict[str, Any]:
    """Load in a transaction of its own; returns the payload of the job that it asked for."""
    async with begin(engine) as tx:
        await load(tx, merchant, kind, row)
        payload: dict[str, Any] = json.loads(await tx.scalar("SELECT payload FROM pgqueuer ORDER BY id DESC"))
    return payload


async def test_a_load_that_a_whole_run_has_seen_needs_no_run_of_its_own(engine: AsyncEngine) -> None:
    async with begin(engine) as tx:
        merchant = await make_merchant(tx)
    payload = await _load_committed(engine, merchant, "issuances", BOUGHT)
    async with begin(engine) as tx:
        await rejoin(tx, merchant_id=merchant, kind="issuances", keys=None, now=NOW)
    async with begin(engine) as tx:
        assert (await _run(tx, payload)).skipped
        assert await _standing(tx, merchant) == {("missing_order", "issuances", "v")}


async def test_a_load_that_commits_after_a_whole_run_began_is_never_skipped(engine: AsyncEngine) -> None:
    async with begin(engine) as tx:
        merchant = await make_merchant(tx)
    async with begin(engine) as loading:
        # This load has its transaction id before the whole run begins, and commits after it has ended.
        await load(loading, merchant, "issuances", BOUGHT)
        payload = json.loads(await loading.scalar("SELECT payload FROM pgqueuer"))
        async with begin(engine) as tx:
            whole = await rejoin(tx, merchant_id=merchant, kind="issuances", keys=None, now=NOW)
        assert whole.vouchers == 0
    async with begin(engine) as tx:
        outcome = await _run(tx, payload)
        assert (outcome.skipped, outcome.opened) == (False, 1)


async def test_a_load_that_commits_while_a_whole_run_waits_for_its_turn_is_in_it(engine: AsyncEngine) -> None:
    async with begin(engine) as tx:
        merchant = await make_merchant(tx)

    async def whole() -> None:
        async with begin(engine) as tx:
            await rejoin(tx, merchant_id=merchant, kind="issuances", keys=None, now=NOW)

    async with anyio.create_task_group() as tasks, begin(engine) as first:
        await rejoin(first, merchant_id=merchant, kind="issuances", keys=["none"], now=NOW)
        tasks.start_soon(whole)
        with anyio.fail_after(30):
            while True:
                async with read(engine) as watching:
                    if await watching.scalar("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                        break
                await anyio.sleep(0.005)
        payload = await _load_committed(engine, merchant, "issuances", BOUGHT)
    async with begin(engine) as tx:
        assert await _standing(tx, merchant) == {("missing_order", "issuances", "v")}
        assert (await _run(tx, payload)).skipped


async def test_a_whole_run_that_was_rolled_back_has_seen_nothing(engine: AsyncEngine) -> None:
    async with begin(engine) as tx:
        merchant = await make_merchant(tx)
    payload = await _load_committed(engine, merchant, "issuances", BOUGHT)
    async with engine.connect() as connection:
        await rejoin(Tx(connection), merchant_id=merchant, kind="issuances", keys=None, now=NOW)
        await connection.rollback()
    async with begin(engine) as tx:
        assert (await _run(tx, payload)).opened == 1


async def test_what_another_server_saw_before_a_restore_counts_for_nothing_here(engine: AsyncEngine) -> None:
    async with begin(engine) as tx:
        merchant = await make_merchant(tx)
        await tx.execute("INSERT INTO rejoins VALUES (:m, '900000000000:900000000000:')", {"m": merchant})
    payload = await _load_committed(engine, merchant, "issuances", BOUGHT)
    async with begin(engine) as tx:
        assert (await _run(tx, payload)).opened == 1


async def test_one_merchants_whole_run_neither_waits_for_nor_touches_another(engine: AsyncEngine) -> None:
    async with begin(engine) as tx:
        first, second = await make_merchant(tx), await make_merchant(tx)
        for merchant in (first, second):
            await load(tx, merchant, "issuances", BOUGHT)
    async with begin(engine) as tx:
        await rejoin(tx, merchant_id=first, kind="issuances", keys=None, now=NOW)
        async with begin(engine) as other:
            await rejoin(other, merchant_id=second, kind="issuances", keys=None, now=NOW)
            assert await _standing(other, first) == set()
            assert len(await _standing(other, second)) == 1
