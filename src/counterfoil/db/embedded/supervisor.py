"""The small process that owns one embedded PostgreSQL server.

`counterfoil.db.embedded` starts it as a script, detached from the terminal. It uses the standard library
only and imports nothing of Counterfoil, so it starts in a few hundredths of a second.

It holds three things, and the kernel takes all of them back however it ends:

- the **lock**, inherited from whoever started it and handed on to the server and so to every backend: while
  any process that could touch the data directory lives, nobody gets it;
- the **control socket**: one open connection is one user. It answers each with one line of JSON, when the
  server is ready or has failed, and stops the server when the last connection closes;
- the **server**, its child, which the kernel interrupts (a clean, fast shutdown) if this process dies.

Directories reach the server as `/proc/self/fd/N`. The unprivileged user that the server must run as under
root then needs no right to any directory above the data, and no path is too long for a Unix socket.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import json
import locale
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any, Final

LOG_BYTES: Final = 4_000_000
"""The log is set aside at this size, and one older log is kept."""

INITDB_SECONDS: Final = 120.0
FAST_STOP_SECONDS: Final = 60.0
IMMEDIATE_STOP_SECONDS: Final = 10.0

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_libc = ctypes.CDLL(None, use_errno=True)


class StartError(Exception):
    """The server could not be started; the text is for the user."""


class Log:
    """The server's log: a bounded file, and the last lines in memory for error messages."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tail: collections.deque[str] = collections.deque(maxlen=12)

    def write(self, line: str) -> None:
        """Adds a line. A full disk must not stop the server from getting rid of its messages."""
        self.tail.append(line.rstrip())
        with contextlib.suppress(OSError):
            if self.path.exists() and self.path.stat().st_size > LOG_BYTES:
                self.path.replace(self.path.with_suffix(".log.1"))
            with self.path.open("a", encoding="utf-8", errors="replace") as file:
                file.write(line if line.endswith("\n") else line + "\n")

    def follow(self, stream: IO[str]) -> threading.Thread:
        """Copies a stream into the log until it ends."""

        def copy() -> None:
            for line in stream:
                self.write(line)

        thread = threading.Thread(target=copy, daemon=True)
        thread.start()
        return thread


