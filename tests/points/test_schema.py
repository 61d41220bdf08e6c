"""What must hold stands in the schema too: statements that break it are refused, whatever the code does."""

from __future__ import annotations

import pytest
from sqlalchemy import Table
from sqlalchemy.exc import IntegrityError

from counterfoil.points import tables
from tests.points.world import World

ACCOUNT = "UPDATE points_accounts SET {} WHERE merchant_id = :m AND name = '{}'"
MOVED = "UPDATE points_transfers SET {} WHERE merchant_id = :m AND reference = '1'"
PROMISED = "UPDATE points_pending SET {} WHERE merchant_id = :m AND state = 'pending'"
SETTLED = "UPDATE points_pending SET {} WHERE merchant_id = :m AND state = 'posted'"
ONE = "(SELECT transfer_id FROM points_transfers WHERE merchant_id = :m AND reference = '1')"
TWIN = """INSERT INTO points_transfers (transfer_id, merchant_id, member_no, source_no, reference, points,
    balance, version, settles, posted_at)
    SELECT gen_random_uuid(), merchant_id, member_no, {source}, {reference}, points, balance, {version},
    {settles}, posted_at FROM points_transfers WHERE merchant_id = :m AND {of}"""
LOT = "UPDATE points_lots SET {} WHERE merchant_id = :m"
REFUND = "UPDATE points_refunds SET {} WHERE merchant_id = :m"

ATTACKS: list[tuple[str, str]] = [
    ("ck_points_accounts_state_known", ACCOUNT.format("state = 'lost'", "b")),
    ("ck_points_accounts_source_known", ACCOUNT.format("source = 'moon'", "bank")),
    ("ck_points_accounts_held_is_there", ACCOUNT.format("held = balance + 1", "a")),
    ("ck_points_accounts_held_is_there", ACCOUNT.format("held = -1", "a")),
    ("ck_points_accounts_held_is_there", ACCOUNT.format("balance = -1, held = 0", "a")),
    ("ck_points_accounts_pending_not_negative", ACCOUNT.format("pending = -1", "a")),
    ("ck_points_accounts_source_keeps_no_balance", ACCOUNT.format("balance = 1", "bank")),
    ("ck_points_accounts_source_keeps_no_balance", ACCOUNT.format("pending = 1", "bank")),
    ("ck_points_accounts_closed_has_time", ACCOUNT.format("state = 'closed'", "b")),
    ("ck_points_accounts_closed_has_time", ACCOUNT.format("closed_at = now()", "b")),
    ("ck_points_accounts_closed_is_empty", ACCOUNT.format("state = 'closed', closed_at = now()", "a")),
    ("uq_points_accounts_customer_id", ACCOUNT.format("name = 'a'", "b")),
    ("uq_points_accounts_source", """INSERT INTO points_accounts (merchant_id, source, name, opened_at)
        SELECT merchant_id, source, name, now() FROM points_accounts
        WHERE merchant_id = :m AND source IS NOT NULL"""),
    ("ck_points_transfers_moves_something", MOVED.format("points = 0")),
    ("ck_points_transfers_two_sides", MOVED.format("source_no = member_no")),
    ("ck_points_transfers_posted_or_pending", MOVED.format("balance = NULL")),
    ("ck_points_transfers_posted_or_pending", MOVED.format("version = NULL")),
    ("ck_points_transfers_balance_holds", MOVED.format("balance = -1, points = -1")),
    ("ck_points_transfers_balance_holds", MOVED.format("balance = points - 1")),
    (
        "ck_points_transfers_settling_is_posted",
        MOVED.format("settles = gen_random_uuid(), version = NULL, balance = NULL"),
    ),
    ("uq_points_transfers_reference", TWIN.format(
        source="source_no", reference="reference", version="99", settles="NULL", of="reference = '1'")),
    ("uq_points_transfers_version", TWIN.format(
        source="source_no", reference="NULL", version="version", settles="NULL", of="reference = '1'")),
    ("uq_points_transfers_settles", TWIN.format(
        source="source_no", reference="NULL", version="99", settles="settles", of="settles IS NOT NULL")),
    ("ck_points_pending_state_known", PROMISED.format("state = '-', settled_at = now(), voided_points = 9")),
    ("ck_points_pending_moves_something", PROMISED.format("points = 0")),
    ("ck_points_pending_parts_not_negative", PROMISED.format("voided_points = -1")),
    ("ck_points_pending_parts_hold", PROMISED.format("voided_points = 10")),
    ("ck_points_pending_posted_has_points", PROMISED.format("posted_points = 1")),
    ("ck_points_pending_settled_is_whole", SETTLED.format("voided_points = 0")),
    ("ck_points_pending_settled_has_time", SETTLED.format("settled_at = NULL")),
    ("ck_points_pending_settled_has_time", PROMISED.format("settled_at = now()")),
    ("fk_points_pending_transfer_id", PROMISED.format("transfer_id = gen_random_uuid()")),
    ("ck_points_lots_points_positive", LOT.format("points = 0")),
    ("pk_points_lots", """INSERT INTO points_lots SELECT * FROM points_lots WHERE merchant_id = :m"""),
    ("ck_points_lot_uses_points_positive", f"INSERT INTO points_lot_uses VALUES ({ONE}, now(), 0)"),
    ("ck_points_reversals_reversed_holds", f"INSERT INTO points_reversals VALUES ({ONE}, 5, 6)"),
    ("ck_points_reversals_reversed_holds", f"INSERT INTO points_reversals VALUES ({ONE}, 5, -1)"),
    ("pk_points_refusals", """INSERT INTO points_refusals SELECT * FROM points_refusals
        WHERE merchant_id = :m"""),
    ("ck_points_refunds_nothing_negative", REFUND.format("refunded_minor = -1")),
    ("ck_points_refunds_nothing_negative", REFUND.format("points = -1")),
    ("ck_points_refunds_nothing_negative", REFUND.format("missing = -1")),
    ("pk_points_refunds", "INSERT INTO points_refunds SELECT * FROM points_refunds WHERE merchant_id = :m"),
]  # fmt: skip


@pytest.fixture
async def full(world: World) -> World:
    """Something of everything."""
    await world.give(100, "1", expires_at=world.after(days=9))
    await world.give(-500, "2")
    promise = await world.give(20, "3", pending=True)
    await world.settle((promise.transfer_id, 15))
    await world.give(9, "4", pending=True)
    await world.earn(("o", 1000))
    await world.take_back(("o", "r", 500))
    return world


@pytest.mark.parametrize(("constraint", "statement"), ATTACKS)
async def test_a_statement_that_breaks_the_ledger_is_refused(
    full: World, constraint: str, statement: str
) -> None:
    await full.tx.execute("SAVEPOINT attack")
    with pytest.raises(IntegrityError, match=f'"{constraint}"'):
        await full.tx.execute(statement, {"m": full.merchant_id})
    await full.tx.execute("ROLLBACK TO SAVEPOINT attack")


def test_every_check_and_every_key_of_the_points_tables_is_attacked() -> None:
    # Those of partners' files are attacked in `tests/points_files/test_schema_files.py`.
    ours = [table for table in vars(tables).values() if isinstance(table, Table)]
    rules = {str(c.name) for t in ours for c in t.constraints if type(c).__name__ == "CheckConstraint"}
    keys = {str(c.name) for t in ours for c in t.constraints if type(c).__name__ == "UniqueConstraint"}
    keys |= {str(i.name) for t in ours for i in t.indexes if i.unique}
    attacked = {name for name, _ in ATTACKS}
    assert {name for name in rules | keys if name not in attacked and f"ck_{name}" not in attacked} == set()
