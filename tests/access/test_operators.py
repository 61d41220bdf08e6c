from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.access import operators
from counterfoil.access.types import Operator
from counterfoil.db.transactions import Tx, begin
from counterfoil.errors import ConflictError, InvalidError, NotFoundError
from tests.builders import NOW

HASH = operators.hash_password("correct horse battery")
HOUR = timedelta(hours=1)


async def _operator(tx: Tx, email: str = "Ada@example.com") -> Operator:
    return await operators.add(tx, email=email, name="Ada", password_hash=HASH, now=NOW)


def test_a_password_matches_its_own_hash_and_no_other() -> None:
    assert operators.password_matches(HASH, "correct horse battery")
    assert not operators.password_matches(HASH, "correct horse batterz")
    assert not operators.password_matches(None, "nobody has this password")
    assert not operators.password_matches("not a hash", "correct horse battery")


def test_a_short_password_is_refused_with_what_is_enough() -> None:
    with pytest.raises(InvalidError, match="12") as caught:
        operators.hash_password("x" * 11)
    assert caught.value.code == "password_too_short"
    assert operators.hash_password("密" * 12).startswith("$argon2id$")


async def test_one_address_is_one_person_however_it_is_capitalised(tx: Tx) -> None:
    made = await _operator(tx)
    with pytest.raises(ConflictError):
        await _operator(tx, "aDA@EXAMPLE.com")
    assert await operators.find_credentials(tx, email="ADA@example.COM") == (made.id, HASH)
    assert await operators.count(tx) == 1


async def test_a_session_lasts_until_its_end_and_no_longer(tx: Tx) -> None:
    made = await _operator(tx)
    secret = await operators.sign_in(tx, operator_id=made.id, lifetime=HOUR, now=NOW)
    session = await operators.find_session(tx, secret=secret, now=NOW + HOUR - timedelta(microseconds=1))
    assert session is not None
    assert session.operator == made
    assert await operators.find_session(tx, secret=secret, now=NOW + HOUR) is None
    assert await operators.find_session(tx, secret=secret + "x", now=NOW) is None
    assert secret not in str(await tx.all("SELECT * FROM sessions"))


async def test_signing_out_another_password_and_being_disabled_end_sessions(tx: Tx) -> None:
    made = await _operator(tx)

    async def signed_in() -> str:
        return await operators.sign_in(tx, operator_id=made.id, lifetime=HOUR, now=NOW)

    secret = await signed_in()
    await operators.sign_out(tx, secret=secret)
    assert await operators.find_session(tx, secret=secret, now=NOW) is None
    secret = await signed_in()
    await operators.set_password(tx, email="ada@EXAMPLE.com", password_hash=HASH)
    assert await operators.find_session(tx, secret=secret, now=NOW) is None
    secret = await signed_in()
    await tx.execute("UPDATE operators SET disabled_at = now()")
    assert await operators.find_session(tx, secret=secret, now=NOW) is None
    assert await operators.find_credentials(tx, email="ada@example.com") is None


async def test_another_password_for_nobody_is_not_found(tx: Tx) -> None:
    with pytest.raises(NotFoundError):
        await operators.set_password(tx, email="nobody@example.com", password_hash=HASH)


async def test_guessing_has_to_wait_and_a_quiet_time_makes_good(tx: Tx) -> None:
    subjects = ["mail:ada", "address:1"]
    for n in range(operators.MOST_FAILURES):
        assert await operators.may_try(tx, subjects=subjects, now=NOW)
        await operators.record_failure(tx, subjects=subjects, now=NOW + timedelta(seconds=n))
    last = NOW + timedelta(seconds=operators.MOST_FAILURES - 1)
    assert not await operators.may_try(tx, subjects=subjects, now=last)
    assert not await operators.may_try(tx, subjects=["mail:ada", "address:2"], now=last)
    assert await operators.may_try(tx, subjects=["mail:eve", "address:2"], now=last)
    later = last + operators.WAIT
    assert await operators.may_try(tx, subjects=subjects, now=later)
    await operators.record_failure(tx, subjects=subjects, now=later + timedelta(seconds=1))
    assert await operators.may_try(tx, subjects=subjects, now=later + timedelta(seconds=1))


async def test_failures_counted_at_once_are_all_counted(engine: AsyncEngine) -> None:
    import anyio

    async def fail(order: list[str]) -> None:
        async with begin(engine) as tx:
            await operators.record_failure(tx, subjects=order, now=NOW)

    async with anyio.create_task_group() as tasks:
        for n in range(8):
            tasks.start_soon(fail, ["a", "b"] if n % 2 else ["b", "a"])
    async with begin(engine) as tx:
        rows = await tx.all("SELECT failures FROM sign_in_attempts")
    assert [row.failures for row in rows] == [8, 8]
