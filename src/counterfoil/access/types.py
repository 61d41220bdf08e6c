"""Words of this room."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, get_args
from uuid import UUID

Scope = Literal[
    "records:write",
    "linkage:read",
    "linkage:write",
    "jobs:read",
    "merchants:read",
    "merchants:write",
    "keys:write",
    "webhooks:read",
    "webhooks:write",
    "campaigns:read",
    "campaigns:write",
    "vouchers:read",
    "vouchers:write",
    "points:read",
    "points:write",
]
"""What a key may do. `merchants:write` and `keys:write` are the operator's alone."""

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
OPERATOR_SCOPES: Final[frozenset[Scope]] = frozenset({"merchants:write", "keys:write"})
MERCHANT_SCOPES: Final[tuple[Scope, ...]] = tuple(s for s in SCOPES if s not in OPERATOR_SCOPES)


@dataclass(frozen=True, slots=True)
class Caller:
    """The program behind a request: which key, whose, and what it may do."""

    key_id: UUID
    merchant_id: UUID | None
    """Null: an operator's key."""
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is shown: never its secret, which we do not have."""

    id: UUID
    name: str
    merchant_id: UUID | None
    scopes: tuple[str, ...]
    hint: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Operator:
    """A person who signs in to the pages."""

    id: UUID
    email: str
    name: str
    created_at: datetime
    disabled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in operator, and the token that their forms must carry."""

    operator: Operator
    csrf_token: str
    expires_at: datetime
