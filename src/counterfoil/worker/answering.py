"""The job that answers a partner's file: its response is made once, and sent where there is a server."""

from __future__ import annotations

import tempfile
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil import clock
from counterfoil.db.transactions import begin, read
from counterfoil.errors import CounterfoilError
from counterfoil.points.files import answering, events, files, keys, openpgp, partners, sftp
from counterfoil.points.files.files import File
from counterfoil.points.files.openpgp import Limits
from counterfoil.points.files.openpgp_policy import OpenPgpError
from counterfoil.points.files.partners import Partner
from counterfoil.webhooks.addresses import PUBLIC, Guard

RESULTS_SECONDS: Final = 1_800
"""For the one statement that reads the results of millions of records."""
LONGEST_WAIT: Final = timedelta(hours=1)

_log = structlog.get_logger(__name__)


async def answer_job(engine: AsyncEngine, payload: dict[str, Any], *, guard: Guard = PUBLIC) -> None:
    """Make the response to a file that is decided, once, and send it where the partner has a server.

    `guard` says where servers may be; by default on the public internet only.
    """
    file_no: int = payload["file_no"]
    async with read(engine) as snapshot:
        file = await files.by_number(snapshot, file_no=file_no)
    if file.answer_after is None or file.answer_after > clock.now():
        return
    try:
        await _answer(engine, file_no, guard)
    except (CounterfoilError, OpenPgpError) as error:
        await _try_again(engine, file_no, {"code": error.code, "detail": error.detail})
    except Exception:
        detail = "Something went wrong on our side; the log says what."
        await _try_again(engine, file_no, {"code": "internal", "detail": detail})
        raise


async def _try_again(engine: AsyncEngine, file_no: int, error: dict[str, Any]) -> None:
    _log.warning("a response was not made or sent; it will be tried again", file_no=file_no, **error)
    async with begin(engine) as tx:
        file = await files.by_number(tx, file_no=file_no)
        wait = min(timedelta(seconds=2 ** min(file.answer_attempts + 1, 12)), LONGEST_WAIT)
        await tx.execute(
            """UPDATE points_files
               SET answer_after = :after, answer_attempts = answer_attempts + 1,
                   answer_error = jsonb_build_object(
                   'code', CAST(:code AS text), 'detail', CAST(:detail AS text))
               WHERE file_no = :file_no AND answer_after IS NOT NULL""",
            {"file_no": file_no, "after": clock.now() + wait, **error},
        )


async def _answer(engine: AsyncEngine, file_no: int, guard: Guard) -> None:
    with tempfile.TemporaryDirectory(prefix="counterfoil-answer-") as directory:
        sealed = Path(directory) / "response"
        async with read(engine) as snapshot:
            file = await files.by_number(snapshot, file_no=file_no)
            partner = await partners.get(snapshot, merchant_id=file.merchant_id, partner_id=file.partner_id)
        if file.answered_at is not None:
            async with read(engine) as snapshot:
                await files.write_out(snapshot, file_no=file_no, kind="response", path=sealed)
        elif file.state == "repeated":
            if not await _copy_response(engine, file, sealed):
                return
        else:
            await _make_response(engine, file, partner, sealed)
        name = file.response_name or answering.response_name(file)
        if file.answered_at is None:
            async with begin(engine) as tx:
                sends = partner.terms.server is not None
                now = clock.now()
                kept = await answering.keep(tx, file=file, path=sealed, name=name, sends=sends, now=now)
                if kept:
                    file = await files.by_number(tx, file_no=file_no)
                    await events.tell(tx, "partner_file.answered", file, now=now)
            if not kept:
                return  # Another worker made one too: what it kept is the response.
        if partner.terms.server is not None and file.sent_at is None:
            await _send(engine, partner, file_no, sealed, name, guard=guard)


async def _copy_response(engine: AsyncEngine, file: File, sealed: Path) -> bool:
    """The response to the file that this one repeats; False while that has none: it is tried again soon."""
    assert file.repeats is not None
    async with read(engine) as snapshot:
        first = await files.by_number(snapshot, file_no=file.repeats)
        if first.answered_at is not None:
            await files.write_out(snapshot, file_no=first.file_no, kind="response", path=sealed)
            return True
    async with begin(engine) as tx:
        await tx.execute(
            "UPDATE points_files SET answer_after = :after, answer_attempts = 0 WHERE file_no = :file_no",
            {"file_no": file.file_no, "after": clock.now() + timedelta(seconds=1)},
        )
    return False


async def _make_response(engine: AsyncEngine, file: File, partner: Partner, sealed: Path) -> None:
    """Seal the response while it is written, and write it while the database tells what it has to say."""
    owner: dict[str, Any] = {"merchant_id": file.merchant_id, "partner_id": file.partner_id}
    async with begin(engine, statement_timeout_seconds=RESULTS_SECONDS) as tx, AsyncExitStack() as stack:
        own = await keys.own(tx, merchant_id=file.merchant_id, kind="openpgp")
        recipients = await keys.in_use(tx, **owner, kind="openpgp")
        if not own or not recipients:
            raise answering.no_key(ours=not own)
        results = None
        if file.state == "credited":
            results = await stack.enter_async_context(answering.results(tx, file=file))
        await openpgp.seal_written(
            lambda out: answering.write_plain(out, file, partner, results),
            sealed,
            own_key=own[0].secret_key,
            recipient=recipients[0],
            now=clock.now(),
            limits=Limits(seconds=RESULTS_SECONDS),
        )


async def _send(
    engine: AsyncEngine, partner: Partner, file_no: int, sealed: Path, name: str, *, guard: Guard
) -> None:
    server = partner.terms.server
    assert server is not None
    async with read(engine) as snapshot:
        key = await keys.client_key(snapshot, merchant_id=partner.merchant_id)
    async with sftp.connect(server, client_key=key, guard=guard) as connection:
        await sftp.deliver(connection, server, sealed, name)
    async with begin(engine) as tx:
        await tx.execute(
            """UPDATE points_files SET sent_at = :now, answer_after = NULL, answer_error = NULL
               WHERE file_no = :file_no AND sent_at IS NULL""",
            {"file_no": file_no, "now": clock.now()},
        )
