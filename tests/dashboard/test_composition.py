"""The API and the pages as one application."""

from __future__ import annotations

import httpx

from counterfoil.app import App
from counterfoil.serving import create_asgi


async def test_the_api_and_the_pages_answer_each_in_their_own_way(platform: App) -> None:
    transport = httpx.ASGITransport(create_asgi(platform))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for method, path, status, kind in (
            ("GET", "/sign-in", 200, "text/html; charset=utf-8"),
            ("GET", "/static/pages.css?v=1", 200, "text/css; charset=utf-8"),
            ("GET", "/nowhere", 404, "text/html; charset=utf-8"),
            ("GET", "/v1/nowhere", 404, "application/problem+json"),
            ("DELETE", "/v1/breaks", 405, "application/problem+json"),
            ("GET", "/healthz", 200, "application/json"),
        ):
            answer = await client.request(method, path)
            assert (answer.status_code, answer.headers["content-type"]) == (status, kind), path
