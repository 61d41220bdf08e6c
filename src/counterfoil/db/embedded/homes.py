"""What must hold of the embedded server's directory, and what to say where it does not.

All of it is in one directory of our own, `COUNTERFOIL_HOME/postgresql`, which is private to one user:
`lock`, `control` (the supervisor's socket), `data`, `run` (the server's socket) and `server.log`.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from counterfoil.db.embedded import binaries
from counterfoil.errors import UnavailableError

_HINTS: Final = {
    "No space left on device": "The disk is full: free some, or put COUNTERFOIL_HOME on another disk.",
    "shared memory": "There is too little shared memory: raise its limit (in a container: --shm-size).",
    "could not look up effective user ID": "PostgreSQL makes databases only for users that the system knows: "
    "give this user a line in /etc/passwd, run as another, or set DATABASE_URL.",
    "semaphore": "The system gives too few semaphores: raise kernel.sem, or stop other database servers.",
    "Operation not permitted": "This root may not act as another user (it lacks capabilities): "
    "run Counterfoil as an ordinary user.",
    "Permission denied": "The server's user may not use the data directory: check its owner and its mount.",
    "Read-only file system": "COUNTERFOIL_HOME is on a read-only file system: choose another place.",
    "locale": "The system lacks a locale that the data directory was made with: install it.",
}
"""What to do about what the system says, where PostgreSQL passes it on."""

ELSEWHERE: Final = "Set COUNTERFOIL_HOME to a directory of your own, or DATABASE_URL to a server."


def directory(home: Path) -> Path:
    """Where under `home` the embedded server lives."""
    return home.expanduser().absolute() / "postgresql"


def prepare(base: Path) -> None:
    """Makes the directory, private to this user, and checks what is there."""
    try:
        base.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        base.mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise UnavailableError(
            f"The directory {base} cannot be made ({error.strerror}). {ELSEWHERE}",
            code="database_home_unusable",
        ) from error
    check(base)
    found = binaries.data_version(base / "data")
    if found not in {None, binaries.MAJOR}:
        raise UnavailableError(
            f"{base / 'data'} was made by PostgreSQL {found}, and this Counterfoil runs PostgreSQL "
            f"{binaries.MAJOR}. Dump it with the Counterfoil that made it and load it under a new "
            "COUNTERFOIL_HOME (docs/database.md says how).",
            code="database_version_mismatch",
        )


def exists(base: Path) -> bool:
    """Whether there is such a directory. Refuses another user's."""
    try:
        base.lstat()
    except FileNotFoundError:
        return False
    except OSError:
        pass
    check(base)
    return True


def check(base: Path) -> None:
    """Refuses a directory that is another user's: two users cannot share one server."""
    try:
        status = base.lstat()
    except OSError as error:
        raise UnavailableError(
            f"{base} cannot be used ({error.strerror}); you are user {os.geteuid()}. {ELSEWHERE}",
            code="database_home_unusable",
        ) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise UnavailableError(
            f"{base} belongs to user {status.st_uid}, and you are user {os.geteuid()}. "
            f"Run Counterfoil as that user. Or: {ELSEWHERE[0].lower()}{ELSEWHERE[1:]}",
            code="database_home_unusable",
        )
    if stat.S_IMODE(status.st_mode) != 0o700:
        with contextlib.suppress(OSError):  # A read-only file system: the lock will say so.
            base.chmod(0o700)


def unavailable(base: Path, what: str, lines: list[str] | None = None) -> UnavailableError:
    """The error for a server that did not start: what happened, what to do, the last lines of the log."""
    text = "\n".join(log_tail(base) if lines is None else lines)
    hint = next((hint for sign, hint in _HINTS.items() if sign in what + text), "The log may say more.")
    detail = f"{what.rstrip('.')}. {hint} The log is {base / 'server.log'}"
    return UnavailableError(f"{detail}:\n{text}" if text else detail, code="database_not_started")


def log_tail(base: Path, lines: int = 12) -> list[str]:
    """The last lines of the server's log."""
    with contextlib.suppress(OSError), (base / "server.log").open("rb") as log:
        log.seek(-min(8000, log.seek(0, os.SEEK_END)), os.SEEK_END)
        return log.read().decode(errors="replace").splitlines()[-lines:]
    return []


def size_bytes(data: Path) -> int:
    """The size of the data directory. Files may vanish meanwhile."""
    total = 0
    for place, _, names in os.walk(data):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(place) / name).lstat().st_size
    return total


def shared_memory() -> str:
    """`posix` uses /dev/shm, of which a container often has 64 MB: too little for parallel queries."""
    with contextlib.suppress(OSError):
        status = os.statvfs("/dev/shm")
        if status.f_bavail * status.f_frsize >= 256_000_000 and os.access("/dev/shm", os.W_OK):
            return "posix"
    return "mmap"


@contextlib.contextmanager
def reachable(run: Path) -> Iterator[Path]:
    """The socket's directory, or a short link to it where an address or a URL could not hold it.

    That is one of more than 107 bytes, one that is no UTF-8, or one with a character that parts hosts.
    """
    if len(os.fsencode(run / ".s.PGSQL.5432")) <= 107 and not re.search("[,:\udc80-\udcff]", str(run)):
        yield run
        return
    # A directory of our own with a name nobody can foresee: no one else can put anything in its place.
    with tempfile.TemporaryDirectory(prefix="counterfoil-", dir="/tmp", ignore_cleanup_errors=True) as alias:
        link = Path(alias) / "run"
        link.symlink_to(run)
        yield link
