"""Trying out a partner over HTTP: the keys, the server, and what waits there."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from counterfoil import clock
from counterfoil.api.context import Platform
from counterfoil.api.points_answers import Writing
from counterfoil.api.points_partners import PartnerId
from counterfoil.api.problems import responses
from counterfoil.db.transactions import read
from counterfoil.points.files import keys, partners, probing, sftp, ssh_keys
from counterfoil.points.files.probing import Name
from counterfoil.webhooks.addresses import guard

router = APIRouter()


class CheckAnswer(BaseModel):
    """One thing that was tried."""

    model_config = ConfigDict(from_attributes=True)

    name: Name
    ok: bool
    code: str | None = Field(description="Why it failed; see docs/errors.md.")
    detail: str


class WaitingAnswer(BaseModel):
    """A whole file on the partner's server."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    size: int = Field(description="In bytes.")
    modified_at: datetime


class IgnoredAnswer(BaseModel):
    """A file that is left where it is."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    reason: str


class ProbeAnswer(BaseModel):
    """What was tried, and what waits on the partner's server."""

    model_config = ConfigDict(from_attributes=True)

    ok: bool = Field(description="Whether all of it works.")
    checks: list[CheckAnswer]
    waiting: list[WaitingAnswer] = Field(description="What will be collected, oldest first.")
    ignored: list[IgnoredAnswer]


class ServerToScan(BaseModel):
    """A server whose host keys are asked for."""

    model_config = ConfigDict(extra="forbid")

    host: str = Field(
        min_length=1, max_length=253, pattern=r"^[A-Za-z0-9._:-]+$", examples=["files.bank.example"]
    )
    port: Annotated[int, Field(strict=True, ge=1, le=65_535)] = 22


class HostKeyAnswer(BaseModel):
    """A host key that a server shows."""

    public_key: str = Field(description="For `host_keys` in the terms, once its fingerprint was compared.")
    fingerprint: str


class HostKeyList(BaseModel):
    """All host keys that a server shows."""

    data: list[HostKeyAnswer]


@router.post("/partners/{partner_id}/test", responses=responses(404), summary="Try out a partner")
async def try_out(partner_id: PartnerId, act: Writing, app: Platform) -> ProbeAnswer:
    """The keys, sealing a message to the partner, its server and its directories, and what waits there.

    Nothing is collected and nothing is sent; what does not work is told in the answer.
    """
    which: dict[str, Any] = {"merchant_id": act.merchant_id, "partner_id": partner_id}
    async with read(act.engine) as tx:
        partner = await partners.get(tx, **which)
        pinned = await keys.list_of(tx, **which)
        own = [
            *await keys.own(tx, merchant_id=act.merchant_id, kind="openpgp"),
            *await keys.own(tx, merchant_id=act.merchant_id, kind="ssh"),
        ]
    found = await probing.probe(
        partner, own=own, pinned=pinned, guard=guard(app.settings.webhook_allow), now=clock.now()
    )
    return ProbeAnswer.model_validate(found)


@router.post("/host-keys", responses=responses(400, 404, 413), summary="Ask a server for its host keys")
async def scan_host_keys(body: ServerToScan, act: Writing, app: Platform) -> HostKeyList:
    """To be compared with what the partner says over another way: whoever answers here is not known yet."""
    assert act.merchant_id
    around = guard(app.settings.webhook_allow)
    found = await sftp.scan_host_keys(
        body.host, body.port, guard=around, timeout_seconds=probing.CONNECT_SECONDS
    )
    shown = [HostKeyAnswer(public_key=key, fingerprint=ssh_keys.fingerprint(key)) for key in found]
    return HostKeyList(data=shown)
