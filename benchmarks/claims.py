"""How fast vouchers are claimed: over HTTP, beside the server's limit, FOR UPDATE, one statement, and Redis.

    python benchmarks/claims.py --quick            # 200,000 vouchers, about a minute
    python benchmarks/claims.py --json out.json    # 1 and 20 million vouchers: 10 GB of disk

Everything runs on one machine and in turns, with the load generator (wrk, 64 connections) on it too.
PostgreSQL is embedded, on a disk, with fsync on. Each claim is another customer's; either all are of one
campaign, or each is of any of 1,000.

* `ours over HTTP`: `counterfoil serve --role api`; `ours, --role all`: with the pages and the worker in it;
* `limit of the server`: the same route, where every request is granted out of thin air;
* `ours without HTTP`: `verbs.run` in batches of 64, over one connection and over two;
* `SELECT .. FOR UPDATE`, `one conditional statement`: for each request, over the same server and tables;
* `Redis with Lua`: over the same server; `Redis alone`: the same script by redis-benchmark.

Afterwards: nothing was oversold, no customer has two, all counters say what the rows say, and whatever was
answered before the server or PostgreSQL was killed is in the tables.
"""

from __future__ import annotations

import itertools
import random
from typing import Any

import _contest
import _crash
import _load
from _load import Load
from _redis import Redis
from _stage import FEW, MANY, PLENTY, RACED, Stage
from counterfoil.vouchers.requests import Asked, Claim
from counterfoil.vouchers.types import Verb

NEW = "customer_id NOT LIKE 'old-%'"


class Claims:
    """Claims, each of another customer."""

    verb: Verb = "claim"
    per_second = 10_000
    stock = FEW
    budget_minor = PLENTY

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def words(self, stage: Stage, where: str) -> dict[str, object]:  # noqa: ARG002
        return _load.claim_words("hot") if where.endswith("hot") else _load.claim_words("c", campaigns=MANY)

    def used(self, stage: Stage, where: str, requests: int) -> None:
        """There is always another customer."""

    def asked(self, stage: Stage, where: str, count: int) -> list[Asked[Any]]:
        names = ["hot" if where.endswith("hot") else f"c{random.randint(1, MANY)}" for _ in range(count)]
        return [
            Asked(stage.merchant_id, Claim(campaign_id=name, customer_id=f"direct-{next(self._numbers)}"))
            for name in names
        ]

    def fill_redis(self, redis: Redis, stage: Stage) -> None:  # noqa: ARG002
        for name in ("hot", *(f"c{number}" for number in range(1, MANY + 1))):
            redis("HSET", name, "state", "active", "stock", PLENTY, "handed_out", 0)

    def redis_alone(self, redis: Redis, requests: int) -> Load:
        words = "1", "hot", "alone-__rand_int__", "code-__rand_int__", "2026-01-01T00:00:00+00:00"
        return redis.alone(requests, 2**31 - 1, "claim", *words)

    async def invariants(self, stage: Stage, port: int) -> dict[str, Any]:
        few = _load.wrk(stage, port, 2, "claim", **_load.claim_words("few"))
        raced = _load.wrk(stage, port, 1, "claim", **_load.claim_words("raced", customers=RACED))
        handed_out = f"SELECT count(*) FROM issuances WHERE merchant_id = $1 AND campaign_id = $2 AND {NEW}"
        had = await stage.value(handed_out, stage.merchant_id, "few")
        racers = await stage.value(handed_out, stage.merchant_id, "raced")
        twice = await stage.value(
            f"""SELECT count(*) FROM (SELECT FROM issuances WHERE {NEW}
                GROUP BY merchant_id, campaign_id, customer_id HAVING count(*) > 1) twice"""
        )
        crash = await _crash.survives(
            stage,
            "/v1/vouchers/claim",
            lambda n: b'{"campaign_id":"hot","customer_id":"crash-%d-%d"}' % (random.getrandbits(60), n),
            lambda outcome: outcome["voucher"]["voucher_id"],
            """SELECT count(*) FROM unnest($2::text[]) k(id) JOIN issuances i ON i.merchant_id = $1
               AND i.voucher_id = k.id JOIN vouchers v USING (merchant_id, voucher_id)""",
        )
        granted = few["requests"] - few["refused"]
        return {
            f"of a stock of {FEW:,}": {"granted": granted, "in the tables": had, "refused": few["refused"]},
            "never oversold": granted <= had == FEW and few["refused"] > 0,
            f"of {RACED:,} customers who asked {raced['requests']:,} times": racers,
            "never twice for a customer": twice == 0 and racers <= RACED,
            **crash,
            "counters that say something else than the rows": await stage.differences(),
        }


if __name__ == "__main__":
    _contest.run(Claims(), __doc__)