class Server:
    """The PostgreSQL server of one base directory, as our own child."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.base = Path(job["base"])
        self.bin = Path(job["bin"])
        self.settings: dict[str, str] = job["settings"]
        self.lock: int = job["lock"]
        self.user: dict[str, Any] = {}
        if job["uid"] is not None:
            self.user = {"user": job["uid"], "group": job["gid"], "extra_groups": []}
        self.log = Log(self.base / "server.log")
        self.child: subprocess.Popen[str] | None = None
        self.follower: threading.Thread | None = None
        self.data = self.base / "data"

    def start(self) -> subprocess.Popen[str]:
        """Creates the data directory if there is none, and starts the server on it."""
        if not (self.data / "PG_VERSION").exists():
            self._create()
        self._refuse_a_stranger()
        shutil.rmtree(self.base / "run", ignore_errors=True)
        run = self._directory(self.base / "run")
        data = os.open(self.data, os.O_RDONLY | os.O_DIRECTORY)
        # We hold the lock, so the process that wrote this is gone; its number may be another's by now, and
        # the server would then refuse to start.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        options = [word for name, value in self.settings.items() for word in ("-c", f"{name}={value}")]
        self.child = self._popen(
            [str(self.bin / "postgres"), "-D", _fd(data), "-k", _fd(run), *options], (data, run)
        )
        os.close(data)
        os.close(run)
        assert self.child.stdout is not None
        self.follower = self.log.follow(self.child.stdout)
        return self.child

    def is_ready(self) -> bool:
        """Whether the server takes connections."""
        assert self.child is not None
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(self.child.pid) and lines[7].strip() == "ready"

    def stop(self) -> None:
        """Stops the server: cleanly, or else as fast as it must be."""
        for number, seconds in (
            (signal.SIGINT, FAST_STOP_SECONDS),
            (signal.SIGQUIT, IMMEDIATE_STOP_SECONDS),
            (signal.SIGKILL, IMMEDIATE_STOP_SECONDS),
        ):
            end = time.monotonic() + seconds
            while self.child is not None and self.child.poll() is None and time.monotonic() < end:
                # Once more every second: a signal between its fork and its first instructions is lost.
                self.child.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.child.wait(1)
        self._end_orphans()
        if self.follower is not None:
            self.follower.join(1)

    def _end_orphans(self) -> None:
        """Ends backends that outlived a killed server. As subreaper we are their parent now."""
        end = time.monotonic() + IMMEDIATE_STOP_SECONDS
        while time.monotonic() < end:
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            for pid in _children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    def _create(self) -> None:
        """Makes the data directory beside its place and moves it there whole."""
        partial = self.base / "data.partial"
        shutil.rmtree(partial, ignore_errors=True)
        if self.data.exists():
            raise StartError(f"{self.data} exists, but is no PostgreSQL data directory. Move it away.")
        fd = self._directory(partial)
        initdb = str(self.bin / "initdb")
        names = ["--username=counterfoil", "--encoding=UTF8", "--locale-provider=builtin"]
        places = [f"--locale={_libc_locale()}", "--builtin-locale=C.UTF-8"]
        manner = ["--auth=trust", "--no-sync", "--no-instructions"]
        self._run([initdb, "-D", _fd(fd), *names, *places, *manner], fd)
        single = [str(self.bin / "postgres"), "--single", "-F", "-D", _fd(fd), "postgres"]
        self._run(single, fd, "CREATE DATABASE counterfoil\n")
        if self.settings.get("fsync") != "off":
            self._run([initdb, "--sync-only", "-D", _fd(fd)], fd)
        os.close(fd)
        partial.rename(self.data)
        base = os.open(self.base, os.O_RDONLY)
        os.fsync(base)
        os.close(base)

    def _directory(self, path: Path) -> int:
        """Makes a private directory of the server's user and opens it."""
        path.mkdir(mode=0o700)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        if self.user:
            os.fchown(fd, self.user["user"], self.user["group"])
        return fd

    def _refuse_a_stranger(self) -> None:
        """Refuses a data directory on which somebody started a server by hand (its cwd is its data)."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
            same = Path(f"/proc/{pid}/cwd").samefile(self.data)
        except (OSError, ValueError):
            return
        if same:
            raise StartError(f"Process {pid}, not started by Counterfoil, uses {self.data}. Stop it first.")

    def _run(self, command: list[str], fd: int, text: str = "") -> None:
        """Runs a helper of PostgreSQL to its end."""
        child = self._popen(command, (fd,), subprocess.PIPE)
        try:
            output, _ = child.communicate(text, timeout=INITDB_SECONDS)
        except subprocess.TimeoutExpired as error:
            child.kill()
            raise StartError(f"{Path(command[0]).name} did not end in {INITDB_SECONDS:.0f} s.") from error
        for line in output.splitlines():
            self.log.write(line)
        # A single-user server ends well even where its statement failed.
        if child.returncode or "ERROR:" in output:
            raise StartError(f"{Path(command[0]).name} failed.")

    def _popen(
        self, command: list[str], fds: tuple[int, ...], stdin: int = subprocess.DEVNULL
    ) -> subprocess.Popen[str]:
        parent = os.getpid()

        def die_with_parent() -> None:
            # After the change of user, which would clear it.
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
            if os.getppid() != parent:
                os._exit(1)

        return subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            pass_fds=(self.lock, *fds),
            preexec_fn=die_with_parent,  # noqa: PLW1509 (no thread runs yet)
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
            **self.user,
        )


class Users:
    """The open connections to the control socket."""

    def __init__(self, base: Path, first: socket.socket, wakeup: socket.socket) -> None:
        self.path = base / "control"
        self.greeting: dict[str, Any] | None = None
        self.wakeup = wakeup
        self.connections: set[socket.socket] = set()
        self.last: list[socket.socket] = []
        self.path.unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX)
        directory = os.open(base, os.O_RDONLY)
        self.listener.bind(f"{_fd(directory)}/control")
        os.close(directory)
        self.listener.listen(100)
        self.listener.setblocking(False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.selector.register(wakeup, selectors.EVENT_READ)
        self._add(first)

    def wait(self, seconds: float | None) -> None:
        """Waits for somebody to come or go, or for a child to end."""
        for key, _ in self.selector.select(seconds):
            ready = key.fileobj
            assert isinstance(ready, socket.socket)
            if ready is self.listener:
                self.accept()
            elif ready is self.wakeup:
                ready.recv(4096)
            else:
                self._read(ready)

    def accept(self) -> None:
        """Lets in everybody who waits at the door."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._add(self.listener.accept()[0])

    def answer(self, message: dict[str, Any]) -> None:
        """Tells everybody that the server is ready, or why it is not."""
        self.accept()
        self.greeting = message
        for connection in self.connections:
            self._greet(connection)

    def close(self) -> None:
        """Shuts the door, before the server stops: who comes now will start the next one."""
        self.path.unlink(missing_ok=True)
        self.listener.close()

    def _add(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connections.add(connection)
        self.selector.register(connection, selectors.EVENT_READ)
        while self.last:
            self.last.pop().close()
        if self.greeting is not None:
            self._greet(connection)

    def _greet(self, connection: socket.socket) -> None:
        _send(connection, {**(self.greeting or {}), "users": len(self.connections)})

    def _read(self, connection: socket.socket) -> None:
        """Users say nothing: what can be read is that one has gone."""
        with contextlib.suppress(ConnectionError):
            if connection.recv(4096):
                return
        self.selector.unregister(connection)
        self.connections.discard(connection)
        if self.connections:
            connection.close()
        else:  # The last to leave is kept waiting until the server has stopped.
            self.last.append(connection)


def supervise(server: Server, users: Users) -> None:
    """Keeps the server while it has users."""
    child = server.start()
    while child.poll() is None:
        users.wait(0.01 if users.greeting is None else None)
        if not users.connections:
            users.accept()
        if not users.connections:
            return
        if users.greeting is None and server.is_ready():
            users.answer({"pid": child.pid, "supervisor": os.getpid()})
    if users.greeting is None:
        raise StartError(f"The server ended as it started (status {child.returncode}).")


def main(job: dict[str, Any]) -> None:
    """Runs one server for as long as it is used."""
    # It ends with its last user: a signal to a whole service or terminal must not take the server from users
    # who are still finishing their work.
    # (Handlers that do nothing, because a child would inherit SIG_IGN and not hear us either.)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    wakeup, end = socket.socketpair()
    end.setblocking(False)
    signal.set_wakeup_fd(end.fileno(), warn_on_full_buffer=False)
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    os.umask(0o077)
    server = Server(job)
    first = socket.socket(fileno=job["user"])
    users = None
    try:
        users = Users(server.base, first, wakeup)
        supervise(server, users)
    except (StartError, OSError, subprocess.SubprocessError) as error:
        server.stop()
        message = {"error": str(error), "log": list(server.log.tail)}
        if users is None:
            _send(first, message)
        else:
            users.answer(message)
    finally:
        if users is not None:
            users.close()
        server.stop()


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        connection.send(json.dumps(message).encode() + b"\n")


def _fd(number: int) -> str:
    return f"/proc/self/fd/{number}"


def _children() -> list[int]:
    """The processes whose parent we are."""
    me, found = str(os.getpid()), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                if (entry / "stat").read_text().rpartition(")")[2].split()[1] == me:
                    found.append(int(entry.name))
    return found


def _libc_locale() -> str:
    """C.UTF-8 where the C library has it (it helps full-text search), else C. Collation is built in."""
    try:
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    except locale.Error:
        return "C"
    return "C.UTF-8"


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
