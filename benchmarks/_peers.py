"""What our verbs are compared with, each behind the same HTTP server.

The routes are ours (`counterfoil.api.verbs`: the key, the body, the answer); only who decides is another:

* `limit`: nobody. Every request is granted out of thin air, so this is what the server can do at most;
* `for-update`: a transaction for each request: lock by SELECT .. FOR UPDATE, look, write, commit;
* `conditional`: one statement for each request, whose conditions decide;
* `redis`: a Lua script in Redis.

The two on PostgreSQL write into the same tables, with the same indexes, constraints and connection settings,
and keep the same promises: the stock, once for each customer; a voucher once, the budget; the facts in rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from datetime import datetime
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any, Final, cast
from uuid import UUID

import asyncpg
import uvicorn
import uvloop
from starlette.datastructures import State
from starlette.responses import PlainTextResponse

import _redis
from _stage import OFF, TERMS
from counterfoil import clock
from counterfoil.access.idempotency import Answer, Keyed
from counterfoil.access.types import MERCHANT_SCOPES, Caller
from counterfoil.api.callers import Callers, Known
from counterfoil.api.guessing import Guesses
from counterfoil.api.middleware import Metrics
from counterfoil.api.one_write import OneWriteProtocol
from counterfoil.api.verbs import Desk, VerbRoutes
from counterfoil.db.engine import PINNED, SERVER_SETTINGS
from counterfoil.ids import format_id, new_id
from counterfoil.settings import Settings
from counterfoil.vouchers import calendar, codes
from counterfoil.vouchers.refusals import refused
from counterfoil.vouchers.requests import (
    Asked,
    Claim,
    DiscountAnswer,
    Outcome,
    Redeem,
    RedemptionAnswer,
    VoucherAnswer,
)
from counterfoil.vouchers.types import Verb

CONNECTIONS: Final = 16

_CLAIM: Final = """
    WITH c AS (UPDATE campaign_counters c SET handed_out = handed_out + 1, issued = issued + 1,
                      changed_at = $5
               WHERE merchant_id = $1 AND campaign_id = $2 {condition} RETURNING 1),
         v AS (INSERT INTO vouchers (merchant_id, voucher_id, campaign_id, state, customer_id,
                                     max_redemptions, recorded_at, changed_at)
               SELECT $1, $4, $2, 'issued', $3, 1, $5, $5 FROM c),
         i AS (INSERT INTO issuances (merchant_id, voucher_id, campaign_id, customer_id, issued_at,
                                        recorded_at)
               SELECT $1, $4, $2, $3, $5, $5 FROM c),
         u AS (INSERT INTO campaign_usage (merchant_id, campaign_id, customer_id, period, period_start,
                                           claims)
               SELECT $1, $2, $3, 'total', '1970-01-01', 1 FROM c)
    SELECT count(*) FROM c"""
_LOCK: Final = """
    SELECT state, stock, handed_out, budget_minor, spent_minor, held_minor FROM campaign_counters
    WHERE merchant_id = $1 AND campaign_id = $2 FOR UPDATE"""
_CLAIMED: Final = """
    SELECT claims FROM campaign_usage WHERE merchant_id = $1 AND campaign_id = $2 AND customer_id = $3
      AND period = 'total' AND period_start = '1970-01-01'"""
_CLAIM_LOCKED: Final = _CLAIM.format(condition="")
_CLAIM_IF: Final = _CLAIM.format(
    condition=f"""AND state = 'active' AND (stock IS NULL OR handed_out < stock)
                   AND NOT EXISTS ({_CLAIMED})"""
)
_REDEEM: Final = """
    WITH v AS (UPDATE vouchers v SET uses = uses + 1, state = 'redeemed', changed_at = $7
               FROM campaign_counters k
               WHERE v.merchant_id = $1 AND v.voucher_id = $2 AND k.merchant_id = $1
                 AND k.campaign_id = v.campaign_id {condition} RETURNING v.campaign_id, v.customer_id),
         c AS (UPDATE campaign_counters c SET redemptions = redemptions + 1, spent_minor = spent_minor + $6,
                      issued = issued - 1, redeemed = redeemed + 1, changed_at = $7
               FROM v WHERE c.merchant_id = $1 AND c.campaign_id = v.campaign_id),
         r AS (INSERT INTO redemptions (merchant_id, redemption_id, voucher_id, campaign_id, customer_id,
                                        order_id, amount_minor, discount_minor, redeemed_at, recorded_at)
               SELECT $1, $3, $2, campaign_id, customer_id, $4, $5, $6, $7, $7 FROM v),
         u AS (INSERT INTO campaign_usage AS u (merchant_id, campaign_id, customer_id, period, period_start,
                                                redemptions)
               SELECT $1, campaign_id, customer_id, 'total', '1970-01-01', 1 FROM v
               ON CONFLICT (merchant_id, campaign_id, customer_id, period, period_start)
               DO UPDATE SET redemptions = u.redemptions + 1)
    SELECT campaign_id, customer_id FROM v"""
_USABLE: Final = """AND v.state = 'issued' AND v.uses + v.holds < v.max_redemptions
    AND (v.valid_until IS NULL OR v.valid_until > $7) AND (v.valid_from IS NULL OR v.valid_from <= $7)
    AND k.state IN ('active', 'stopped')"""
_REDEEM_LOCKED: Final = _REDEEM.format(condition="")
_REDEEM_IF: Final = _REDEEM.format(condition=_USABLE)
_LOCK_VOUCHER: Final = """
    SELECT campaign_id, customer_id, state, uses, holds, max_redemptions, valid_from, valid_until
    FROM vouchers WHERE merchant_id = $1 AND voucher_id = $2 FOR UPDATE"""


def claimed(request: Claim, code: str) -> Outcome:
    """A claim that was granted."""
    voucher = VoucherAnswer(
        code, request.campaign_id, "issued", request.customer_id, None, None, 0, 1, None, None
    )
    return Outcome(True, "claimed", voucher=voucher)


def redeemed(
    request: Redeem, redemption_id: str, campaign_id: str, customer_id: str | None, now: datetime
) -> Outcome:
    """A redemption that was granted."""
    voucher = VoucherAnswer(
        request.voucher_id, campaign_id, "redeemed", customer_id, None, None, 1, 1, None, None
    )
    redemption = RedemptionAnswer(redemption_id, request.order_id, None, OFF, now)
    return Outcome(True, "redeemed", voucher=voucher, discount=DiscountAnswer(OFF), redemption=redemption)


def new_code() -> str:
    """A code as ours are."""
    return next(codes.generate(TERMS.codes, 1))


class Decider:
    """Decides one request at a time, where ours has its coalescer. This one grants everything."""

    async def start(self, address: str) -> None:
        """Connect."""

    async def ask(
        self,
        verb: Verb,
        asked: Sequence[Asked[Any]],
        *,
        render: Callable[[list[Outcome]], Answer],
        keyed: Keyed | None = None,  # noqa: ARG002
    ) -> Answer:
        """The answer to one request."""
        decide = self.claim if verb == "claim" else self.redeem
        return render([await decide(asked[0].merchant_id, asked[0].request, clock.now())])

    async def claim(self, merchant_id: UUID, request: Any, now: datetime) -> Outcome:  # noqa: ARG002
        """A voucher for a customer."""
        return claimed(request, new_code())

    async def redeem(self, merchant_id: UUID, request: Any, now: datetime) -> Outcome:  # noqa: ARG002
        """A voucher used on an order."""
        return redeemed(request, format_id("redemption", new_id()), "hot", None, now)


async def _keep(_: asyncpg.Connection) -> None:
    """Nothing to put back: the pool would ask the server for it after each request."""


class OnPostgres(Decider):
    """A pool of connections, and a transaction for each request."""

    pool: asyncpg.Pool

    async def start(self, address: str) -> None:
        self.pool = await asyncpg.create_pool(
            address,
            min_size=CONNECTIONS,
            max_size=CONNECTIONS,
            reset=_keep,
            server_settings={**SERVER_SETTINGS, **PINNED},
        )


class ForUpdate(OnPostgres):
    """Lock, look, write, commit."""

    async def claim(self, merchant_id: UUID, request: Any, now: datetime) -> Outcome:
        code = new_code()
        key = merchant_id, request.campaign_id
        async with self.pool.acquire() as db, db.transaction():
            campaign = await db.fetchrow(_LOCK, *key)
            if campaign is None or campaign["state"] != "active":
                return refused("campaign_not_found")
            if await db.fetchval(_CLAIMED, *key, request.customer_id):
                return refused("claim_limit_reached")
            if campaign["stock"] is not None and campaign["handed_out"] >= campaign["stock"]:
                return refused("sold_out")
            await db.execute(_CLAIM_LOCKED, *key, request.customer_id, code, now)
        return claimed(request, code)

    async def redeem(self, merchant_id: UUID, request: Any, now: datetime) -> Outcome:
        made = format_id("redemption", new_id())
        off = min(OFF, request.amount_minor)
        async with self.pool.acquire() as db, db.transaction():
            voucher = await db.fetchrow(_LOCK_VOUCHER, merchant_id, request.voucher_id)
            if voucher is None:
                return refused("voucher_not_found")
            if (
                voucher["state"] != "issued"
                or voucher["uses"] + voucher["holds"] >= voucher["max_redemptions"]
            ):
                return refused("voucher_redeemed")
            if voucher["valid_until"] is not None and voucher["valid_until"] <= now:
                return refused("voucher_expired")
            campaign = await db.fetchrow(_LOCK, merchant_id, voucher["campaign_id"])
            if campaign["state"] not in {"active", "stopped"}:
                return refused(f"campaign_{campaign['state']}")
            left = campaign["budget_minor"] - campaign["spent_minor"] - campaign["held_minor"]
            if off > left:
                return refused("budget_exhausted")
            values = request.voucher_id, made, request.order_id, request.amount_minor, off, now
            await db.execute(_REDEEM_LOCKED, merchant_id, *values)
        return redeemed(request, made, voucher["campaign_id"], voucher["customer_id"], now)


class Conditional(OnPostgres):
    """One statement, which is a transaction by itself."""

    async def claim(self, merchant_id: UUID, request: Any, now: datetime) -> Outcome:
        code = new_code()
        try:
            done = await self.pool.fetchval(
                _CLAIM_IF, merchant_id, request.campaign_id, request.customer_id, code, now
            )
        except asyncpg.UniqueViolationError:
            # The same customer at the same time: the key of `campaign_usage` decides, and nothing is written.
            return refused("claim_limit_reached")
        if done:
            return claimed(request, code)
        had = await self.pool.fetchval(_CLAIMED, merchant_id, request.campaign_id, request.customer_id)
        return refused("claim_limit_reached" if had else "sold_out")

    async def redeem(self, merchant_id: UUID, request: Any, now: datetime) -> Outcome:
        made = format_id("redemption", new_id())
        off = min(OFF, request.amount_minor)
        values = request.voucher_id, made, request.order_id, request.amount_minor, off, now
        try:
            done = await self.pool.fetchrow(_REDEEM_IF, merchant_id, *values)
        except asyncpg.CheckViolationError:
            # The budget is a constraint: nothing is written.
            return refused("budget_exhausted")
        if done is None:
            return refused("voucher_redeemed")
        return redeemed(request, made, done["campaign_id"], done["customer_id"], now)


class OnRedis(Decider):
    """A script for each request, all over one connection: what Redis can do at best."""

    client: _redis.Client
    shas: dict[str, str]

    async def start(self, address: str) -> None:
        self.client = await _redis.connect(address)
        self.shas = {
            name: await self.client.ask("SCRIPT", "LOAD", text) for name, text in _redis.SCRIPTS.items()
        }

    async def claim(self, merchant_id: UUID, request: Any, now: datetime) -> Outcome:  # noqa: ARG002
        code = new_code()
        told = await self.client.ask(
            "EVALSHA", self.shas["claim"], 1, request.campaign_id, request.customer_id, code, now.isoformat()
        )
        return claimed(request, code) if told == "claimed" else refused(told)

    async def redeem(self, merchant_id: UUID, request: Any, now: datetime) -> Outcome:  # noqa: ARG002
        made = format_id("redemption", new_id())
        off = min(OFF, request.amount_minor)
        words = request.voucher_id, request.order_id, off, made, now.isoformat()
        told = await self.client.ask("EVALSHA", self.shas["redeem"], 0, *words)
        return (
            redeemed(request, made, "hot", None, now) if told in {"redeemed", "repeated"} else refused(told)
        )


CASES: Final[dict[str, type[Decider]]] = {
    "limit": Decider,
    "for-update": ForUpdate,
    "conditional": Conditional,
    "redis": OnRedis,
}


class PeerRoutes(VerbRoutes):
    """Our routes, with somebody else to decide."""

    def __init__(self, decider: Decider, merchant_id: UUID, secret: str) -> None:
        state = State({"metrics": Metrics(), "guesses": Guesses()})
        super().__init__(PlainTextResponse("", HTTPStatus.NOT_FOUND), state=state)
        callers = Callers(cast(Any, None))
        caller = Caller(new_id(), merchant_id, frozenset(MERCHANT_SCOPES))
        # Remembered for good: the key is looked up in memory, as ours is but for once in a second.
        callers._known[secret, None] = float("inf"), Known(caller, merchant_id)
        settings = Settings()
        desk = SimpleNamespace(
            platform=SimpleNamespace(settings=settings),
            callers=callers,
            coalescer=decider,
        )
        self._peer = cast(Desk, desk)

    def _open(self) -> Desk:
        return self._peer


async def serve(case: str, port: int, address: str, merchant_id: UUID, secret: str) -> None:
    """Answer until a signal comes."""
    decider = CASES[case]()
    await decider.start(address)
    # As `counterfoil.serving` has it.
    config = uvicorn.Config(
        PeerRoutes(decider, merchant_id, secret),
        host="127.0.0.1",
        port=port,
        http=OneWriteProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=20,
        lifespan="off",
    )
    await uvicorn.Server(config).serve()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--merchant", type=UUID, required=True)
    parser.add_argument("--key", required=True)
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.case, arguments.port, arguments.address, arguments.merchant, arguments.key))


assert calendar.EVER.isoformat() == "1970-01-01"
if __name__ == "__main__":
    main()
