"""How fast vouchers are redeemed: over HTTP, beside the server's limit, FOR UPDATE, one statement, and Redis.

    python benchmarks/redemptions.py --quick            # 200,000 vouchers, about a minute
    python benchmarks/redemptions.py --json out.json    # 1 and 20 million vouchers: 10 GB of disk

The cases are those of `claims.py`. Each request redeems another voucher, never the neighbour of the one
before, on an order of its own; either all are of one campaign, or each is of any of 1,000.

Afterwards: no voucher was redeemed twice, no budget was overspent, all counters say what the rows say, and
whatever was answered before the server or PostgreSQL was killed is in the tables.
"""

from __future__ import annotations

from typing import Any, Final

import _contest
import _crash
import _load
from _load import Load
from _redis import Redis
from _stage import FEW, MANY, OFF, PLENTY, RACED, Stage, code
from counterfoil.vouchers.requests import Asked, Redeem
from counterfoil.vouchers.types import Verb

MADE_UP: Final = 1_000_000
"""Vouchers in Redis, at most, for redis-benchmark, which draws their numbers: few come twice."""


class Redemptions:
    """Redemptions, each of another voucher."""

    verb: Verb = "redeem"
    per_second = 7_000
    stock = PLENTY
    budget_minor = FEW * OFF

    def __init__(self) -> None:
        self._made_up = 0

    def words(self, stage: Stage, where: str) -> dict[str, object]:
        part = stage.parts[where]
        return _load.redeem_words(part, part.used)

    def used(self, stage: Stage, where: str, requests: int) -> None:
        stage.parts[where].take(requests)

    def asked(self, stage: Stage, where: str, count: int) -> list[Asked[Any]]:
        part = stage.parts[where]
        first = part.take(count)
        return [
            Asked(
                stage.merchant_id,
                Redeem(
                    voucher_id=code(part.number(turn)), order_id=f"direct-{where}-{turn}", amount_minor=4200
                ),
            )
            for turn in range(first, first + count)
        ]

    def fill_redis(self, redis: Redis, stage: Stage) -> None:
        for name in ("hot", *(f"c{number}" for number in range(1, MANY + 1))):
            redis("HSET", name, "state", "active", "budget", PLENTY, "spent", 0, "redemptions", 0)
        hot, many = stage.parts["hot"], stage.parts["many"]
        redis.fill("hot", hot.base, hot.size)
        redis.fill("c", many.base, many.size, campaigns=MANY)
        self._made_up = min(MADE_UP, stage.vouchers)
        redis.fill("hot", 0, self._made_up, made_up=True)

    def redis_alone(self, redis: Redis, requests: int) -> Load:
        words = "0", "__rand_int__", "order-__rand_int__", str(OFF), "red_alone", "2026-01-01T00:00:00+00:00"
        return redis.alone(requests, self._made_up, "redeem", *words)

    async def invariants(self, stage: Stage, port: int) -> dict[str, Any]:
        few = _load.wrk(stage, port, 2, "redeem", **_load.redeem_words(stage.parts["few"], 0))
        words = _load.redeem_words(stage.parts["raced"], 0, vouchers=RACED)
        raced = _load.wrk(stage, port, 1, "redeem", **words)
        spent = "SELECT spent_minor FROM campaign_counters WHERE merchant_id = $1 AND campaign_id = 'few'"
        cost = await stage.value(spent, stage.merchant_id)
        used = await stage.value("SELECT count(*) FROM redemptions WHERE campaign_id = 'raced'")
        twice = await stage.value(
            """SELECT count(*) FROM (SELECT FROM redemptions GROUP BY merchant_id, voucher_id
               HAVING count(*) > 1) twice"""
        )
        part = stage.parts["hot"]
        crash = await _crash.survives(
            stage,
            "/v1/vouchers/redeem",
            lambda n: (
                b'{"voucher_id":"%b","order_id":"crash-%d","amount_minor":4200}'
                % (code(part.number(part.take(1))).encode(), n)
            ),
            lambda outcome: outcome["redemption"]["redemption_id"],
            """SELECT count(*) FROM unnest($2::text[]) k(id) JOIN redemptions r ON r.merchant_id = $1
               AND r.redemption_id = k.id""",
        )
        granted = few["requests"] - few["refused"]
        return {
            f"of a budget for {FEW:,}": {"granted": granted, "spent": cost, "refused": few["refused"]},
            "never overspent": granted * OFF <= cost == FEW * OFF and few["refused"] > 0,
            f"of {RACED:,} vouchers that {raced['requests']:,} orders wanted": used,
            "never twice for a voucher": twice == 0 and used <= RACED,
            **crash,
            "counters that say something else than the rows": await stage.differences(),
        }


if __name__ == "__main__":
    _contest.run(Redemptions(), __doc__)
