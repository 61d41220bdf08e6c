"""What goes wrong with a partner's SFTP server, in codes that say whether trying again can help."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncssh

from counterfoil.errors import CounterfoilError
from counterfoil.points.files.remote_files import shown


class SftpError(CounterfoilError):
    """A partner's server could not be reached or did not do what was asked. `permanent`: nor will it."""

    def __init__(self, code: str, detail: str, *, permanent: bool) -> None:
        super().__init__(detail, code=code)
        self.permanent = permanent
        self.kind = "refused" if permanent else "unavailable"


class StillGrowingError(SftpError):
    """The file changed while it was read: it is not whole. Try again later."""

    def __init__(self, name: str) -> None:
        detail = f"`{shown(name)}` changed while it was read: it is not whole yet."
        super().__init__(code="sftp_still_growing", detail=detail, permanent=False)


def _said(error: Exception) -> str:
    return shown(str(error)).rstrip(".") or type(error).__name__


def of_connecting(error: OSError | asyncssh.Error, where: str) -> SftpError:
    """What an error of connecting, or of the connection, means."""
    match error:
        case TimeoutError():
            detail = f"{where} did not answer in time."
            return SftpError(code="sftp_timed_out", detail=detail, permanent=False)
        case asyncssh.HostKeyNotVerifiable():
            detail = f"{where} shows a host key that is not pinned. Compare its fingerprint with the partner."
            return SftpError(code="sftp_host_key_unknown", detail=detail, permanent=True)
        case asyncssh.KeyExchangeFailed() if "host key" in str(error):
            detail = f"{where} has no host key of a kind that is pinned. Compare its keys with the partner."
            return SftpError(code="sftp_host_key_unknown", detail=detail, permanent=True)
        case asyncssh.KeyExchangeFailed() | asyncssh.ProtocolNotSupported() | asyncssh.ProtocolError():
            detail = f"{where} does not speak SSH as it is spoken today: {_said(error)}."
            return SftpError(code="sftp_not_spoken", detail=detail, permanent=True)
        case asyncssh.PermissionDenied() | asyncssh.IllegalUserName():
            detail = f"{where} does not accept our user name and key. Give the partner our public key."
            return SftpError(code="sftp_sign_in_refused", detail=detail, permanent=True)
        case asyncssh.ChannelOpenError():
            detail = f"{where} let us in but offers no SFTP: {_said(error)}."
            return SftpError(code="sftp_not_spoken", detail=detail, permanent=True)
        case asyncssh.SFTPNoConnection() | asyncssh.SFTPConnectionLost() | asyncssh.DisconnectError():
            detail = f"The connection to {where} was lost: {_said(error)}."
            return SftpError(code="sftp_unreachable", detail=detail, permanent=False)
    detail = f"{where} cannot be reached: {_said(error)}."
    return SftpError(code="sftp_unreachable", detail=detail, permanent=False)


def _of_asking(error: asyncssh.SFTPError, asked: str) -> SftpError:
    """What an answer of the server means; `asked` is what we wanted, as words."""
    match error:
        case asyncssh.SFTPNoSuchFile() | asyncssh.SFTPNoSuchPath() | asyncssh.SFTPNotADirectory():
            detail = f"There is no such file or directory: {asked}."
            return SftpError(code="sftp_missing", detail=detail, permanent=True)
        case asyncssh.SFTPPermissionDenied() | asyncssh.SFTPWriteProtect():
            detail = f"The server does not permit it: {asked}."
            return SftpError(code="sftp_permission_denied", detail=detail, permanent=True)
        case asyncssh.SFTPNoSpaceOnFilesystem() | asyncssh.SFTPQuotaExceeded():
            detail = f"The server's disk is full: {asked}."
            return SftpError(code="sftp_disk_full", detail=detail, permanent=False)
    # Version 3 of the protocol, which nearly all speak, has one code for a full disk and much else.
    detail = f"The server refused: {asked}: {_said(error)}."
    return SftpError(code="sftp_failed", detail=detail, permanent=False)


@contextmanager
def asking(asked: str) -> Iterator[None]:
    """Whatever the server answers in here is told as an `SftpError`."""
    try:
        yield
    except (asyncssh.SFTPNoConnection, asyncssh.SFTPConnectionLost):
        raise  # `connect` knows with whom
    except asyncssh.SFTPError as error:
        raise _of_asking(error, asked) from error
