"""Visitors of our drop box: who is let in, and which responses lie there for whom."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from counterfoil.db.transactions import ReadTx, Tx
from counterfoil.errors import NotFoundError, RefusedError
from counterfoil.points.files.remote_files import Remote

SHOWN: Final = 1_000
"""So many of the latest responses are listed; older ones can still be fetched by their names."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """A partner who signed in, and the key that it did so with."""

    merchant_id: UUID
    partner_id: str
    public_key: str


async def find(tx: ReadTx, *, user: str, public_key: str) -> Visitor | None:
    """Who that is, by the user name `MERCHANT.PARTNER` and the public key; None for anybody else.

    The partner is open, and the key is one of its keys that are in use.
    """
    merchant, _, partner_id = user.partition(".")
    row = await tx.first(
        """SELECT p.merchant_id, p.partner_id, k.public_key
           FROM merchants m
           JOIN points_partners p ON p.merchant_id = m.id
           JOIN points_partner_keys k USING (merchant_id, partner_id)
           WHERE m.reference = :merchant AND p.partner_id = :partner_id AND p.state = 'open'
             AND k.kind = 'ssh' AND k.retired_at IS NULL AND k.public_key = :public_key""",
        {"merchant": merchant, "partner_id": partner_id, "public_key": public_key},
    )
    return None if row is None else Visitor(**row._mapping)


async def check(tx: ReadTx, *, visitor: Visitor) -> None:
    """`RefusedError` (`visitor_refused`) for one who would not be let in any more: the visit may be long."""
    allowed = await tx.scalar(
        """SELECT true FROM points_partners p JOIN points_partner_keys k USING (merchant_id, partner_id)
           WHERE merchant_id = :merchant_id AND partner_id = :partner_id AND p.state = 'open'
             AND k.kind = 'ssh' AND k.retired_at IS NULL AND k.public_key = :public_key""",
        {**_owner(visitor), "public_key": visitor.public_key},
    )
    if not allowed:
        raise RefusedError(
            "The partner is closed, or its key is not in use any more.", code="visitor_refused"
        )


def _owner(visitor: Visitor) -> dict[str, Any]:
    return {"merchant_id": visitor.merchant_id, "partner_id": visitor.partner_id}


async def list_responses(tx: ReadTx, *, visitor: Visitor) -> list[Remote]:
    """The visitor's latest responses, the newest first; of several with the same name the newest alone."""
    rows = await tx.all(
        """SELECT response_name AS name, response_bytes AS size, answered_at AS modified_at
           FROM points_files
           WHERE merchant_id = :merchant_id AND partner_id = :partner_id AND answered_at IS NOT NULL
           ORDER BY file_no DESC LIMIT :shown""",
        {**_owner(visitor), "shown": SHOWN},
    )
    newest: dict[str, Remote] = {}
    for row in rows:
        newest.setdefault(row.name, Remote(**row._mapping))
    return list(newest.values())


async def find_response(tx: ReadTx, *, visitor: Visitor, name: str) -> int:
    """The number of the newest file whose response has this name. `NotFoundError` (`response_not_found`)."""
    file_no: int | None = await tx.scalar(
        """SELECT file_no FROM points_files
           WHERE merchant_id = :merchant_id AND partner_id = :partner_id AND answered_at IS NOT NULL
             AND response_name = :name
           ORDER BY file_no DESC LIMIT 1""",
        {**_owner(visitor), "name": name},
    )
    if file_no is None:
        raise NotFoundError("There is no such response.", code="response_not_found")
    return file_no


async def confirm(tx: Tx, *, visitor: Visitor, name: str, now: datetime) -> None:
    """Note that the visitor has this response: the first time counts."""
    await tx.execute(
        "UPDATE points_files SET confirmed_at = coalesce(confirmed_at, :now) WHERE file_no = :file_no",
        {"file_no": await find_response(tx, visitor=visitor, name=name), "now": now},
    )
