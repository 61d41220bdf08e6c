"""API keys: made once and shown once, kept as a hash, scoped, expiring, revocable."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, insert, or_, select, update

from counterfoil.access.tables import api_keys
from counterfoil.access.types import OPERATOR_SCOPES, SCOPES, ApiKey, Caller
from counterfoil.db.transactions import ReadTx, Tx
from counterfoil.errors import FieldError, ForbiddenError, InvalidError, NotFoundError, UnauthenticatedError
from counterfoil.ids import format_id, new_id

_ALPHABET: Final = "23456789abcdefghjkmnpqrstuvwxyz"
_SECRET_SYMBOLS: Final = 34  # 34 x log2(31) = 168 bits


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


async def create(
    tx: Tx,
    *,
    name: str,
    merchant_id: UUID | None,
    scopes: Iterable[str],
    expires_at: datetime | None,
    now: datetime,
) -> tuple[ApiKey, str]:
    """A new key and its secret, which is shown now and never again.

    `merchant_id` None makes an operator's key. Raises `InvalidError` for scopes that are unknown, or that
    only the operator can have.
    """
    wanted = tuple(dict.fromkeys(scopes))
    _check_scopes(wanted, merchant_id)
    if expires_at is not None and expires_at <= now:
        problem = FieldError("/expires_at", "in_the_past", "Choose a time to come.")
        raise InvalidError("The key would be expired already.", code="expiry_in_the_past", errors=(problem,))
    secret = "cfk_" + "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_SYMBOLS))
    key = ApiKey(new_id(), name, merchant_id, wanted, secret[:8], now, expires_at, None)
    await tx.execute(
        insert(api_keys).values(
            id=key.id,
            name=name,
            merchant_id=merchant_id,
            scopes=list(wanted),
            hash=_hash(secret),
            hint=key.hint,
            created_at=now,
            expires_at=expires_at,
        )
    )
    return key, secret


def _check_scopes(scopes: tuple[str, ...], merchant_id: UUID | None) -> None:
    allowed = set(SCOPES) if merchant_id is None else set(SCOPES) - OPERATOR_SCOPES
    wrong = [scope for scope in scopes if scope not in allowed]
    if wrong or not scopes:
        problem = FieldError("/scopes", "scope_unknown", f"Choose from: {', '.join(sorted(allowed))}.")
        detail = f"Not a scope of such a key: {', '.join(wrong)}." if wrong else "A key needs a scope."
        raise InvalidError(detail, code="scope_unknown", errors=(problem,))


async def authenticate(tx: ReadTx, *, secret: str, now: datetime) -> Caller:
    """Whose key it is. The answer is the same for one that is unknown, expired or revoked."""
    statement = select(api_keys.c.id, api_keys.c.merchant_id, api_keys.c.scopes).where(
        api_keys.c.hash == _hash(secret),
        api_keys.c.revoked_at.is_(None),
        or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now),
    )
    row = await tx.first(statement)
    if row is None:
        raise UnauthenticatedError(
            "The API key is not valid: unknown, expired or revoked.", code="api_key_invalid"
        )
    return Caller(key_id=row.id, merchant_id=row.merchant_id, scopes=frozenset(row.scopes))


def require(caller: Caller, scope: str) -> None:
    """`ForbiddenError` unless the caller has this scope."""
    if scope not in caller.scopes:
        raise ForbiddenError(f"The API key lacks the scope {scope!r}.", code="scope_missing")


async def revoke(tx: Tx, *, key_id: UUID, now: datetime) -> ApiKey:
    """Make a key useless at once; revoking again changes nothing."""
    await tx.execute(
        update(api_keys)
        .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    row = await tx.first(select(api_keys).where(api_keys.c.id == key_id))
    if row is None:
        raise NotFoundError(
            f"There is no api key {format_id('api_key', key_id)!r}.", code="api_key_not_found"
        )
    return _api_key(row)


async def list_all(tx: ReadTx, *, merchant_id: UUID | None = None) -> list[ApiKey]:
    """Keys, oldest first; of one merchant, or all."""
    statement = select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)
    if merchant_id is not None:
        statement = statement.where(api_keys.c.merchant_id == merchant_id)
    return [_api_key(row) for row in await tx.all(statement)]


def _api_key(row: Row[Any]) -> ApiKey:
    fields = {name: value for name, value in row._mapping.items() if name != "hash"}
    return ApiKey(**{**fields, "scopes": tuple(row.scopes)})
