"""Merchants: made by the operator, found by id or by the short name that people type."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID
from zoneinfo import available_timezones

from sqlalchemy import Row, select

from counterfoil.db.paging import Page, decode_cursor, page_of
from counterfoil.db.transactions import ReadTx, Tx
from counterfoil.errors import ConflictError, CounterfoilError, FieldError, InvalidError, NotFoundError
from counterfoil.ids import new_id, parse_id
from counterfoil.merchants.tables import merchants


@cache
def time_zones() -> frozenset[str]:
    """The IANA names that can be a merchant's: those that PostgreSQL and DuckDB know as well."""
    return frozenset(available_timezones() - {"localtime"})


@dataclass(frozen=True, slots=True)
class Merchant:
    """A tenant: its amounts are in minor units of `currency`, its days begin in `time_zone`."""

    id: UUID
    reference: str
    name: str
    time_zone: str
    currency: str
    created_at: datetime


def _merchant(row: Row[Any]) -> Merchant:
    return Merchant(**row._mapping)


def check(*, reference: str, time_zone: str, currency: str) -> None:
    """`InvalidError` with everything that is wrong with a merchant to be."""
    problems = []
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", reference):
        detail = "Use 1 to 63 small letters, digits and hyphens."
        problems.append(FieldError("/reference", "reference_invalid", detail))
    if time_zone not in time_zones():
        problems.append(
            FieldError("/time_zone", "time_zone_unknown", "Use an IANA name such as Asia/Shanghai.")
        )
    if not re.fullmatch(r"[A-Z]{3}", currency):
        problems.append(FieldError("/currency", "currency_invalid", "Use an ISO 4217 code such as CNY."))
    if problems:
        raise InvalidError(
            "The merchant cannot be made: " + " ".join(f"{p.pointer[1:]}: {p.detail}" for p in problems),
            code="merchant_invalid",
            errors=tuple(problems),
        )


async def create(
    tx: Tx, *, reference: str, name: str, time_zone: str, currency: str, now: datetime
) -> Merchant:
    """A new merchant; `ConflictError` if the reference is taken."""
    check(reference=reference, time_zone=time_zone, currency=currency)
    merchant = Merchant(new_id(), reference, name, time_zone, currency, now)
    statement = """
        INSERT INTO merchants (id, reference, name, time_zone, currency, created_at)
        VALUES (:id, :reference, :name, :time_zone, :currency, :created_at)
        ON CONFLICT (reference) DO NOTHING RETURNING id"""
    values = {name: getattr(merchant, name) for name in merchants.c.keys()}  # noqa: SIM118
    if await tx.first(statement, values) is None:
        raise ConflictError(f"There is a merchant {reference!r} already.", code="merchant_exists")
    return merchant


async def find(tx: ReadTx, *, name: str) -> Merchant | None:
    """A merchant by public id or by reference, or None."""
    condition = merchants.c.reference == name
    if name.startswith("mer_"):
        try:
            condition = merchants.c.id == parse_id("merchant", name)
        except CounterfoilError:
            return None
    row = await tx.first(select(merchants).where(condition))
    return None if row is None else _merchant(row)


async def get(tx: ReadTx, *, name: str) -> Merchant:
    """A merchant by public id or by reference; `NotFoundError` if there is none."""
    merchant = await find(tx, name=name)
    if merchant is None:
        raise NotFoundError(f"There is no merchant {name!r}.", code="merchant_not_found")
    return merchant


async def get_by_id(tx: ReadTx, *, merchant_id: UUID) -> Merchant:
    """A merchant by its id."""
    row = await tx.first(select(merchants).where(merchants.c.id == merchant_id))
    if row is None:
        raise NotFoundError("There is no such merchant.", code="merchant_not_found")
    return _merchant(row)


async def list_page(
    tx: ReadTx, *, limit: int, cursor: str | None = None, merchant_id: UUID | None = None
) -> Page[Merchant]:
    """Merchants by reference; only the one itself for a tenant."""
    statement = select(merchants).order_by(merchants.c.reference).limit(limit + 1)
    if merchant_id is not None:
        statement = statement.where(merchants.c.id == merchant_id)
    if cursor is not None:
        statement = statement.where(merchants.c.reference > decode_cursor(cursor, kinds=(str,))[0])
    rows = [_merchant(row) for row in await tx.all(statement)]
    return page_of(rows, limit=limit, key=lambda merchant: (merchant.reference,))
