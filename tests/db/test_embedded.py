"""The embedded server against real processes, real signals and real disks. Nothing may be left running."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from counterfoil.db.embedded import FAST_FOR_TESTS, binaries, info, running, supervisor
from counterfoil.errors import UnavailableError

PATIENCE = 30.0
"""Seconds until a condition that must come true is given up."""

ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not ROOT, reason="needs root")
STRANGER = pwd.getpwnam("daemon").pw_uid
UNKNOWN = 54321

USER = """
import json, sys
from pathlib import Path
from counterfoil.db.embedded import FAST_FOR_TESTS, binaries, running
from counterfoil.errors import CounterfoilError
{prelude}
try:
    with running(Path(sys.argv[1]), tuning=FAST_FOR_TESTS, timeout=60) as url:
        print(json.dumps(dict(url=url)), flush=True)
        sys.stdin.read()
except CounterfoilError as error:
    print(json.dumps(dict(code=error.code, detail=error.detail)), flush=True)
"""


def become(uid: int) -> str:
    """What a process of root does to go on as an ordinary user, with a Python that user may run."""
    return f"""
import encodings.idna, os, shutil, subprocess, tempfile
os.setgroups([]); os.setgid({uid}); os.setuid({uid})
if not os.access(sys.executable, os.X_OK):
    sys.executable = shutil.which("python3", path="/usr/bin:/usr/local/bin")
"""


def until(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("did not come true")


def processes_in(directory: Path) -> list[str]:
    """Every process but ours that has a file of this directory open, or works in it."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            links = [process / "cwd", *(process / "fd").iterdir()]
            for link in links:
                with contextlib.suppress(OSError):
                    if str(link.readlink()).startswith(str(directory)):
                        found.append(f"{process.name} {link.readlink()}")
    return found


def links_to(directory: Path) -> list[Path]:
    """The short links to sockets below this directory."""
    found = []
    for link in Path("/tmp").glob("counterfoil-*/run"):
        with contextlib.suppress(OSError):
            if link.readlink().is_relative_to(directory):
                found.append(link)
    return found


@pytest.fixture
def home() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="counterfoil-test-", dir="/dev/shm"))
    yield place / "home"
    try:
        until(lambda: not processes_in(place))
        assert links_to(place) == []
    finally:
        shutil.rmtree(place)


class User:
    """Another process that uses the server."""

    def __init__(self, home: Path, prelude: str = "", wrap: tuple[str, ...] = (), **env: str) -> None:
        self.process = subprocess.Popen(
            [*wrap, sys.executable, "-c", USER.format(prelude=prelude), str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **env},
        )

    def said(self) -> dict[str, str]:
        assert self.process.stdout is not None
        said: dict[str, str] = json.loads(self.process.stdout.readline())
        return said

    def url(self) -> str:
        return self.said()["url"]

    def kill(self) -> None:
        self.process.kill()
        self.end()

    def end(self) -> None:
        self.process.communicate(timeout=PATIENCE)


@pytest.fixture
def start() -> Iterator[Callable[..., User]]:
    users: list[User] = []

    def begin(*arguments: Any, **named: Any) -> User:
        users.append(User(*arguments, **named))
        return users[-1]

    yield begin
    for user in users:
        user.end()


def ask(url: str, query: str = "select 1") -> Any:
    async def once() -> Any:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(once())


def answers(url: str, query: str = "select 1") -> Any:
    """Like `ask`, but None while the server is down."""
    with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return ask(url, query)
    return None


def use(home: Path, **tuning: str) -> Any:
    return running(home, tuning={**FAST_FOR_TESTS, **tuning}, timeout=60)


def pid(home: Path) -> int:
    found = info(home).pid
    assert found is not None
    return found


def test_it_gives_a_whole_server_that_speaks_utf_8_and_only_on_its_socket(home: Path) -> None:
    with use(home) as url:
        assert ask(url, "show server_version_num").startswith("18")
        assert ask(url, "select datcollate from pg_database where datname = 'counterfoil'").startswith("C")
        assert ask(url, "show server_encoding") == "UTF8"
        assert ask(url, "select upper('é') || initcap('ñandú')") == "ÉÑandú"
        assert ask(url, "show listen_addresses") == ""
        assert ask(url, "show fsync") == "off"
        assert ask(url, "show data_checksums") == "on"


def test_by_default_it_keeps_what_it_has_said_it_keeps(home: Path) -> None:
    with running(home) as url:
        settings = ("fsync", "synchronous_commit", "full_page_writes")
        assert [ask(url, f"show {name}") for name in settings] == ["on", "on", "on"]


