"""The client of the API's tests, for rules about what is served."""

from __future__ import annotations

from tests.api.conftest import api, client

__all__ = ["api", "client"]
