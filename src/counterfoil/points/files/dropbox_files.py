"""What a partner sees of our drop box over SFTP: two directories that are on no disk.

`/incoming` takes files; what is in it are the uploads of this SFTP session that are not whole yet.
`/responses` gives the partner's response files. Nothing else exists, and every operation of the protocol is
answered here: none reaches the file system of the server.
"""

from __future__ import annotations

import asyncio
import os
import posixpath
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Never, cast
from uuid import uuid4

import asyncssh
import structlog
from asyncssh.constants import FXF_APPEND, FXF_CREAT, FXF_EXCL, FXF_TRUNC, FXF_WRITE

from counterfoil.errors import CounterfoilError, NotFoundError
from counterfoil.points.files.dropbox_visit import (
    INCOMING,
    RESPONSES,
    Marker,
    Response,
    Upload,
    Visit,
    directory_attributes,
    file_attributes,
    place,
)
from counterfoil.points.files.remote_files import is_unfinished, why_unsafe

MARKER: Final = ".done"
MOST_READ_BYTES: Final = 256 * 1024
MOST_UNSENT_BYTES: Final = 4 * 1024 * 1024
"""A client that asks but does not read its answers waits from here on: its answers are in our memory."""
_TAKEN_REMEMBERED: Final = 100

log = structlog.get_logger(__name__)


