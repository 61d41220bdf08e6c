"""What is due, and a page of the log, are found by an index however long the log is."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.db.paging import encode_cursor
from counterfoil.db.transactions import begin
from counterfoil.ids import new_id
from counterfoil.webhooks import attempts, deliveries, queries
from tests.builders import NOW, make_merchant
from tests.rules.test_plans import Watched
from tests.webhooks.conftest import World, event

ROWS = 20_000


async def test_no_statement_of_every_day_reads_the_log_from_end_to_end(engine: AsyncEngine) -> None:
    async with begin(engine) as tx:
        merchant = await make_merchant(tx)
    world = World(engine, merchant)
    endpoint, _ = await world.endpoint("https://hooks.invalid/")
    async with begin(engine) as tx:
        await tx.execute(
            """INSERT INTO webhook_messages (merchant_id, id, type, subject, occurred_at, data, recorded_at)
               SELECT :m, 'x' || n, 'voucher.issued', 'v', now(), '{}', now()
               FROM generate_series(1, :n) n""",
            {"m": merchant, "n": ROWS},
        )
        await tx.execute(
            """INSERT INTO webhook_deliveries
                   (id, merchant_id, endpoint_id, message_id, state, next_attempt_at, created_at)
               SELECT gen_random_uuid(), :m, :e, 'x' || n,
                      CASE n % 100 WHEN 0 THEN 'waiting' WHEN 1 THEN 'failed' ELSE 'delivered' END,
                      CASE WHEN n % 100 = 0 THEN now() END, now() FROM generate_series(1, :n) n""",
            {"m": merchant, "e": endpoint.id, "n": ROWS},
        )
        await tx.execute("ANALYZE webhook_deliveries")
        await tx.execute("ANALYZE webhook_messages")
    full = Watched(engine, merchant)
    page = {"merchant_id": merchant, "limit": 50}
    after = encode_cursor((str(new_id()),))
    for verb, arguments in (
        (attempts.claim, {"most": 40, "running": {}, "now": NOW}),
        (deliveries.fan_out, {"merchant_id": merchant, "events": [event()], "now": NOW}),
        (deliveries.prune, {"before": NOW}),
        (queries.list_deliveries, page),
        (queries.list_deliveries, {**page, "cursor": after}),
        (queries.list_deliveries, {**page, "endpoint_id": endpoint.id, "cursor": after}),
        (queries.list_deliveries, {**page, "state": "failed"}),
        (queries.list_deliveries, {**page, "message_id": "x5"}),
        (queries.undelivered, {"merchant_id": merchant}),
    ):
        read = await full.sequential(verb, **arguments)
        assert not {"webhook_deliveries", "webhook_messages"} & set(read), (verb.__name__, arguments)
