"""The embedded database: a real PostgreSQL server of our own, for whoever has set no `DATABASE_URL`.

    with running(home) as url: ...
    async with running(home) as url: ...

Any number of processes may do so at once; they share one server, which stops when the last of them leaves or
dies. If the server is killed, the processes that still use it start it again at the same address.
See `docs/database.md` and `docs/decisions/0002-embedded-postgresql.md`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote

from counterfoil.db.embedded import binaries, homes
from counterfoil.db.embedded.connection import greeting, join, join_or_start
from counterfoil.errors import UnavailableError

_MIB: Final = 1 << 20


def _memory_bytes() -> int:
    """The memory that there is for this machine or container."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        most = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return whole
    return min(whole, int(most)) if most.isdecimal() else whole


SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": "5432",
    "cluster_name": "counterfoil",
    "max_connections": "100",
    # Pages that are not in it are copied in for each look, and changed ones written out to make room.
    "shared_buffers": f"{min(max(_memory_bytes() // 8 // _MIB, 128), 2048)}MB",
    "effective_cache_size": f"{max(_memory_bytes() // 2 // _MIB, 256)}MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "4GB",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_lock_waits": "on",
    "log_line_prefix": "%m [%p] %a ",
}
"""What the server runs with, suited to two cores. `fsync` and `synchronous_commit` keep their default: on.

A page that is changed for the first time after a checkpoint is written into the log whole. Vouchers change
pages all over, so checkpoints are kept rare, and the pages are not compressed: that took longer than writing.
"""

FAST_FOR_TESTS: Final[Mapping[str, str]] = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
}
"""For data that may be lost when the machine stops: tests, on `/dev/shm`."""

STOP_SECONDS: Final = 90.0
"""How long leaving waits at most, if it is the last to leave. The supervisor needs at most 80."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Info:
    """An embedded server, as `counterfoil db info` shows it. `pid` is None while it does not run."""

    version: str
    data_directory: Path
    size_bytes: int
    log: Path
    users: int = 0
    pid: int | None = None
    supervisor_pid: int | None = None


def running(home: Path, *, tuning: Mapping[str, str] | None = None, timeout: float = 120.0) -> Running:
    """Uses the embedded server under `home`, as a context manager (plain or async) that gives its URL.

    `home` is made if it is not there. `tuning` is laid over `SETTINGS` if it is this call that starts the
    server. The URL (`postgresql://counterfoil@/counterfoil?host=..&port=..`) suits asyncpg and libpq as it
    is, and SQLAlchemy with `postgresql+asyncpg:` in front. It holds as long as the context; a child process
    may use it as long; every other process calls `running` itself.

    Raises `UnavailableError` where there is no server after `timeout` seconds, or can be none.
    """
    return Running(home, tuning or {}, timeout)


class Running:
    """One use of the server. A thread waits for its end, and starts it again if it ends while in use."""

    def __init__(self, home: Path, tuning: Mapping[str, str], timeout: float) -> None:
        self._base = homes.directory(home)
        self._settings = {**SETTINGS, **tuning}
        self._timeout = timeout
        self._leaving = threading.Event()
        self._connection: socket.socket | None = None
        self._watcher: threading.Thread | None = None
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> str:
        homes.prepare(self._base)
        with contextlib.ExitStack() as stack:
            host = stack.enter_context(homes.reachable(self._base / "run"))
            self._connection = self._connect()
            self._cleanup = stack.pop_all()
        self._watcher = threading.Thread(target=self._watch, name="counterfoil-embedded", daemon=True)
        self._watcher.start()
        return f"postgresql://counterfoil@/counterfoil?host={quote(str(host))}&port=5432"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        self._hang_up()
        with self._cleanup:
            if self._watcher is not None:
                self._watcher.join(STOP_SECONDS)
                if self._watcher.is_alive():
                    _logger.warning("the embedded database has not stopped in %.0f s", STOP_SECONDS)

    async def __aenter__(self) -> str:
        entering = asyncio.ensure_future(asyncio.to_thread(self.__enter__))
        try:
            return await asyncio.shield(entering)
        except asyncio.CancelledError:
            self._leaving.set()
            with contextlib.suppress(UnavailableError):
                await entering
            await self.__aexit__(None, None, None)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.shield(asyncio.to_thread(self.__exit__, kind, error, trace))

    def _connect(self) -> socket.socket:
        return join_or_start(self._base, self._settings, self._timeout, self._leaving)

    def _hang_up(self) -> None:
        """Says that we leave. The supervisor closes in answer; to the last, when the server has stopped."""
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)

    def _watch(self) -> None:
        while self._connection is not None:
            since = time.monotonic()
            with self._connection as connection, contextlib.suppress(OSError):
                while connection.recv(4096):
                    pass
            self._connection = None
            # A server that dies as soon as it is up must not be started without a pause.
            pause = 0.0 if time.monotonic() - since > 5 else 0.5
            while self._connection is None and not self._leaving.wait(pause):
                try:
                    self._connection = self._connect()
                    _logger.warning("the embedded database had stopped; it was started again")
                except UnavailableError as error:
                    pause = min(pause * 2 + 0.5, 10.0)
                    _logger.warning("the embedded database is down; trying again: %s", error)
            if self._leaving.is_set():
                self._hang_up()


def info(home: Path) -> Info:
    """What is known of the embedded server under `home`. Makes and starts nothing; blocks for up to 5 s."""
    base = homes.directory(home)
    state: dict[str, Any] = {}
    if homes.exists(base):
        connection = join(base)
        if connection is not None:
            with connection:
                state = greeting(connection, time.monotonic() + 5, threading.Event()) or {}
    return Info(
        version=binaries.version(),
        data_directory=base / "data",
        size_bytes=homes.size_bytes(base / "data"),
        log=base / "server.log",
        users=max(state.get("users", 1) - 1, 0),
        pid=state.get("pid"),
        supervisor_pid=state.get("supervisor"),
    )
