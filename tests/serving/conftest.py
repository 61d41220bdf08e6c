"""Server processes as they are run, two of them on one database, and a merchant with an open campaign."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil import clock
from counterfoil.access import keys
from counterfoil.access.types import MERCHANT_SCOPES
from counterfoil.db.transactions import begin, read
from counterfoil.ids import new_id
from counterfoil.merchants import merchants
from counterfoil.vouchers import campaigns, counters
from counterfoil.vouchers.terms import Terms


class Server:
    """A server process of one's own, with environment variables that say what it runs on."""

    def __init__(self, log: Path, role: str = "api", **env: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "counterfoil", "serve", "--role", role, "--port", str(self.port)]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("COUNTERFOIL_")}
        self.log = log
        with log.open("ab") as said:
            self.process = subprocess.Popen(
                command, env={**kept, **env}, stdout=said, stderr=said, start_new_session=True
            )

    def wait(self) -> None:
        """Until it can serve."""
        for _ in range(600):
            try:
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise AssertionError(f"the server does not serve: {self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        """Kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Stop it, and have it end by itself."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=60)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers, and stops them when the test ends."""
    made: list[Server] = []

    def begin_one(**env: str) -> Server:
        made.append(Server(tmp_path / f"server-{len(made)}.log", **env))
        return made[-1]

    yield begin_one
    for server in made:
        server.stop()


class Shop:
    """A merchant with its key, in some database."""

    def __init__(self, engine: AsyncEngine, merchant_id: UUID, secret: str) -> None:
        self.engine = engine
        self.merchant_id = merchant_id
        self.headers = {"authorization": f"Bearer {secret}"}

    async def open(self, campaign_id: str, *, limits: campaigns.Limits | None = None, **terms: Any) -> None:
        """An active campaign."""
        said = {"discount": {"kind": "amount", "amount_minor": 100}, "time_zone": "UTC", **terms}
        names: dict[str, Any] = {"merchant_id": self.merchant_id, "campaign_id": campaign_id}
        async with begin(self.engine) as tx:
            await campaigns.create(
                tx,
                **names,
                name=None,
                kind=None,
                attributes={},
                terms=Terms.model_validate(said),
                limits=limits or campaigns.Limits(),
                now=clock.now(),
            )
            await campaigns.move(tx, **names, to="active", now=clock.now())

    async def counters(self, campaign_id: str) -> campaigns.Counters:
        """The counters, proven against the rows."""
        async with read(self.engine) as tx:
            names: dict[str, Any] = {"merchant_id": self.merchant_id, "campaign_id": campaign_id}
            assert await counters.verify(tx, **names) == []
            return await counters.read_counters(tx, **names)

    def client(self, server: Server, connections: int = 32) -> httpx.AsyncClient:
        """A client of one server, with the merchant's key."""
        limits = httpx.Limits(max_connections=connections)
        return httpx.AsyncClient(base_url=server.url, headers=self.headers, limits=limits, timeout=60)


async def make_shop(engine: AsyncEngine) -> Shop:
    """A new merchant with a key that may do everything."""
    async with begin(engine) as tx:
        merchant = await merchants.create(
            tx,
            reference=f"shop-{new_id().hex}",
            name="Shop",
            time_zone="UTC",
            currency="CNY",
            now=clock.now(),
        )
        _, secret = await keys.create(
            tx,
            name="till",
            merchant_id=merchant.id,
            scopes=MERCHANT_SCOPES,
            expires_at=None,
            now=clock.now(),
        )
    return Shop(engine, merchant.id, secret)
