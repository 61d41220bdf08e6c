"""Files that are fetched from a partner's server, and responses that are put there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from counterfoil import clock
from counterfoil.db.transactions import begin
from counterfoil.points.files import collecting
from counterfoil.points.files.ssh_keys import fingerprint
from tests.points_files.sftp_server import Partner, asyncssh_partner
from tests.points_files.world import Bank, World

ROWS = [("m1", 5, "r1"), ("m2", 6, "r2")]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Partner]:
    with asyncssh_partner(tmp_path) as running:
        yield running


async def _bank(world: World, server: Partner) -> Bank:
    """A partner with a server, at which we sign in with the key that it knows."""
    await world.execute(
        """INSERT INTO points_own_keys (merchant_id, fingerprint, kind, secret_key, public_key, made_at)
           VALUES (:m, :name, 'ssh', :secret, '', now())""",
        m=world.merchant_id,
        name=fingerprint(server.server.host_keys[0]),
        secret=server.client_key,
    )
    return await world.bank(server=server.server)


async def _look(world: World) -> None:
    """The servers are looked at, as when their time has come."""
    async with begin(world.engine) as tx:
        await tx.execute("UPDATE points_partners SET collected_at = NULL")
        await collecting.call_due(tx, now=clock.now())
    await world.run()


async def test_a_file_is_fetched_credited_and_answered_over_there(world: World, server: Partner) -> None:
    bank = await _bank(world, server)
    (server.outbox / "day 1.pgp").write_bytes(bank.seal(bank.write(*ROWS)))
    (server.outbox / "day 2.pgp.part").write_bytes(b"half")
    await _look(world)
    assert await world.balances() == {"m1": 5, "m2": 6}
    assert sorted(path.name for path in server.outbox.iterdir()) == ["day 2.pgp.part"]
    (file,) = await world.all("SELECT * FROM points_files")
    assert (file.name, file.via, file.sent_at is not None) == ("day 1.pgp", "sftp", True)
    (response,) = server.inbox.iterdir()
    assert response.name == file.response_name
    assert response.read_bytes() == (await bank.response(await world.file(file))).sealed
    await _look(world)
    assert len(await world.all("SELECT true FROM points_files")) == 1


async def test_a_file_that_was_kept_but_not_put_away_is_known_when_it_is_seen_again(
    world: World, server: Partner
) -> None:
    """As after a crash between the two."""
    bank = await _bank(world, server)
    at = server.outbox / "day.pgp"
    at.write_bytes(bank.seal(bank.write(*ROWS)))
    os.utime(at, (1_000_000, 1_000_000))
    await _look(world)
    (moved,) = (server.root / "done").iterdir()
    moved.rename(at)
    await _look(world)
    assert len(await world.all("SELECT true FROM points_files")) == 1
    assert [*server.outbox.iterdir()] == []
    assert await world.balances() == {"m1": 5, "m2": 6}


async def test_a_server_that_is_away_is_told_of_and_looked_at_again(world: World, tmp_path: Path) -> None:
    with asyncssh_partner(tmp_path) as server:
        bank = await _bank(world, server)
    await _look(world)
    error = (await bank.now()).collect_error
    assert error is not None
    assert error["code"].startswith("sftp_")
    (tmp_path / "again").mkdir()
    with asyncssh_partner(tmp_path / "again") as server:
        await world.execute(
            "UPDATE points_own_keys SET secret_key = :k WHERE kind = 'ssh'", k=server.client_key
        )
        await bank.change(server=server.server)
        (server.outbox / "day.pgp").write_bytes(bank.seal(bank.write(*ROWS)))
        await _look(world)
        assert (await bank.now()).collect_error is None
        assert await world.balances() == {"m1": 5, "m2": 6}


async def test_a_response_waits_for_a_server_that_is_away(world: World, tmp_path: Path) -> None:
    with asyncssh_partner(tmp_path) as server:
        bank = await _bank(world, server)
    file = await bank.send(*ROWS)
    while (told := await world.file(file)).answer_error is None:
        await world.step()
    assert (told.sent_at, told.answered_at is not None) == (None, True)
    before = (await bank.response(file)).sealed
    (tmp_path / "again").mkdir()
    with asyncssh_partner(tmp_path / "again") as server:
        await world.execute(
            "UPDATE points_own_keys SET secret_key = :k WHERE kind = 'ssh'", k=server.client_key
        )
        await bank.change(server=server.server)
        await world.execute("UPDATE points_files SET answer_after = now()")
        await world.run()
        (response,) = server.inbox.iterdir()
        assert response.read_bytes() == before


async def test_a_broken_file_over_there_is_answered_with_a_rejection(world: World, server: Partner) -> None:
    bank = await _bank(world, server)
    (server.outbox / "bad.pgp").write_bytes(b"what is this")
    await _look(world)
    (file,) = await world.all("SELECT * FROM points_files")
    assert (file.state, file.reason) == ("rejected", "not_openpgp")
    (response,) = server.inbox.iterdir()
    assert response.read_bytes() == (await bank.response(await world.file(file))).sealed
    assert (await bank.response(await world.file(file))).header.expected_sequence == 1
