"""The limits stand in the schema too: statements that break them are refused, whatever the code does."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import IntegrityError

from counterfoil.vouchers.campaign_tables import (
    campaign_counters,
    campaign_usage,
    redemption_reversals,
    reservations,
)
from counterfoil.vouchers.tables import vouchers
from tests.vouchers.world import STORED, World


@pytest.fixture
async def full(world: World) -> World:
    """A campaign in which every limit is reached, a balance, and something of everything."""
    limits = {"stock": 3, "budget_minor": 1000, "max_redemptions": 2}
    await world.campaign(**limits)  # type: ignore[arg-type]
    used, held, void = [await world.voucher(customer_id="a") for _ in range(3)]
    await world.redeem(used, "o1")
    await world.reserve(held, "o2")
    await world.void(void)
    await world.campaign("stored", discount=STORED)
    await world.redeem(await world.voucher("stored"), "o3", amount_minor=100)
    pot = {"kind": "random", "pot_minor": 100}
    await world.campaign("pot", discount=pot, stock=1, from_pool=True)
    await world.bring("POT", campaign_id="pot")
    await world.voucher("pot")
    return world


COUNTERS = "UPDATE campaign_counters SET {} WHERE merchant_id = :m AND campaign_id = 'c'"
POT = "UPDATE campaign_counters SET {} WHERE merchant_id = :m AND campaign_id = 'pot'"
VOUCHERS = "UPDATE vouchers SET {} WHERE merchant_id = :m AND campaign_id = 'c' AND state = '{}'"
BALANCE = "UPDATE vouchers SET {} WHERE merchant_id = :m AND campaign_id = 'stored'"
REDEMPTION = "UPDATE redemptions SET {} WHERE merchant_id = :m AND order_id = 'o1'"
RESERVATION = "UPDATE reservations SET {} WHERE merchant_id = :m"
USAGE = "UPDATE campaign_usage SET {} WHERE merchant_id = :m"
REVERSAL = """INSERT INTO redemption_reversals
    (merchant_id, reversal_id, redemption_id, voucher_id, discount_minor, whole, reversed_at)
    SELECT merchant_id, '{}', redemption_id, voucher_id, {}, true, now() FROM redemptions
    WHERE merchant_id = :m AND order_id = 'o1'"""

ATTACKS: list[tuple[str, str]] = [
    ("ck_campaign_counters_stock_holds", COUNTERS.format("handed_out = handed_out + 1")),
    ("ck_campaign_counters_stock_holds", COUNTERS.format("stock = stock - 1")),
    ("ck_campaign_counters_budget_holds", COUNTERS.format("spent_minor = spent_minor + 1")),
    ("ck_campaign_counters_budget_holds", COUNTERS.format("held_minor = held_minor + 1")),
    ("ck_campaign_counters_redemptions_hold", COUNTERS.format("redemptions = redemptions + 1")),
    ("ck_campaign_counters_redemptions_hold", COUNTERS.format("holds = holds + 1")),
    ("ck_campaign_counters_state_known", COUNTERS.format("state = 'open'")),
    *(
        ("ck_campaign_counters_counts_not_negative", COUNTERS.format(f"{name} = -1"))
        for name in (
            "available", "issued", "reserved", "redeemed", "expired", "voided",
            "handed_out", "spent_minor", "held_minor", "redemptions", "holds",
        )
    ),
    ("ck_campaign_counters_pot_holds", POT.format("pot_left_minor = -1")),
    ("ck_campaign_counters_pool_holds", POT.format("pool_taken = pool_made + 1")),
    ("ck_vouchers_uses_hold", VOUCHERS.format("uses = uses + 1", "redeemed")),
    ("ck_vouchers_uses_hold", VOUCHERS.format("holds = holds + 1", "redeemed")),
    ("ck_vouchers_uses_hold", VOUCHERS.format("uses = uses + 1", "reserved")),
    ("ck_vouchers_uses_not_negative", VOUCHERS.format("uses = -1", "reserved")),
    ("ck_vouchers_uses_not_negative", VOUCHERS.format("holds = -1", "redeemed")),
    ("ck_vouchers_state_known", VOUCHERS.format("state = 'lost'", "redeemed")),
    ("ck_vouchers_void_has_reason", VOUCHERS.format("state = 'issued'", "voided")),
    ("ck_vouchers_void_has_reason", VOUCHERS.format("state = 'voided'", "redeemed")),
    ("ck_vouchers_validity_not_empty", VOUCHERS.format("valid_from = now(), valid_until = now()", "voided")),
    (
        "ck_vouchers_max_redemptions_not_negative",
        VOUCHERS.format("max_redemptions = -1, state = NULL", "redeemed"),
    ),
    ("ck_vouchers_balance_holds", BALANCE.format("held_minor = balance_minor + 1")),
    ("ck_vouchers_balance_holds", BALANCE.format("held_minor = -1")),
    ("ck_vouchers_balance_holds", BALANCE.format("balance_minor = -1")),
    ("uq_vouchers_pool_position", """INSERT INTO vouchers
        (merchant_id, voucher_id, campaign_id, pool_position, recorded_at)
        SELECT merchant_id, 'twin', campaign_id, pool_position, now() FROM vouchers
        WHERE merchant_id = :m AND pool_position IS NOT NULL"""),
    ("ck_redemptions_reversal_holds", REDEMPTION.format("reversed_minor = discount_minor + 1")),
    ("ck_redemptions_reversal_holds", REDEMPTION.format("reversed_minor = -1")),
    ("uq_redemptions_reference", """INSERT INTO redemptions
        (merchant_id, redemption_id, voucher_id, campaign_id, order_id, redeemed_at, recorded_at)
        SELECT merchant_id, 'twin', voucher_id, campaign_id, order_id, now(), now()
        FROM redemptions WHERE merchant_id = :m AND order_id = 'o1'"""),
    ("ck_reservations_state_known", RESERVATION.format("state = 'lost', ended_at = now()")),
    ("ck_reservations_end_has_time", RESERVATION.format("state = 'released'")),
    ("ck_reservations_discount_not_negative", RESERVATION.format("discount_minor = -1")),
    ("uq_reservations_held", """INSERT INTO reservations (merchant_id, reservation_id, voucher_id,
        campaign_id, order_id, state, discount_minor, reserved_at, expires_at)
        SELECT merchant_id, 'twin', voucher_id, campaign_id, order_id, state, 0, now(), now()
        FROM reservations WHERE merchant_id = :m"""),
    ("ck_campaign_usage_counts_not_negative", USAGE.format("claims = -1")),
    ("ck_campaign_usage_counts_not_negative", USAGE.format("redemptions = -1")),
    ("ck_campaign_usage_period_known", USAGE.format("period = 'year'")),
    ("ck_redemption_reversals_discount_not_negative", REVERSAL.format("one", -1)),
]  # fmt: skip


@pytest.mark.parametrize(("constraint", "statement"), ATTACKS)
async def test_a_statement_that_breaks_a_limit_is_refused(
    full: World, constraint: str, statement: str
) -> None:
    savepoint = "attack"
    await full.tx.execute(f"SAVEPOINT {savepoint}")
    with pytest.raises(IntegrityError, match=f'"{constraint}"'):
        await full.tx.execute(statement, {"m": full.merchant_id})
    await full.tx.execute(f"ROLLBACK TO SAVEPOINT {savepoint}")


async def test_a_redemption_is_wholly_reversed_once(full: World) -> None:
    await full.tx.execute("SAVEPOINT attack")
    await full.tx.execute(REVERSAL.format("one", 0), {"m": full.merchant_id})
    with pytest.raises(IntegrityError, match="uq_redemption_reversals_whole"):
        await full.tx.execute(REVERSAL.format("two", 0), {"m": full.merchant_id})
    await full.tx.execute("ROLLBACK TO SAVEPOINT attack")


def test_every_check_of_the_tables_that_verbs_write_is_attacked() -> None:
    ours = (campaign_counters, campaign_usage, reservations, redemption_reversals, vouchers)
    checks = {
        str(constraint.name)
        for table in ours
        for constraint in table.constraints
        if type(constraint).__name__ == "CheckConstraint"
    }
    attacked = {name.removeprefix("ck_") for name, _ in ATTACKS}
    missing = {c for c in checks if not any(name.endswith(c.removeprefix("ck_")) for name in attacked)}
    assert missing == set()
