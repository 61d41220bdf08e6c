"""How a process comes to its connection with the supervisor, which is its use of the server."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from counterfoil.db.embedded import binaries, homes, supervisor


def join_or_start(
    base: Path, settings: Mapping[str, str], timeout: float, leaving: threading.Event
) -> socket.socket:
    """A connection to a supervisor whose server is ready."""
    end = time.monotonic() + timeout
    silent = 0
    while time.monotonic() < end and not leaving.is_set():
        connection = join(base)
        if connection is None:
            connection = _start(base, settings)
            silent += connection is not None
        if connection is not None:
            try:
                answer = greeting(connection, end, leaving)
                if answer is not None and "error" not in answer:
                    return connection
            except BaseException:
                connection.close()
                raise
            connection.close()
            if answer is not None:
                raise homes.unavailable(base, answer["error"], answer["log"])
            if silent == 3:
                raise homes.unavailable(base, "The database's supervisor ended without a word.")
        leaving.wait(0.02)
    raise homes.unavailable(base, f"The embedded database was not ready within {timeout:g} s.")


def join(base: Path) -> socket.socket | None:
    """A connection to the supervisor that runs already."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(1)
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


def _start(base: Path, settings: Mapping[str, str]) -> socket.socket | None:
    """Starts a supervisor, unless a process of an earlier one still lives; gives a connection to it."""
    ours, theirs = socket.socketpair()
    with theirs, contextlib.ExitStack() as failing:
        failing.callback(ours.close)
        try:
            lock = os.open(base / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _spawn(base, settings, lock, theirs)
            finally:
                os.close(lock)
        except BlockingIOError:
            return None
        except OSError as error:
            raise homes.unavailable(base, f"The database cannot start: {error}", []) from error
        failing.pop_all()
        return ours


def _spawn(base: Path, settings: Mapping[str, str], lock: int, user: socket.socket) -> None:
    uid, gid = binaries.server_user(base / "data")
    job = {
        "base": str(base),
        "bin": str(binaries.directory(uid)),
        "settings": {**settings, "dynamic_shared_memory_type": homes.shared_memory()},
        "lock": lock,
        "user": user.fileno(),
        "uid": uid,
        "gid": gid,
    }
    with (base / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", supervisor.__file__, json.dumps(job)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(lock, user.fileno()),
            start_new_session=True,
            cwd="/",
        )
    # It may outlive our use of it, and somebody has to take its exit status.
    threading.Thread(target=process.wait, name="counterfoil-reaper", daemon=True).start()


def greeting(connection: socket.socket, end: float, leaving: threading.Event) -> dict[str, Any] | None:
    """The supervisor's one line. None where it went away without one, or we do, or the time is up."""
    line = b""
    while not line.endswith(b"\n"):
        connection.settimeout(max(min(end - time.monotonic(), 0.2), 0.01))
        try:
            part = connection.recv(65536)
        except TimeoutError:
            if leaving.is_set() or time.monotonic() >= end:
                return None
            continue
        except OSError:
            return None
        if not part:
            return None
        line += part
    connection.settimeout(None)
    answer: dict[str, Any] = json.loads(line)
    return answer
