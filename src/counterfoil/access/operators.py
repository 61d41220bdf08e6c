"""Operators: people who sign in to the pages, by password, with a session in a cookie."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, func, insert, select, update

from counterfoil.access.tables import operators, sessions, sign_in_attempts
from counterfoil.access.types import Operator, Session
from counterfoil.db.transactions import ReadTx, Tx
from counterfoil.errors import ConflictError, FieldError, InvalidError, NotFoundError
from counterfoil.ids import new_id

SHORTEST_PASSWORD: Final = 12
MOST_FAILURES: Final = 10
"""Wrong passwords for one e-mail, or from one address, before it must wait."""
WAIT: Final = timedelta(minutes=15)

_hasher = PasswordHasher()
_NOBODY: Final = _hasher.hash("nobody has this password")


def hash_password(password: str) -> str:
    """argon2id of a password (slow on purpose: call it outside a transaction, in a thread)."""
    if len(password) < SHORTEST_PASSWORD:
        problem = FieldError("/password", "too_short", f"Use at least {SHORTEST_PASSWORD} characters.")
        raise InvalidError(
            f"The password is shorter than {SHORTEST_PASSWORD} characters.",
            code="password_too_short",
            errors=(problem,),
        )
    return _hasher.hash(password)


def password_matches(password_hash: str | None, password: str) -> bool:
    """Whether it is the password (slow on purpose). None, for an unknown person, takes just as long."""
    try:
        return _hasher.verify(password_hash or _NOBODY, password) and password_hash is not None
    except (VerificationError, InvalidHashError):
        return False


async def add(tx: Tx, *, email: str, name: str, password_hash: str, now: datetime) -> Operator:
    """A new operator; `ConflictError` if the e-mail address has one already."""
    operator = Operator(new_id(), email, name, now, None)
    statement = (
        "INSERT INTO operators (id, email, name, password_hash, created_at) "
        "VALUES (:id, :email, :name, :password_hash, :now) ON CONFLICT DO NOTHING RETURNING id"
    )
    values = {"id": operator.id, "email": email, "name": name, "password_hash": password_hash, "now": now}
    if await tx.first(statement, values) is None:
        raise ConflictError(f"There is an operator {email} already.", code="operator_exists")
    return operator


async def set_password(tx: Tx, *, email: str, password_hash: str) -> None:
    """Another password; every session of that operator ends."""
    statement = (
        update(operators)
        .where(func.lower(operators.c.email) == email.lower())
        .values(password_hash=password_hash)
        .returning(operators.c.id)
    )
    row = await tx.first(statement)
    if row is None:
        raise NotFoundError(f"There is no operator {email}.", code="operator_not_found")
    await tx.execute(delete(sessions).where(sessions.c.operator_id == row.id))


async def find_credentials(tx: ReadTx, *, email: str) -> tuple[UUID, str] | None:
    """The id and the password hash of an operator who may sign in."""
    statement = select(operators.c.id, operators.c.password_hash).where(
        func.lower(operators.c.email) == email.lower(), operators.c.disabled_at.is_(None)
    )
    row = await tx.first(statement)
    return None if row is None else (row.id, row.password_hash)


async def count(tx: ReadTx) -> int:
    """How many operators there are."""
    return int(await tx.scalar(select(func.count()).select_from(operators)))


async def may_try(tx: ReadTx, *, subjects: list[str], now: datetime) -> bool:
    """Whether any of these (an e-mail, an address) has guessed wrong too often just now."""
    statement = select(func.count()).where(
        sign_in_attempts.c.subject.in_(subjects),
        sign_in_attempts.c.failures >= MOST_FAILURES,
        sign_in_attempts.c.last_at > now - WAIT,
    )
    return not await tx.scalar(statement)


async def record_failure(tx: Tx, *, subjects: list[str], now: datetime) -> None:
    """Count a wrong password; after a quiet time the count begins anew."""
    statement = """
        INSERT INTO sign_in_attempts AS a (subject, failures, last_at)
        SELECT subject, 1, :now FROM unnest(CAST(:subjects AS text[])) AS s(subject) ORDER BY subject
        ON CONFLICT (subject) DO UPDATE SET last_at = excluded.last_at,
            failures = CASE WHEN a.last_at < :since THEN 1 ELSE a.failures + 1 END"""
    await tx.execute(statement, {"subjects": subjects, "now": now, "since": now - WAIT})


async def sign_in(tx: Tx, *, operator_id: UUID, lifetime: timedelta, now: datetime) -> str:
    """A new session: returns the cookie's secret, of which we keep the hash."""
    secret = secrets.token_urlsafe(32)
    await tx.execute(
        insert(sessions).values(
            hash=hashlib.sha256(secret.encode()).digest(),
            operator_id=operator_id,
            csrf_token=secrets.token_urlsafe(32),
            created_at=now,
            expires_at=now + lifetime,
        )
    )
    return secret


async def find_session(tx: ReadTx, *, secret: str, now: datetime) -> Session | None:
    """The session behind a cookie, while it lasts and its operator is not disabled."""
    statement = (
        select(operators, sessions.c.csrf_token, sessions.c.expires_at)
        .join(sessions, sessions.c.operator_id == operators.c.id)
        .where(
            sessions.c.hash == hashlib.sha256(secret.encode()).digest(),
            sessions.c.expires_at > now,
            operators.c.disabled_at.is_(None),
        )
    )
    row = await tx.first(statement)
    if row is None:
        return None
    operator = Operator(row.id, row.email, row.name, row.created_at, row.disabled_at)
    return Session(operator, row.csrf_token, row.expires_at)


async def sign_out(tx: Tx, *, secret: str) -> None:
    """End a session."""
    await tx.execute(delete(sessions).where(sessions.c.hash == hashlib.sha256(secret.encode()).digest()))


async def prune(tx: Tx, *, now: datetime) -> None:
    """Forget sessions that are over and failures that no longer count."""
    await tx.execute(delete(sessions).where(sessions.c.expires_at < now))
    await tx.execute(delete(sign_in_attempts).where(sign_in_attempts.c.last_at < now - WAIT))
