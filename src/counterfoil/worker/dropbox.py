"""The drop box on the database: partners drop their files into it, and take their responses."""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import os
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil import clock
from counterfoil.app import App
from counterfoil.db.transactions import begin, read
from counterfoil.errors import ConflictError, UnavailableError
from counterfoil.points.files import files, verbs, visitors
from counterfoil.points.files.dropbox import serve_dropbox
from counterfoil.points.files.remote_files import Remote
from counterfoil.points.files.ssh_keys import fingerprint, make_ssh_key, public_line, read_private_key
from counterfoil.points.files.visitors import Visitor

HOST_KEY: Final = "dropbox_host_key"
"""Under the home directory: what partners know our box by."""

_log = structlog.get_logger(__name__)


class PartnersBox:
    """What stands behind the drop box (see `dropbox_visit.Box`): the partners and files of all merchants."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def authorize(self, user: str, public_key: str) -> Visitor | None:
        """Whoever has this name and this key."""
        async with read(self._engine) as tx:
            return await visitors.find(tx, user=user, public_key=public_key)

    async def list_responses(self, partner: Visitor) -> Sequence[Remote]:
        """The responses to its files."""
        async with read(self._engine) as tx:
            await visitors.check(tx, visitor=partner)
            return await visitors.list_responses(tx, visitor=partner)

    async def open_response(self, partner: Visitor, name: str) -> AsyncIterator[bytes]:
        """One of them, in pieces."""
        async with read(self._engine) as tx:
            await visitors.check(tx, visitor=partner)
            file_no = await visitors.find_response(tx, visitor=partner, name=name)
        for part_no in itertools.count():
            # A transaction for each: the partner may be slow.
            async with read(self._engine) as tx:
                piece = await files.part(tx, file_no=file_no, kind="response", part_no=part_no)
            if piece is None:
                return
            yield piece

    async def received(self, partner: Visitor, name: str, path: Path) -> None:
        """Keep a file, and have it opened."""
        async with begin(self._engine) as tx:
            await visitors.check(tx, visitor=partner)
            await verbs.receive(
                tx,
                merchant_id=partner.merchant_id,
                partner_id=partner.partner_id,
                name=name,
                path=path,
                via="dropbox",
                now=clock.now(),
            )

    async def fetched(self, partner: Visitor, name: str) -> None:
        """The partner has this response."""
        async with begin(self._engine) as tx:
            await visitors.confirm(tx, visitor=partner, name=name, now=clock.now())


@asynccontextmanager
async def open_dropbox(app: App) -> AsyncIterator[int]:
    """Serve the drop box as the settings say while the block runs; gives its port.

    `ConflictError` (`dropbox_runs`), `UnavailableError` (`dropbox_not_started`).
    """
    settings, spool = app.settings, app.settings.home / "dropbox"
    host, port = settings.dropbox_host, settings.dropbox_port or 0
    with _alone(spool):
        key = await asyncio.to_thread(host_key, settings.home)
        box = PartnersBox(app.engine)
        async with AsyncExitStack() as stack:
            try:
                port = await stack.enter_async_context(
                    serve_dropbox(box, host=host, port=port, host_keys=[key], spool=spool)
                )
            except OSError as error:
                detail = f"The drop box cannot listen on {host}:{port}: {error.strerror or error}."
                raise UnavailableError(detail, code="dropbox_not_started") from error
            public = public_line(read_private_key(key))
            _log.info("the drop box is open", port=port, host_key=public, fingerprint=fingerprint(public))
            yield port


def host_key(home: Path) -> str:
    """The private host key of the drop box; made if there is none, readable for its owner only."""
    path = home / HOST_KEY
    if not path.exists():
        private, _ = make_ssh_key("counterfoil drop box")
        made = home / f".{HOST_KEY}.{secrets.token_hex(8)}"
        with os.fdopen(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(private)
            file.flush()
            os.fsync(file.fileno())
        made.rename(path)
    return path.read_text(encoding="utf-8")


@contextmanager
def _alone(spool: Path) -> Iterator[None]:
    """Have the directory for oneself: a second server would remove what is being dropped into the first."""
    spool.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (spool / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(f"A drop box runs already in {spool}.", code="dropbox_runs") from error
        yield
