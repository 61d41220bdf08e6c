"""The drop box as it is served: a file goes in by SFTP, and its response comes out."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.points_files.world import make_world
from tests.serving.conftest import Server
from tests.worker.visitor import bank_with_key, drop, take, visit


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def test_a_server_with_a_drop_box_takes_a_file_and_gives_its_response(
    serve: Callable[..., Server], database: URL, engine: AsyncEngine, tmp_path: Path
) -> None:
    world = await make_world(engine, tmp_path, "m1")
    bank = await bank_with_key(world)
    home, port = tmp_path / "home", _free_port()
    server = serve(
        role="all",
        DATABASE_URL=database.render_as_string(hide_password=False),
        COUNTERFOIL_HOME=str(home),
        COUNTERFOIL_DROPBOX_PORT=str(port),
    )
    await asyncio.to_thread(server.wait)
    async with visit(port, bank, home) as files:
        await drop(files, "a.pgp", bank.seal(bank.write(("m1", 10, "r1"))))
        with anyio.fail_after(60):
            while not await files.listdir("/responses"):  # noqa: ASYNC110 - it is made by another process
                await anyio.sleep(0.1)
        said = await take(files, "a.response.pgp")
    server.stop()
    assert server.process.returncode == 0, server.log.read_text()
    (row,) = await world.all("SELECT file_no, state FROM points_files")
    assert row.state == "credited"
    assert (await bank.response(row)).sealed == said
    await world.prove()


async def test_the_drop_box_can_be_a_process_of_its_own(
    serve: Callable[..., Server], database: URL, engine: AsyncEngine, tmp_path: Path
) -> None:
    world = await make_world(engine, tmp_path, "m1")
    bank = await bank_with_key(world)
    home, port = tmp_path / "home", _free_port()
    server = serve(
        role="dropbox",
        DATABASE_URL=database.render_as_string(hide_password=False),
        COUNTERFOIL_HOME=str(home),
        COUNTERFOIL_DROPBOX_PORT=str(port),
    )
    with anyio.fail_after(60):
        while not await _open(port):  # noqa: ASYNC110 - of another process
            await anyio.sleep(0.1)
    async with visit(port, bank, home) as files:
        await drop(files, "a.pgp", bank.seal(bank.write(("m1", 10, "r1"))))
    server.stop()
    assert server.process.returncode == 0, server.log.read_text()
    await world.run()
    assert await world.balances() == {"m1": 10}


async def _open(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


def test_the_drop_box_alone_asks_for_its_port(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COUNTERFOIL_")}
    done = subprocess.run(
        [sys.executable, "-m", "counterfoil", "serve", "--role", "dropbox"],
        env={**environment, "COUNTERFOIL_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "COUNTERFOIL_DROPBOX_PORT" in done.stderr
