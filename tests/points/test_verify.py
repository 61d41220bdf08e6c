"""Whatever somebody changes behind the ledger's back, the proof finds it, and whose it is."""

from __future__ import annotations

import pytest

from counterfoil.db.transactions import Tx
from counterfoil.points import verify
from tests.points.world import World, differences, make_world

A = "(SELECT account_no FROM points_accounts WHERE merchant_id = :m AND name = 'a' AND source IS NULL)"
TAMPERED = [
    ({"balance", "beyond_balance"}, f"UPDATE points_accounts SET balance = 30 WHERE account_no = {A}"),
    ({"balance"}, f"UPDATE points_accounts SET balance = balance + 1 WHERE account_no = {A}"),
    ({"version"}, f"UPDATE points_accounts SET version = version + 1 WHERE account_no = {A}"),
    ({"held"}, f"UPDATE points_accounts SET held = held - 1 WHERE account_no = {A}"),
    ({"pending"}, f"UPDATE points_accounts SET pending = 0 WHERE account_no = {A}"),
    (
        {"balance", "broken_chain", "lots"},
        f"UPDATE points_transfers SET points = points - 1 WHERE member_no = {A} AND version = 1",
    ),
    ({"broken_chain"}, f"UPDATE points_transfers SET balance = 999 WHERE member_no = {A} AND version = 2"),
    (
        {"balance", "broken_chain", "version", "carried_out"},
        f"DELETE FROM points_transfers WHERE member_no = {A} AND settles IS NOT NULL AND points > 0",
    ),
    (
        {"broken_chain"},
        f"UPDATE points_transfers SET version = 99 WHERE member_no = {A} AND version = "
        f"(SELECT max(version) FROM points_transfers WHERE member_no = {A})",
    ),
    ({"lots"}, f"UPDATE points_lots SET points = points + 1 WHERE member_no = {A}"),
    ({"lots"}, f"DELETE FROM points_lots WHERE member_no = {A}"),
    ({"lots"}, "UPDATE points_lot_uses SET points = points - 1"),
    ({"lots"}, "DELETE FROM points_lot_uses"),
    ({"reversed"}, f"UPDATE points_reversals SET reversed = reversed + 1 WHERE transfer_id IN "
     f"(SELECT transfer_id FROM points_transfers WHERE member_no = {A} AND points > 0)"),
    ({"reversed", "lots"}, "DELETE FROM points_reversals"),
    ({"held"}, f"UPDATE points_pending SET voided_points = 1 WHERE member_no = {A} AND points < 0"),
    (
        {"pending"},
        f"UPDATE points_pending SET state = 'voided', voided_points = abs(points), settled_at = now() "
        f"WHERE member_no = {A} AND state = 'pending' AND points > 0",
    ),
    (
        {"carried_out"},
        "UPDATE points_pending SET posted_points = posted_points - 1, voided_points = voided_points + 1 "
        "WHERE state = 'posted'",
    ),
    ({"waiting", "held"}, f"DELETE FROM points_pending WHERE member_no = {A} AND points = -3"),
    ({"waiting", "held"}, f"UPDATE points_pending SET points = -4 WHERE member_no = {A} AND points = -3"),
    (
        {"member", "balance", "version"},
        f"UPDATE points_transfers SET member_no = 0 WHERE member_no = {A} AND version = "
        f"(SELECT max(version) FROM points_transfers WHERE member_no = {A})",
    ),
]  # fmt: skip


@pytest.fixture
async def full(tx: Tx) -> World:
    """A member with something of everything."""
    world = await make_world(tx, "a", "b")
    credit = await world.give(100, "1", expires_at=world.after(days=9))
    debit = await world.give(-30, "2")
    await world.undo(debit.transfer_id, 10)
    await world.undo(credit.transfer_id, 5)
    promise = await world.give(20, "3", pending=True)
    await world.settle((promise.transfer_id, 15))
    await world.give(8, "4", pending=True)
    await world.give(-3, "5", pending=True)
    await world.give(7, "6")
    await world.give(50, "1b", customer_id="b")
    assert await differences(tx, world.merchant_id) == []
    return world


@pytest.mark.parametrize(("names", "statement"), TAMPERED)
async def test_what_was_tampered_with_is_found(full: World, names: set[str], statement: str) -> None:
    where = {"m": full.merchant_id} if ":m" in statement else {}
    result = await full.tx.execute(statement, where)
    assert result.rowcount > 0
    found = await differences(full.tx, full.merchant_id)
    assert {d.name for d in found} == names
    assert {d.customer_id for d in found if d.name != "member"} <= {"a"}
    assert all(d.told != d.counted for d in found)


async def test_a_proof_goes_on_where_it_stopped_and_counts_everything_once(
    full: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "AT_ONCE", 1)
    await full.members("c", "d", "e")
    proofs = [proof async for proof in verify.verify(full.tx, merchant_id=full.merchant_id)]
    posted = await full.tx.scalar(
        "SELECT count(*) FROM points_transfers WHERE merchant_id = :m AND version IS NOT NULL",
        {"m": full.merchant_id},
    )
    assert sum(p.accounts for p in proofs) == 5
    assert sum(p.transfers for p in proofs) == posted


async def test_a_merchant_without_members_has_nothing_to_prove(tx: Tx) -> None:
    world = await make_world(tx)
    proofs = [proof async for proof in verify.verify(tx, merchant_id=world.merchant_id)]
    assert [(p.accounts, p.transfers, p.differences) for p in proofs] == [(0, 0, [])]


async def test_another_merchants_ledger_is_not_looked_at(full: World) -> None:
    another = await make_world(full.tx, "a")
    await full.tx.execute("UPDATE points_accounts SET version = 9 WHERE merchant_id = :m AND name = 'a'",
                          {"m": full.merchant_id})  # fmt: skip
    assert await differences(full.tx, another.merchant_id) == []
    assert [d.name for d in await differences(full.tx, full.merchant_id)] == ["version"]
