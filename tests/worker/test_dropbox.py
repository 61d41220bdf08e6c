"""The drop box on the database: partners sign in, drop files, and take the responses to theirs."""

from __future__ import annotations

import socket
import stat
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from counterfoil import clock
from counterfoil.app import App
from counterfoil.db.transactions import begin
from counterfoil.errors import ConflictError, CounterfoilError, UnavailableError
from counterfoil.points.files import keys, partners
from counterfoil.points.files.ssh_keys import make_ssh_key
from counterfoil.worker.dropbox import HOST_KEY, host_key, open_dropbox
from tests.points_files.world import Bank, World, make_world
from tests.worker.visitor import bank_with_key, drop, take, visit

OTHER = make_ssh_key("other")


@pytest.fixture
async def world(platform: App, tmp_path: Path) -> World:
    return await make_world(platform.engine, tmp_path, "m1", "m2")


def _owner(bank: Bank) -> dict[str, Any]:
    return {"merchant_id": bank.world.merchant_id, "partner_id": bank.partner_id}


async def test_a_partner_drops_a_file_and_takes_its_response(platform: App, world: World) -> None:
    bank, home = await bank_with_key(world), platform.settings.home
    sealed = bank.seal(bank.write(("m1", 10, "r1"), ("nobody", 5, "r2"), ("m2", 7, "r3")))
    async with open_dropbox(platform) as port:
        async with visit(port, bank, home) as files:
            await drop(files, "a.pgp", sealed)
            (row,) = await world.all("SELECT name, via, state, confirmed_at FROM points_files")
            assert (row.name, row.via, row.state) == ("a.pgp", "dropbox", "received")
            assert await files.listdir("/responses") == []
        await world.run()
        async with visit(port, bank, home) as files:
            assert await files.listdir("/responses") == ["a.response.pgp"]
            said = await take(files, "a.response.pgp")
    assert await world.balances() == {"m1": 10, "m2": 7}
    (row,) = await world.all("SELECT file_no, response_bytes, confirmed_at FROM points_files")
    assert row.response_bytes == len(said)
    assert row.confirmed_at is not None
    response = await bank.response(row)
    assert (response.sealed, response.told) == (said, ["accepted", "not_found", "accepted"])


async def test_of_responses_with_one_name_the_newest_is_there(platform: App, world: World) -> None:
    bank, home = await bank_with_key(world), platform.settings.home
    async with open_dropbox(platform) as port, visit(port, bank, home) as files:
        for n in range(2):
            await drop(files, "a.pgp", bank.seal(bank.write(("m1", 10, f"r{n}"))))
            await world.run()
        assert await files.listdir("/responses") == ["a.response.pgp"]
        said = await take(files, "a.response.pgp")
    first, second = await world.all("SELECT file_no, confirmed_at FROM points_files ORDER BY file_no")
    assert first.confirmed_at is None
    assert second.confirmed_at is not None
    assert (await bank.response(second)).sealed == said


async def test_a_partner_sees_nothing_of_another(platform: App, world: World) -> None:
    bank, home = await bank_with_key(world), platform.settings.home
    other = await bank_with_key(world, "airline", OTHER)
    async with open_dropbox(platform) as port:
        async with visit(port, bank, home) as files:
            await drop(files, "a.pgp", bank.seal(bank.write(("m1", 10, "r1"))))
        await world.run()
        async with visit(port, other, home, OTHER) as files:
            assert await files.listdir("/responses") == []
            with pytest.raises(asyncssh.SFTPNoSuchFile):
                await take(files, "a.response.pgp")
        with pytest.raises(asyncssh.PermissionDenied):
            async with visit(port, bank, home, OTHER):
                pass


async def test_whose_key_is_retired_or_who_is_closed_is_let_in_no_more(platform: App, world: World) -> None:
    bank, home = await bank_with_key(world), platform.settings.home
    async with open_dropbox(platform) as port:
        async with visit(port, bank, home) as files:
            async with begin(world.engine) as tx:
                await partners.change(tx, **_owner(bank), state="closed", now=clock.now())
            with pytest.raises(asyncssh.SFTPFailure, match="closed"):
                await drop(files, "a.pgp", b"x")
        with pytest.raises(asyncssh.PermissionDenied):
            async with visit(port, bank, home):
                pass
        async with begin(world.engine) as tx:
            await partners.change(tx, **_owner(bank), state="open", now=clock.now())
        async with visit(port, bank, home) as files:
            async with begin(world.engine) as tx:
                (key,) = [k for k in await keys.list_of(tx, **_owner(bank)) if k.kind == "ssh"]
                await keys.retire(tx, **_owner(bank), fingerprint=key.fingerprint, now=clock.now())
            with pytest.raises(asyncssh.SFTPFailure, match="key"):
                await files.listdir("/responses")
        with pytest.raises(asyncssh.PermissionDenied):
            async with visit(port, bank, home):
                pass
    assert not await world.all("SELECT 1 FROM points_files")


async def test_the_host_key_is_made_once_and_is_for_its_owner_alone(platform: App) -> None:
    home = platform.settings.home
    first = host_key(home)
    assert host_key(home) == first
    assert stat.S_IMODE((home / HOST_KEY).stat().st_mode) == 0o600
    assert [path.name for path in home.iterdir()] == [HOST_KEY]


async def _refused(platform: App) -> CounterfoilError:
    with pytest.raises(CounterfoilError) as refused:
        async with open_dropbox(platform):
            pass
    return refused.value


async def test_a_second_drop_box_of_one_home_is_refused(platform: App) -> None:
    async with open_dropbox(platform):
        error = await _refused(platform)
    assert isinstance(error, ConflictError)
    assert error.code == "dropbox_runs"


async def test_a_port_that_is_taken_is_named(platform: App) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = platform.settings.model_copy(update={"dropbox_port": port})
        error = await _refused(App(settings, platform.engine, "", embedded=False))
    assert isinstance(error, UnavailableError)
    assert (error.code, f":{port}: " in error.detail) == ("dropbox_not_started", True)
