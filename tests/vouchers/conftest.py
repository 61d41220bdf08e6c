"""A world for each test; when the test ends, every counter must say what the rows say."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from counterfoil.db.transactions import Tx
from tests.vouchers.world import World, differences, make_world


@pytest.fixture
async def world(tx: Tx) -> AsyncIterator[World]:
    made = await make_world(tx)
    yield made
    assert await differences(tx, made.merchant_id) == []


@pytest.fixture
async def other(tx: Tx) -> AsyncIterator[World]:
    """Another merchant."""
    made = await make_world(tx)
    yield made
    assert await differences(tx, made.merchant_id) == []
