"""kill -9 of workers, server and PostgreSQL while one large file is credited: nobody can tell afterwards."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.db import embedded
from counterfoil.db.engine import create_engine
from counterfoil.db.migrate import migrate
from counterfoil.errors import CounterfoilError
from counterfoil.points.files.files import File
from tests.points_files.model import Line, Model
from tests.points_files.world import Bank, World, make_world
from tests.serving.conftest import Server

KILLS = int(os.environ.get("KILLS", "10"))
"""So many in the ordinary run of the tests; `KILLS=50` takes minutes, and is for changes of the workers."""
RECORDS = 200_000
MEMBERS = 6_000
NOW = """
    SELECT records, cut_to, answered_at FROM points_files
    WHERE file_no = coalesce((SELECT repeats FROM points_files WHERE file_no = :f), :f)"""
"""If the same file that came later was opened earlier, it is that one which is credited."""
AWAY = (CounterfoilError, SQLAlchemyError, OSError)
"""What is told while the database is away."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """The home of an embedded database that this test keeps alive, as its servers do."""
    with embedded.running(tmp_path / "home"):
        yield tmp_path / "home"


@pytest.fixture
async def engine(home: Path) -> AsyncIterator[AsyncEngine]:
    """Connections to it."""
    with embedded.running(home) as url:
        made = create_engine(url)
        await migrate(made)
        yield made
        await made.dispose()


def _lines(dice: random.Random) -> list[Line]:
    """Mostly good records; some of nobody, some of too few points, some with a reference that was used."""
    lines: list[Line] = []
    for n in range(RECORDS):
        fate = dice.random()
        if fate < 0.03 and lines:
            again = lines[dice.randrange(len(lines))]
            lines.append(again if fate < 0.02 else again._replace(points=dice.randint(1, 500)))
            continue
        member = f"m{dice.randrange(MEMBERS):06}" if fate < 0.97 else f"nobody{n}"
        lines.append(Line(member, 0 if 0.03 <= fate < 0.05 else dice.randint(1, 500), f"r{n}"))
    return lines


class _Chaos:
    """Two workers, a server and a database, of which one dies at a time and is started again."""

    def __init__(self, start: Callable[[str], Server], home: Path, dice: random.Random) -> None:
        self.start, self.home, self.dice = start, home, dice
        self.processes = {name: start(name.split("-")[0]) for name in ("worker-1", "worker-2", "api")}
        self.killed: list[str] = []
        self.in_time = 0
        """How many were killed before the file was answered."""

    def kill_one(self, progress: float) -> None:
        self.in_time += progress < 2
        victim = self.dice.choice([*self.processes, "database"])
        self.killed.append(victim)
        if victim == "database":
            pid = embedded.info(self.home).pid
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
                return
            self.killed[-1] = victim = "worker-1"
        self.processes[victim].kill()
        self.processes[victim] = self.start(victim.split("-")[0])

    def restart_the_dead(self) -> None:
        """A process that found no database when it started ended by itself."""
        for name, server in self.processes.items():
            if server.process.poll() is not None:
                self.processes[name] = self.start(name.split("-")[0])


async def _progress(world: World, file: File) -> float:
    """How far a file is: below 0 it is not opened, at 1 all of it is in batches, at 2 it is answered."""
    while True:
        try:
            (now,) = await world.all(NOW, f=file.file_no)
        except AWAY:
            await anyio.sleep(0.05)
            continue
        if now.answered_at is not None:
            return 2.0
        return -1.0 if now.records is None else now.cut_to / RECORDS


async def _harass(world: World, file: File, chaos: _Chaos) -> None:
    """Kill something at moments that are spread over the file's whole way."""
    dice = chaos.dice
    opening, answering = max(KILLS // 10, 1), max(KILLS // 10, 1)
    moments = [-1.0] * opening + sorted(dice.random() for _ in range(KILLS - opening - answering))
    for moment in [*moments, *[1.0] * answering]:
        while await _progress(world, file) < moment:
            await asyncio.to_thread(chaos.restart_the_dead)
            await anyio.sleep(0.02)
        await anyio.sleep(dice.uniform(0, 0.3) if moment >= 0 else dice.uniform(0, 1.5))
        await asyncio.to_thread(chaos.kill_one, await _progress(world, file))


async def _answered(world: World, file: File, chaos: _Chaos) -> None:
    with anyio.fail_after(120):
        while True:
            with suppress(*AWAY):
                if (await world.file(file)).answered_at is not None:
                    return
            await asyncio.to_thread(chaos.restart_the_dead)
            await anyio.sleep(0.1)


async def _put_again(bank: Bank, sealed: bytes) -> File:
    """The partner sends its file once more while it is being credited, whatever dies meanwhile."""
    while True:
        try:
            return await bank.put(sealed, "again.pgp")
        except AWAY:
            await anyio.sleep(0.1)


async def test_whatever_dies_each_record_is_credited_once_and_answered(
    serve: Callable[..., Server], home: Path, engine: AsyncEngine, tmp_path: Path
) -> None:
    dice = random.Random(KILLS)
    lines, model = _lines(dice), Model({f"m{n:06}": 0 for n in range(MEMBERS)})
    expected = model.credit("bank", lines)
    world = await make_world(engine, tmp_path, *model.members)
    # So small that the file takes about as long as the killing.
    small: dict[str, Any] = {"batch_size_min": 400 // KILLS, "batch_size_max": 1_000 // KILLS}
    bank = await world.bank(limiter=small)
    sealed = bank.seal(bank.write(*lines))
    file = await bank.put(sealed)
    chaos = _Chaos(lambda role: serve(COUNTERFOIL_HOME=str(home), role=role), home, dice)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_harass, world, file, chaos)
        again = await _put_again(bank, sealed)
    assert len(chaos.killed) == KILLS
    assert chaos.in_time > KILLS // 2, "the file was too fast to show anything"
    await _answered(world, file, chaos)
    await _answered(world, again, chaos)
    response = await bank.response(file)
    assert response.said == [(*line, *outcome) for line, outcome in zip(lines, expected, strict=True)]
    assert await world.balances() == {name: points for name, points in model.members.items() if points}
    assert (await bank.response(again)).sealed == response.sealed
    assert response.totals.accepted_points == sum(model.members.values())
    await world.prove()
