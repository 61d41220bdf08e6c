"""What programs are told of points: each fact once, from the verbs that the edges use."""

from __future__ import annotations

import json
import re
from typing import Any

from counterfoil import clock
from counterfoil.db.transactions import begin
from counterfoil.ids import format_id, parse_id
from counterfoil.points import verbs
from counterfoil.points.burning import Burn
from counterfoil.points.earning import Paid, Refund
from counterfoil.points.pending import Settlement
from counterfoil.points.programs import Program
from counterfoil.points.reversals import Reversal
from counterfoil.webhooks.jobs import fan_out_job
from counterfoil.worker.points import give_notice
from tests.rules.source import ROOT
from tests.worker.points_world import PointsWorld, ahead

PROMISING = Program(activate_after_days=14)


async def _do(points: PointsWorld, verb: Any, **said: Any) -> Any:
    async with begin(points.engine) as tx:
        return await verb(tx, merchant_id=points.merchant_id, now=clock.now(), **said)


async def _types(points: PointsWorld) -> list[str]:
    """The types that were told since the last time."""
    return [
        event["type"].removeprefix("points.")
        for job in await points.queued("webhooks.fan_out")
        for event in job["events"]
    ]


async def test_where_nobody_listens_nothing_is_queued(points: PointsWorld) -> None:
    await points.post(("a", "r", 10))
    assert await points.told() == []


async def test_a_transfer_is_told_with_both_sides_and_the_balance_after_it(points: PointsWorld) -> None:
    await points.listen()
    (posted,) = await points.post(("a", "r", 10), note="thanks", order_id="o")
    (told,) = await points.told()
    assert posted.transfer_id is not None
    transfer_id = format_id("transfer", posted.transfer_id)
    assert (told["id"], told["type"], told["subject"]) == (f"credited:{transfer_id}", "points.credited", "a")
    shown = {"transfer_id": transfer_id, "source": "partner", "source_name": "bank", "reference": "r"}
    amounts = {"points": 10, "balance": 10, "version": 1, "order_id": "o", "note": "thanks"}
    assert told["data"].items() >= (shown | amounts).items()


async def test_the_documents_show_the_fields_that_are_sent(points: PointsWorld) -> None:
    await points.listen()
    await points.program(notice_days=30)
    await points.post(("a", "r", 10), expires_at=ahead(days=1))
    await give_notice(points.engine)
    sent = {event["type"]: list(event["data"]) for event in await points.told()}
    text = (ROOT / "docs" / "webhooks.md").read_text(encoding="utf-8")
    found = re.findall(r"^### `(points\.\w+)`.+?```json\n(.+?)\n```", text, re.MULTILINE | re.DOTALL)
    shown = {name: list(json.loads(example)["data"]) for name, example in found}
    expiring = sent.pop("points.expiring")
    assert shown.pop("points.expiring") == expiring
    assert shown == dict.fromkeys(shown, sent["points.credited"])


async def test_what_was_refused_or_done_before_is_not_told(points: PointsWorld) -> None:
    await points.listen()
    await points.post(("a", "r", 10))
    assert await _types(points) == ["credited"]
    await points.post(("a", "r", 10), ("a", "too much", -11), ("nobody", "s", 1), ("a", "r", 11))
    assert await _types(points) == []


async def test_what_an_order_earns_burns_and_gives_back_is_told(points: PointsWorld) -> None:
    await points.listen()
    paid = [Paid("o", "a", 10_000, clock.now()), Paid("small", "a", 99, clock.now())]
    (earned, nothing) = await _do(points, verbs.earn, program=Program(), orders=paid)
    assert nothing is None
    assert await _types(points) == ["credited"]
    await _do(points, verbs.burn, program=Program(), burns=[Burn("a", "o2", 30)])
    (held,) = await _do(points, verbs.burn, program=Program(), burns=[Burn("a", "o3", 5, ahead(hours=1))])
    assert await _types(points) == ["debited", "held"]
    await _do(points, verbs.settle, settlements=[Settlement(held.posted.transfer_id, 2)])
    assert await _types(points) == ["debited"]
    await _do(points, verbs.reverse, reversals=[Reversal(earned.transfer_id, points=8)])
    assert await _types(points) == ["reversed"]
    refund = Refund("o", "refund", 1_000)
    for _ in range(2):
        await _do(points, verbs.take_back, refunds=[refund])
    assert await _types(points) == ["reversed"]
    await points.prove()


async def test_what_was_promised_and_will_not_come_is_told_part_by_part(points: PointsWorld) -> None:
    await points.listen()
    await _do(points, verbs.earn, program=PROMISING, orders=[Paid("o", "a", 10_000, clock.now())])
    assert await _types(points) == ["promised"]
    parts = [Refund("o", "first", 2_500), Refund("o", "second", 2_500)]
    await _do(points, verbs.take_back, refunds=parts)
    (job,) = await points.queued("webhooks.fan_out")
    first, second = job["events"]
    assert first["id"] != second["id"]
    assert (second["type"], second["data"]["voided_points"]) == ("points.voided", 50)
    promise = parse_id("transfer", second["data"]["transfer_id"])
    await _do(points, verbs.settle, settlements=[Settlement(promise, 0)])
    assert await _types(points) == ["voided"]
    await points.prove()


async def test_an_event_that_is_delivered_twice_is_one_message(points: PointsWorld) -> None:
    await points.listen("points.credited")
    await points.post(("a", "r", 10), ("a", "s", -1))
    (job,) = await points.queued("webhooks.fan_out")
    for _ in range(2):
        await fan_out_job(points.engine, job)
    rows = await points.all("SELECT type, subject FROM webhook_messages")
    assert [tuple(row) for row in rows] == [("points.credited", "a")]
