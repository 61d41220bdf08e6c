"""Partners: who sends files of points, on what terms, and with which keys."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row

from counterfoil.db.transactions import ReadTx, Tx
from counterfoil.errors import ConflictError, FieldError, InvalidError, NotFoundError
from counterfoil.points import accounts
from counterfoil.points.files.layouts import Layout
from counterfoil.points.files.terms import Terms
from counterfoil.points.files.types import PartnerState

_COLUMNS: Final = (
    "merchant_id, partner_id, name, state, terms, layout, source_no, last_sequence, pressure, collected_at, "
    "collect_error, created_at, changed_at"
)


@dataclass(frozen=True, slots=True)
class Partner:
    """A partner as it stands."""

    merchant_id: UUID
    partner_id: str
    name: str
    state: PartnerState
    terms: Terms
    layout: Layout
    source_no: int
    last_sequence: int
    pressure: dict[str, Any] | None
    collected_at: datetime | None
    collect_error: dict[str, Any] | None
    created_at: datetime
    changed_at: datetime


def _partner(row: Row[Any]) -> Partner:
    values = dict(row._mapping)
    values["terms"] = Terms.model_validate(values["terms"])
    values["layout"] = Layout.model_validate(values["layout"])
    return Partner(**values)


async def add(
    tx: Tx,
    *,
    merchant_id: UUID,
    partner_id: str,
    name: str,
    terms: Terms,
    layout: Layout,
    first_sequence: int = 1,
    now: datetime,
) -> Partner:
    """Add a partner, whose first file has the number `first_sequence`.

    Raises `ConflictError` (`partner_exists`), `InvalidError` (`partner_invalid`).
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", partner_id):
        detail = "Use 1 to 63 small letters, digits and hyphens."
        raise InvalidError(
            f"The partner cannot be added: partner_id: {detail}",
            code="partner_invalid",
            errors=(FieldError("/partner_id", "partner_id_invalid", detail),),
        )
    _check(terms)
    source_no = await accounts.source_no(
        tx, merchant_id=merchant_id, source="partner", name=partner_id, now=now
    )
    row = await tx.first(
        f"""INSERT INTO points_partners (merchant_id, partner_id, name, terms, layout, source_no,
                                         last_sequence, created_at, changed_at)
            VALUES (:merchant_id, :partner_id, :name, CAST(:terms AS jsonb), CAST(:layout AS jsonb),
                    :source_no, :last, :now, :now)
            ON CONFLICT DO NOTHING RETURNING {_COLUMNS}""",
        {
            "merchant_id": merchant_id,
            "partner_id": partner_id,
            "name": name,
            "source_no": source_no,
            "terms": terms.model_dump_json(),
            "layout": layout.model_dump_json(),
            "last": first_sequence - 1,
            "now": now,
        },
    )
    if row is None:
        raise ConflictError(f"There is a partner {partner_id!r} already.", code="partner_exists")
    return _partner(row)


async def change(
    tx: Tx,
    *,
    merchant_id: UUID,
    partner_id: str,
    name: str | None = None,
    state: PartnerState | None = None,
    terms: Terms | None = None,
    layout: Layout | None = None,
    now: datetime,
) -> Partner:
    """Change what is given. What was checked stays checked; a file at work is credited by the new terms.

    Another crediting system does not know the references of the one before: whoever changes it gives up that
    repetitions of older records are found. A closed partner's files are rejected, and its server is not
    looked at any more.
    """
    if terms is not None:
        _check(terms)
    row = await tx.first(
        f"""UPDATE points_partners
            SET name = coalesce(:name, name), state = coalesce(:state, state), changed_at = :now,
                terms = coalesce(CAST(:terms AS jsonb), terms),
                layout = coalesce(CAST(:layout AS jsonb), layout),
                collected_at = CASE WHEN CAST(:terms AS jsonb) IS NULL THEN collected_at END
            WHERE merchant_id = :merchant_id AND partner_id = :partner_id RETURNING {_COLUMNS}""",
        {
            "merchant_id": merchant_id,
            "partner_id": partner_id,
            "name": name,
            "state": state,
            "now": now,
            "terms": terms and terms.model_dump_json(),
            "layout": layout and layout.model_dump_json(),
        },
    )
    if row is None:
        raise _unknown(partner_id)
    return _partner(row)


async def get(tx: ReadTx, *, merchant_id: UUID, partner_id: str) -> Partner:
    """A partner; `NotFoundError` (`partner_not_found`) if there is none."""
    row = await tx.first(
        f"SELECT {_COLUMNS} FROM points_partners WHERE merchant_id = :merchant_id AND partner_id = :id",
        {"merchant_id": merchant_id, "id": partner_id},
    )
    if row is None:
        raise _unknown(partner_id)
    return _partner(row)


async def lock(tx: Tx, *, merchant_id: UUID, partner_id: str) -> Partner:
    """A partner that nobody else changes until the transaction ends. `NotFoundError`, as `get`."""
    await tx.execute(
        """SELECT FROM points_partners WHERE merchant_id = :merchant_id AND partner_id = :id
           FOR NO KEY UPDATE""",
        {"merchant_id": merchant_id, "id": partner_id},
    )
    return await get(tx, merchant_id=merchant_id, partner_id=partner_id)


async def list_all(tx: ReadTx, *, merchant_id: UUID) -> list[Partner]:
    """All partners of a merchant, by their short names: there are few."""
    rows = await tx.all(
        f"SELECT {_COLUMNS} FROM points_partners WHERE merchant_id = :merchant_id ORDER BY partner_id",
        {"merchant_id": merchant_id},
    )
    return [_partner(row) for row in rows]


def _check(terms: Terms) -> None:
    if terms.points_min > terms.points_max:
        detail = f"points_min is {terms.points_min}, more than points_max, {terms.points_max}."
        raise InvalidError(
            f"The terms contradict themselves: {detail}",
            code="partner_invalid",
            errors=(FieldError("/terms/points_min", "range_empty", detail),),
        )


def _unknown(partner_id: str) -> NotFoundError:
    return NotFoundError(f"There is no partner {partner_id!r}; add it first.", code="partner_not_found")
