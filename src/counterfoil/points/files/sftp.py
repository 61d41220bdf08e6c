"""The client of a partner's SFTP server: what is whole there, fetching it, delivering ours.

The network only: no database and no transaction. Every failure is an `SftpError` with a stable code that
says whether trying again can help.

The server's host keys are pinned: there is no trust on first use, and nothing is read from an agent, from
`~/.ssh` or from any configuration of OpenSSH.

A merchant's own programs say where a server is. So it must not lead into our own network, as webhooks must
not: the name is looked up once, all of its addresses are checked, and the connection goes to a checked one.
Who reaches partners by a private line allows these networks in the settings.
"""

from __future__ import annotations

import asyncio
import fnmatch
import os
import posixpath
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal

import asyncssh
import msgspec
from asyncssh.constants import FILEXFER_TYPE_REGULAR, FILEXFER_TYPE_UNKNOWN

from counterfoil.errors import InvalidError
from counterfoil.points.files.remote_files import (
    Ignored,
    Listing,
    Remote,
    is_unfinished,
    shown,
    why_unsafe,
)
from counterfoil.points.files.sftp_errors import SftpError, StillGrowingError, asking, of_connecting
from counterfoil.points.files.ssh_keys import (
    HOST_KEY_KINDS,
    STRONG,
    public_line,
    read_private_key,
    read_public_key,
    ways_to_sign,
)
from counterfoil.webhooks.addresses import Guard, allowed

MOST_ENTRIES: Final = 10_000
"""Entries of a directory that are looked at; a server that lists more does not fill our memory."""
BLOCK_BYTES: Final = 64 * 1024
BLOCKS_AT_ONCE: Final = 32
"""Asked for at once: 2 MiB of memory. asyncssh alone would ask for 128 blocks of as much as 4 MiB."""
KEEPALIVE_SECONDS: Final = 15
"""A server that answers three of them in a row not at all is gone."""


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A partner's SFTP server as an operator describes it. Directories are paths over there."""

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    user: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    host_keys: Annotated[list[str], msgspec.Meta(min_length=1, max_length=10)]
    """Public keys, one a line as OpenSSH writes them. Any of them is trusted, nothing else."""
    incoming: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
    """Where they put files for us."""
    responses: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
    """Where we put our responses."""
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 22
    complete: Literal["rename", "marker"] = "rename"
    """What makes a file whole: its name, or an empty file beside it, written last."""
    marker: Annotated[str, msgspec.Meta(pattern=r"^\.[A-Za-z0-9_-]{1,20}$")] = ".done"
    """What is added to a file's name for the name of its marker."""
    pattern: Annotated[str, msgspec.Meta(min_length=1, max_length=500)] = "*.pgp, *.gpg, *.asc"
    """Which names are meant for us: shell patterns, with commas between."""
    done: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)] | None = None
    """Where files go that we have; None leaves them where they are."""

    def __post_init__(self) -> None:
        """A key that cannot be used is told when the server is described, not when it is called."""
        for line in self.host_keys:
            try:
                read_public_key(line)
            except InvalidError as error:
                raise ValueError(error.detail) from error


@dataclass(frozen=True, slots=True)
class Connection:
    """An open SFTP session with a partner's server."""

    ssh: asyncssh.SSHClientConnection
    files: asyncssh.SFTPClient


async def _addresses(host: str, port: int, guard: Guard) -> list[str]:
    """Where to connect to, all of them allowed."""
    try:
        found = await allowed(host, port, guard=guard)
    except UnicodeError as error:
        raise OSError("This is no name of a host.") from error
    if found is None:
        detail = "The host has an address that is not one of the public internet."
        raise SftpError(code="sftp_host_forbidden", detail=detail, permanent=True)
    return found


async def _sign_in(server: Server, client_key: str, guard: Guard) -> Connection:
    failed: Exception = OSError("The name has no address.")
    for address in await _addresses(server.host, server.port, guard):
        try:
            return await _sign_in_at(address, server, client_key)
        except OSError as error:
            failed = error
    raise failed


async def _sign_in_at(address: str, server: Server, client_key: str) -> Connection:
    pinned = [read_public_key(line) for line in server.host_keys]
    ssh = await asyncssh.connect(
        address,
        server.port,
        username=server.user,
        client_keys=[read_private_key(client_key)],
        known_hosts=(pinned, [], []),
        server_host_key_algs=ways_to_sign(pinned),
        preferred_auth="publickey",
        keepalive_interval=KEEPALIVE_SECONDS,
        config=None,
        agent_path=None,
        gss_host=None,
        **STRONG,
    )
    try:
        # Names that are not UTF-8 are told one by one, not as an error of the whole directory.
        return Connection(ssh, await ssh.start_sftp_client(path_errors="surrogateescape"))
    except BaseException:
        ssh.abort()
        raise


