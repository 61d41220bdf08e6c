"""API keys, for the operator to give out and take back."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from counterfoil import clock
from counterfoil.access import keys
from counterfoil.access.types import ApiKey, Scope
from counterfoil.api.context import Acting, acting
from counterfoil.api.problems import responses
from counterfoil.db.transactions import begin, read
from counterfoil.ids import format_id, parse_id

router = APIRouter(prefix="/keys", tags=["keys"])


class NewKey(BaseModel):
    """A key to be. With the header `Counterfoil-Merchant` it is that merchant's, otherwise the operator's."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$", examples=["till 4"])
    scopes: list[Scope] = Field(min_length=1, max_length=20)
    expires_at: AwareDatetime | None = Field(None, description="Null: never.")


class KeyAnswer(BaseModel):
    """A key; its secret is not among what we keep."""

    id: str
    name: str
    merchant_id: str | None = Field(description="Null: an operator's key.")
    scopes: list[str]
    hint: str = Field(description="How the key begins.")
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class NewKeyAnswer(KeyAnswer):
    """A key with its secret: this once."""

    secret: str


class KeyList(BaseModel):
    """All keys."""

    data: list[KeyAnswer]


def _answer(key: ApiKey) -> KeyAnswer:
    return KeyAnswer(
        id=format_id("api_key", key.id),
        name=key.name,
        merchant_id=None if key.merchant_id is None else format_id("merchant", key.merchant_id),
        scopes=list(key.scopes),
        hint=key.hint,
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
    )


@router.post("", status_code=201, responses=responses(400, 404, 413), summary="Create a key")
async def create_key(body: NewKey, act: Annotated[Acting, Depends(acting("keys:write"))]) -> NewKeyAnswer:
    """The secret is shown in this answer and never again, so it is not kept for a repeated request either."""
    merchant_id = None if act.merchant is None else act.merchant.id
    async with begin(act.engine) as tx:
        key, secret = await keys.create(
            tx,
            name=body.name,
            merchant_id=merchant_id,
            scopes=body.scopes,
            expires_at=body.expires_at,
            now=clock.now(),
        )
    return NewKeyAnswer(**_answer(key).model_dump(), secret=secret)


@router.get("", responses=responses(404), summary="List keys")
async def list_keys(act: Annotated[Acting, Depends(acting("keys:write"))]) -> KeyList:
    """All keys, or those of the merchant in `Counterfoil-Merchant`; the oldest first."""
    async with read(act.engine) as tx:
        found = await keys.list_all(tx, merchant_id=None if act.merchant is None else act.merchant.id)
    return KeyList(data=[_answer(key) for key in found])


@router.post("/{key_id}/revoke", responses=responses(404), summary="Revoke a key")
async def revoke_key(key_id: str, act: Annotated[Acting, Depends(acting("keys:write"))]) -> KeyAnswer:
    """Useless from now on. Revoking again changes nothing."""
    async with begin(act.engine) as tx:
        key = await keys.revoke(tx, key_id=parse_id("api_key", key_id), now=clock.now())
    return _answer(key)
