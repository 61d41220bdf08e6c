"""A client of the API, with a merchant and its keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
from fastapi import FastAPI

from counterfoil import clock
from counterfoil.access import keys
from counterfoil.access.types import MERCHANT_SCOPES, SCOPES
from counterfoil.api import create_api, with_verbs
from counterfoil.app import App
from counterfoil.db.engine import create_engine
from counterfoil.db.transactions import begin
from counterfoil.merchants import merchants
from counterfoil.merchants.merchants import Merchant
from counterfoil.settings import Settings


@dataclass(frozen=True)
class Caller:
    """A merchant and a client that sends its key."""

    merchant: Merchant
    client: httpx.AsyncClient


async def _merchant_and_key(platform: App, reference: str) -> tuple[Merchant, str]:
    async with begin(platform.engine) as tx:
        merchant = await merchants.create(
            tx, reference=reference, name=reference, time_zone="UTC", currency="CNY", now=clock.now()
        )
        _, secret = await keys.create(
            tx,
            name="test",
            merchant_id=merchant.id,
            scopes=MERCHANT_SCOPES,
            expires_at=None,
            now=clock.now(),
        )
    return merchant, secret


@pytest.fixture(scope="session")
def api() -> FastAPI:
    """The API, made once: that takes longer than most tests. `client` gives it the platform of a test."""
    nowhere = create_engine("postgresql://nobody@127.0.0.1:1/none")
    return create_api(App(Settings(), nowhere, "none", embedded=False))


@pytest.fixture
async def client(api: FastAPI, platform: App) -> AsyncIterator[httpx.AsyncClient]:
    """A client that sends no key."""
    api.state.platform = platform
    served = with_verbs(api)
    transport = httpx.ASGITransport(served, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as made:
        yield made
    await served.aclose()


@pytest.fixture
async def grocer(platform: App, client: httpx.AsyncClient) -> AsyncIterator[Caller]:
    """A merchant."""
    merchant, secret = await _merchant_and_key(platform, "grocer")
    async with _client_with(client, secret) as made:
        yield Caller(merchant, made)


@pytest.fixture
async def baker(platform: App, client: httpx.AsyncClient) -> AsyncIterator[Caller]:
    """Another merchant, who must never see the grocer's."""
    merchant, secret = await _merchant_and_key(platform, "baker")
    async with _client_with(client, secret) as made:
        yield Caller(merchant, made)


@pytest.fixture
async def operator(platform: App, client: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """A client with an operator's key."""
    async with begin(platform.engine) as tx:
        _, secret = await keys.create(
            tx, name="op", merchant_id=None, scopes=SCOPES, expires_at=None, now=clock.now()
        )
    async with _client_with(client, secret) as made:
        yield made


def _client_with(client: httpx.AsyncClient, secret: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=client._transport, base_url="http://test", headers={"Authorization": f"Bearer {secret}"}
    )
