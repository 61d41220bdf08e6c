"""Random files of several partners, in sequence and with stops, against the plain model: all of each line."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from counterfoil.worker.crediting import credit_job, look_after_files
from tests.points_files.model import Line, Model, Outcome
from tests.points_files.world import GUARD, Bank, World

MEMBERS = [f"m{n}" for n in range(1, 10)]


def _draw(dice: random.Random, used: list[Line]) -> Line:
    """A record: mostly a good one, often with a reference that was there before."""
    if used and dice.random() < 0.25:
        again = dice.choice(used)
        if dice.random() < 0.5:
            return again
        return again._replace(
            customer_id=dice.choice([*MEMBERS, again.customer_id]), points=dice.choice([0, 7, again.points])
        )
    member = dice.choice([*MEMBERS, *MEMBERS, "nobody"])
    points = dice.choice([0, *[dice.randint(1, 100)] * 9, 2_000])
    return Line(member, points, f"r{len(used)}-{dice.random()}")


def _file(dice: random.Random, used: list[Line]) -> list[Line]:
    lines: list[Line] = []
    for _ in range(dice.choice([0, 1, 5, 30, 60])):
        lines.append(_draw(dice, [*used, *lines]))
    return lines


async def _run_with_stops(world: World, dice: random.Random) -> None:
    """Workers, several at once, that are told to stop at any moment."""
    for job, payload in await world.step("points.credit_file"):
        assert job == "points.credit_file"
        stop = asyncio.Event()
        working = asyncio.create_task(credit_job(world.engine, payload, guard=GUARD, stop=stop))
        other = {**payload, "worker": dice.randint(0, 2)}
        helping = asyncio.create_task(credit_job(world.engine, other, guard=GUARD, stop=stop))
        await asyncio.sleep(dice.choice([0, 0.01, 0.05]))
        stop.set()
        await asyncio.gather(working, helping)
    await look_after_files(world.engine)
    await world.run()


def _compare(response: Any, lines: list[Line], expected: list[Outcome]) -> None:
    assert response.said == [(*line, *outcome) for line, outcome in zip(lines, expected, strict=True)]
    totals = response.totals
    for status, number, points in (
        ("accepted", totals.accepted_count, totals.accepted_points),
        ("rejected", totals.rejected_count, totals.rejected_points),
        ("duplicate", totals.duplicate_count, totals.duplicate_points),
    ):
        found = [line.points for line, outcome in zip(lines, expected, strict=True) if outcome[0] == status]
        assert (number, points) == (len(found), sum(found))


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_partners_send_is_decided_as_the_model_says(world: World, seed: int) -> None:
    dice = random.Random(seed)
    limit = dice.choice([None, 300, 1_000])
    await world.program(max_balance=limit)
    await world.close("m9")
    model = Model(dict.fromkeys(MEMBERS, 0), closed={"m9"}, limit=limit, points_max=1_000)
    banks: list[Bank] = [await world.bank(name, points_max=1_000) for name in ("bank", "airline")]
    used: dict[str, list[Line]] = {bank.partner_id: [] for bank in banks}
    for _ in range(5):
        bank = dice.choice(banks)
        lines = _file(dice, used[bank.partner_id])
        file = await bank.send(*lines)
        await world.step("points.credit_file")
        await look_after_files(world.engine)
        await _run_with_stops(world, dice)
        _compare(await bank.response(file), lines, model.credit(bank.partner_id, lines))
        used[bank.partner_id] += lines
    assert await world.balances() == {name: points for name, points in model.members.items() if points}
