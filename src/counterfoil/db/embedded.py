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
import fcntl
import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote

from ..errors import UnavailableError
from . import embedded_binaries, embedded_supervisor

SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": "5432",
    "cluster_name": "counterfoil",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "8MB",
    "maintenance_work_mem": "128MB",
    "wal_compression": "on",
    "max_wal_size": "2GB",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}
"""What the server runs with, suited to two cores. `fsync` and `synchronous_commit` keep their default: on."""

FAST_FOR_TESTS: Final[Mapping[str, str]] = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "64MB",
}
"""For data that may be lost when the machine stops: tests, on `/dev/shm`."""

STOP_SECONDS: Final = 90.0
_SUN_PATH: Final = 107
_HINTS: Final = (
    (
        "No space left on device",
        "The disk is full: free some, or put COUNTERFOIL_HOME on another disk.",
    ),
    (
        "shared memory",
        "There is too little shared memory: raise its limit (in a container: --shm-size).",
    ),
    ("semaphore", "The system gives too few semaphores: raise kernel.sem, or stop other database servers."),
    ("locale", "The system lacks a locale that the data directory was made with: install it."),
    ("Permission denied", "The server's user may not use the data directory: check its owner and its mount."),
    ("Read-only file system", "COUNTERFOIL_HOME is on a read-only file system: choose another place."),
)
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
    """Uses the embedded server under `home`, as a context manager that gives its URL.

    `home` is made if it is not there. `tuning` adds to `SETTINGS` if it is this call that starts the server.
    The URL (`postgresql://counterfoil@/counterfoil?host=..&port=..`) suits asyncpg and libpq as it is, and
    SQLAlchemy with `postgresql+asyncpg:` in front. Every process that uses it calls `running` itself.

    Raises `UnavailableError` where there is no server after `timeout` seconds, or can be none.
    """
    return Running(home, tuning or {}, timeout)


class Running:
    """One use of the server. For `with` and for `async with`."""

    def __init__(self, home: Path, tuning: Mapping[str, str], timeout: float) -> None:
        self._base = home.expanduser().absolute() / "postgresql"
        self._settings = {**SETTINGS, **tuning}
        self._timeout = timeout
        self._leaving = threading.Event()
        self._connection: socket.socket | None = None
        self._watcher: threading.Thread | None = None
        self._alias: Path | None = None

    def __enter__(self) -> str:
        _prepare(self._base)
        self._connection = _join_or_start(self._base, self._settings, self._timeout, self._leaving)
        self._watcher = threading.Thread(target=self._watch, name="counterfoil-embedded", daemon=True)
        self._watcher.start()
        return f"postgresql://counterfoil@/counterfoil?host={quote(str(self._host()))}&port=5432"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
        if self._watcher is not None:
            self._watcher.join(STOP_SECONDS)
        if self._watcher is not None and self._watcher.is_alive():
            _logger.warning("the embedded database did not stop within %.0f s", STOP_SECONDS)
        if self._alias is not None:
            shutil.rmtree(self._alias, ignore_errors=True)

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

    def _watch(self) -> None:
        """Waits until the server ends. If that is not because we leave, starts it again."""
        while True:
            connection = self._connection
            assert connection is not None
            with contextlib.suppress(OSError):
                while connection.recv(4096):
                    pass
            connection.close()
            pause = 0.0
            while not self._leaving.wait(pause):
                try:
                    self._connection = _join_or_start(
                        self._base, self._settings, self._timeout, self._leaving
                    )
                    break
                except (UnavailableError, OSError) as error:
                    pause = min(pause * 2 + 0.5, 10.0)
                    _logger.warning("the embedded database is down, trying again: %s", error)
            else:
                return
            _logger.warning("the embedded database had stopped and was started again")
            if self._leaving.is_set():
                with contextlib.suppress(OSError):
                    self._connection.shutdown(socket.SHUT_WR)

    def _host(self) -> Path:
        """The socket's directory, or a short link to it where a URL or a socket address cannot hold it."""
        run = self._base / "run"
        if len(os.fsencode(run / ".s.PGSQL.5432")) <= _SUN_PATH and not re.search(r"[,:]", str(run)):
            return run
        self._alias = Path(tempfile.mkdtemp(prefix="counterfoil-", dir="/tmp"))
        (self._alias / "run").symlink_to(run)
        return self._alias / "run"


def info(home: Path) -> Info:
    """What is known of the embedded server under `home`. Starts and makes nothing."""
    base = home.expanduser().absolute() / "postgresql"
    data = base / "data"
    version, size, state = embedded_binaries.version(), 0, {}
    if base.exists():
        _check(base)
        size = _size(data)
        connection = _join(base)
        if connection is not None:
            with connection:
                state = _greeting(connection, time.monotonic() + 5) or {}
    return Info(
        version=version,
        data_directory=data,
        size_bytes=size,
        log=base / "server.log",
        users=max(state.get("users", 1) - 1, 0),
        pid=state.get("pid"),
        supervisor_pid=state.get("supervisor"),
    )


