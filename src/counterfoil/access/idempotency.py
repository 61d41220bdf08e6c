"""One meaning of `Idempotency-Key`: same key and content, the first answer; other content, refused.

The answer is stored in the transaction that did the work, so there is no moment at which a crash leaves
the one without the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from counterfoil.db.transactions import Driven, Tx
from counterfoil.errors import ConflictError, RefusedError

LONGEST_KEY: Final = 255


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that was given before."""

    status: int
    body: bytes
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Keyed:
    """A request's `Idempotency-Key`: whose, which, and a hash of what was asked."""

    caller: str
    key: str
    content: bytes

    @property
    def name(self) -> tuple[str, str]:
        """Whose key, and which."""
        return self.caller, self.key


def request_hash(method: str, path: str, body: bytes) -> bytes:
    """What makes two requests the same."""
    return hashlib.sha256(b"\n".join((method.encode(), path.encode(), body))).digest()


def reused() -> RefusedError:
    """The key was used for something else."""
    return RefusedError(
        "This Idempotency-Key was used for another request; use a new one for each.",
        code="idempotency_key_reused",
    )


async def find_answers(tx: Driven, keyed: Sequence[Keyed]) -> dict[tuple[str, str], tuple[bytes, Answer]]:
    """Of many requests, the first answers that were given, with the hash of what was asked then.

    Without a lock: two batches that keep an answer to the same key at once meet in `keep_answers`.
    """
    db = await tx.driver()
    rows = await db.fetch(
        """SELECT i.caller, i.key, i.request_hash, i.status, i.body
           FROM unnest($1::text[], $2::text[]) k(caller, key)
           JOIN idempotency_keys i ON i.caller = k.caller AND i.key = k.key""",
        [k.caller for k in keyed],
        [k.key for k in keyed],
    )
    return {(row[0], row[1]): (row[2], Answer(row[3], row[4])) for row in rows}


async def keep_answers(tx: Driven, kept: Sequence[tuple[Keyed, Answer]], *, now: datetime) -> None:
    """Keep the answers to many requests. Asyncpg's `UniqueViolationError` where one was kept meanwhile."""
    if not kept:
        return
    db = await tx.driver()
    await db.execute(
        """INSERT INTO idempotency_keys (caller, key, request_hash, status, body, created_at)
           SELECT *, $6 FROM unnest($1::text[], $2::text[], $3::bytea[], $4::int[], $5::bytea[])""",
        [k.caller for k, _ in kept],
        [k.key for k, _ in kept],
        [k.content for k, _ in kept],
        [a.status for _, a in kept],
        [a.body for _, a in kept],
        now,
    )


async def find_answer(tx: Tx, *, caller: str, key: str, content: bytes) -> Answer | None:
    """The first answer to this request, or None when it is new: then do the work and `keep_answer`.

    Raises `ConflictError` while the same key is being worked on, `RefusedError` for another content.
    """
    lock = int.from_bytes(hashlib.sha256(f"{caller}\n{key}".encode()).digest()[:8], "big", signed=True)
    if not await tx.scalar("SELECT pg_try_advisory_xact_lock(:lock)", {"lock": lock}):
        raise ConflictError(
            "A request with this Idempotency-Key is being worked on; ask again in a moment.",
            code="idempotency_key_in_use",
        )
    row = await tx.first(
        "SELECT request_hash, status, body FROM idempotency_keys WHERE caller = :caller AND key = :key",
        {"caller": caller, "key": key},
    )
    if row is None:
        return None
    if row.request_hash != content:
        raise reused()
    return Answer(row.status, row.body)


async def keep_answer(
    tx: Tx, *, caller: str, key: str, content: bytes, answer: Answer, now: datetime
) -> None:
    """Keep the answer for whoever repeats the request."""
    await tx.execute(
        "INSERT INTO idempotency_keys (caller, key, request_hash, status, body, created_at) "
        "VALUES (:caller, :key, :content, :status, :body, :now)",
        {
            "caller": caller,
            "key": key,
            "content": content,
            "status": answer.status,
            "body": answer.body,
            "now": now,
        },
    )


async def prune(tx: Tx, *, before: datetime) -> None:
    """Forget answers that were given before then: a request repeated so late is a new one."""
    await tx.execute("DELETE FROM idempotency_keys WHERE created_at < :before", {"before": before})
