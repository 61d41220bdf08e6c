"""Our drop box, with asyncssh's client, OpenSSH's `sftp`, and clients that mean no good."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import asyncssh
import pytest
import structlog
from asyncssh.constants import FXF_CREAT, FXF_READ, FXF_WRITE, FXP_INIT, FXP_OPEN, FXP_READ

from counterfoil.errors import NotFoundError, RefusedError
from counterfoil.points.files import sftp
from counterfoil.points.files.dropbox import Limits, serve_dropbox
from counterfoil.points.files.dropbox_files import MOST_READ_BYTES, MOST_UNSENT_BYTES, DropboxFiles
from counterfoil.points.files.remote_files import Remote
from counterfoil.points.files.ssh_keys import make_ssh_key, public_line, read_private_key, read_public_key
from counterfoil.webhooks.addresses import guard

AT = datetime(2026, 7, 1, tzinfo=UTC)
BANK, SHOP = make_ssh_key("bank"), make_ssh_key("shop")
HOST = make_ssh_key("drop box")


@dataclass
class MemoryBox:
    """A box that keeps everything in memory, for two partners."""

    users: dict[str, str] = field(
        default_factory=lambda: {
            name: public_line(read_public_key(key[1])) for name, key in (("bank", BANK), ("shop", SHOP))
        }
    )
    responses: dict[tuple[str, str], bytes] = field(default_factory=dict)
    files: list[tuple[str, str, bytes]] = field(default_factory=list)
    read: list[tuple[str, str]] = field(default_factory=list)
    fails: Exception | None = None
    waits: asyncio.Event | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def authorize(self, user: str, public_key: str) -> str | None:
        return user if self.users.get(user) == public_key else None

    async def list_responses(self, partner: str) -> list[Remote]:
        return [
            Remote(name, len(content), AT)
            for (owner, name), content in self.responses.items()
            if owner == partner
        ]

    async def open_response(self, partner: str, name: str) -> AsyncIterator[bytes]:
        if (partner, name) not in self.responses:
            raise NotFoundError("There is no such response.")
        content = self.responses[partner, name]
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]

    async def received(self, partner: str, name: str, path: Path) -> None:
        self.asked.set()
        if self.waits is not None:
            await self.waits.wait()
        if self.fails is not None:
            raise self.fails
        self.files.append((partner, name, await asyncio.to_thread(path.read_bytes)))

    async def fetched(self, partner: str, name: str) -> None:
        self.read.append((partner, name))


@dataclass
class Served:
    box: MemoryBox
    port: int
    spool: Path

    def spooled(self) -> list[Path]:
        return [path for path in self.spool.rglob("*") if path.is_file()]

    async def sign_in(self, user: str = "bank", key: tuple[str, str] = BANK) -> asyncssh.SSHClientConnection:
        return await asyncssh.connect(
            "127.0.0.1",
            self.port,
            username=user,
            client_keys=[read_private_key(key[0])],
            known_hosts=([read_public_key(HOST[1])], [], []),
            config=None,
            agent_path=None,
        )

    @asynccontextmanager
    async def client(
        self, user: str = "bank", key: tuple[str, str] = BANK
    ) -> AsyncIterator[asyncssh.SFTPClient]:
        async with await self.sign_in(user, key) as connection, connection.start_sftp_client() as files:
            yield files


@asynccontextmanager
async def serving(spool: Path, **limits: float) -> AsyncIterator[Served]:
    box = MemoryBox()
    chosen = Limits(**limits)  # type: ignore[arg-type]
    async with serve_dropbox(
        box, host="127.0.0.1", port=0, host_keys=[HOST[0]], spool=spool, limits=chosen
    ) as port:
        yield Served(box, port, spool)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path / "spool") as running:
        yield running


async def put(files: asyncssh.SFTPClient, path: str, content: bytes) -> None:
    async with files.open(path, "wb") as file:
        await file.write(content)


async def until_nothing_is_spooled(served: Served) -> None:
    while served.spooled():  # noqa: ASYNC110 - there is no event of a file's being gone
        await asyncio.sleep(0.01)


async def test_a_file_is_received_when_it_is_renamed_and_not_before(served: Served, tmp_path: Path) -> None:
    content = os.urandom(2_000_000)
    (tmp_path / "source").write_bytes(content)
    async with served.client() as files:
        await files.put(str(tmp_path / "source"), "/incoming/积分 1.pgp.part")
        assert await files.listdir("/incoming") == ["积分 1.pgp.part"]
        assert await files.getsize("/incoming/积分 1.pgp.part") == len(content)
        assert not served.box.files
        await files.rename("/incoming/积分 1.pgp.part", "/incoming/积分 1.pgp")
        assert served.box.files == [("bank", "积分 1.pgp", content)]
        assert await files.getsize("/incoming/积分 1.pgp") == len(content)
        assert await files.listdir("/incoming") == []
    assert not served.spooled()


async def test_a_file_is_received_when_its_empty_marker_is_written(served: Served) -> None:
    async with served.client() as files:
        await put(files, "/incoming/a.pgp", b"content")
        assert not served.box.files
        await put(files, "/incoming/a.pgp.done", b"")
        assert served.box.files == [("bank", "a.pgp", b"content")]


async def test_a_marker_after_a_rename_changes_nothing(served: Served) -> None:
    async with served.client() as files:
        await put(files, "/incoming/a.part", b"content")
        await files.posix_rename("/incoming/a.part", "/incoming/a.pgp")
        await put(files, "/incoming/a.pgp.done", b"")
    assert len(served.box.files) == 1


async def test_a_marker_with_something_in_it_or_before_its_file_is_refused(served: Served) -> None:
    async with served.client() as files:
        with pytest.raises(asyncssh.SFTPFailure, match="before its marker"):
            await put(files, "/incoming/a.pgp.done", b"")
        await put(files, "/incoming/a.pgp", b"content")
        with pytest.raises(asyncssh.SFTPFailure, match="empty"):
            await put(files, "/incoming/a.pgp.done", b"sum")
        async with files.open("/incoming/b.pgp", "wb"):
            with pytest.raises(asyncssh.SFTPFailure, match="before its marker"):
                await put(files, "/incoming/b.pgp.done", b"")
    assert not served.box.files


async def test_what_is_not_whole_when_the_connection_ends_is_dropped(served: Served) -> None:
    async with served.client() as files:
        await put(files, "/incoming/a.pgp", b"never said to be whole")
        open_still = await files.open("/incoming/b.part", "wb")
        await open_still.write(b"half")
        assert len(served.spooled()) == 2
    await until_nothing_is_spooled(served)
    async with served.client() as files:
        assert await files.listdir("/incoming") == []
        with pytest.raises(asyncssh.SFTPNoSuchFile):
            await files.rename("/incoming/a.pgp", "/incoming/c.pgp")
    assert not served.box.files


async def test_a_connection_that_breaks_leaves_nothing_behind(served: Served) -> None:
    connection = await served.sign_in()
    files = await connection.start_sftp_client()
    await put(files, "/incoming/a.part", b"x" * 100_000)
    marker = await files.open("/incoming/a.part.done", "wb")
    assert marker
    connection.abort()
    await until_nothing_is_spooled(served)
    assert not served.box.files


async def test_the_partner_is_told_only_when_the_file_is_stored(served: Served) -> None:
    served.box.waits = asyncio.Event()
    async with served.client() as files:
        await put(files, "/incoming/a.part", b"content")
        renaming = asyncio.ensure_future(files.rename("/incoming/a.part", "/incoming/a.pgp"))
        await served.box.asked.wait()
        assert not renaming.done()
        served.box.waits.set()
        await renaming
    assert served.box.files == [("bank", "a.pgp", b"content")]


async def test_a_file_is_stored_although_its_partner_hung_up_meanwhile(served: Served) -> None:
    served.box.waits = asyncio.Event()
    connection = await served.sign_in()
    files = await connection.start_sftp_client()
    await put(files, "/incoming/a.part", b"content")
    renaming = asyncio.ensure_future(files.rename("/incoming/a.part", "/incoming/a.pgp"))
    await served.box.asked.wait()
    connection.abort()
    with suppress(asyncssh.Error):
        await renaming
    served.box.waits.set()
    await until_nothing_is_spooled(served)
    assert served.box.files == [("bank", "a.pgp", b"content")]


async def test_an_upload_that_could_not_be_stored_can_be_renamed_again(served: Served) -> None:
    async with served.client() as files:
        await put(files, "/incoming/a.part", b"content")
        served.box.fails = RefusedError("Your contract has ended.")
        with pytest.raises(asyncssh.SFTPFailure, match="Your contract has ended"):
            await files.rename("/incoming/a.part", "/incoming/a.pgp")
        served.box.fails = RuntimeError("password=secret")
        with structlog.testing.capture_logs() as logs, pytest.raises(asyncssh.SFTPFailure) as error:
            await files.rename("/incoming/a.part", "/incoming/a.pgp")
        assert "secret" not in str(error.value)
        assert [entry["log_level"] for entry in logs] == ["error"]
        served.box.fails = None
        await files.rename("/incoming/a.part", "/incoming/a.pgp")
    assert served.box.files == [("bank", "a.pgp", b"content")]


async def test_a_response_is_read_and_known_to_have_been_read(served: Served, tmp_path: Path) -> None:
    content = os.urandom(700_000)
    served.box.responses = {("bank", "r.pgp"): content, ("bank", "empty.pgp"): b""}
    async with served.client() as files:
        assert sorted(await files.listdir("/responses")) == ["empty.pgp", "r.pgp"]
        assert await files.getmtime("/responses/r.pgp") == AT.timestamp()
        await files.get("/responses/r.pgp", str(tmp_path / "r"))
        await files.get("/responses/empty.pgp", str(tmp_path / "empty"))
    assert (tmp_path / "r").read_bytes() == content
    assert served.box.read == [("bank", "r.pgp"), ("bank", "empty.pgp")]
    assert not served.spooled()


async def test_a_response_read_in_part_is_not_known_to_have_been_read(served: Served) -> None:
    served.box.responses = {("bank", "r.pgp"): b"x" * 5000}
    async with served.client() as files, files.open("/responses/r.pgp", "rb") as file:
        assert len(await file.read(4999)) == 4999
    assert not served.box.read


async def test_nobody_sees_what_is_for_another_partner(served: Served) -> None:
    served.box.responses = {("bank", "r.pgp"): b"secret"}
    async with served.client() as bank, served.client("shop", SHOP) as shop:
        await put(bank, "/incoming/a.part", b"content")
        assert await shop.listdir("/responses") == await shop.listdir("/incoming") == []
        for path in ("/responses/r.pgp", "/incoming/a.part"):
            with pytest.raises(asyncssh.SFTPNoSuchFile):
                await shop.stat(path)
        with pytest.raises(asyncssh.SFTPNoSuchFile):
            await shop.open("/responses/r.pgp", "rb")
        with pytest.raises(asyncssh.SFTPNoSuchFile):
            await shop.rename("/incoming/a.part", "/incoming/mine.pgp")
        await put(shop, "/incoming/a.part", b"their own")
        await shop.rename("/incoming/a.part", "/incoming/a.pgp")
        await bank.rename("/incoming/a.part", "/incoming/a.pgp")
    assert served.box.files == [("shop", "a.pgp", b"their own"), ("bank", "a.pgp", b"content")]


@pytest.mark.parametrize(
    ("user", "key"), [("bank", SHOP), ("shop", BANK), ("nobody", BANK), ("", BANK), ("root", BANK)]
)
async def test_a_partner_is_its_user_name_and_its_key_together(
    served: Served, user: str, key: tuple[str, str]
) -> None:
    with pytest.raises(asyncssh.PermissionDenied):
        await served.sign_in(user, key)


async def test_there_are_no_passwords(served: Served) -> None:
    methods = await asyncssh.get_server_auth_methods("127.0.0.1", served.port, username="bank", config=None)
    assert methods == ["publickey"]


async def test_there_is_nothing_but_sftp(served: Served, tmp_path: Path) -> None:
    async with await served.sign_in() as connection:
        with pytest.raises((asyncssh.ChannelOpenError, asyncssh.ProcessError)):
            await connection.run("id", check=True)
        with pytest.raises((asyncssh.ChannelOpenError, asyncssh.ProcessError)):
            await connection.run(check=True)
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.open_connection("127.0.0.1", served.port)
        with pytest.raises(asyncssh.ChannelListenError):
            await connection.forward_remote_port("127.0.0.1", 0, "127.0.0.1", served.port)
        with pytest.raises((asyncssh.Error, OSError)):
            await asyncssh.scp(__file__, (connection, "/incoming/a.pgp"))
        async with connection.start_sftp_client() as files:
            assert sorted(await files.listdir("/")) == ["incoming", "responses"]


async def test_no_operation_of_the_library_reaches_our_file_system() -> None:
    ours = {"channel", "connection", "env", "logger", "convert_attrs", "map_path", "reverse_map_path"}
    shown = {"format_user", "format_group", "format_longname"}
    theirs = {name for name in vars(asyncssh.SFTPServer) if not name.startswith("_")} - ours - shown
    assert theirs <= set(vars(DropboxFiles))


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "../../etc/passwd", "/incoming/../../etc/passwd", "/incoming/a/b", "/other/a"),
        *("/responses/../../../etc/passwd", "/a.pgp", "/incoming/../a.pgp"),
    ],
)
async def test_paths_lead_nowhere_but_to_the_two_directories(served: Served, path: str) -> None:
    async with served.client() as files:
        for mode in ("rb", "wb"):
            with pytest.raises(asyncssh.SFTPError):
                await files.open(path, mode)
        with pytest.raises(asyncssh.SFTPError):
            await files.listdir(path)
        with pytest.raises(asyncssh.SFTPNoSuchFile):
            await files.stat(path)
        await put(files, "/incoming/a.part", b"content")
        with pytest.raises(asyncssh.SFTPError):
            await files.rename("/incoming/a.part", path)
    assert not served.box.files


@pytest.mark.parametrize(
    "name",
    [
        *("new\nline.pgp", "-rf", ".hidden", "tab\t", "nul\0", "l" * 250, "\u202efdp.exe", "a*b", "a\\b"),
        *("$(id)", "a;b", " a", "a ", "<script>"),
    ],
)
async def test_a_file_is_neither_put_nor_renamed_to_a_name_that_is_not_plain(
    served: Served, name: str
) -> None:
    async with served.client() as files:
        with pytest.raises(asyncssh.SFTPFailure, match="The name"):
            await files.open(f"/incoming/{name}", "wb")
        await put(files, "/incoming/a.part", b"content")
        with pytest.raises(asyncssh.SFTPFailure, match="The name"):
            await files.rename("/incoming/a.part", f"/incoming/{name}")
    assert not served.box.files


async def test_what_is_not_for_partners_is_refused(served: Served) -> None:
    served.box.responses = {("bank", "r.pgp"): b"response"}
    async with served.client() as files:
        await put(files, "/incoming/a.part", b"content")
        for forbidden in (
            files.mkdir("/incoming/sub"),
            files.rmdir("/incoming"),
            files.symlink("/etc/passwd", "/incoming/link"),
            files.link("/incoming/a.part", "/incoming/link"),
            files.readlink("/incoming/a.part"),
            files.statvfs("/"),
            files.remove("/responses/r.pgp"),
            files.open("/responses/new.pgp", "wb"),
            files.open("/responses/r.pgp", "r+b"),
            files.open("/incoming/a.part", "rb"),
            files.open("/incoming/a.part", "ab"),
            files.chmod("/responses/r.pgp", 0o777),
            files.truncate("/incoming/a.part", 1),
            files.rename("/responses/r.pgp", "/incoming/r.pgp"),
            files.rename("/incoming/a.part", "/responses/r.pgp"),
            files.rename("/incoming/a.part", "/incoming/a.tmp"),
            files.rename("/incoming/a.part", "/incoming/a.done"),
            files.rename("/incoming", "/other"),
        ):
            with pytest.raises(asyncssh.SFTPError):
                await forbidden
    assert not served.box.files


async def test_an_upload_can_be_begun_again_but_not_resumed(served: Served) -> None:
    async with served.client() as files:
        await put(files, "/incoming/a.part", b"first attempt, longer")
        with pytest.raises(asyncssh.SFTPOpUnsupported, match="not resumed"):
            await files.open("/incoming/a.part", FXF_WRITE | FXF_CREAT)
        await put(files, "/incoming/a.part", b"second")
        assert len(served.spooled()) == 1
        await files.rename("/incoming/a.part", "/incoming/a.pgp")
    assert served.box.files == [("bank", "a.pgp", b"second")]


async def test_a_rename_over_another_upload_is_only_done_on_request(served: Served) -> None:
    async with served.client() as files:
        await put(files, "/incoming/a.pgp", b"old")
        await put(files, "/incoming/a.part", b"new")
        with pytest.raises(asyncssh.SFTPFailure, match="there already"):
            await files.rename("/incoming/a.part", "/incoming/a.pgp")
        await files.posix_rename("/incoming/a.part", "/incoming/a.pgp")
        assert await files.listdir("/incoming") == []
    assert served.box.files == [("bank", "a.pgp", b"new")]
    assert not served.spooled()


async def test_a_file_that_is_still_written_is_not_renamed(served: Served) -> None:
    async with served.client() as files, files.open("/incoming/a.part", "wb") as file:
        await file.write(b"half")
        with pytest.raises(asyncssh.SFTPFailure, match="being written"):
            await files.rename("/incoming/a.part", "/incoming/a.pgp")
        with pytest.raises(asyncssh.SFTPFailure, match="such an upload"):
            await files.open("/incoming/a.part", "wb")


async def test_a_file_beyond_the_limit_is_refused_and_let_go(tmp_path: Path) -> None:
    async with serving(tmp_path / "spool", file_bytes=100_000) as served, served.client() as files:
        with pytest.raises(asyncssh.SFTPFailure, match="larger than 100000"):
            await put(files, "/incoming/a.part", b"x" * 100_001)
        assert not served.spooled()
        file = await files.open("/incoming/b.part", "wb")
        with pytest.raises(asyncssh.SFTPFailure, match="larger than"):
            await file.write(b"x", 1 << 60)
        with pytest.raises(asyncssh.SFTPFailure, match="given up"):
            await file.write(b"x", 0)
        await put(files, "/incoming/c.part", b"x" * 100_000)
        await files.rename("/incoming/c.part", "/incoming/c.pgp")
        assert [name for _, name, _ in served.box.files] == ["c.pgp"]


async def test_unfinished_uploads_have_limits_over_all_connections_of_a_partner(tmp_path: Path) -> None:
    async with (
        serving(tmp_path / "spool", spooled_bytes=150_000, files=3) as served,
        served.client() as first,
        served.client() as second,
        served.client("shop", SHOP) as other,
    ):
        await put(first, "/incoming/a.part", b"x" * 100_000)
        with pytest.raises(asyncssh.SFTPFailure, match="Unfinished uploads"):
            await put(second, "/incoming/a.part", b"x" * 50_001)
        await put(second, "/incoming/a.part", b"x" * 50_000)
        await put(other, "/incoming/a.part", b"x" * 150_000)
        await put(first, "/incoming/b.part", b"")
        with pytest.raises(asyncssh.SFTPFailure, match="At most 3 files"):
            await put(second, "/incoming/b.part", b"")
        await first.remove("/incoming/a.part")
        await put(second, "/incoming/b.part", b"x" * 100_000)


async def test_connections_and_sessions_of_a_partner_are_counted(tmp_path: Path) -> None:
    async with serving(tmp_path / "spool", connections=2) as served:
        first, second = await served.sign_in(), await served.sign_in()
        third = await served.sign_in()
        with pytest.raises(asyncssh.Error):
            await third.start_sftp_client()
        await third.wait_closed()
        async with served.client("shop", SHOP):
            pass
        for _ in range(2):
            await first.start_sftp_client()
        with pytest.raises((asyncssh.Error, EOFError)):
            await first.start_sftp_client()
        second.abort()
        await second.wait_closed()
        await first.wait_closed()
        for _ in range(5):  # nothing stays counted
            async with served.client() as files:
                assert await files.listdir("/incoming") == []


async def test_there_is_an_end_to_all_connections_together(tmp_path: Path) -> None:
    async with serving(tmp_path / "spool", all_connections=2) as served:
        held = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(2)]
        for reader, _ in held:
            await reader.readline()
        with pytest.raises((asyncssh.Error, OSError)):
            await served.sign_in()
        for _, writer in held:
            writer.close()
            await writer.wait_closed()


async def test_who_does_nothing_is_sent_away(tmp_path: Path) -> None:
    async with serving(tmp_path / "spool", idle_seconds=0.1) as served:
        connection = await served.sign_in()
        files = await connection.start_sftp_client()
        await put(files, "/incoming/a.part", b"half")
        await connection.wait_closed()
        await until_nothing_is_spooled(served)


async def test_who_does_not_sign_in_is_sent_away(tmp_path: Path) -> None:
    async with serving(tmp_path / "spool", sign_in_seconds=0.1) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        with suppress(ConnectionResetError):
            while await reader.read(1000):
                pass
        writer.close()


def packet(kind: int, *parts: bytes) -> bytes:
    return asyncssh.packet.String(bytes([kind]) + b"".join(parts))


def _sessions() -> list[DropboxFiles]:
    """All that are in memory: of other tests as well."""
    return [thing for thing in gc.get_objects() if isinstance(thing, DropboxFiles)]


async def test_who_asks_and_does_not_read_the_answers_waits_and_takes_no_memory(served: Served) -> None:
    served.box.responses = {("bank", "r.pgp"): b"x" * 300_000}
    before = _sessions()
    connection = await served.sign_in()
    session = await connection.create_process(subsystem="sftp", encoding=None)
    number, text = asyncssh.packet.UInt32, asyncssh.packet.String
    session.stdin.write(packet(FXP_INIT, number(3)))
    session.stdin.write(packet(FXP_OPEN, number(0), text("/responses/r.pgp"), number(FXF_READ), number(0)))
    reading = (text(number(0)), asyncssh.packet.UInt64(0), number(1 << 22))
    session.stdin.write(b"".join(packet(FXP_READ, number(i), *reading) for i in range(1, 2000)))
    (theirs,) = [session for session in _sessions() if not any(session is old for old in before)]
    while theirs.channel.get_write_buffer_size() <= MOST_UNSENT_BYTES:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert theirs.channel.get_write_buffer_size() < MOST_UNSENT_BYTES + 2 * MOST_READ_BYTES
    with structlog.testing.capture_logs() as logs:
        connection.abort()
        await connection.wait_closed()
        async with served.client() as files:
            assert await files.listdir("/responses") == ["r.pgp"]
    assert not logs


async def test_many_at_once_are_all_served(tmp_path: Path) -> None:
    async with serving(tmp_path / "spool", connections=8) as served:

        async def drop(number: int) -> None:
            async with served.client() as files:
                await put(files, f"/incoming/{number}.part", bytes([number]) * 100_000)
                await files.posix_rename(f"/incoming/{number}.part", f"/incoming/{number}.pgp")

        await asyncio.gather(*map(drop, range(8)))
        assert sorted(served.box.files) == [
            ("bank", f"{number}.pgp", bytes([number]) * 100_000) for number in range(8)
        ]


async def test_a_stop_waits_for_what_is_being_stored_and_a_start_sweeps_what_was_left(
    tmp_path: Path,
) -> None:
    spool = tmp_path / "spool"
    (spool / "uploads").mkdir(parents=True)
    (spool / "uploads" / "left.spool").write_bytes(b"of a process that was killed")
    async with serving(spool) as served:
        assert not served.spooled()
        box, may_store = served.box, asyncio.Event()
        box.waits = may_store
        connection = await served.sign_in()
        files = await connection.start_sftp_client()
        await put(files, "/incoming/a.part", b"content")
        renaming = asyncio.ensure_future(files.rename("/incoming/a.part", "/incoming/a.pgp"))
        await box.asked.wait()
        asyncio.get_running_loop().call_later(0.05, may_store.set)
    with suppress(asyncssh.Error):
        await renaming
    assert box.files == [("bank", "a.pgp", b"content")]
    connection.abort()


async def test_our_client_and_our_drop_box_understand_each_other(served: Served, tmp_path: Path) -> None:
    served.box.responses = {("bank", "r.pgp"): b"response" * 10_000}
    (tmp_path / "file").write_bytes(b"accruals")
    server = sftp.Server(
        host="127.0.0.1",
        port=served.port,
        user="bank",
        host_keys=[HOST[1]],
        incoming="/responses",
        responses="/incoming",
    )
    local = guard("127.0.0.1")
    shown = await sftp.scan_host_keys("127.0.0.1", served.port, guard=local)
    assert shown == [public_line(read_public_key(HOST[1]))]
    async with sftp.connect(server, client_key=BANK[0], guard=local) as connection:
        (found,) = await sftp.list_whole(connection, server)
        await sftp.fetch(connection, server, found.name, tmp_path / "r", most_bytes=100_000)
        await sftp.deliver(connection, server, tmp_path / "file", "accruals.pgp")
    assert found == Remote("r.pgp", 80_000, AT)
    assert (tmp_path / "r").read_bytes() == b"response" * 10_000
    assert served.box.files == [("bank", "accruals.pgp", b"accruals")]
    assert served.box.read == [("bank", "r.pgp")]


@pytest.fixture
def openssh(tmp_path: Path) -> Path:
    """A directory with all that OpenSSH's `sftp` needs to sign in as the bank."""
    if shutil.which("sftp") is None:
        pytest.skip("OpenSSH's sftp is not installed")
    (tmp_path / "key").write_text(BANK[0])
    (tmp_path / "key").chmod(0o600)
    return tmp_path


