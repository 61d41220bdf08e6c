"""Writing what a batch decided: one statement, whatever the size of the batch.

The rows travel as JSON, each object by the names of its fields, and PostgreSQL takes the columns it needs.
(As arrays they took the driver longer to encode than the database to write.)
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import asyncpg
import msgspec

from counterfoil.vouchers.books import Book, Issuance, Redemption, Reservation, Reversal, UsageRow, Voucher

_KEY: Final = "merchant_id uuid, voucher_id text, campaign_id text"
_NEW_VOUCHERS: Final = f"""
    INSERT INTO vouchers (merchant_id, voucher_id, campaign_id, state, customer_id, valid_from, valid_until,
                          max_redemptions, amount_minor, balance_minor, recorded_at, changed_at)
    SELECT *, $1, $1 FROM json_to_recordset($%) AS k({_KEY}, state text, customer_id text,
        valid_from timestamptz, valid_until timestamptz, max_redemptions int, amount_minor bigint,
        balance_minor bigint)"""
_CHANGED_VOUCHERS: Final = f"""
    UPDATE vouchers v
    SET state = k.state, customer_id = k.customer_id, valid_from = k.valid_from, valid_until = k.valid_until,
        uses = k.uses, holds = k.holds, amount_minor = k.amount_minor, balance_minor = k.balance_minor,
        held_minor = k.held_minor, void_reason = k.void_reason,
        changed_at = CASE WHEN k.moved THEN $1 ELSE v.changed_at END
    FROM json_to_recordset($%) AS k({_KEY}, state text, customer_id text, valid_from timestamptz,
        valid_until timestamptz, uses int, holds int, amount_minor bigint, balance_minor bigint,
        held_minor bigint, void_reason text, moved bool)
    WHERE v.merchant_id = k.merchant_id AND v.voucher_id = k.voucher_id"""
_ISSUANCES: Final = f"""
    INSERT INTO issuances (merchant_id, voucher_id, campaign_id, customer_id, channel, store_id, order_id,
                           issued_at, recorded_at)
    SELECT *, $1, $1 FROM json_to_recordset($%) AS k({_KEY}, customer_id text, channel text, store_id text,
        order_id text)"""
_NEW_RESERVATIONS: Final = f"""
    INSERT INTO reservations (merchant_id, voucher_id, campaign_id, reservation_id, order_id, customer_id,
                              state,
                              amount_minor, discount_minor, lines, expires_at, reserved_at)
    SELECT *, $1 FROM json_to_recordset($%) AS k({_KEY}, reservation_id text, order_id text, customer_id text,
        state text, amount_minor bigint, discount_minor bigint, lines jsonb, expires_at timestamptz)"""
_ENDED_RESERVATIONS: Final = """
    UPDATE reservations r SET state = k.state, ended_at = $1
    FROM json_to_recordset($%) AS k(merchant_id uuid, reservation_id text, state text)
    WHERE r.merchant_id = k.merchant_id AND r.reservation_id = k.reservation_id"""
_NEW_REDEMPTIONS: Final = f"""
    INSERT INTO redemptions (merchant_id, voucher_id, campaign_id, redemption_id, customer_id, order_id,
                             transaction_id, store_id, amount_minor, discount_minor, lines, redeemed_at,
                             recorded_at)
    SELECT *, $1, $1 FROM json_to_recordset($%) AS k({_KEY}, redemption_id text, customer_id text,
        order_id text,
        transaction_id text, store_id text, amount_minor bigint, discount_minor bigint, lines jsonb)"""
_REVERSED_REDEMPTIONS: Final = """
    UPDATE redemptions r
    SET reversed_minor = k.reversed_minor, reversed_lines = k.reversed_lines, reversed_at = k.reversed_at
    FROM json_to_recordset($%) AS k(merchant_id uuid, redemption_id text, reversed_minor bigint,
        reversed_lines text[], reversed_at timestamptz)
    WHERE r.merchant_id = k.merchant_id AND r.redemption_id = k.redemption_id"""
_REVERSALS: Final = """
    INSERT INTO redemption_reversals (merchant_id, reversal_id, redemption_id, voucher_id, line_ids,
                                      discount_minor, whole, reason, reversed_at)
    SELECT *, $1 FROM json_to_recordset($%) AS k(merchant_id uuid, reversal_id text, redemption_id text,
        voucher_id text, line_ids text[], discount_minor bigint, whole bool, reason text)"""
_USAGE: Final = """
    INSERT INTO campaign_usage AS u (merchant_id, campaign_id, customer_id, period, period_start, claims,
                                     redemptions)
    SELECT * FROM json_to_recordset($%) AS k(merchant_id uuid, campaign_id text, customer_id text,
        period text,
        period_start date, claims int, redemptions int)
    ON CONFLICT (merchant_id, campaign_id, customer_id, period, period_start)
    DO UPDATE SET claims = u.claims + excluded.claims, redemptions = u.redemptions + excluded.redemptions"""
_LESS_USAGE: Final = """
    UPDATE campaign_usage u SET redemptions = greatest(u.redemptions + k.redemptions, 0)
    FROM json_to_recordset($%) AS k(merchant_id uuid, campaign_id text, customer_id text, period text,
        period_start date, redemptions int)
    WHERE u.merchant_id = k.merchant_id AND u.campaign_id = k.campaign_id AND u.customer_id = k.customer_id
      AND u.period = k.period AND u.period_start = k.period_start"""
"""What is given back. A row to insert must not be negative, not even one that is added to another;
and what was redeemed before there was a limit was never counted in its period."""
_BOOKS: Final = """
    UPDATE campaign_counters c
    SET handed_out = k.handed_out, spent_minor = k.spent_minor, held_minor = k.held_minor,
        redemptions = k.redemptions, holds = k.holds, pool_made = k.pool_made, pool_taken = k.pool_taken,
        pot_left_minor = k.pot_left_minor, available = k.available, issued = k.issued, reserved = k.reserved,
        redeemed = k.redeemed, expired = k.expired, voided = k.voided, changed_at = $1
    FROM json_to_recordset($%) AS k(merchant_id uuid, campaign_id text, handed_out bigint, spent_minor bigint,
        held_minor bigint, redemptions bigint, holds bigint, pool_made bigint, pool_taken bigint,
        pot_left_minor bigint, available bigint, issued bigint, reserved bigint, redeemed bigint,
        expired bigint,
        voided bigint)
    WHERE c.merchant_id = k.merchant_id AND c.campaign_id = k.campaign_id"""

_TOUCHED: Final = """
    INSERT INTO touched_vouchers (merchant_id, voucher_id)
    SELECT * FROM json_to_recordset($%) AS k(merchant_id uuid, voucher_id text)"""


async def write(
    db: asyncpg.Connection,
    *,
    now: datetime,
    vouchers: Iterable[Voucher] = (),
    issuances: Iterable[Issuance] = (),
    reservations: Iterable[Reservation] = (),
    redemptions: Iterable[Redemption] = (),
    reversals: Iterable[Reversal] = (),
    usage: Iterable[UsageRow] = (),
    books: Iterable[Book] = (),
) -> None:
    """Write what is new or changed. The caller holds the locks of all campaigns concerned.

    Of what linkage looks at (bought vouchers, redemptions), it also writes that it is to be joined again.
    """
    known, held, done, counts = list(vouchers), list(reservations), list(redemptions), list(usage)
    given = list(issuances)
    touched: list[Issuance | Redemption] = [i for i in given if i.order_id is not None]
    touched += [r for r in done if r.new or r.changed]
    parts: list[tuple[str, list[Any]]] = [
        (_NEW_VOUCHERS, [v for v in known if v.new]),
        (_CHANGED_VOUCHERS, [v for v in known if v.changed and not v.new]),
        (_ISSUANCES, given),
        (_NEW_RESERVATIONS, [r for r in held if r.new]),
        (_ENDED_RESERVATIONS, [r for r in held if r.changed and not r.new]),
        (_NEW_REDEMPTIONS, [r for r in done if r.new]),
        (_REVERSED_REDEMPTIONS, [r for r in done if r.changed and not r.new]),
        (_REVERSALS, list(reversals)),
        (_USAGE, [u for u in counts if u.redemptions >= 0]),
        (_LESS_USAGE, [u for u in counts if u.redemptions < 0]),
        (_TOUCHED, [{"merchant_id": t.merchant_id, "voucher_id": t.voucher_id} for t in touched]),
        (_BOOKS, [b.row() for b in books if b.changed]),
    ]
    filled = [(sql, rows) for sql, rows in parts if rows]
    if filled:
        statements = (sql.replace("$%", f"${n}::json") for n, (sql, _) in enumerate(filled, 2))
        written = ", ".join(f"w{n} AS ({sql})" for n, sql in enumerate(statements))
        values = [msgspec.json.encode(rows).decode() for _, rows in filled]
        await db.execute(f"WITH {written} SELECT $1::timestamptz", now, *values)