def test_the_address_suits_sqlalchemy_in_async_code(home: Path) -> None:
    async def main() -> Any:
        async with use(home) as url:
            engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
            async with engine.connect() as connection:
                row = (await connection.execute(text("select current_database(), current_user"))).one()
            await engine.dispose()
            return tuple(row)

    assert asyncio.run(main()) == ("counterfoil", "counterfoil")


def test_the_event_loop_goes_on_while_the_server_starts(home: Path) -> None:
    async def main() -> int:
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.001)
                turns += 1

        turning = asyncio.create_task(turn())
        async with use(home):
            turning.cancel()
        return turns

    assert asyncio.run(main()) > 10


def test_giving_up_while_it_starts_leaves_nothing_behind(home: Path) -> None:
    async def main() -> None:
        async with use(home):
            raise AssertionError("was not cancelled")

    async def cancel() -> None:
        task = asyncio.create_task(main())
        await asyncio.to_thread(until, (home / "postgresql" / "control").exists)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    until(lambda: not processes_in(home))


def test_processes_share_one_server_and_it_stops_with_the_last(
    home: Path, start: Callable[..., User]
) -> None:
    with use(home) as url:
        other = start(home)
        assert other.url() == url
        shared = info(home)
        assert shared.users == 2
        with use(home):
            assert info(home).users == 3
        other.end()
        assert (pid(home), info(home).users) == (shared.pid, 1)
    assert info(home).pid is None
    assert not (home / "postgresql" / "data" / "postmaster.pid").exists()


def test_six_processes_at_the_same_instant_get_one_server(home: Path, start: Callable[..., User]) -> None:
    users = [start(home) for _ in range(6)]
    urls = {user.url() for user in users}
    assert len({ask(url, "select pg_postmaster_start_time()") for url in urls}) == 1
    assert info(home).users == 6


def test_starting_while_the_last_one_leaves_gets_a_server(home: Path) -> None:
    for _ in range(5):
        with use(home) as url:
            assert ask(url) == 1


def test_a_user_killed_with_sigkill_is_not_counted_any_more(home: Path, start: Callable[..., User]) -> None:
    user = start(home)
    user.url()
    user.kill()
    until(lambda: info(home).pid is None)


def test_others_keep_the_server_whose_starter_is_killed(home: Path, start: Callable[..., User]) -> None:
    starter = start(home)
    url = starter.url()
    with use(home):
        before = pid(home)
        starter.kill()
        until(lambda: info(home).users == 1)
        assert (ask(url), pid(home)) == (1, before)


@pytest.mark.parametrize("victims", [("server",), ("supervisor",), ("server", "supervisor")])
def test_what_is_killed_comes_back_at_the_same_address_for_all_its_users(
    home: Path, start: Callable[..., User], victims: tuple[str, ...]
) -> None:
    with use(home) as url:
        assert start(home).url() == url
        ask(url, "create table kept as select 42 as answer")
        before = info(home)
        assert before.pid is not None
        assert before.supervisor_pid is not None
        for victim in victims:
            os.kill(before.pid if victim == "server" else before.supervisor_pid, signal.SIGKILL)
        until(lambda: info(home).pid not in {None, before.pid})
        assert until(lambda: answers(url, "select answer from kept")) == 42
        until(lambda: info(home).users == 2)


def test_a_busy_backend_of_a_killed_server_does_not_keep_the_next_from_starting(home: Path) -> None:
    async def main() -> None:
        async with use(home) as url:
            busy = await asyncpg.connect(url)
            # Computes without ever looking whether its server is still there. Bounded, and it stores nothing.
            await busy.execute("set statement_timeout = '60s'; set temp_file_limit = '1MB'")
            counting = "select count(g) from (select generate_series(1, 1000000000) as g) as streamed"
            working = asyncio.create_task(busy.execute(counting))
            await asyncio.sleep(0.2)
            os.kill(pid(home), signal.SIGKILL)
            with pytest.raises((asyncpg.PostgresConnectionError, ConnectionError)):
                await asyncio.wait_for(working, PATIENCE)
            async with asyncio.timeout(PATIENCE):
                while True:
                    with contextlib.suppress(OSError, asyncpg.PostgresError):
                        await (await asyncpg.connect(url)).close()
                        break
                    await asyncio.sleep(0.05)

    asyncio.run(main())


