"""Our own SFTP server, into which partners drop their files and from which they take their responses.

Public keys only; no passwords, no shell, no commands, no forwarding: nothing but SFTP. What partners see is
in `dropbox_files.py`; what stands behind it the caller gives as a `Box`.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncssh
from asyncssh.constants import DISC_TOO_MANY_CONNECTIONS

from counterfoil.points.files.dropbox_files import DropboxFiles
from counterfoil.points.files.dropbox_visit import Box, Limits, Usage, Visit
from counterfoil.points.files.ssh_keys import STRONG, public_line, read_private_key

__all__ = ["Box", "Limits", "serve_dropbox"]

KEEPALIVE_SECONDS: Final = 15
_LEAVING_SECONDS: Final = 10
"""For what is being stored when the server stops."""


@dataclass(slots=True)
class _House:
    """What all connections share."""

    box: Box
    limits: Limits
    spool: Path
    doors: set[_Door] = field(default_factory=set)
    usage: defaultdict[str, Usage] = field(default_factory=lambda: defaultdict(Usage))
    """By user name."""


class _Door(asyncssh.SSHServer):
    """One connection: who it is, and when it has been idle for too long."""

    def __init__(self, house: _House) -> None:
        self._house = house
        self._partner: object | None = None
        self.visit: Visit | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.connection = conn
        self._house.doors.add(self)
        conn.set_extra_info(door=self)
        if len(self._house.doors) > self._house.limits.all_connections:
            asyncio.get_running_loop().call_soon(conn.abort)

    def public_key_auth_supported(self) -> bool:
        return True

    async def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Asked for each key that is offered; the last one is the one whose signature is then verified."""
        self._partner = await self._house.box.authorize(username, public_line(key))
        return self._partner is not None

    def auth_completed(self) -> None:
        house, user = self._house, str(self.connection.get_extra_info("username"))
        usage = house.usage[user]
        if usage.connections >= house.limits.connections:
            self.connection.disconnect(DISC_TOO_MANY_CONNECTIONS, "You have too many connections.")
            return
        usage.connections += 1
        now = asyncio.get_running_loop().time()
        self.visit = Visit(house.box, self._partner, user, usage, house.limits, house.spool, last_at=now)
        self._watch(self.visit)

    def _watch(self, visit: Visit) -> None:
        """Look again when the connection could have been idle for too long; if it was, end it."""
        loop = asyncio.get_running_loop()
        left = self._house.limits.idle_seconds - (loop.time() - visit.last_at)
        if visit.lost:
            return
        if left > 0 or visit.busy:
            loop.call_later(max(left, 1), self._watch, visit)
        else:
            self.connection.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._house.doors.discard(self)
        visit = self.visit
        if visit is None or visit.lost:
            return
        visit.lost = True
        visit.usage.connections -= 1
        if not visit.busy:  # else the operation does it when it ends: it may be storing an upload
            for session in list(visit.sessions):
                session.dispose()


async def _session(channel: asyncssh.SSHServerChannel[bytes]) -> DropboxFiles:
    visit = channel.get_extra_info("door").visit
    if visit is None or visit.lost or len(visit.sessions) >= visit.limits.connections:
        raise asyncssh.DisconnectError(DISC_TOO_MANY_CONNECTIONS, "You have too many sessions.")
    return DropboxFiles(channel, visit)


@asynccontextmanager
async def serve_dropbox(
    box: Box, *, host: str, port: int, host_keys: Sequence[str], spool: Path, limits: Limits | None = None
) -> AsyncIterator[int]:
    """Serve the drop box while the block runs; gives the port, which is a free one for port 0.

    `host_keys`: private keys as `make_ssh_key` gives them, one of a kind. `spool` is a directory of this
    server alone for what is not whole yet: what an earlier one left there is removed.
    """
    limits, place = limits or Limits(), spool / "uploads"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True, mode=0o700)
    house = _House(box, limits, place)
    acceptor = await asyncssh.listen(
        host,
        port,
        server_factory=lambda: _Door(house),
        server_host_keys=[read_private_key(key) for key in host_keys],
        sftp_factory=_session,
        password_auth=False,
        kbdint_auth=False,
        host_based_auth=False,
        gss_host=None,
        x509_trusted_certs=None,
        agent_forwarding=False,
        allow_pty=False,
        config=None,
        compression_algs=None,
        login_timeout=limits.sign_in_seconds,
        keepalive_interval=KEEPALIVE_SECONDS,
        server_version="counterfoil",
        **STRONG,
    )
    try:
        yield acceptor.get_port()
    finally:
        acceptor.close()
        await _see_off(house)
        await acceptor.wait_closed()
        shutil.rmtree(place, ignore_errors=True)


async def _see_off(house: _House) -> None:
    """End all connections, after what is being stored: its partner shall hear that it was."""
    visits = [door.visit for door in house.doors if door.visit is not None]
    end = asyncio.get_running_loop().time() + _LEAVING_SECONDS
    while any(v.busy for v in visits) and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    for door in list(house.doors):
        door.connection.abort()
        await door.connection.wait_closed()
