"""Our client against real servers: asyncssh's, and OpenSSH's where it is installed."""

# ruff: noqa: ARG002 - servers that misbehave have the library's signatures.

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import msgspec
import pytest

from counterfoil.errors import CounterfoilError, InvalidError
from counterfoil.points.files import sftp
from counterfoil.points.files.sftp import Server, connect
from counterfoil.points.files.sftp_errors import SftpError, StillGrowingError
from counterfoil.points.files.ssh_keys import fingerprint, make_ssh_key, public_line, read_public_key
from counterfoil.webhooks.addresses import Guard, guard
from tests.points_files.sftp_server import Partner, asyncssh_partner, has_sshd, openssh_partner

LOCAL = guard("127.0.0.0/8")


@pytest.fixture(params=["asyncssh", "openssh"])
def partner(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Partner]:
    if request.param == "openssh" and not has_sshd():
        pytest.skip("OpenSSH's server is not installed")
    with openssh_partner(tmp_path) if request.param == "openssh" else asyncssh_partner(tmp_path) as running:
        yield running


@pytest.fixture
def simple(tmp_path: Path) -> Iterator[Partner]:
    with asyncssh_partner(tmp_path) as running:
        yield running


def changed(server: Server, **changes: Any) -> Server:
    return msgspec.structs.replace(server, **changes)


async def names(partner: Partner, server: Server | None = None) -> list[str]:
    async with connect(server or partner.server, client_key=partner.client_key, guard=LOCAL) as connection:
        return [remote.name for remote in await sftp.list_whole(connection, server or partner.server)]


async def test_only_whole_files_meant_for_us_are_listed_oldest_first(partner: Partner) -> None:
    for number, name in enumerate(("zuerst.pgp", "积分-2026 07.pgp", "b.gpg")):
        (partner.outbox / name).write_bytes(b"x" * number)
        os.utime(partner.outbox / name, (1_000_000 + number, 1_000_000 + number))
    for name in ("half.pgp.part", "half.pgp.tmp", ".hidden.pgp", "readme.txt", "half.pgp.filepart"):
        (partner.outbox / name).write_bytes(b"x")
    async with connect(partner.server, client_key=partner.client_key, guard=LOCAL) as connection:
        listing = await sftp.look(connection, partner.server)
    assert [(r.name, r.size) for r in listing.whole] == [
        ("zuerst.pgp", 0),
        ("积分-2026 07.pgp", 1),
        ("b.gpg", 2),
    ]
    assert listing.whole[0].modified_at.timestamp() == 1_000_000
    assert not listing.ignored


async def test_names_and_things_that_are_not_plain_files_are_left_alone_with_a_reason(
    partner: Partner,
) -> None:
    (partner.outbox / "new\nline.pgp").touch()
    (partner.outbox / "-rf.pgp").touch()
    (partner.outbox / "\u202efdp.pgp").touch()
    (partner.outbox / os.fsdecode(b"\xff\xfe.pgp")).touch()
    (partner.outbox / ("l" * 240 + ".pgp")).touch()
    (partner.outbox / "link.pgp").symlink_to("/etc/passwd")
    (partner.outbox / "directory.pgp").mkdir()
    async with connect(partner.server, client_key=partner.client_key, guard=LOCAL) as connection:
        listing = await sftp.look(connection, partner.server)
    assert not listing.whole
    reasons = {ignored.name: ignored.reason for ignored in listing.ignored}
    assert len(reasons) == 7
    assert all(name.isprintable() and len(name) < 120 for name in reasons)
    assert reasons["link.pgp"] == reasons["directory.pgp"] == "it is not a file"
    assert "characters other than" in reasons["new\\nline.pgp"]
    assert "not UTF-8" in reasons["\\udcff\\udcfe.pgp"]


async def test_with_markers_only_a_file_whose_empty_marker_is_there_is_whole(partner: Partner) -> None:
    for name in ("a.pgp", "a.pgp.done", "b.pgp", "c.pgp"):
        (partner.outbox / name).touch()
    (partner.outbox / "c.pgp.done").write_bytes(b"not empty")
    server = changed(partner.server, complete="marker")
    async with connect(server, client_key=partner.client_key, guard=LOCAL) as connection:
        listing = await sftp.look(connection, server)
    assert [remote.name for remote in listing.whole] == ["a.pgp"]
    assert {ignored.name for ignored in listing.ignored} == {"b.pgp", "c.pgp"}


