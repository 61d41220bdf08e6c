"""Many requests over a few kept connections, as fast as they are answered. A load generator in a page."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import httptools

CONNECTIONS: Final = 64


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to make."""

    path: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answered:
    """A request that was answered, and how long that took."""

    ask: Ask
    status: int
    body: dict[str, Any]
    seconds: float


class _Connection(asyncio.Protocol):
    """One connection: a request, then its answer, then the next."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._answer: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("the server hung up"))

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        assert self._answer is not None
        if not self._answer.done():
            self._answer.set_result(b"".join(self._parts))

    async def ask(self, head: bytes, ask: Ask) -> Answered:
        """Send one request and wait for its answer."""
        assert self._transport is not None
        self._parser = httptools.HttpResponseParser(self)
        self._parts = []
        self._answer = asyncio.get_running_loop().create_future()
        body = json.dumps(ask.body).encode()
        started = time.perf_counter()
        start = f"POST {ask.path} HTTP/1.1\r\nContent-Length: {len(body)}\r\n".encode()
        self._transport.write(start + head + body)
        said = await self._answer
        taken = time.perf_counter() - started
        return Answered(ask, self._parser.get_status_code(), json.loads(said), taken)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()


async def ask_all(
    host: str, port: int, secret: str, asks: Iterable[Ask], *, connections: int = CONNECTIONS
) -> list[Answered]:
    """Make all requests, over so many connections at once, and return the answers as they came."""
    head = (
        f"Host: {host}\r\nContent-Type: application/json\r\nAuthorization: Bearer {secret}\r\n\r\n".encode()
    )
    queue: Iterator[Ask] = iter(asks)
    answers: list[Answered] = []

    async def work() -> None:
        _, connection = await asyncio.get_running_loop().create_connection(_Connection, host, port)
        try:
            for ask in queue:
                answers.append(await connection.ask(head, ask))
        finally:
            connection.close()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(connections):
            tasks.create_task(work())
    return answers
