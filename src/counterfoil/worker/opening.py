"""The job that opens a partner's file: all of it is stored, or nothing and a reason."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil import clock
from counterfoil.db.transactions import begin, read
from counterfoil.points.files import events, files, keys, opening, openpgp, partners, storing
from counterfoil.points.files.faults import FileFaultError
from counterfoil.points.files.files import File
from counterfoil.points.files.openpgp import Opened
from counterfoil.points.files.openpgp_policy import OpenPgpError
from counterfoil.points.files.partners import Partner
from counterfoil.points.files.reader import Header, open_accruals

STORE_SECONDS: Final = 1_800
"""For one statement while a file is stored: millions of records in one go."""

_log = structlog.get_logger(__name__)


async def open_job(engine: AsyncEngine, payload: dict[str, Any]) -> None:
    """Decrypt, verify, check and store a file that came: all of it, or nothing and a reason."""
    with tempfile.TemporaryDirectory(prefix="counterfoil-file-") as directory:
        workspace, now = Path(directory), clock.now()
        source, plain = workspace / "received", workspace / "plain"
        async with read(engine) as snapshot:
            file = await files.by_number(snapshot, file_no=payload["file_no"])
            if file.state != "received":
                return
            owner: dict[str, Any] = {"merchant_id": file.merchant_id, "partner_id": file.partner_id}
            partner = await partners.get(snapshot, **owner)
            own = await keys.own(snapshot, merchant_id=file.merchant_id, kind="openpgp")
            signers = await keys.in_use(snapshot, **owner, kind="openpgp")
            await files.write_out(snapshot, file_no=file.file_no, kind="received", path=source)
        try:
            opened = await openpgp.open_message(
                source, plain, own_keys=[key.secret_key for key in own], signers=signers, now=now
            )
        except OpenPgpError as error:
            await _reject(engine, file, error.code, error.detail)
            return
        source.unlink()
        await _open_plain(engine, file, partner, plain, opened)


async def _open_plain(engine: AsyncEngine, file: File, partner: Partner, plain: Path, opened: Opened) -> None:
    digest = await asyncio.to_thread(files.digest_of, plain)
    signed: dict[str, Any] = {"signer": opened.signer, "content_digest": digest}
    if await _repeated(engine, file, partner, signed):
        return
    header = await asyncio.to_thread(_header, plain, partner)
    try:
        if partner.state == "closed":
            raise FileFaultError("The partner is closed: nothing is taken from it.", code="partner_closed")
        if header is not None:
            opening.check_header(header, partner.terms, now=clock.now())
            storing.check_sequence(header, partner)
        content = await asyncio.to_thread(
            opening.open_content, plain, partner, workspace=plain.parent, now=clock.now()
        )
        async with begin(engine, statement_timeout_seconds=STORE_SECONDS) as tx:
            await storing.accept(tx, file=file, partner=partner, content=content, now=clock.now(), **signed)
    except FileFaultError as error:
        # Meanwhile the same content may have come a second time, and the other one was accepted.
        if not await _repeated(engine, file, partner, signed):
            place = {"line": error.line, "field": error.field, "code": error.code}
            await _reject(engine, file, error.code, error.detail, header=header, problems=[place], **signed)


async def _repeated(engine: AsyncEngine, file: File, partner: Partner, signed: dict[str, Any]) -> bool:
    async with begin(engine) as tx:
        same = await storing.find_same(tx, partner=partner, content_digest=signed["content_digest"])
        if same is not None and same != file.file_no:
            await storing.repeat(tx, file=file, of=same, now=clock.now(), **signed)
    return same is not None


async def _reject(engine: AsyncEngine, file: File, reason: str, detail: str, **found: Any) -> None:
    _log.warning(
        "a partner's file was rejected", partner=file.partner_id, file=file.name, reason=reason, detail=detail
    )
    async with begin(engine) as tx:
        now = clock.now()
        await storing.reject(tx, file=file, reason=reason, detail=detail, now=now, **found)
        file = await files.by_number(tx, file_no=file.file_no)
        await events.tell(tx, "partner_file.rejected", file, now=now)


def _header(plain: Path, partner: Partner) -> Header | None:
    """The header, if it can be read: what is wrong with it is told by whoever reads the whole file."""
    try:
        with open_accruals(plain, partner.layout) as reader:
            return reader.header
    except FileFaultError:
        return None