async def test_a_file_is_fetched_as_it_is(partner: Partner, tmp_path: Path) -> None:
    content = os.urandom(3_000_001)
    (partner.outbox / "a.pgp").write_bytes(content)
    (partner.outbox / "empty.pgp").touch()
    async with connect(partner.server, client_key=partner.client_key, guard=LOCAL) as connection:
        for name in ("a.pgp", "empty.pgp"):
            await sftp.fetch(connection, partner.server, name, tmp_path / name, most_bytes=3_000_001)
    assert (tmp_path / "a.pgp").read_bytes() == content
    assert (tmp_path / "empty.pgp").read_bytes() == b""
    assert (tmp_path / "a.pgp").stat().st_mode & 0o077 == 0


async def test_a_file_that_is_too_large_or_not_there_is_refused_and_nothing_is_left(
    partner: Partner, tmp_path: Path
) -> None:
    (partner.outbox / "a.pgp").write_bytes(b"x" * 101)
    async with connect(partner.server, client_key=partner.client_key, guard=LOCAL) as connection:
        for name, code in (("a.pgp", "sftp_file_too_large"), ("b.pgp", "sftp_missing")):
            with pytest.raises(SftpError) as refused:
                await sftp.fetch(connection, partner.server, name, tmp_path / "target", most_bytes=100)
            assert (refused.value.code, refused.value.permanent) == (code, True)
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("name", ["../in/a.pgp", "/etc/passwd", "..", "", ".a", "a/b", "a\nb", "a\0b"])
async def test_a_name_that_is_not_plain_is_never_asked_for(
    simple: Partner, tmp_path: Path, name: str
) -> None:
    async with connect(simple.server, client_key=simple.client_key, guard=LOCAL) as connection:
        with pytest.raises(InvalidError):
            await sftp.fetch(connection, simple.server, name, tmp_path / "target", most_bytes=100)
        with pytest.raises(InvalidError):
            await sftp.put_away(connection, simple.server, name)
        with pytest.raises(InvalidError):
            await sftp.deliver(connection, simple.server, Path("/etc/hostname"), name)


class Growing(asyncssh.SFTPServer):
    """A server whose file is appended to while it is read."""

    def read(self, file_obj: object, offset: int, size: int) -> Any:
        with Path(self._chroot.decode(), "out", "a.pgp").open("ab") as file:  # type: ignore[union-attr]
            file.write(b"more")
        return super().read(file_obj, offset, size)


class TooMuch(asyncssh.SFTPServer):
    """A server that sends more than it was asked for."""

    def read(self, file_obj: object, offset: int, size: int) -> bytes:
        return b"y" * (size + 1)


class TooLittle(asyncssh.SFTPServer):
    """A server whose file ends before its size."""

    def read(self, file_obj: object, offset: int, size: int) -> bytes:
        return b""


@pytest.mark.parametrize("files", [Growing, TooMuch, TooLittle])
async def test_a_file_that_is_not_what_its_size_said_is_still_growing(
    tmp_path: Path, files: type[asyncssh.SFTPServer]
) -> None:
    with asyncssh_partner(tmp_path, files=files) as partner:
        (partner.outbox / "a.pgp").write_bytes(b"x" * 1000)
        async with connect(partner.server, client_key=partner.client_key, guard=LOCAL) as connection:
            with pytest.raises(StillGrowingError) as error:
                await sftp.fetch(connection, partner.server, "a.pgp", tmp_path / "target", most_bytes=10_000)
    assert not error.value.permanent
    assert not (tmp_path / "target").exists()


