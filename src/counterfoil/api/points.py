"""The points of a merchant's members: all routes below `/v1/points`."""

from __future__ import annotations

from fastapi import APIRouter

from counterfoil.api import (
    points_accounts,
    points_file_records,
    points_files,
    points_ledger,
    points_orders,
    points_partners,
    points_probing,
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
    points_partners,
    points_probing,
    points_files,
    points_file_records,
):
    router.include_router(_part.router)
