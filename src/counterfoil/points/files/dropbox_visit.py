"""Who visits our drop box, what they may take of us, and what stands behind it."""

from __future__ import annotations

import posixpath
import stat
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, Final, Protocol

import asyncssh

from counterfoil.points.files.remote_files import Remote

INCOMING: Final = "incoming"
RESPONSES: Final = "responses"


class Session(Protocol):
    """An SFTP session of a connection."""

    def dispose(self) -> None:
        """Drop what is not whole."""


class Box(Protocol):
    """What stands behind the drop box. `partner` is whatever `authorize` gave.

    A `CounterfoilError` is told to the partner by its detail; any other error only that something failed.
    """

    async def authorize(self, user: str, public_key: str) -> object | None:
        """The partner of this user name and public key (its kind and key, no comment); None refuses."""

    async def list_responses(self, partner: Any) -> Sequence[Remote]:
        """The response files that this partner may read."""

    def open_response(self, partner: Any, name: str) -> AsyncIterator[bytes]:
        """A response file of this partner, in pieces. `NotFoundError`."""

    async def received(self, partner: Any, name: str, path: Path) -> None:
        """A whole file was dropped. It is at `path` until this returns; only then is the partner told.

        It can come again, from a partner who did not hear the answer.
        """

    async def fetched(self, partner: Any, name: str) -> None:
        """A response was read to its end and closed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one partner may take of us, and all of them together."""

    file_bytes: int = 1 << 30
    """Of one file."""
    spooled_bytes: int = 2 << 30
    """Of all unfinished uploads of a partner."""
    files: int = 16
    """Of a partner: unfinished uploads and responses being read."""
    connections: int = 4
    """Of a partner. Each may have as many SFTP sessions."""
    all_connections: int = 200
    """Signed in or not."""
    idle_seconds: float = 300
    sign_in_seconds: float = 20


@dataclass(slots=True)
class Usage:
    """What a partner takes of us now, over all its connections."""

    connections: int = 0
    files: int = 0
    spooled_bytes: int = 0


@dataclass(slots=True)
class Visit:
    """A connection of a partner that has signed in."""

    box: Box
    partner: object
    user: str
    usage: Usage
    limits: Limits
    spool: Path
    sessions: set[Session] = field(default_factory=set)
    busy: int = 0
    """Operations that are being worked on."""
    last_at: float = 0
    """When the last operation ended, on the loop's clock."""
    lost: bool = False


class Upload(FileIO):
    """A file that is being dropped. `closed` is said by the client: nothing more will be written."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(path, "xb")
        self.path, self.file_name = path, name
        self.size = 0


class Response(FileIO):
    """A response that is being read: a copy of ours, without a name in the file system."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(path, "x+b")
        path.unlink()
        self.file_name, self.size, self.served = name, 0, 0


@dataclass(slots=True)
class Marker:
    """An empty file that says of another one that it is whole."""

    of: str
    size: int = 0


def place(path: bytes) -> tuple[str, str]:
    """The directory and the name that a path means; both are empty for the root."""
    try:
        parts = posixpath.normpath("/" + path.decode()).strip("/").split("/")
    except UnicodeDecodeError as error:
        raise asyncssh.SFTPNoSuchFile("Names are in UTF-8.") from error
    if len(parts) > 2 or parts[0] not in {"", INCOMING, RESPONSES}:
        raise asyncssh.SFTPNoSuchFile("There are /incoming and /responses, and files in them.")
    return parts[0], parts[1] if len(parts) == 2 else ""


def directory_attributes(permissions: int) -> asyncssh.SFTPAttrs:
    """What is told of a directory."""
    return asyncssh.SFTPAttrs(permissions=stat.S_IFDIR | permissions, size=0)


def file_attributes(size: int, written_at: float | None = None) -> asyncssh.SFTPAttrs:
    """What is told of a file; `written_at` in seconds since 1970."""
    when = None if written_at is None else int(written_at)
    return asyncssh.SFTPAttrs(permissions=stat.S_IFREG | 0o600, size=size, atime=when, mtime=when)
