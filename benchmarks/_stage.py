"""A database as it stands before a run: an embedded PostgreSQL, campaigns, and vouchers handed out before.

Vouchers have numbers, and their codes follow from them, so that a script can name each without a list. Codes
are spread over all codes that there can be: a new, random one falls between old ones, wherever that is.
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg

from counterfoil import clock
from counterfoil.access import keys
from counterfoil.access.types import MERCHANT_SCOPES
from counterfoil.app import App, open_app
from counterfoil.db import embedded
from counterfoil.db.transactions import begin, read
from counterfoil.merchants import merchants
from counterfoil.settings import Settings
from counterfoil.vouchers import campaigns, counters
from counterfoil.vouchers.terms import Terms

MANY: Final = 1_000
"""Campaigns beside the hot one."""
OFF: Final = 500
"""What a voucher takes off."""
PLENTY: Final = 10**12
STRIDE: Final = 7_919
"""From one voucher to the next that is redeemed: never its neighbour in the table."""
RACED: Final = 500
"""Vouchers, or customers, that many requests want at once."""
FEW: Final = 2_000
"""What there is of a campaign that must run out."""
TERMS: Final = Terms.model_validate(
    {
        "discount": {"kind": "amount", "amount_minor": OFF},
        "claims_per_customer": {"total": 1},
        "time_zone": "UTC",
    }
)
_CODE: Final = """translate(lpad(to_hex(i * 617809 % 1048573), 5, '0') || lpad(to_hex(i), 7, '0'),
                            '0123456789abcdef', '2468BDFHKMPRTVXZ')"""
_TO_SYMBOLS: Final = str.maketrans("0123456789abcdef", "2468BDFHKMPRTVXZ")
_NUMBERED: Final = f"""
    SELECT {_CODE} AS code, CASE WHEN i < $2 THEN 'hot' WHEN i < $3 THEN 'c' || (i % {MANY} + 1)
           WHEN i < $3 + {3 * FEW} THEN 'few' ELSE 'raced' END AS campaign, 'old-' || i AS customer
    FROM generate_series(0, $3::bigint + {3 * FEW + RACED} - 1) i ORDER BY 1"""
_FILL: Final = {
    "vouchers": f"""
        INSERT INTO vouchers (merchant_id, voucher_id, campaign_id, state, customer_id, max_redemptions,
                              recorded_at, changed_at)
        SELECT $1, code, campaign, 'issued', customer, 1, now(), now() FROM ({_NUMBERED}) n""",
    "issuances": f"""
        INSERT INTO issuances (merchant_id, voucher_id, campaign_id, customer_id, issued_at, recorded_at)
        SELECT $1, code, campaign, customer, now(), now() FROM ({_NUMBERED}) n""",
    "campaign_usage": f"""
        INSERT INTO campaign_usage (merchant_id, campaign_id, customer_id, period, period_start, claims)
        SELECT $1, campaign, customer, 'total', '1970-01-01', 1 FROM ({_NUMBERED}) n ORDER BY 2, 3""",
}
_COUNT: Final = """
    UPDATE campaign_counters c SET handed_out = n.number, issued = n.number
    FROM (SELECT campaign_id, count(*) AS number FROM vouchers GROUP BY 1) n
    WHERE c.merchant_id = $1 AND c.campaign_id = n.campaign_id"""
_LIKE_HOT: Final = (
    """INSERT INTO campaigns (merchant_id, campaign_id, name, attributes, recorded_at)
       SELECT merchant_id, $1, name, attributes, recorded_at FROM campaigns WHERE campaign_id = 'hot'""",
    """INSERT INTO campaign_terms (merchant_id, campaign_id, version, terms, created_at)
       SELECT merchant_id, $1, version, terms, created_at FROM campaign_terms WHERE campaign_id = 'hot'""",
    """INSERT INTO campaign_counters (merchant_id, campaign_id, state, stock, budget_minor, expired_through,
                                      created_at, changed_at)
       SELECT merchant_id, $1, state, stock, budget_minor, expired_through, created_at, changed_at
       FROM campaign_counters WHERE campaign_id = 'hot'""",
)


def code(number: int) -> str:
    """The code of the voucher with this number. The Lua files and `_CODE` say the same."""
    return f"{number * 617809 % 1048573:05x}{number:07x}".translate(_TO_SYMBOLS)


@dataclass
class Part:
    """Vouchers of one campaign, or of many, to be redeemed in turn, each once."""

    base: int
    size: int
    used: int = 0

    def take(self, count: int) -> int:
        """The first turn of `count` that nobody else takes."""
        first = self.used
        self.used += count
        if self.used > self.size:
            raise SystemExit(f"{self.size:,} vouchers are too few for so many redemptions: fewer --rounds.")
        return first

    def number(self, turn: int) -> int:
        """The voucher whose turn it is."""
        return self.base + turn * STRIDE % self.size


@dataclass
class Stage:
    """A filled database, and a merchant's key."""

    home: Path
    url: str
    vouchers: int
    merchant_id: UUID
    key: str
    parts: dict[str, Part] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """Of the platform on this database."""
        return Settings(home=self.home, statement_timeout_seconds=3600, database_url=None)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[App]:
        """The platform on this database."""
        async with open_app(self.settings) as app:
            yield app

    async def value(self, query: str, *values: Any) -> Any:
        """One value of the database."""
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetchval(query, *values)
        finally:
            await connection.close()

    async def differences(self) -> list[str]:
        """Where a campaign's counters say something else than its rows."""
        found = []
        async with self.opened() as app, read(app.engine) as tx:
            for name in ("hot", "few", "raced", *(f"c{n}" for n in range(1, 21))):
                told = await counters.verify(tx, merchant_id=self.merchant_id, campaign_id=name)
                found += [f"{name}: {difference}" for difference in told]
        return found


