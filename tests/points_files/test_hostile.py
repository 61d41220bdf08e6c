"""Files that are not what they should be: nothing is credited, the partner is told why, and goes on."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil import clock
from counterfoil.db.transactions import begin
from counterfoil.errors import InvalidError, NotFoundError, RefusedError
from counterfoil.points.files import files, keys, partners
from counterfoil.points.files.files import File
from tests.points_files.gpg import Gpg, needs_gpg, throwaway
from tests.points_files.world import Bank, Response, World, make_world, pair

NOISE = random.Random(18).randbytes(4999)
ROWS = [("m1", 5, "r1"), ("m2", 6, "r2"), ("m3", 7, "r3")]


async def _refused(bank: Bank, file: File, reason: str) -> Response:
    """Nothing is credited; the answer says why and what comes next; the next good file goes through."""
    world = bank.world
    await world.run()
    told, partner = await world.file(file), await bank.now()
    assert (told.state, told.reason) == ("rejected", reason), told.detail
    assert told.detail
    assert await world.balances() == {}
    assert await world.all("SELECT true FROM points_records") == []
    response = await bank.response(file)
    assert (response.header.status, response.header.reason) == ("rejected", reason)
    assert response.header.expected_sequence == partner.last_sequence + 1 == 1
    assert (response.rows, response.totals.record_count) == ([], 0)
    bank.sequence = 0
    good = await bank.credited(("m1", 5, "r1"), ("m2", 6, "r2"), name="good.pgp")
    assert good.told == ["accepted", "accepted"]
    assert await world.balances() == {"m1": 5, "m2": 6}
    return response


def _flip(sealed: bytes, place: float) -> bytes:
    at = int(len(sealed) * place)
    return sealed[:at] + bytes([sealed[at] ^ 0x40]) + sealed[at + 1 :]


SEALED: dict[str, tuple[Callable[[Bank], bytes], str]] = {
    "no OpenPGP": (lambda bank: bank.write(*ROWS), "not_openpgp"),
    "noise": (lambda _: b"\x1f" + NOISE, "not_openpgp"),
    "noise that begins as a message": (lambda _: b"\xd2" + NOISE, "damaged"),
    "one byte": (lambda _: b"\x00", "not_openpgp"),
    "cut in the middle": (lambda bank: (s := bank.seal(bank.write(*ROWS)))[: len(s) // 2], "damaged"),
    "cut by a byte": (lambda bank: bank.seal(bank.write(*ROWS))[:-1], "damaged"),
    "a bit at its end": (lambda bank: _flip(bank.seal(bank.write(*ROWS)), 0.98), "damaged"),
    "a bit in its middle": (lambda bank: _flip(bank.seal(bank.write(*ROWS)), 0.6), "damaged"),
    "signed by a stranger": (
        lambda bank: bank.seal(bank.write(*ROWS), signer=pair("stranger")), "signer_unknown",
    ),
    "signed by ourselves": (lambda bank: bank.seal(bank.write(*ROWS), signer=pair("shop")), "signer_unknown"),
    "for somebody else": (
        lambda bank: bank.seal(bank.write(*ROWS), to=pair("stranger").public), "not_for_us",
    ),
    "a bomb": (lambda bank: bank.seal(b"0" * 600_000_000), "too_large"),
}  # fmt: skip


@pytest.mark.parametrize("case", SEALED)
async def test_a_message_that_does_not_hold_is_refused_as_a_whole(bank: Bank, case: str) -> None:
    make, reason = SEALED[case]
    await _refused(bank, await bank.put(make(bank)), reason)


HEADERS: dict[str, tuple[dict[str, Any], str]] = {
    "version": ({"version": "2"}, "version_wrong"),
    "environment": ({"environment": "test"}, "environment_wrong"),
    "sender": ({"sender": "AIRLINE"}, "sender_wrong"),
    "receiver": ({"receiver": "BANK"}, "receiver_wrong"),
    "type": ({"file_type": "RESPONSE"}, "file_type_wrong"),
    "of the future": (
        {"created_at": f"{clock.now() + timedelta(days=3):%Y-%m-%dT%H:%M:%SZ}"}, "created_at_wrong",
    ),
    "skips one": ({"sequence": 2}, "sequence_wrong"),
    "zero": ({"sequence": 0}, "sequence_wrong"),
    "count": ({"trailer": {"record_count": 4}}, "record_count_wrong"),
    "points": ({"trailer": {"points_total": 19}}, "points_total_wrong"),
    "hash": ({"trailer": {"hash_total": 7}}, "hash_total_wrong"),
}  # fmt: skip


@pytest.mark.parametrize("case", HEADERS)
async def test_a_file_whose_ends_do_not_agree_is_refused_as_a_whole(bank: Bank, case: str) -> None:
    said, reason = HEADERS[case]
    response = await _refused(bank, await bank.send(*ROWS, **said), reason)
    assert response.header.sequence == said.get("sequence", 1)


CONTENTS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "a line that never ends": lambda _: b"H" * 1_000_000,
    "a gigantic record": lambda plain: plain.replace(b"r2", b"r" * 200_000),
    "no header": lambda plain: plain.split(b"\n", 1)[1],
    "no trailer": lambda plain: plain[: plain.rindex(b"T|")],
    "cut in its trailer": lambda plain: plain[:-4],
    "more after the trailer": lambda plain: plain + b"D|m1|5|r9|20260101|BASE\n",
    "two files in one": lambda plain: plain + plain,
    "another encoding": lambda plain: plain.replace(b"m1", "积分".encode("gb18030")),
    "another encoding with a mark": lambda plain: plain.decode().encode("utf-16"),
    "a NUL": lambda plain: plain.replace(b"m1", b"m\x001"),
    "a header that is no header": lambda plain: plain.replace(b"|ACCRUAL|1|", b"|ACCRUAL|one|"),
    "a date that is none": lambda plain: plain.replace(b"T", b"X", 1),
    "a picture": lambda _: b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 50,
}


@pytest.mark.parametrize("case", CONTENTS)
async def test_a_signed_file_that_cannot_be_read_is_refused_as_a_whole(bank: Bank, case: str) -> None:
    broken = CONTENTS[case](bank.write(*ROWS))
    file = await bank.put(bank.seal(broken))
    await bank.world.run()
    reason = (await bank.world.file(file)).reason
    assert reason is not None
    assert reason.startswith("file_") or reason.endswith("_wrong"), reason
    await _refused(bank, file, reason)


async def test_without_a_pinned_key_nothing_is_believed_and_the_answer_waits_for_one(world: World) -> None:
    bank = await world.bank(pin=False)
    file = await bank.send(*ROWS)
    for job, payload in await world.queued():
        await world.do(job, payload)
    for job, payload in await world.queued():
        await world.do(job, payload)
    told = await world.file(file)
    assert (told.reason, told.answered_at) == ("signer_unknown", None)
    assert told.answer_error is not None
    assert told.answer_error["code"] == "partner_key_missing"
    async with begin(world.engine) as tx:
        await keys.add(
            tx,
            merchant_id=world.merchant_id,
            partner_id="bank",
            kind="openpgp",
            text=bank.key.public,
            now=clock.now(),
        )
    await world.execute("UPDATE points_files SET answer_after = now() WHERE answer_after IS NOT NULL")
    await _refused(bank, file, "signer_unknown")


async def test_a_key_that_was_retired_signs_no_more(world: World, bank: Bank) -> None:
    file = await bank.send(*ROWS)
    async with begin(world.engine) as tx:
        owner: dict[str, Any] = {"merchant_id": world.merchant_id, "partner_id": "bank"}
        await keys.add(tx, **owner, kind="openpgp", text=pair("newbank").public, now=clock.now())
        await keys.retire(tx, **owner, fingerprint=bank.key.fingerprint, now=clock.now())
    bank.key = pair("newbank")
    await _refused(bank, file, "signer_unknown")


async def test_a_partner_that_was_closed_meanwhile_is_told_so(world: World, bank: Bank) -> None:
    file = await bank.send(*ROWS)
    names: dict[str, Any] = {"merchant_id": world.merchant_id, "partner_id": "bank"}
    async with begin(world.engine) as tx:
        await partners.change(tx, **names, state="closed", now=clock.now())
    with pytest.raises(RefusedError) as refused:
        await bank.send(*ROWS)
    assert refused.value.code == "partner_closed"
    await world.run()
    async with begin(world.engine) as tx:
        await partners.change(tx, **names, state="open", now=clock.now())
    await _refused(bank, file, "partner_closed")


async def test_an_empty_file_is_not_even_kept(world: World, bank: Bank) -> None:
    with pytest.raises(InvalidError) as refused:
        await bank.put(b"")
    assert refused.value.code == "file_empty"
    assert await world.all("SELECT true FROM points_files") == []


async def test_another_partners_file_is_not_taken_for_ones_own(world: World, bank: Bank) -> None:
    """Each signs well, but for itself."""
    airline = await world.bank("airline")
    await _refused(bank, await bank.put(airline.seal(airline.write(*ROWS))), "signer_unknown")
    assert (await airline.now()).last_sequence == 0


async def test_another_merchant_shares_neither_keys_nor_partners_nor_files(
    world: World, bank: Bank, engine: AsyncEngine, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = await make_world(engine, tmp_path / "other", "m1", "m2")
    with pytest.raises(NotFoundError):
        await Bank(other, "bank", bank.terms).send(*ROWS)
    theirs = await other.bank("bank", key=pair("airline"))
    file = await theirs.put(bank.seal(bank.write(*ROWS)))
    await world.run()
    assert (await world.file(file)).reason == "signer_unknown"
    assert await world.balances() == await other.balances() == {}
    with pytest.raises(NotFoundError):
        async with begin(engine) as tx:
            await files.get(tx, merchant_id=world.merchant_id, file_id=file.file_id)


@pytest.mark.parametrize(
    ("rule", "row"),
    [
        ("points_out_of_range", ("m1", 0, "r9")),
        ("duplicate", ("m1", 5, "r1")),
        ("not_found", ("nobody", 5, "r9")),
        ("closed", ("m9", 5, "r9")),
        ("fields_wrong", "D|m1"),
    ],
)
async def test_a_rule_that_rejects_files_rejects_this_one(
    world: World, bank: Bank, rule: str, row: Any
) -> None:
    await world.close("m9")
    await bank.change(reject_file_on=[rule])
    await _refused(bank, await bank.send(*ROWS, row), f"record_{rule}")


async def test_a_rule_that_rejects_files_leaves_others_alone(world: World, bank: Bank) -> None:
    await bank.change(reject_file_on=["not_found", "closed"])
    assert (await bank.credited(*ROWS, ("m1", 0, "r9"))).told == ["accepted"] * 3 + ["points_out_of_range"]


@needs_gpg
@pytest.mark.parametrize("kind", ["rsa3072", "curve25519"])
async def test_what_gpg_writes_by_default_is_credited_and_gpg_reads_the_answer(
    world: World, kind: str, tmp_path: Path
) -> None:
    with throwaway() as gpg:
        await _with_gpg(world, gpg, kind, tmp_path)


async def _with_gpg(world: World, gpg: Gpg, kind: str, tmp_path: Path) -> None:
    fingerprint = gpg.make_key(kind)
    bank = await world.bank(pin=False)
    async with begin(world.engine) as tx:
        await keys.add(
            tx, merchant_id=world.merchant_id, partner_id="bank", kind="openpgp",
            text=gpg.export_public(fingerprint), now=clock.now(),
        )  # fmt: skip
    gpg.import_key(world.own.public_key)
    plain, sealed = tmp_path / "plain", tmp_path / "sealed"
    plain.write_bytes(bank.write(*ROWS))
    gpg.encrypt_sign(plain, sealed, world.own.fingerprint)
    file = await bank.put(sealed.read_bytes())
    await world.run()
    assert (await world.file(file)).state == "credited"
    async with begin(world.engine) as tx:
        await files.write_out(tx, file_no=file.file_no, kind="response", path=sealed)
    content, status = gpg.decrypt(sealed)
    assert content.decode().count("|accepted|") == 4
    assert any(line.startswith("GOODSIG") for line in status)
