"""The points of a merchant's members: all routes below `/v1/points`."""

from __future__ import annotations

from fastapi import APIRouter

from counterfoil.api import (
    points_accounts,
    points_ledger,
    points_orders,
    points_program,
    points_transfers,
    points_undoing,
)

router = APIRouter(prefix="/points", tags=["points"])
for _part in (
    points_program,
    points_accounts,
    points_transfers,
    points_undoing,
    points_orders,
    points_ledger,
):
    router.include_router(_part.router)