@contextmanager
def running(home: Path) -> Iterator[str]:
    """The embedded server under `home`, on a disk and with fsync on; gives its address."""
    home.mkdir(parents=True)
    with embedded.running(home) as url:
        yield url


async def build(home: Path, url: str, vouchers: int, *, stock: int, budget_minor: int) -> Stage:
    """Campaigns and `vouchers` vouchers in people's hands; `few` has a stock and a budget that run out."""
    started = time.perf_counter()
    async with open_app(Settings(home=home, database_url=None)) as app, begin(app.engine) as tx:
        now = clock.now()
        merchant = await merchants.create(
            tx, reference="bench", name="bench", time_zone="UTC", currency="USD", now=now
        )
        _, secret = await keys.create(
            tx, name="bench", merchant_id=merchant.id, scopes=MERCHANT_SCOPES, expires_at=None, now=now
        )
        await campaigns.create(
            tx, merchant_id=merchant.id, campaign_id="hot", name="hot", kind=None, attributes={}, terms=TERMS,
            limits=campaigns.Limits(stock=PLENTY, budget_minor=PLENTY), now=now,
        )  # fmt: skip
        await campaigns.move(tx, merchant_id=merchant.id, campaign_id="hot", to="active", now=now)
    hot = vouchers * 13 // 20
    parts = {
        "hot": Part(0, hot),
        "many": Part(hot, vouchers - hot),
        "redis hot": Part(0, hot),
        "redis many": Part(hot, vouchers - hot),
        "few": Part(vouchers, 3 * FEW),
        "raced": Part(vouchers + 3 * FEW, RACED),
    }
    stage = Stage(home, url, vouchers, merchant.id, secret, parts)
    connection = await asyncpg.connect(url)
    try:
        await _fill(connection, stage)
        await connection.execute(
            """UPDATE campaign_counters SET stock = handed_out + $1, budget_minor = $2
               WHERE campaign_id = 'few'""",
            stock,
            budget_minor,
        )
    finally:
        await connection.close()
    print(f"{vouchers:,} vouchers filled in {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return stage


async def _fill(connection: asyncpg.Connection, stage: Stage) -> None:
    """Set by set: without the foreign keys' statement for each row, and with indexes built afterwards."""
    names = [f"c{number}" for number in range(1, MANY + 1)]
    for statement in _LIKE_HOT:
        await connection.executemany(statement, [(name,) for name in (*names, "few", "raced")])
    await connection.execute(
        "SET session_replication_role = replica; SET work_mem = '256MB'; SET maintenance_work_mem = '512MB'"
    )
    indexes = await connection.fetch(
        """SELECT indexname, indexdef FROM pg_indexes
           WHERE tablename = ANY($1) AND indexname LIKE 'ix\\_%'""",
        list(_FILL),
    )
    for name, _ in indexes:
        await connection.execute(f'DROP INDEX "{name}"')
    for statement in _FILL.values():
        await connection.execute(statement, stage.merchant_id, stage.parts["hot"].size, stage.vouchers)
    for _, definition in indexes:
        await connection.execute(definition)
    await connection.execute("SET session_replication_role = origin")
    await connection.execute(_COUNT, stage.merchant_id)
    for table in (*_FILL, "campaigns", "campaign_terms", "campaign_counters", "redemptions"):
        await connection.execute(f"VACUUM (FREEZE, ANALYZE) {table}")
    await connection.execute("CHECKPOINT")
