"""What the verbs do becomes part of the full link, as what other systems record does."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from counterfoil.db.transactions import Tx
from counterfoil.linkage.full_link import get_full_link
from counterfoil.linkage.rejoin import rejoin, rejoin_touched
from counterfoil.vouchers import campaigns, verbs
from counterfoil.vouchers.requests import Asked, Claim, Issue, Outcome, Redeem, Reverse
from counterfoil.vouchers.terms import Terms
from tests.builders import NOW, at, load, make_merchant

TERMS = {"discount": {"kind": "amount", "amount_minor": 100}, "time_zone": "UTC"}


async def _open(tx: Tx) -> UUID:
    merchant_id = await make_merchant(tx)
    names: dict[str, Any] = {"merchant_id": merchant_id, "campaign_id": "c"}
    await campaigns.create(
        tx,
        **names,
        name=None,
        kind=None,
        attributes={},
        terms=Terms.model_validate(TERMS),
        limits=campaigns.Limits(),
        now=NOW,
    )
    await campaigns.move(tx, **names, to="active", now=NOW)
    return merchant_id


async def _one(tx: Tx, verb: Any, merchant_id: UUID, request: Any) -> Outcome:
    (outcome,) = await verbs.run(tx, verb, [Asked(merchant_id, request)], now=NOW)
    assert outcome.ok, outcome
    return outcome


async def _breaks(tx: Tx, merchant_id: UUID) -> set[str]:
    rows = await tx.all(
        "SELECT kind FROM breaks WHERE merchant_id = :m AND resolved_at IS NULL", {"m": merchant_id}
    )
    return {row.kind for row in rows}


async def test_a_redemption_is_joined_with_its_orders_payment_when_that_comes(tx: Tx) -> None:
    merchant_id = await _open(tx)
    claimed = await _one(tx, "claim", merchant_id, Claim(campaign_id="c"))
    assert claimed.voucher is not None
    code = claimed.voucher.voucher_id
    await _one(tx, "redeem", merchant_id, Redeem(voucher_id=code, order_id="o", amount_minor=900))
    assert await rejoin_touched(tx, now=NOW) == 1
    assert await rejoin_touched(tx, now=NOW) == 0
    assert await _breaks(tx, merchant_id) == {"no_transaction_id"}
    await load(
        tx,
        merchant_id,
        "orders",
        {"order_id": "o", "transaction_id": "t", "ordered_at": at(1), "amount_minor": 800},
    )
    await rejoin(tx, merchant_id=merchant_id, kind="orders", keys=["o"], now=NOW)
    assert await _breaks(tx, merchant_id) == {"missing_transaction"}
    await load(
        tx, merchant_id, "transactions", {"transaction_id": "t", "paid_at": at(2), "amount_minor": 800}
    )
    await rejoin(tx, merchant_id=merchant_id, kind="transactions", keys=["t"], now=NOW)
    assert await _breaks(tx, merchant_id) == set()
    link = await get_full_link(tx, merchant_id=merchant_id, voucher_id=code)
    assert [it.stage for it in link.redemptions] == ["ordered"]


async def test_what_was_reversed_and_redeemed_again_is_not_redeemed_twice(tx: Tx) -> None:
    merchant_id = await _open(tx)
    claimed = await _one(tx, "claim", merchant_id, Claim(campaign_id="c"))
    assert claimed.voucher is not None
    code = claimed.voucher.voucher_id
    for number in range(2):
        asked = Redeem(voucher_id=code, order_id=f"o{number}", transaction_id="t", amount_minor=900)
        done = await _one(tx, "redeem", merchant_id, asked)
        assert done.redemption is not None
        if not number:
            await _one(tx, "reverse", merchant_id, Reverse(redemption_id=done.redemption.redemption_id))
    await rejoin_touched(tx, now=NOW)
    assert await _breaks(tx, merchant_id) == {"missing_transaction"}


async def test_a_bought_voucher_waits_for_its_order(tx: Tx) -> None:
    merchant_id = await _open(tx)
    await _one(tx, "issue", merchant_id, Issue(campaign_id="c", order_id="bought"))
    await rejoin_touched(tx, now=NOW)
    assert await _breaks(tx, merchant_id) == {"missing_order"}