async def _hang_up(ssh: asyncssh.SSHClientConnection) -> None:
    ssh.close()
    try:
        async with asyncio.timeout(5):
            await ssh.wait_closed()
    except TimeoutError:
        ssh.abort()


@asynccontextmanager
async def connect(
    server: Server,
    *,
    client_key: str,
    guard: Guard,
    timeout_seconds: float = 30,
    whole_seconds: float = 3600,
) -> AsyncIterator[Connection]:
    """A session with a partner's server, signed in with our private key. `SftpError`.

    `guard` says where it may be. `timeout_seconds` for connecting and signing in; `whole_seconds` for all
    that is done inside.
    """
    where = f"{server.host}:{server.port}"
    try:
        async with asyncio.timeout(timeout_seconds):
            connection = await _sign_in(server, client_key, guard)
    except (OSError, asyncssh.Error) as error:
        raise of_connecting(error, where) from error
    everything = asyncio.timeout(whole_seconds)
    try:
        async with everything:
            yield connection
    except asyncssh.Error as error:
        raise of_connecting(error, where) from error
    except TimeoutError as error:
        if not everything.expired():
            raise
        raise of_connecting(error, where) from error
    finally:
        await _hang_up(connection.ssh)


async def scan_host_keys(
    host: str, port: int = 22, *, guard: Guard, timeout_seconds: float = 30
) -> list[str]:
    """The host keys that a server shows, for an operator to compare (`fingerprint`). Trusts none of them."""
    found: list[str] = []
    failed: OSError | asyncssh.Error | None = None
    # A kind at a time: a server shows one key for each connection. No key of ours is offered.
    alone = asyncssh.SSHClientConnectionOptions(config=None, client_keys=None, agent_path=None)
    try:
        async with asyncio.timeout(timeout_seconds):
            (address, *_) = await _addresses(host, port, guard)
            for ways in HOST_KEY_KINDS.values():
                try:
                    key = await asyncssh.get_server_host_key(
                        address, port, config=None, options=alone, server_host_key_algs=list(ways)
                    )
                    found += [public_line(key)] if key is not None else []
                except (asyncssh.KeyExchangeFailed, asyncssh.ConnectionLost, ConnectionResetError) as error:
                    failed = error  # it has none of this kind; some servers just hang up
    except (OSError, asyncssh.Error) as error:
        raise of_connecting(error, f"{host}:{port}") from error
    if failed is not None and not found:
        raise of_connecting(failed, f"{host}:{port}") from failed
    return found


def _at(directory: str, name: str) -> str:
    """A path over there; a name that could leave the directory never comes as far as this."""
    reason = why_unsafe(name)
    if reason is not None:
        raise InvalidError(f"The name `{shown(name)}` {reason}.", code="partner_file_name_invalid")
    return posixpath.join(directory, name)


async def _entries(connection: Connection, directory: str) -> list[asyncssh.SFTPName]:
    found: list[asyncssh.SFTPName] = []
    with asking(f"to list `{directory}`"):
        async for entry in connection.files.scandir(directory):
            found.append(entry)
            if len(found) > MOST_ENTRIES:
                detail = f"`{directory}` has more than {MOST_ENTRIES} entries; move old ones away."
                raise SftpError(code="sftp_too_many_files", detail=detail, permanent=True)
    return found


def _why_not(name: str, attributes: asyncssh.SFTPAttrs, markers: set[str], server: Server) -> str | None:
    """Why a file that matches the pattern is left alone; None if it is whole and plain."""
    unsafe = why_unsafe(name)
    if unsafe is not None:
        return f"its name {unsafe}"
    if attributes.type not in {FILEXFER_TYPE_REGULAR, FILEXFER_TYPE_UNKNOWN}:
        return "it is not a file"
    if attributes.size is None:
        return "the server does not say how large it is"
    if server.complete == "marker" and name + server.marker not in markers:
        return f"its empty marker `{name}{server.marker}` is not there"
    return None


async def look(connection: Connection, server: Server) -> Listing:
    """What the partner has put for us: whole files, oldest first, and what is left alone, with reasons.

    What does not match the pattern, and what is being written under a name that says so, is not told.
    """
    found = {str(entry.filename): entry.attrs for entry in await _entries(connection, server.incoming)}
    patterns = [pattern.strip() for pattern in server.pattern.split(",")]
    markers = {name for name, attributes in found.items() if attributes.size == 0}
    listing = Listing([], [])
    for name, attributes in found.items():
        meant = any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
        if is_unfinished(name) or not meant or name.endswith(server.marker):
            continue
        reason = _why_not(name, attributes, markers, server)
        if reason is None:
            written = datetime.fromtimestamp(attributes.mtime or 0, UTC)
            listing.whole.append(Remote(name, attributes.size or 0, written))
        else:
            listing.ignored.append(Ignored(shown(name), reason))
    listing.whole.sort(key=lambda remote: (remote.modified_at, remote.name))
    return listing


