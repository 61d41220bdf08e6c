"""What tests of the worker share."""

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.worker.points_world import PointsWorld, make_points_world


@pytest.fixture
async def points(engine: AsyncEngine) -> PointsWorld:
    return await make_points_world(engine)
