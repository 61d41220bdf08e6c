"""Lists: pages, and cursors that nobody made."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest

from counterfoil.app import App
from counterfoil.db.transactions import begin
from counterfoil.linkage.rejoin import rejoin
from tests.api.conftest import Caller
from tests.builders import NOW, at, load


def _made(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


_TIME = "2026-01-01T00:00:00+00:00"
_ID = "00000000-0000-0000-0000-000000000000"
HOSTILE = {
    "not base64": "%%%",
    "not ASCII": "号",
    "no JSON": base64.urlsafe_b64encode(b"\xff\xfe{").decode(),
    "an object": _made({"a": 1}),
    "too short": _made([_TIME]),
    "too long": _made([_TIME, "a", "b", "c", "d"]),
    "numbers": _made([1, 2, 3, 4]),
    "nulls": _made([None, None]),
    "no time": _made(["x", _ID]),
    "no time of four": _made(["x", "a", "b", "c"]),
    "no id": _made([_TIME, "x"]),
    "a time without a zone": _made(["2026-01-01T00:00:00", _ID]),
    "a time out of range": _made(["0001-01-01T00:00:00+14:00", _ID]),
    "a time out of range of four": _made(["9999-12-31T23:00:00-14:00", "a", "b", "c"]),
    "a NUL character": _made([_TIME, "\x00", "\x00", "\x00"]),
    "half a pair": _made([_TIME, "\ud800", "\ud800", "\ud800"]),
    "only half a pair": _made(["\ud800"]),
    "only a NUL character": _made(["\x00"]),
    "deep": base64.urlsafe_b64encode(b"[" * 1400).decode(),
    "empty": "",
}


OF_ONE_TEXT = {"/v1/merchants", "/v1/points/accounts"}


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/breaks", "/v1/analyses", *sorted(OF_ONE_TEXT)])
async def test_a_cursor_that_this_list_did_not_give_is_refused_by_name(grocer: Caller, path: str) -> None:
    for what, cursor in HOSTILE.items():
        if what == "too short" and path in OF_ONE_TEXT:
            continue  # one text is what this list gives
        answer = await grocer.client.get(path, params={"cursor": cursor})
        assert (answer.status_code, answer.json()["code"]) == (422, "cursor_invalid"), (what, answer.text)


async def test_the_cursor_of_one_list_is_none_of_another(grocer: Caller) -> None:
    answer = await grocer.client.get("/v1/breaks", params={"cursor": _made([_TIME, _ID])})
    assert answer.json()["code"] == "cursor_invalid"


async def _all(client: httpx.AsyncClient, path: str, **parameters: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await client.get(path, params={**parameters, **cursor})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["data"]) <= parameters.get("limit", 50)
        found += page["data"]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


async def test_the_pages_of_breaks_give_each_once_the_oldest_first(platform: App, grocer: Caller) -> None:
    async with begin(platform.engine) as tx:
        rows = [
            {"redemption_id": f"r{n}", "voucher_id": f"v{n}", "redeemed_at": at(n // 4)} for n in range(11)
        ]
        await load(tx, grocer.merchant.id, "redemptions", *rows)
        await rejoin(tx, merchant_id=grocer.merchant.id, kind="redemptions", keys=None, now=NOW)
    # Each redemption has no issuance and no transaction.
    for limit in (1, 3, 22, 500):
        found = await _all(grocer.client, "/v1/breaks", limit=limit)
        keys = [(b["occurred_at"], b["kind"], b["source"], b["record_id"]) for b in found]
        assert len(set(keys)) == 22
        assert keys == sorted(keys)
    orphans = await _all(grocer.client, "/v1/breaks", limit=4, kind="orphan_redemption")
    assert len(orphans) == 11
    assert await _all(grocer.client, "/v1/breaks", limit=4, resolved=True) == []


async def test_the_pages_of_jobs_are_those_of_the_merchant_acted_for(
    operator: httpx.AsyncClient, grocer: Caller, baker: Caller
) -> None:
    for who in (grocer, baker):
        for number in range(3):
            answer = await who.client.post("/v1/analyses", json={}, headers={"idempotency-key": str(number)})
            assert answer.status_code == 202
    assert len(await _all(grocer.client, "/v1/jobs", limit=2)) == 3
    assert len(await _all(operator, "/v1/jobs", limit=2)) == 6
    operator.headers["counterfoil-merchant"] = "baker"
    assert len(await _all(operator, "/v1/jobs", limit=2)) == 3


async def test_the_pages_of_merchants_are_in_the_order_of_their_references(
    operator: httpx.AsyncClient,
) -> None:
    for reference in ("b", "a-2", "a", "a2", "c", "0"):
        body = {"reference": reference, "name": "x", "time_zone": "UTC", "currency": "EUR"}
        assert (await operator.post("/v1/merchants", json=body)).status_code == 201
    found = [m["reference"] for m in await _all(operator, "/v1/merchants", limit=2)]
    assert len(found) == 6
    assert set(found) == {"b", "a-2", "a", "a2", "c", "0"}
