"""A merchant and a partner for each test of whole files."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.points_files.world import Bank, World, make_world


@pytest.fixture
async def world(engine: AsyncEngine, tmp_path: Path) -> World:
    """A merchant with the members m1 to m9."""
    return await make_world(engine, tmp_path, *(f"m{n}" for n in range(1, 10)))


@pytest.fixture
async def bank(world: World) -> Bank:
    """A partner of it."""
    return await world.bank()
