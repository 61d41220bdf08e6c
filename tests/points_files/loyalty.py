"""Somebody else's loyalty system: a real HTTP server, in a thread of its own, that remembers every reference.

What it can do can be changed while it runs, and it can be told to fail in the ways that such systems fail.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

Fault = Literal[
    "overloaded", "late", "reset_before", "reset_after", "garbage", "missing", "invented", "error"
]
"""`late` and `reset_after` credit first; then nothing comes, or the connection breaks."""

HEAD = "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{more}\r\n"


@dataclass
class Loyalty:
    """Its memory, what it can do, and how it is to fail: read and changed by the tests as it runs."""

    capacity: float | None = None
    """Records a second, of all its servers; None: as many as come."""
    servers: int = 4
    """Requests that it works on at a time; others wait."""
    most_running: int | None = None
    """Requests that it takes at all; others are answered 503."""
    retry_after: str = "1"
    secret: str | None = None
    rejects: dict[str, str] = field(default_factory=dict)
    """Customers whose credits it rejects, and why."""
    faults: deque[Fault | None] = field(default_factory=deque)
    """What happens to the next requests, one each; None: all goes well."""
    fault_rates: dict[Fault, float] = field(default_factory=dict)
    """Besides, how likely each is."""
    random: random.Random = field(default_factory=lambda: random.Random(1))
    port: int = 0
    balances: Counter[str] = field(default_factory=Counter)
    results: dict[str, tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=dict)
    """By reference: the credit as it came first, and its result."""
    requests: list[tuple[str, dict[str, str], int]] = field(default_factory=list)
    """Path, headers and number of credits of everything that came."""
    running: int = 0
    connections: int = 0
    """How many there have been."""
    raw: bytes | None = None
    """What is answered to everything, where it is given."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def credit(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Credit, unless the reference is known: then the first result again, or `duplicate`."""
        known = self.results.get(asked["reference"])
        if known is not None:
            if known[0] == asked:
                return {**known[1], "repeated": True}
            return {"reference": asked["reference"], "status": "duplicate", "code": "used_before"}
        code = self.rejects.get(asked["customer_id"])
        result: dict[str, Any] = {"reference": asked["reference"], "status": "rejected", "code": code}
        if code is None:
            self.balances[asked["customer_id"]] += asked["points"]
            result = {
                "reference": asked["reference"],
                "status": "accepted",
                "their_reference": f"L{len(self.results) + 1}",
            }
        self.results[asked["reference"]] = (asked, result)
        return result

    def next_fault(self) -> Fault | None:
        """What goes wrong with this request."""
        if self.faults:
            return self.faults.popleft()
        chance = self.random.random()
        for fault, rate in self.fault_rates.items():
            if chance < rate:
                return fault
            chance -= rate
        return None


class _Turns(asyncio.Condition):
    """The servers, and how many of them work."""

    working = 0


class _Connection:
    """A connection that is kept: one request after the other."""

    def __init__(
        self,
        loyalty: Loyalty,
        turns: _Turns,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.loyalty, self.turns, self.reader, self.writer = loyalty, turns, reader, writer

    async def serve(self) -> None:
        self.loyalty.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._one():
                pass
        self.writer.close()

    async def _one(self) -> bool:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        method, path, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        if method == "GET":
            return await self._answer(200, dict(self.loyalty.balances))
        asked = json.loads(body)
        batch = asked["credits"] if path.endswith("/credits") else [asked]
        self.loyalty.requests.append((path, headers, len(batch)))
        if self.loyalty.raw is not None:
            self.writer.write(self.loyalty.raw)
            return True
        if self.loyalty.secret and headers.get("authorization") != f"Bearer {self.loyalty.secret}":
            return await self._answer(401, {"detail": "Who are you?"})
        return await self._credit(batch, single=not path.endswith("/credits"))

    async def _credit(self, batch: list[dict[str, Any]], *, single: bool) -> bool:
        loyalty, fault = self.loyalty, self.loyalty.next_fault()
        most = loyalty.most_running
        if fault == "overloaded" or (most is not None and loyalty.running >= most):
            return await self._answer(503, {}, f"retry-after: {loyalty.retry_after}\r\n")
        if fault == "reset_before":
            return self._reset()
        if fault == "error":
            return await self._answer(500, {"detail": "Sorry."})
        loyalty.running += 1
        try:
            await self._work(len(batch))
            results = [loyalty.credit(one) for one in batch]
        finally:
            loyalty.running -= 1
        if fault == "late":
            await self.reader.read()  # until the other side goes away
            return False
        if fault == "reset_after":
            return self._reset()
        if fault == "garbage":
            return await self._answer(200, "{ this is no answer")
        if fault == "missing":
            results.pop()
        elif fault == "invented":
            results.append({"reference": "never-asked", "status": "accepted"})
        return await self._answer(200, results[0] if single and results else {"results": results})

    async def _work(self, records: int) -> None:
        """Wait for a server, and let it work for as long as the capacity says."""
        if self.loyalty.capacity is None:
            return
        async with self.turns:
            await self.turns.wait_for(lambda: self.turns.working < self.loyalty.servers)
            self.turns.working += 1
        try:
            await asyncio.sleep(records * self.loyalty.servers / self.loyalty.capacity)
        finally:
            async with self.turns:
                self.turns.working -= 1
                self.turns.notify()

    async def _answer(self, status: int, content: Any, more: str = "") -> bool:
        body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.writer.write(HEAD.format(status=status, length=len(body), more=more).encode() + body)
        await self.writer.drain()
        return True

    def _reset(self) -> bool:
        """Break the connection as a machine does that dies."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        return False


@contextmanager
def running_loyalty(**given: Any) -> Iterator[Loyalty]:
    """A loyalty system that runs for as long as the block."""
    loyalty = Loyalty(**given)
    started, stop = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        turns = _Turns()
        tasks: set[asyncio.Task[None]] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                await _Connection(loyalty, turns, reader, writer).serve()
            except asyncio.CancelledError:
                writer.transport.abort()
            finally:
                tasks.discard(task)

        server = await asyncio.start_server(accept, "127.0.0.1", loyalty.port, limit=2**26)
        loyalty.port = server.sockets[0].getsockname()[1]
        started.set()
        await stop.wait()
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    thread = threading.Thread(target=lambda: asyncio.run(main()), name="loyalty", daemon=True)
    thread.start()
    if not started.wait(10):
        raise RuntimeError("The loyalty system did not start.")
    try:
        yield loyalty
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(10)
