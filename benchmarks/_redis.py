"""A Redis of our own, and a client for scripts that has no dependency: many requests over one connection."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import shutil
import socket
import subprocess
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

from _load import CLIENTS, Load, Processor

SETTINGS: Final = "appendonly yes, appendfsync everysec"
SCRIPTS: Final = {
    name: Path(__file__).with_name(f"{name}_redis.lua").read_text() for name in ("claim", "redeem", "fill")
}
_CHUNK: Final = 50_000


def packed(*words: str | bytes | int) -> bytes:
    """A command as Redis reads it."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        text = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(text), text))
    return b"".join(parts)


class RedisError(Exception):
    """Redis refused a command."""


class Client(asyncio.Protocol):
    """One connection; what is asked in one turn of the event loop goes out as one write."""

    def __init__(self) -> None:
        self._asked: deque[asyncio.Future[str]] = deque()
        self._out: list[bytes] = []
        self._read = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        for future in self._asked:
            if not future.done():
                future.set_exception(exc or ConnectionError("Redis went away"))

    def ask(self, *words: str | bytes | int) -> asyncio.Future[str]:
        """The answer to a command: a status, a number or a text."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()
        self._asked.append(future)
        if not self._out:
            loop.call_soon(self._flush)
        self._out.append(packed(*words))
        return future

    def _flush(self) -> None:
        assert self._transport is not None
        self._transport.write(b"".join(self._out))
        self._out.clear()

    def data_received(self, data: bytes) -> None:
        self._read += data
        start = 0
        while (end := self._read.find(b"\r\n", start)) >= 0:
            kind, text, after = self._read[start : start + 1], self._read[start + 1 : end], end + 2
            if kind == b"$" and text != b"-1":
                after += int(text) + 2
                if len(self._read) < after:
                    break
                text = self._read[end + 2 : after - 2]
            future = self._asked.popleft()
            if not future.done():
                if kind == b"-":
                    future.set_exception(RedisError(text.decode()))
                else:
                    future.set_result(text.decode())
            start = after
        self._read = self._read[start:]


async def connect(path: str) -> Client:
    """A connection to the Redis that listens on this socket."""
    loop = asyncio.get_running_loop()
    _, client = await loop.create_unix_connection(Client, path)
    return client


def missing() -> list[str]:
    """Which programs of Redis are not there."""
    return [name for name in ("redis-server", "redis-benchmark") if shutil.which(name) is None]


class Redis:
    """A server of our own on a private socket."""

    def __init__(self, directory: Path, process: subprocess.Popen[bytes]) -> None:
        self.socket = str(directory / "redis.sock")
        self.processor = Processor(process.pid)

    def __call__(self, *words: str | int) -> str:
        """One command."""

        async def ask() -> str:
            return await (await connect(self.socket)).ask(*words)

        return asyncio.run(ask())

    def fill(
        self, campaign: str, first: int, count: int, *, campaigns: int = 0, made_up: bool = False
    ) -> None:
        """Vouchers with numbers from `first` on (`made_up`: with the codes that `alone` asks for)."""
        for start in range(first, first + count, _CHUNK):
            size = min(_CHUNK, first + count - start)
            more = (1,) if made_up else ()
            self("EVAL", SCRIPTS["fill"], 1, campaign, start, size, campaigns, *more)

    def alone(self, requests: int, most: int, script: str, *words: str) -> Load:
        """Run a script without any server before it, by redis-benchmark; `__rand_int__` is below `most`."""
        sha = self("SCRIPT", "LOAD", SCRIPTS[script])
        before = self.processor.seconds()
        command = ["redis-benchmark", "-s", self.socket, "-c", str(CLIENTS), "-n", str(requests),
                   "-r", str(most), "--csv", "evalsha", sha, *words]  # fmt: skip
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        names, values = list(csv.reader(done.stdout.splitlines()))[:2]
        told = dict(zip(names, values, strict=True))
        seconds = requests / float(told["rps"])
        cpu = self.processor.seconds() - before
        return Load(
            seconds,
            0,
            0.0,
            requests,
            0,
            float(told["p50_latency_ms"]),
            float(told["p99_latency_ms"]),
            cpu,
        )


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Redis]:
    """Redis with `SETTINGS`, and without rewriting its file meanwhile."""
    directory.mkdir()
    command = ["redis-server", "--port", "0", "--unixsocket", str(directory / "redis.sock"),
               "--dir", str(directory), "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
               "--auto-aof-rewrite-percentage", "0"]  # fmt: skip
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket(socket.AF_UNIX) as asked, contextlib.suppress(OSError):
                asked.connect(str(directory / "redis.sock"))
                break
            time.sleep(0.05)
        yield Redis(directory, process)
    finally:
        process.terminate()
        process.wait()