class DropboxFiles(asyncssh.SFTPServer):
    """One SFTP session of a partner. asyncssh asks one thing after the other, never two at once.

    A file is whole when it is renamed to a name that does not say the contrary, or when an empty
    `NAME.done` is written after `NAME`. What is not whole when the session ends is dropped.
    """

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], visit: Visit) -> None:
        super().__init__(channel)
        self._visit = visit
        self._uploads: dict[str, Upload] = {}
        self._reading: set[Response] = set()
        self._taken: dict[str, int] = {}
        """Names and sizes of what this session has dropped whole: some clients look for it afterwards."""
        visit.sessions.add(self)

    @asynccontextmanager
    async def _work(self) -> AsyncIterator[None]:
        """Around every operation: the pace, the idle clock, and errors that say no more than they should."""
        visit = self._visit
        visit.busy += 1
        try:
            # Nobody is told when what is to be sent grows less: it is looked at again.
            while self.channel.get_write_buffer_size() > MOST_UNSENT_BYTES and not visit.lost:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            if visit.lost:  # what it had still asked for is of no use to anybody
                raise asyncssh.SFTPConnectionLost("The connection has ended.")
            yield
        except asyncssh.SFTPError:
            raise
        except NotFoundError as error:
            raise asyncssh.SFTPNoSuchFile(error.detail) from error
        except CounterfoilError as error:
            raise asyncssh.SFTPFailure(error.detail) from error
        except Exception as error:
            log.exception("the drop box failed", user=visit.user)
            raise asyncssh.SFTPFailure("Something failed on our side. Try again later.") from error
        finally:
            visit.busy -= 1
            visit.last_at = asyncio.get_running_loop().time()
            if visit.lost:
                self.dispose()

    def _discard(self, upload: Upload) -> None:
        """Give an upload up, or let go of one that is stored."""
        if self._uploads.get(upload.file_name) is upload:
            del self._uploads[upload.file_name]
            self._visit.usage.files -= 1
            self._visit.usage.spooled_bytes -= upload.size
        upload.close()
        upload.path.unlink(missing_ok=True)

    def dispose(self) -> None:
        """Drop what is not whole. Asked again, it does nothing."""
        for upload in list(self._uploads.values()):
            log.warning("dropped an upload that was not whole", user=self._visit.user, name=upload.file_name)
            self._discard(upload)
        for response in list(self._reading):
            self._put_down(response)
        self._visit.sessions.discard(self)

    def _put_down(self, response: Response) -> None:
        if response in self._reading:
            self._reading.remove(response)
            self._visit.usage.files -= 1
        response.close()

    def exit(self) -> None:
        """The session has ended."""
        self.dispose()

    def _room(self) -> Path:
        if self._visit.usage.files >= self._visit.limits.files:
            raise asyncssh.SFTPFailure(f"At most {self._visit.limits.files} files at a time.")
        return self._visit.spool / f"{uuid4().hex}.spool"

    async def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:  # noqa: ARG002
        """Begin an upload, a marker or the reading of a response."""
        async with self._work():
            directory, name = place(path)
            writing = pflags & (FXF_WRITE | FXF_APPEND | FXF_CREAT | FXF_TRUNC)
            if not name:
                raise asyncssh.SFTPFailure("It is a directory.")
            if directory == INCOMING and pflags & FXF_WRITE:
                return self._start(name, pflags)
            if directory == INCOMING or writing:
                raise asyncssh.SFTPPermissionDenied("/incoming is for writing, /responses for reading.")
            return await self._read_response(name)

    def _start(self, name: str, pflags: int) -> Upload | Marker:
        unsafe = why_unsafe(name)
        if unsafe is not None:
            raise asyncssh.SFTPFailure(f"The name {unsafe}.")
        if name.endswith(MARKER):
            return Marker(name.removesuffix(MARKER))
        earlier = self._uploads.get(name)
        if pflags & FXF_APPEND or (earlier is not None and not pflags & FXF_TRUNC):
            raise asyncssh.SFTPOpUnsupported("Uploads are not resumed: send the file from its beginning.")
        if not pflags & FXF_CREAT and earlier is None:
            raise asyncssh.SFTPNoSuchFile("There is no such upload.")
        if earlier is not None:
            if pflags & FXF_EXCL or not earlier.closed:
                raise asyncssh.SFTPFailure("There is such an upload already.")
            self._discard(earlier)
        upload = Upload(self._room(), name)
        self._visit.usage.files += 1
        self._uploads[name] = upload
        return upload

    async def _read_response(self, name: str) -> Response:
        if why_unsafe(name) is not None:
            raise asyncssh.SFTPNoSuchFile("There is no such response.")
        response = Response(self._room(), name)
        self._visit.usage.files += 1
        self._reading.add(response)
        try:
            async for piece in self._visit.box.open_response(self._visit.partner, name):
                response.size += response.write(piece)
        except BaseException:
            self._put_down(response)
            raise
        return response

    async def write(self, file_obj: object, offset: int, data: bytes) -> int:
        """Take a piece of an upload. One beyond a limit ends the upload."""
        async with self._work():
            if isinstance(file_obj, Marker):
                file_obj.size += len(data)
                return len(data)
            if not isinstance(file_obj, Upload):
                raise asyncssh.SFTPPermissionDenied("Responses are for reading.")
            if file_obj.closed:
                raise asyncssh.SFTPFailure("This upload was given up.")
            grown = max(0, offset + len(data) - file_obj.size)
            try:
                self._weigh(file_obj.size + grown, grown)
                # In the loop: into the page cache it takes less than handing it to a thread would.
                if os.pwrite(file_obj.fileno(), data, offset) != len(data):
                    raise asyncssh.SFTPFailure("There is no room for the file now. Try again later.")
            except (asyncssh.SFTPError, OSError):
                self._discard(file_obj)
                raise
            file_obj.size += grown
            self._visit.usage.spooled_bytes += grown
            return len(data)

    def _weigh(self, size: int, grown: int) -> None:
        limits = self._visit.limits
        if size > limits.file_bytes:
            raise asyncssh.SFTPFailure(f"The file is larger than {limits.file_bytes} bytes.")
        if self._visit.usage.spooled_bytes + grown > limits.spooled_bytes:
            raise asyncssh.SFTPFailure(f"Unfinished uploads have more than {limits.spooled_bytes} bytes.")

    async def read(self, file_obj: object, offset: int, size: int) -> bytes:
        """Give a piece of a response."""
        async with self._work():
            if not isinstance(file_obj, Response):
                raise asyncssh.SFTPPermissionDenied("/incoming is for writing.")
            data = os.pread(file_obj.fileno(), min(size, MOST_READ_BYTES), offset)
            file_obj.served += len(data)
            return data

    async def close(self, file_obj: object) -> None:
        """End writing or reading. The end of a marker waits until its file is stored by us."""
        if self._visit.lost:
            self.dispose()
            return
        async with self._work():
            match file_obj:
                case Upload():
                    file_obj.close()
                case Response():
                    self._put_down(file_obj)
                    if file_obj.served >= file_obj.size:
                        await self._visit.box.fetched(self._visit.partner, file_obj.file_name)
                case Marker():
                    await self._marked(file_obj)

    async def _marked(self, marker: Marker) -> None:
        if marker.size:
            raise asyncssh.SFTPFailure("A marker is an empty file.")
        upload = self._uploads.get(marker.of)
        if upload is not None and upload.closed:
            await self._whole(upload, marker.of)
        elif marker.of not in self._taken:
            raise asyncssh.SFTPFailure("Send the file before its marker, over the same connection.")

    async def _whole(self, upload: Upload, name: str) -> None:
        """Hand a whole file on. If that fails the upload stays, and can be renamed or marked again."""
        await self._visit.box.received(self._visit.partner, name, upload.path)
        self._taken[name] = upload.size
        if len(self._taken) > _TAKEN_REMEMBERED:
            del self._taken[next(iter(self._taken))]
        self._discard(upload)

    async def _rename(self, old: bytes, new: bytes, *, over: bool) -> None:
        async with self._work():
            (source, name), (target, final) = place(old), place(new)
            if (source, target) != (INCOMING, INCOMING):
                raise asyncssh.SFTPPermissionDenied("Only uploads are renamed, inside /incoming.")
            upload, there = self._uploads.get(name), self._uploads.get(final)
            if upload is None:
                raise asyncssh.SFTPNoSuchFile("There is no such upload on this connection.")
            unsafe = why_unsafe(final)
            if unsafe is not None:
                raise asyncssh.SFTPFailure(f"The name {unsafe}.")
            if is_unfinished(final) or final.endswith(MARKER):
                raise asyncssh.SFTPPermissionDenied("Rename to the name that the file is to have.")
            if not upload.closed or (there not in {None, upload} and not (over and there and there.closed)):
                raise asyncssh.SFTPFailure("One of the two is being written, or is there already.")
            await self._whole(upload, final)
            if there not in {None, upload}:
                assert there is not None
                self._discard(there)

    async def rename(self, oldpath: bytes, newpath: bytes) -> None:
        """Say that an upload is whole. Answered when the file is stored by us."""
        await self._rename(oldpath, newpath, over=False)

    async def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        """As `rename`, in the place of an unfinished upload of that name."""
        await self._rename(oldpath, newpath, over=True)

    async def _attributes(self, path: bytes) -> asyncssh.SFTPAttrs:
        async with self._work():
            directory, name = place(path)
            if not name:
                return directory_attributes(0o500 if directory == RESPONSES else 0o700)
            if directory == RESPONSES:
                for remote in await self._visit.box.list_responses(self._visit.partner):
                    if remote.name == name:
                        return file_attributes(remote.size, remote.modified_at.timestamp())
            elif name in self._uploads:
                return file_attributes(self._uploads[name].size)
            elif name in self._taken:
                return file_attributes(self._taken[name])
            raise asyncssh.SFTPNoSuchFile("There is no such file.")

    async def stat(self, path: bytes) -> asyncssh.SFTPAttrs:
        """What is known of a file or directory."""
        return await self._attributes(path)

    async def lstat(self, path: bytes) -> asyncssh.SFTPAttrs:
        """As `stat`: there are no links."""
        return await self._attributes(path)

    async def fstat(self, file_obj: object) -> asyncssh.SFTPAttrs:
        """What is known of an open file."""
        async with self._work():
            assert isinstance(file_obj, (Upload, Response, Marker))
            return file_attributes(file_obj.size)

    async def setstat(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        """Times and permissions of an upload are taken and not kept; many clients insist on setting them."""
        async with self._work():
            directory, name = place(path)
            if directory != INCOMING or not name or attrs.size is not None:
                raise asyncssh.SFTPPermissionDenied("This cannot be changed.")

    async def lsetstat(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        """As `setstat`: there are no links."""
        await self.setstat(path, attrs)

    async def fsetstat(self, file_obj: object, attrs: asyncssh.SFTPAttrs) -> None:
        """As `setstat`."""
        async with self._work():
            if not isinstance(file_obj, (Upload, Marker)) or attrs.size is not None:
                raise asyncssh.SFTPPermissionDenied("This cannot be changed.")

    async def _listed(self, path: bytes) -> list[asyncssh.SFTPName]:
        async with self._work():
            directory, name = place(path)
            if name:
                raise asyncssh.SFTPNoSuchFile("It is not a directory.")
            if directory == INCOMING:
                mine = self._uploads.items()
                return [asyncssh.SFTPName(n.encode(), attrs=file_attributes(u.size)) for n, u in mine]
            if directory == RESPONSES:
                found = await self._visit.box.list_responses(self._visit.partner)
                written = [(r.name, r.size, r.modified_at.timestamp()) for r in found]
                return [asyncssh.SFTPName(n.encode(), attrs=file_attributes(s, t)) for n, s, t in written]
            return [
                asyncssh.SFTPName(INCOMING.encode(), attrs=directory_attributes(0o700)),
                asyncssh.SFTPName(RESPONSES.encode(), attrs=directory_attributes(0o500)),
            ]

    async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        """The entries of a directory."""
        for name in await self._listed(path):
            yield name

    async def realpath(self, path: bytes) -> bytes:
        """The path that a path means."""
        async with self._work():
            return posixpath.join("/", *filter(None, place(path))).encode()

    async def remove(self, path: bytes) -> None:
        """Give an upload up. Responses stay."""
        async with self._work():
            directory, name = place(path)
            upload = self._uploads.get(name) if directory == INCOMING else None
            if upload is not None:
                self._discard(upload)
            elif directory == RESPONSES:
                raise asyncssh.SFTPPermissionDenied("Responses stay; there is no need to remove them.")
            else:
                raise asyncssh.SFTPNoSuchFile("There is no such upload on this connection.")

    async def fsync(self, file_obj: object) -> None:  # noqa: ARG002
        """Nothing: that a file is stored is said by the answer to its rename or marker."""
        async with self._work():
            return

    async def _refuse(self, *_: object) -> Never:
        async with self._work():
            raise asyncssh.SFTPPermissionDenied("Files are put into /incoming and read from /responses.")
        raise AssertionError

    open56 = mkdir = rmdir = readlink = symlink = link = cast("Any", _refuse)
    statvfs = fstatvfs = lock = unlock = cast("Any", _refuse)