def _join_or_start(
    base: Path, settings: Mapping[str, str], timeout: float, leaving: threading.Event
) -> socket.socket:
    """A connection to a supervisor whose server is ready."""
    end = time.monotonic() + timeout
    failed = 0
    while time.monotonic() < end and not leaving.is_set():
        starter = None
        connection = _join(base)
        if connection is None:
            started = _start(base, settings)
            if started is not None:
                connection, starter = started
        if connection is not None:
            greeting = _greeting(connection, end)
            if greeting is not None and "error" not in greeting:
                return connection
            connection.close()
            if greeting is not None:
                raise _unavailable(base, greeting["error"], greeting["log"])
            failed += starter is not None
            if failed >= 3:
                raise _unavailable(base, "The database's supervisor ended without a word.", _tail(base))
        leaving.wait(0.02)
    raise _unavailable(base, f"The embedded database was not ready within {timeout:.0f} s.", _tail(base))


def _join(base: Path) -> socket.socket | None:
    """A connection to the supervisor that runs already."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(5)
    try:
        directory = os.open(base, os.O_RDONLY | os.O_DIRECTORY)
        try:
            connection.connect(f"/proc/self/fd/{directory}/control")
        finally:
            os.close(directory)
    except OSError:
        connection.close()
        return None
    return connection


def _start(base: Path, settings: Mapping[str, str]) -> tuple[socket.socket, subprocess.Popen[bytes]] | None:
    """Starts a supervisor, unless any process of an earlier one still lives."""
    lock = os.open(base / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    ours, theirs = socket.socketpair()
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        uid, gid = embedded_binaries.server_user(base / "data")
        job = {
            "base": str(base),
            "bin": str(embedded_binaries.directory(uid, base)),
            "settings": {**settings, "dynamic_shared_memory_type": _shared_memory()},
            "lock": lock,
            "user": theirs.fileno(),
            "uid": uid,
            "gid": gid,
        }
        with (base / "server.log").open("ab") as log:
            starter = subprocess.Popen(
                [sys.executable, "-I", "-S", embedded_supervisor.__file__, json.dumps(job)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(lock, theirs.fileno()),
                start_new_session=True,
                cwd="/",
            )
    except BlockingIOError:
        ours.close()
        return None
    except BaseException:
        ours.close()
        raise
    finally:
        os.close(lock)
        theirs.close()
    # It may outlive our use of it: somebody has to take its exit status.
    threading.Thread(target=starter.wait, name="counterfoil-reaper", daemon=True).start()
    return ours, starter


def _greeting(connection: socket.socket, end: float) -> dict[str, Any] | None:
    """The supervisor's one line. None where it went away without one."""
    line = b""
    try:
        while not line.endswith(b"\n"):
            connection.settimeout(max(end - time.monotonic(), 0.01))
            part = connection.recv(65536)
            if not part:
                return None
            line += part
    except OSError:
        return None
    connection.settimeout(None)
    answer: dict[str, Any] = json.loads(line)
    return answer


def _prepare(base: Path) -> None:
    """Makes the base directory, private to this user, and checks what is there."""
    try:
        base.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        base.mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise UnavailableError(
            f"The data directory {base.parent} cannot be made or used ({error.strerror}). "
            "Set COUNTERFOIL_HOME to a directory that you own, or DATABASE_URL to a server.",
            code="database_home_unusable",
        ) from error
    _check(base)
    found = embedded_binaries.data_version(base / "data")
    if found not in (None, embedded_binaries.MAJOR):
        raise UnavailableError(
            f"{base / 'data'} was made by PostgreSQL {found}, but this version of Counterfoil runs "
            f"{embedded_binaries.MAJOR}. Dump it with the version of Counterfoil that made it and load it "
            "into a new COUNTERFOIL_HOME (see docs/database.md).",
            code="database_version_mismatch",
        )


def _check(base: Path) -> None:
    try:
        owner = base.lstat().st_uid
        fine = owner == os.geteuid() and base.is_dir() and not base.is_symlink()
        if fine:
            base.chmod(0o700)
    except OSError:
        fine, owner = False, -1
    if not fine:
        raise UnavailableError(
            f"{base} belongs to {'user ' + str(owner) if owner >= 0 else 'another user'}, and you are user "
            f"{os.geteuid()}. Run Counterfoil as that user, or set COUNTERFOIL_HOME to your own directory.",
            code="database_home_unusable",
        )


def _unavailable(base: Path, what: str, lines: list[str]) -> UnavailableError:
    text = "\n".join(lines)
    hint = next((hint for sign, hint in _HINTS if sign in text + what), "The log says more.")
    detail = f"{what} {hint} Log: {base / 'server.log'}"
    return UnavailableError(detail + (f"\n{text}" if text else ""), code="database_not_started")


def _tail(base: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return (base / "server.log").read_text(errors="replace").splitlines()[-12:]
    return []


def _shared_memory() -> str:
    """`posix` uses /dev/shm, of which a container often has 64 MB: too little for parallel queries."""
    try:
        status = os.statvfs("/dev/shm")
        roomy = status.f_bavail * status.f_frsize >= 256_000_000 and os.access("/dev/shm", os.W_OK)
    except OSError:
        roomy = False
    return "posix" if roomy else "mmap"


def _size(data: Path) -> int:
    total = 0
    for directory, _, names in os.walk(data):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(directory) / name).lstat().st_size
    return total