def test_everything_killed_at_once_recovers_at_the_next_use(home: Path, start: Callable[..., User]) -> None:
    user = start(home)
    url = user.url()
    ask(url, "create table kept as select 42 as answer")
    state = info(home)
    assert state.pid is not None
    assert state.supervisor_pid is not None
    user.process.send_signal(signal.SIGSTOP)  # Or it might start the server again before it is killed.
    os.kill(state.supervisor_pid, signal.SIGKILL)
    os.kill(state.pid, signal.SIGKILL)
    user.kill()
    with use(home) as url:
        assert ask(url, "select answer from kept") == 42


def test_a_stale_pid_that_is_another_process_by_now_does_it_no_harm(home: Path) -> None:
    with use(home):
        pass
    data = home / "postgresql" / "data"
    bystander = subprocess.Popen(["sleep", "60"], user=data.stat().st_uid, extra_groups=[] if ROOT else None)
    try:
        stale = f"{bystander.pid}\n{data}\n1700000000\n5432\n\n\n  1234 5\nready\n"
        (data / "postmaster.pid").write_text(stale)
        with use(home) as url:
            assert ask(url) == 1
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_server_that_somebody_started_by_hand_is_left_alone(home: Path) -> None:
    with use(home):
        pass
    data = home / "postgresql" / "data"
    uid, gid = binaries.server_user(data)
    directory = os.open(data, os.O_RDONLY)
    owner: dict[str, Any] = {"user": uid, "group": gid, "extra_groups": []} if uid is not None else {}
    server = subprocess.Popen(
        [binaries.directory(uid) / "postgres", "-D", f"/proc/self/fd/{directory}", "-h", "", "-k", "."],
        pass_fds=[directory],
        stderr=subprocess.DEVNULL,
        **owner,
    )
    os.close(directory)
    try:
        until((data / "postmaster.pid").exists)
        with (
            pytest.raises(UnavailableError, match=f"Process {server.pid}, not started by Counterfoil"),
            use(home),
        ):
            pass
        assert server.poll() is None
    finally:
        server.terminate()
        server.wait()


def test_a_crash_while_the_database_is_made_leaves_nothing_half(
    home: Path, start: Callable[..., User]
) -> None:
    base = home / "postgresql"
    user = start(home)
    until((base / "data.partial" / "base").exists)
    user.kill()
    for line in processes_in(base):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(line.split()[0]), signal.SIGKILL)
    assert not (base / "data").exists()
    with use(home) as url:
        assert ask(url) == 1
    assert not (base / "data.partial").exists()


ODD_NAMES = [
    "commas, colons: 'quotes'",
    "100% a+b&c=d?#",
    "优惠券 ñ",
    os.fsdecode(b"\xff"),
    "/".join(["long" * 20] * 5),
]


@pytest.mark.parametrize("name", ODD_NAMES, ids=["punctuation", "url", "unicode", "bytes", "long"])
def test_any_path_will_do(home: Path, name: str) -> None:
    with use(home / name) as url:
        assert ask(url) == 1
        os.kill(pid(home / name), signal.SIGKILL)
        until(lambda: answers(url))


def test_a_supervisor_that_hangs_is_an_error_and_no_hang(home: Path) -> None:
    with use(home):
        stuck = info(home).supervisor_pid
        assert stuck is not None
        os.kill(stuck, signal.SIGSTOP)
        try:
            with pytest.raises(UnavailableError, match=r"not ready within 0.5 s"), running(home, timeout=0.5):
                pass
        finally:
            os.kill(stuck, signal.SIGCONT)


def test_signals_to_the_whole_service_leave_the_server_to_its_users(home: Path) -> None:
    with use(home) as url:
        state = info(home)
        assert state.supervisor_pid is not None
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(state.supervisor_pid, number)
        assert ask(url) == 1
        assert pid(home) == state.pid


def test_data_of_another_major_version_is_refused_by_name(home: Path) -> None:
    data = home / "postgresql" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("17\n")
    with pytest.raises(
        UnavailableError, match=r"made by PostgreSQL 17, and this .* runs PostgreSQL 18"
    ) as raised:
        use(home).__enter__()
    assert raised.value.code == "database_version_mismatch"


def test_a_setting_that_the_system_cannot_meet_is_told_with_the_log(home: Path) -> None:
    with pytest.raises(UnavailableError) as raised, use(home, huge_pages="on"):
        pass
    assert "too little shared memory" in raised.value.detail
    assert "FATAL:  could not map anonymous shared memory" in raised.value.detail
    with use(home) as url:
        assert ask(url) == 1


