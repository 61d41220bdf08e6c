from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.access import keys
from counterfoil.access.types import MERCHANT_SCOPES, OPERATOR_SCOPES, SCOPES
from counterfoil.db.transactions import Tx, begin
from counterfoil.errors import ForbiddenError, InvalidError, NotFoundError, UnauthenticatedError
from counterfoil.ids import new_id
from tests.builders import NOW, make_merchant

SECOND = timedelta(seconds=1)


async def test_a_secret_is_shown_once_and_only_its_hash_is_kept(tx: Tx) -> None:
    key, secret = await keys.create(
        tx, name="till", merchant_id=None, scopes=["jobs:read"], expires_at=None, now=NOW
    )
    assert secret.startswith("cfk_")
    assert len(secret) == 38
    assert key.hint == secret[:8]
    row = await tx.first("SELECT * FROM api_keys")
    assert row is not None
    assert secret not in str(row)
    assert secret[8:] not in str(row)
    assert len(row.hash) == 32


async def test_no_two_secrets_are_alike(tx: Tx) -> None:
    made = [
        await keys.create(tx, name="x", merchant_id=None, scopes=["jobs:read"], expires_at=None, now=NOW)
        for _ in range(50)
    ]
    assert len({secret for _, secret in made}) == 50


async def test_a_key_says_whose_it_is_and_what_it_may_do(tx: Tx) -> None:
    merchant = await make_merchant(tx)
    key, secret = await keys.create(
        tx, name="x", merchant_id=merchant, scopes=["jobs:read", "jobs:read"], expires_at=None, now=NOW
    )
    caller = await keys.authenticate(tx, secret=secret, now=NOW)
    assert (caller.key_id, caller.merchant_id, set(caller.scopes)) == (key.id, merchant, {"jobs:read"})
    keys.require(caller, "jobs:read")
    with pytest.raises(ForbiddenError, match="records:write"):
        keys.require(caller, "records:write")


async def test_a_key_works_until_the_moment_it_expires_and_not_in_it(tx: Tx) -> None:
    _, secret = await keys.create(
        tx, name="x", merchant_id=None, scopes=["jobs:read"], expires_at=NOW + SECOND, now=NOW
    )
    await keys.authenticate(tx, secret=secret, now=NOW + SECOND - timedelta(microseconds=1))
    with pytest.raises(UnauthenticatedError):
        await keys.authenticate(tx, secret=secret, now=NOW + SECOND)


@pytest.mark.parametrize("expires_at", [NOW, NOW - SECOND])
async def test_a_key_that_would_be_expired_already_is_refused(tx: Tx, expires_at: datetime) -> None:
    with pytest.raises(InvalidError) as caught:
        await keys.create(
            tx,
            name="x",
            merchant_id=None,
            scopes=["jobs:read"],
            expires_at=expires_at,
            now=NOW,
        )
    assert caught.value.code == "expiry_in_the_past"


async def test_a_revoked_key_is_useless_at_once_and_keeps_when_it_was_revoked(tx: Tx) -> None:
    key, secret = await keys.create(
        tx, name="x", merchant_id=None, scopes=["jobs:read"], expires_at=None, now=NOW
    )
    assert (await keys.revoke(tx, key_id=key.id, now=NOW)).revoked_at == NOW
    with pytest.raises(UnauthenticatedError):
        await keys.authenticate(tx, secret=secret, now=NOW)
    assert (await keys.revoke(tx, key_id=key.id, now=NOW + SECOND)).revoked_at == NOW
    with pytest.raises(NotFoundError):
        await keys.revoke(tx, key_id=new_id(), now=NOW)


@pytest.mark.parametrize(
    "scopes", [[], ["everything"], ["jobs:read", ""], *([s] for s in sorted(OPERATOR_SCOPES))]
)
async def test_a_merchants_key_has_only_scopes_of_a_merchant(tx: Tx, scopes: list[str]) -> None:
    merchant = await make_merchant(tx)
    with pytest.raises(InvalidError) as caught:
        await keys.create(tx, name="x", merchant_id=merchant, scopes=scopes, expires_at=None, now=NOW)
    assert caught.value.code == "scope_unknown"
    await keys.create(tx, name="x", merchant_id=merchant, scopes=MERCHANT_SCOPES, expires_at=None, now=NOW)
    await keys.create(tx, name="x", merchant_id=None, scopes=SCOPES, expires_at=None, now=NOW)


@pytest.mark.parametrize("scope", [*sorted(OPERATOR_SCOPES), "everything"])
async def test_the_database_itself_refuses_a_merchants_key_that_acts_for_the_operator(
    engine: AsyncEngine, scope: str
) -> None:
    async with begin(engine) as tx:
        merchant = await make_merchant(tx)
        await keys.create(tx, name="x", merchant_id=merchant, scopes=["jobs:read"], expires_at=None, now=NOW)
    with pytest.raises(InvalidError):
        async with begin(engine) as tx:
            await tx.execute("UPDATE api_keys SET scopes = scopes || CAST(:s AS text)", {"s": scope})


async def test_keys_are_listed_of_all_or_of_one_merchant_without_their_secrets(tx: Tx) -> None:
    merchant = await make_merchant(tx)
    for owner in (None, merchant):
        await keys.create(tx, name="x", merchant_id=owner, scopes=["jobs:read"], expires_at=None, now=NOW)
    assert len(await keys.list_all(tx)) == 2
    (own,) = await keys.list_all(tx, merchant_id=merchant)
    assert own.merchant_id == merchant
    assert not hasattr(own, "hash")