async def test_what_we_have_is_put_away_and_again_does_no_harm(partner: Partner) -> None:
    (partner.outbox / "a.pgp").write_bytes(b"new")
    (partner.root / "done" / "a.pgp").write_bytes(b"old")
    async with connect(partner.server, client_key=partner.client_key, guard=LOCAL) as connection:
        for _ in range(2):
            await sftp.put_away(connection, partner.server, "a.pgp")
    assert (partner.root / "done" / "a.pgp").read_bytes() == b"new"
    assert not list(partner.outbox.iterdir())


async def test_putting_away_takes_the_marker_off_also_where_the_file_stays(partner: Partner) -> None:
    server = changed(partner.server, complete="marker", done=None)
    (partner.outbox / "a.pgp").touch()
    (partner.outbox / "a.pgp.done").touch()
    async with connect(server, client_key=partner.client_key, guard=LOCAL) as connection:
        for _ in range(2):
            await sftp.put_away(connection, server, "a.pgp")
    assert [path.name for path in partner.outbox.iterdir()] == ["a.pgp"]
    assert await names(partner, server) == []


async def test_a_missing_directory_is_told_as_such(partner: Partner, tmp_path: Path) -> None:
    (partner.outbox / "a.pgp").touch()
    server = changed(partner.server, done="/nowhere", responses="/nowhere")
    (tmp_path / "response").write_bytes(b"x")
    async with connect(server, client_key=partner.client_key, guard=LOCAL) as connection:
        with pytest.raises(SftpError, match="nowhere") as error:
            await sftp.put_away(connection, server, "a.pgp")
        assert error.value.code == "sftp_missing"
        with pytest.raises(SftpError, match="nowhere") as error:
            await sftp.deliver(connection, server, tmp_path / "response", "r.pgp")
        assert (error.value.code, error.value.permanent) == ("sftp_missing", True)
        nowhere = changed(server, incoming="/nowhere")
        with pytest.raises(SftpError, match="to list `/nowhere`"):
            await sftp.list_whole(connection, nowhere)


@pytest.mark.parametrize("complete", ["rename", "marker"])
async def test_a_response_is_delivered_whole_and_again_replaces_itself(
    partner: Partner, tmp_path: Path, complete: str
) -> None:
    server = changed(partner.server, complete=complete)
    source = tmp_path / "response"
    async with connect(server, client_key=partner.client_key, guard=LOCAL) as connection:
        for content in (b"first" * 50_000, b"second"):
            source.write_bytes(content)
            await sftp.deliver(connection, server, source, "r.pgp")
            assert (partner.inbox / "r.pgp").read_bytes() == content
    marker = {"r.pgp.done"} if complete == "marker" else set()
    assert {path.name for path in partner.inbox.iterdir()} == {"r.pgp"} | marker


class Plain(asyncssh.SFTPServer):
    """A server of the protocol as it was: it renames over nothing, and syncs nothing."""

    def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        raise asyncssh.SFTPOpUnsupported("no")

    def fsync(self, file_obj: object) -> None:
        raise asyncssh.SFTPOpUnsupported("no")


async def test_a_server_that_renames_over_nothing_gets_its_response_again_all_the_same(
    tmp_path: Path,
) -> None:
    with asyncssh_partner(tmp_path, files=Plain) as partner:
        async with connect(partner.server, client_key=partner.client_key, guard=LOCAL) as connection:
            for content in (b"first", b"second"):
                (tmp_path / "response").write_bytes(content)
                await sftp.deliver(connection, partner.server, tmp_path / "response", "r.pgp")
        assert {p.name: p.read_bytes() for p in partner.inbox.iterdir()} == {"r.pgp": b"second"}


class Short(asyncssh.SFTPServer):
    """A server that loses the end of what it is given."""

    def write(self, file_obj: object, offset: int, data: bytes) -> Any:
        return super().write(file_obj, offset, data[:-1])


class Full(asyncssh.SFTPServer):
    """A server whose disk is full, and who says so as version 3 can."""

    def write(self, file_obj: object, offset: int, data: bytes) -> int:
        raise asyncssh.SFTPNoSpaceOnFilesystem("full")


class Denied(asyncssh.SFTPServer):
    """A server that lets nobody write."""

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> Any:
        raise asyncssh.SFTPPermissionDenied("no")


