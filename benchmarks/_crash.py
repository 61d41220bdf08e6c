"""What was answered before a crash is there after it: the server killed, then PostgreSQL, both under load."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from _load import CLIENTS, Server, ours
from _stage import Stage
from counterfoil.db import embedded

BACK_SECONDS: Final = 120.0
"""So long PostgreSQL may take until it answers again."""

Body = Callable[[int], bytes]
Fact = Callable[[dict[str, Any]], str]


@dataclass
class Clients:
    """Programs that ask until they are told to stop, and remember every answer that granted something."""

    stage: Stage
    port: int
    path: str
    body: Body
    fact: Fact
    """The id of what an answer says was done."""
    granted: list[str] = field(default_factory=list)
    failed: int = 0
    stopping: bool = False
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def run(self) -> None:
        """Ask over 64 connections."""
        await asyncio.gather(*(self._client() for _ in range(CLIENTS)))

    async def _client(self) -> None:
        while not self.stopping:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while not self.stopping:
                    await self._ask(reader, writer)
            writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = self.body(next(self.numbers))
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self.stage.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        length = next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))
        answer = await reader.readexactly(length)
        if lines[0].split()[1].startswith(b"2"):
            self.granted.append(self.fact(msgspec.json.decode(answer)))
        else:
            self.failed += 1
            await asyncio.sleep(0.02)


async def survives(stage: Stage, path: str, body: Body, fact: Fact, count: str) -> dict[str, Any]:
    """Kill both under load. `count`: of an array of ids, how many the tables have."""
    found: dict[str, Any] = {}
    for what, crash in (("server killed", _kill_server), ("PostgreSQL killed", _kill_postgres)):
        with ours(stage) as server:
            clients = Clients(stage, server.port, path, body, fact)
            asking = asyncio.create_task(clients.run())
            await _reach(clients, 2_000)
            told = await crash(stage, server, clients)
            clients.stopping = True
            await asyncio.wait_for(asking, 30)
        there = await stage.value(count, stage.merchant_id, clients.granted)
        assert len(set(clients.granted)) == len(clients.granted), "something was granted twice"
        found[what] = {"granted": len(clients.granted), "of them in the tables": there, **told}
    found["every 2xx is in the tables"] = all(
        one["granted"] == one["of them in the tables"] for one in found.values()
    )
    return found


async def _reach(clients: Clients, granted: int) -> None:
    end = time.monotonic() + BACK_SECONDS
    while len(clients.granted) < granted:
        if time.monotonic() > end:
            raise SystemExit(f"Only {len(clients.granted)} granted in {BACK_SECONDS:.0f} s.")
        await asyncio.sleep(0.01)


async def _kill_server(_: Stage, server: Server, clients: Clients) -> dict[str, Any]:
    server.process.kill()
    await asyncio.to_thread(server.process.wait)
    # What had come into the clients' sockets by then.
    await asyncio.sleep(0.3)
    del clients
    return {}


async def _kill_postgres(stage: Stage, _: Server, clients: Clients) -> dict[str, Any]:
    pid = (await asyncio.to_thread(embedded.info, stage.home)).pid
    assert pid is not None
    os.kill(pid, signal.SIGQUIT)
    started = time.monotonic()
    while (await asyncio.to_thread(embedded.info, stage.home)).pid in {pid, None}:
        if time.monotonic() - started > BACK_SECONDS:
            raise SystemExit("PostgreSQL did not come back.")
        await asyncio.sleep(0.02)
    before = len(clients.granted)
    await _reach(clients, before + 500)
    return {"granted after it came back": len(clients.granted) - before}