async def run_sftp(home: Path, port: int, *commands: str) -> tuple[int, str]:
    known = home / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {HOST[1]}\n")
    options = ["-o", f"UserKnownHostsFile={known}", "-o", "IdentitiesOnly=yes", "-i", str(home / "key")]
    process = await asyncio.create_subprocess_exec(
        *("sftp", "-q", "-F", "/dev/null", "-b", "-", *options, "-P", str(port), "bank@127.0.0.1"),
        cwd=home,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate("\n".join(commands).encode())
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_a_partner_with_openssh_drops_files_and_takes_responses(served: Served, openssh: Path) -> None:
    content = os.urandom(1_500_000)
    (openssh / "accruals.pgp").write_bytes(content)
    (openssh / "empty").touch()
    served.box.responses = {("bank", "r.pgp"): content}
    status, output = await run_sftp(
        openssh,
        served.port,
        "put -p accruals.pgp incoming/accruals.pgp.part",
        "rename incoming/accruals.pgp.part incoming/accruals.pgp",
        "put accruals.pgp incoming/second.pgp",
        "put empty incoming/second.pgp.done",
        "ls -l responses",
        "get responses/r.pgp r.pgp",
    )
    assert status == 0, output
    assert served.box.files == [("bank", "accruals.pgp", content), ("bank", "second.pgp", content)]
    assert (openssh / "r.pgp").read_bytes() == content
    assert served.box.read == [("bank", "r.pgp")]
    assert not served.spooled()


@pytest.mark.parametrize(
    "command",
    ["reput file incoming/a.part", "symlink /etc/passwd incoming/b", "get /etc/passwd x", "rm responses/r"],
)
async def test_openssh_is_told_what_is_not_done(served: Served, openssh: Path, command: str) -> None:
    (openssh / "file").write_bytes(b"x" * 100)
    (openssh / "short").write_bytes(b"x")
    status, output = await run_sftp(openssh, served.port, "put short incoming/a.part", command)
    assert status != 0, output
    assert not served.box.files