@pytest.mark.parametrize(
    ("files", "code"), [(Short, "sftp_failed"), (Full, "sftp_failed"), (Denied, "sftp_permission_denied")]
)
async def test_a_response_that_did_not_arrive_whole_is_never_given_its_name(
    tmp_path: Path, files: type[asyncssh.SFTPServer], code: str
) -> None:
    (tmp_path / "response").write_bytes(b"x" * 1000)
    with asyncssh_partner(tmp_path, files=files) as partner:
        async with connect(partner.server, client_key=partner.client_key, guard=LOCAL) as connection:
            with pytest.raises(SftpError) as error:
                await sftp.deliver(connection, partner.server, tmp_path / "response", "r.pgp")
        assert error.value.code == code
        assert not (partner.inbox / "r.pgp").exists()


async def refused(server: Server, client_key: str, **limits: float) -> SftpError:
    with pytest.raises(SftpError) as error:
        async with connect(server, client_key=client_key, guard=LOCAL, **limits):
            pytest.fail("connected")
    return error.value


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256"])
async def test_a_host_key_that_is_not_pinned_is_never_trusted(simple: Partner, kind: str) -> None:
    other = asyncssh.generate_private_key(kind)
    error = await refused(changed(simple.server, host_keys=[public_line(other)]), simple.client_key)
    assert (error.code, error.permanent) == ("sftp_host_key_unknown", True)


async def test_any_of_several_pinned_keys_will_do_so_that_they_can_be_changed(simple: Partner) -> None:
    next_key = make_ssh_key("next")[1]
    both = changed(simple.server, host_keys=[next_key, *simple.server.host_keys])
    assert await names(simple, both) == []


async def test_an_rsa_host_key_is_pinned_as_well_as_any(tmp_path: Path) -> None:
    with asyncssh_partner(tmp_path, host_kind="ssh-rsa") as partner:
        assert await names(partner) == []


async def test_a_key_that_they_do_not_know_is_refused_for_good(partner: Partner) -> None:
    error = await refused(partner.server, make_ssh_key("other")[0])
    assert (error.code, error.permanent) == ("sftp_sign_in_refused", True)


async def test_nobody_there_is_worth_another_try(simple: Partner) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        error = await refused(changed(simple.server, port=taken.getsockname()[1]), simple.client_key)
    assert (error.code, error.permanent) == ("sftp_unreachable", False)
    error = await refused(changed(simple.server, host="no-such-host.invalid"), simple.client_key)
    assert (error.code, error.permanent) == ("sftp_unreachable", False)


async def test_a_server_that_says_nothing_is_given_up(simple: Partner) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        server = changed(simple.server, port=silent.getsockname()[1])
        error = await refused(server, simple.client_key, timeout_seconds=0.2)
    assert (error.code, error.permanent) == ("sftp_timed_out", False)


class Stuck(asyncssh.SFTPServer):
    """A server that never comes to the end of a directory."""

    async def stat(self, path: bytes) -> Any:
        await asyncio.Event().wait()


async def test_all_that_is_done_with_a_server_has_an_end(tmp_path: Path) -> None:
    with asyncssh_partner(tmp_path, files=Stuck) as partner, pytest.raises(SftpError) as error:
        async with connect(
            partner.server, client_key=partner.client_key, guard=LOCAL, whole_seconds=0.5
        ) as connection:
            await connection.files.stat("/out")
    assert (error.value.code, error.value.permanent) == ("sftp_timed_out", False)


class Gone(asyncssh.SFTPServer):
    """A server that hangs up when it is asked."""

    def stat(self, path: bytes) -> Any:
        self.connection.abort()


async def test_a_connection_that_breaks_is_worth_another_try(tmp_path: Path) -> None:
    with asyncssh_partner(tmp_path, files=Gone) as partner, pytest.raises(SftpError) as error:
        async with connect(partner.server, client_key=partner.client_key, guard=LOCAL) as connection:
            await connection.files.stat("/out")
    assert (error.value.code, error.value.permanent) == ("sftp_unreachable", False)


