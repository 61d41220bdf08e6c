"""A world for each test; when the test ends, the ledger must prove itself."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from counterfoil.db.transactions import Tx
from tests.points.world import World, differences, make_world


@pytest.fixture
async def world(tx: Tx) -> AsyncIterator[World]:
    """A merchant with the members a, b and c."""
    made = await make_world(tx, "a", "b", "c")
    yield made
    assert await differences(tx, made.merchant_id) == []


@pytest.fixture
async def other(tx: Tx) -> AsyncIterator[World]:
    """Another merchant, who has members of the same names."""
    made = await make_world(tx, "a", "b", "c")
    yield made
    assert await differences(tx, made.merchant_id) == []
