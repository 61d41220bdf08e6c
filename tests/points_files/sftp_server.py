"""A partner's SFTP server: a real one over a directory, in a thread of its own or as OpenSSH's `sshd`."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from counterfoil.points.files.sftp import Server
from counterfoil.points.files.ssh_keys import make_ssh_key

SSHD = "/usr/sbin/sshd"


@dataclass(frozen=True, slots=True)
class Partner:
    """A running server, the directory that it serves, and the key with which we sign in."""

    server: Server
    root: Path
    client_key: str

    @property
    def outbox(self) -> Path:
        """Where they put files for us."""
        return self.root / "out"

    @property
    def inbox(self) -> Path:
        """Where we put responses."""
        return self.root / "in"


def _directories(root: Path) -> None:
    for name in ("out", "in", "done"):
        (root / name).mkdir(parents=True, exist_ok=True)


@contextmanager
def asyncssh_partner(
    home: Path, *, files: Callable[..., asyncssh.SFTPServer] | None = None, host_kind: str = "ssh-ed25519"
) -> Iterator[Partner]:
    """Asyncssh in a thread with a loop of its own. `files` can answer in another way than the library."""
    root = home / "partner"
    _directories(root)
    private, public = make_ssh_key("counterfoil")
    host_key = asyncssh.generate_private_key(host_kind)
    ready, started = threading.Event(), []

    def serve(channel: asyncssh.SSHServerChannel[bytes]) -> asyncssh.SFTPServer:
        return (files or asyncssh.SFTPServer)(channel, chroot=os.fsencode(root))

    async def run() -> None:
        acceptor = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[host_key],
            authorized_client_keys=asyncssh.import_authorized_keys(public),
            sftp_factory=serve,
            config=None,
        )
        stop = asyncio.Event()
        started.append((acceptor.get_port(), asyncio.get_running_loop(), stop))
        ready.set()
        await stop.wait()
        acceptor.close()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    ready.wait()
    port, loop, stop = started[0]
    try:
        line = host_key.export_public_key("openssh").decode()
        yield Partner(_described(port, "counterfoil", line, "/"), root, private)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def _described(port: int, user: str, host_key: str, base: str) -> Server:
    base = base.rstrip("/")
    return Server(
        host="127.0.0.1",
        port=port,
        user=user,
        host_keys=[host_key],
        incoming=f"{base}/out",
        responses=f"{base}/in",
        done=f"{base}/done",
    )


_CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {home}/host_key
AuthorizedKeysFile {home}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
"""


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def openssh_partner(home: Path) -> Iterator[Partner]:
    """OpenSSH's own server with `internal-sftp`, as the user who runs the tests."""
    root = home / "partner"
    _directories(root)
    private, public = make_ssh_key("counterfoil")
    host_private, host_public = make_ssh_key("host")
    (home / "host_key").write_text(host_private)
    (home / "host_key").chmod(0o600)
    (home / "authorized_keys").write_text(public + "\n")
    port = _free_port()
    (home / "sshd_config").write_text(_CONFIG.format(port=port, home=home))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    log = home / "sshd.log"
    command = [SSHD, "-D", "-f", str(home / "sshd_config"), "-E", str(log)]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        _wait_for(port, process, log)
        user = os.environ.get("USER") or subprocess.check_output(["id", "-un"], text=True).strip()
        yield Partner(_described(port, user, host_public, str(root)), root, private)
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    while True:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            raise RuntimeError(log.read_text())


def has_sshd() -> bool:
    """Whether OpenSSH's server can be started here."""
    return shutil.which(SSHD) is not None