async def test_errors_of_our_own_side_are_not_blamed_on_the_partner(simple: Partner, tmp_path: Path) -> None:
    (simple.outbox / "a.pgp").touch()
    target = tmp_path / "no" / "directory"
    async with connect(simple.server, client_key=simple.client_key, guard=LOCAL) as connection:
        with pytest.raises(FileNotFoundError):
            await sftp.fetch(connection, simple.server, "a.pgp", target, most_bytes=1)
    with pytest.raises(FileNotFoundError, match="ours"):
        async with connect(simple.server, client_key=simple.client_key, guard=LOCAL):
            raise FileNotFoundError("ours")


async def test_nothing_is_called_in_our_own_network_unless_the_settings_allow_it(simple: Partner) -> None:
    for host in ("127.0.0.1", "localhost", "::1"):
        server = msgspec.structs.replace(simple.server, host=host)
        with pytest.raises(SftpError) as error:
            async with connect(server, client_key=simple.client_key, guard=Guard()):
                pytest.fail("connected")
        assert (error.value.code, error.value.permanent) == ("sftp_host_forbidden", True)
        with pytest.raises(SftpError) as error:
            await sftp.scan_host_keys(host, simple.server.port, guard=Guard())
        assert error.value.code == "sftp_host_forbidden"


async def test_a_host_is_looked_up_once_and_the_next_address_is_tried(simple: Partner) -> None:
    asked = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["127.0.0.77", "127.0.0.1"]

    server = msgspec.structs.replace(simple.server, host="files.bank.example")
    around = Guard(networks=LOCAL.networks, resolve=resolve)
    async with connect(server, client_key=simple.client_key, guard=around) as connection:
        assert await sftp.list_whole(connection, server) == []
    assert asked == [("files.bank.example", server.port)]


async def test_the_keys_of_a_server_are_shown_to_be_compared(partner: Partner) -> None:
    keys = await sftp.scan_host_keys(partner.server.host, partner.server.port, guard=LOCAL)
    assert keys == [public_line(read_public_key(partner.server.host_keys[0]))]
    assert fingerprint(keys[0]).startswith("SHA256:")


async def test_a_scan_of_nothing_says_so(simple: Partner) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(SftpError) as error:
            await sftp.scan_host_keys("127.0.0.1", taken.getsockname()[1], guard=LOCAL)
    assert error.value.code == "sftp_unreachable"


@pytest.mark.parametrize("line", ["", "ssh-ed25519", "nonsense", "ssh-ed25519 AAAA", "-----BEGIN"])
def test_what_is_no_public_key_is_refused_with_what_to_give(line: str) -> None:
    with pytest.raises(InvalidError) as error:
        read_public_key(line)
    assert error.value.code == "ssh_key_invalid"


def test_short_rsa_keys_and_old_kinds_are_not_accepted() -> None:
    short = asyncssh.generate_private_key("ssh-rsa", key_size=1024)
    with pytest.raises(InvalidError, match="2048"):
        read_public_key(public_line(short))
    with pytest.raises(InvalidError, match="ssh-ed448"):
        read_public_key(public_line(asyncssh.generate_private_key("ssh-ed448")))


def test_a_server_without_a_pinned_key_cannot_be_described() -> None:
    described = {"host": "h", "user": "u", "host_keys": [], "incoming": "/out", "responses": "/in"}
    with pytest.raises(msgspec.ValidationError, match="host_keys"):
        msgspec.convert(described, Server)
    with pytest.raises(msgspec.ValidationError, match="as one line"):
        msgspec.convert({**described, "host_keys": ["SHA256:abc"]}, Server)


async def test_a_private_key_that_is_none_is_a_word_to_the_operator(simple: Partner) -> None:
    with pytest.raises(CounterfoilError) as error:
        async with connect(simple.server, client_key="nonsense", guard=LOCAL):
            pytest.fail("connected")
    assert error.value.code == "ssh_key_invalid"


def test_the_comment_of_a_key_may_be_in_any_script() -> None:
    _, public = make_ssh_key("云岭茶馆")
    assert public.endswith(" 云岭茶馆")
    assert fingerprint(public) == fingerprint(public_line(read_public_key(public)))
    with pytest.raises(InvalidError):
        read_public_key("\ud800")
