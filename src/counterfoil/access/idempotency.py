"""One meaning of `Idempotency-Key`: same key and content, the first answer; other content, refused.

The answer is stored in the transaction that did the work, so there is no moment at which a crash leaves
the one without the other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from counterfoil.db.transactions import Tx
from counterfoil.errors import ConflictError, RefusedError

LONGEST_KEY: Final = 255


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that was given before."""

    status: int
    body: bytes


def request_hash(method: str, path: str, body: bytes) -> bytes:
    """What makes two requests the same."""
    return hashlib.sha256(b"\n".join((method.encode(), path.encode(), body))).digest()


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
        raise RefusedError(
            "This Idempotency-Key was used for another request; use a new one for each.",
            code="idempotency_key_reused",
        )
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
