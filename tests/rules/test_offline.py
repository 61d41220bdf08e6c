"""Nothing that we serve is fetched from anybody else."""

from __future__ import annotations

import re

import httpx

from counterfoil.app import App
from counterfoil.serving import create_asgi


async def test_the_documentation_of_the_api_needs_no_network(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    assert page.status_code == 200
    links = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)["']""", page.text)
    assert links
    assert not [link for link in links if re.match(r"(https?:)?//", link)]
    for link in links:
        if link.startswith("/"):
            answer = await client.get(link)
            assert answer.status_code == 200, link
            if link.endswith(".css"):
                assert not re.search(r"url\(['\"]?https?:|@import", answer.text)


async def test_the_document_says_which_requests_need_a_key(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert ("security" in operation) is path.startswith("/v1/"), (method, path)
            assert operation["summary"]
            assert "HTTPValidationError" not in str(operation)


async def test_pages_do_not_hide_the_routes_of_the_api(platform: App) -> None:
    transport = httpx.ASGITransport(create_asgi(platform), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as both:
        for method, path, status in (
            ("GET", "/v1/nothing", 404),
            ("DELETE", "/v1/breaks", 405),
            ("GET", "/v1/breaks", 401),
            ("PUT", "/v1/merchants/x", 405),
        ):
            answer = await both.request(method, path)
            assert answer.status_code == status
            assert answer.headers["content-type"] == "application/problem+json"
        assert "text/html" in (await both.get("/sign-in")).headers["content-type"]
        assert (await both.get("/docs")).status_code == 200
        assert (await both.get("/healthz")).status_code == 200
