"""Values of points."""

from __future__ import annotations

from typing import Final, Literal, get_args

AccountState = Literal["open", "closed"]
Source = Literal["partner", "earned", "adjusted", "burned", "expired"]
"""What stands on the other side of a transfer: who gives points, or where they go."""
PendingState = Literal["pending", "posted", "voided"]

ACCOUNT_STATES: Final[tuple[AccountState, ...]] = get_args(AccountState)
SOURCES: Final[tuple[Source, ...]] = get_args(Source)
PENDING_STATES: Final[tuple[PendingState, ...]] = get_args(PendingState)