def test_a_home_that_cannot_be_made_is_told(home: Path) -> None:
    home.write_text("a file")
    with pytest.raises(UnavailableError, match=r"cannot be made .* Set COUNTERFOIL_HOME"), use(home):
        pass


@as_root
def test_a_full_disk_is_told(home: Path, start: Callable[..., User]) -> None:
    home.mkdir()
    script = f'mount -t tmpfs -o size=16m none "{home}" || exit 77; exec "$@"'
    user = start(home, wrap=("unshare", "--mount", "sh", "-c", script, "sh"))
    try:
        said = user.said()
    except json.JSONDecodeError:
        pytest.skip("may not mount a file system here")
    assert said["code"] == "database_not_started"
    assert "The disk is full" in said["detail"]
    assert "No space left on device" in said["detail"]


@as_root
def test_a_read_only_disk_is_told(home: Path, start: Callable[..., User]) -> None:
    with use(home):
        pass
    script = f'mount --bind "{home}" "{home}" && mount -o remount,ro,bind "{home}" || exit 77; exec "$@"'
    user = start(home, wrap=("unshare", "--mount", "sh", "-c", script, "sh"))
    try:
        said = user.said()
    except json.JSONDecodeError:
        pytest.skip("may not mount a file system here")
    assert "COUNTERFOIL_HOME is on a read-only file system" in said["detail"]


@as_root
def test_root_runs_it_as_somebody_else_even_where_only_root_may_go(start: Callable[..., User]) -> None:
    with tempfile.TemporaryDirectory(dir="/root") as closed, tempfile.TemporaryDirectory() as shared:
        Path(shared).chmod(0o755)
        home = Path(closed) / "home"
        installed = Path(closed) / "site"
        package = binaries.wheel().parent
        shutil.copytree(binaries.wheel(), installed / package.name / binaries.wheel().name)
        (installed / package.name / "__init__.py").touch()
        shutil.copytree(package.with_suffix(".libs"), installed / f"{package.name}.libs")
        prelude = f"binaries.PLACES[:] = [Path('/proc/none'), Path({shared!r})]"
        path = os.pathsep.join([str(installed), *sys.path])
        for _ in range(2):
            user = start(home, prelude=prelude, PYTHONPATH=path)
            url = user.url()
            assert ask(url, "select pg_backend_pid()") > 0
            server = pid(home)
            assert Path(f"/proc/{server}").stat().st_uid not in {0, STRANGER}
            assert Path(f"/proc/{server}/exe").readlink().is_relative_to(shared)
            user.end()
        assert len(list(Path(shared).iterdir())) == 1
        until(lambda: not processes_in(home))


@as_root
def test_an_ordinary_user_runs_it_as_itself(home: Path, start: Callable[..., User]) -> None:
    home.parent.chmod(0o755)
    home.mkdir()
    os.chown(home, STRANGER, STRANGER)
    user = start(home, prelude=become(STRANGER))
    assert ask(user.url()) == 1
    assert (home / "postgresql" / "data").stat().st_uid == STRANGER
    with pytest.raises(UnavailableError, match=f"belongs to user {STRANGER}, and you are user 0"), use(home):
        pass


@as_root
def test_a_user_that_the_system_does_not_know_is_told_what_postgresql_wants(
    home: Path, start: Callable[..., User]
) -> None:
    home.parent.chmod(0o777)
    said = start(home, prelude=become(UNKNOWN)).said()
    assert "give this user a line in /etc/passwd" in said["detail"]


@as_root
def test_what_root_has_made_is_refused_to_an_ordinary_user_with_the_reason(
    home: Path, start: Callable[..., User]
) -> None:
    with use(home):
        pass
    assert "cannot be " in start(home, prelude=become(STRANGER)).said()["detail"]
    home.parent.chmod(0o755)
    home.chmod(0o755)
    said = start(home, prelude=become(STRANGER)).said()
    assert said["code"] == "database_home_unusable"
    assert f"belongs to user 0, and you are user {STRANGER}" in said["detail"]


def test_the_log_is_bounded(tmp_path: Path) -> None:
    log = supervisor.Log(tmp_path / "server.log")
    for _ in range(200):
        log.write("x" * 100_000)
    sizes = [file.stat().st_size for file in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert sum(sizes) < 2 * supervisor.LOG_BYTES + 200_000


def test_info_of_nothing_makes_nothing(home: Path) -> None:
    state = info(home)
    assert (state.pid, state.users, state.size_bytes) == (None, 0, 0)
    assert state.version.startswith("18.")
    assert not home.exists()