async def list_whole(connection: Connection, server: Server) -> list[Remote]:
    """The whole files that the partner has put for us, oldest first."""
    return (await look(connection, server)).whole


async def fetch(connection: Connection, server: Server, name: str, target: Path, *, most_bytes: int) -> None:
    """Bring a file into `target`, which must not be there yet, in bounded memory.

    `SftpError` for one larger than `most_bytes`; `StillGrowingError` for one whose size or time is another
    after reading than before. After an error nothing is left at `target`.
    """
    path = _at(server.incoming, name)
    with asking(f"to read `{shown(name)}`"):
        before = await connection.files.stat(path)
        size = before.size or 0
        if size > most_bytes:
            detail = f"`{shown(name)}` has {size} bytes; {most_bytes} are the most that is taken."
            raise SftpError(code="sftp_file_too_large", detail=detail, permanent=True)
        local = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
        try:
            async with connection.files.open(
                path, "rb", block_size=BLOCK_BYTES, max_requests=BLOCKS_AT_ONCE
            ) as file:
                await _copy(file, local, size, name)
            after = await connection.files.stat(path)
            if (after.size, after.mtime) != (before.size, before.mtime):
                raise StillGrowingError(name)
        except BaseException:
            target.unlink()  # noqa: ASYNC240 - one system call
            raise
        finally:
            os.close(local)


async def _copy(file: asyncssh.SFTPClientFile, local: int, size: int, name: str) -> None:
    """Blocks come in any order. A hostile server could send more than it was asked for."""
    copied = 0
    async for offset, block in await file.read_parallel(size, 0):
        if offset + len(block) > size:
            raise StillGrowingError(name)
        # In the loop: into the page cache it takes less than handing it to a thread would.
        os.pwrite(local, block, offset)
        copied += len(block)
    if copied != size:
        raise StillGrowingError(name)


async def put_away(connection: Connection, server: Server, name: str) -> None:
    """Once we have a file: take its marker off, and move it to `done`. Asked again, it does no harm."""
    path = _at(server.incoming, name)
    if server.complete == "marker":
        # First: a marker that outlived its file would call the next one whole while it is written.
        with asking(f"to remove the marker of `{name}`"), suppress(asyncssh.SFTPNoSuchFile):
            await connection.files.remove(path + server.marker)
    if server.done is None:
        return
    with asking(f"to move `{name}` to `{server.done}`"):
        try:
            await _replace(connection, path, _at(server.done, name))
        except asyncssh.SFTPNoSuchFile:
            if await connection.files.exists(path):
                raise


async def _replace(connection: Connection, old: str, new: str) -> None:
    """Rename over whatever has the name. Atomic, where the server can do so."""
    try:
        await connection.files.posix_rename(old, new)
    except asyncssh.SFTPOpUnsupported:
        # Plain SFTP renames over nothing. For a moment there is no file, but never half a file.
        if await connection.files.exists(old):
            with suppress(asyncssh.SFTPNoSuchFile):
                await connection.files.remove(new)
        await connection.files.rename(old, new)


async def deliver(connection: Connection, server: Server, source: Path, name: str) -> None:
    """Put a response where the partner expects it, whole: as `NAME.part`, compared, then renamed to `NAME`.

    Delivered again it replaces the file of that name in one step. With markers, the marker is written last.
    """
    path = _at(server.responses, name)
    part = path + ".part"
    with asking(f"to write `{name}` to `{server.responses}`"):
        await connection.files.put(
            str(source), part, sparse=False, block_size=BLOCK_BYTES, max_requests=BLOCKS_AT_ONCE
        )
        await _to_disk(connection, part)
        size, sent = (await connection.files.stat(part)).size, source.stat().st_size  # noqa: ASYNC240
        if size != sent:
            detail = f"The server has {size} of the {sent} bytes of `{name}`."
            raise SftpError(code="sftp_failed", detail=detail, permanent=False)
        await _replace(connection, part, path)
        if server.complete == "marker":
            async with await connection.files.open(path + server.marker, "wb"):
                pass


async def _to_disk(connection: Connection, path: str) -> None:
    """Ask for what was written to be on the disk; many servers cannot, or may not open it again."""
    with suppress(asyncssh.SFTPOpUnsupported, asyncssh.SFTPFailure, asyncssh.SFTPPermissionDenied):
        async with await connection.files.open(path, "r+b") as file:
            await file.fsync()
