"""What tests of points ask of the API."""

from __future__ import annotations

import json
from typing import Any

import httpx

from tests.api.conftest import Caller

Answer = dict[str, Any]


async def ask(who: Caller, path: str, body: Answer, **headers: str) -> Answer:
    """Post to a route of points, and have it answered well."""
    answer = await who.client.post(f"/v1/points/{path}", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    told: Answer = answer.json()
    return told


async def get(who: Caller, path: str, **parameters: Any) -> Answer:
    """Get from a route of points, and have it answered well."""
    answer = await who.client.get(f"/v1/points/{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    told: Answer = answer.json()
    return told


async def send(who: Caller, method: str, path: str, body: Any) -> httpx.Response:
    """Send what no honest client would: JSON in ASCII, so that halves of surrogate pairs arrive."""
    url, headers = f"/v1/points/{path}", {"content-type": "application/json"}
    return await who.client.request(method, url, content=json.dumps(body).encode(), headers=headers)


async def put_program(who: Caller, **terms: Any) -> Answer:
    """Set a program."""
    answer = await who.client.put("/v1/points/program", json=terms)
    assert answer.status_code == 200, answer.text
    told: Answer = answer.json()
    return told


async def open_accounts(who: Caller, *customers: str) -> Answer:
    """Open accounts."""
    return await ask(who, "accounts", {"customer_ids": list(customers)})


async def transfer(who: Caller, reference: str, points: int, customer: str = "ann", **more: Any) -> Answer:
    """Post one transfer; its outcome."""
    asked = {"customer_id": customer, "reference": reference, "points": points, **more}
    (outcome,) = (await ask(who, "transfers", {"transfers": [asked]}))["outcomes"]
    assert isinstance(outcome, dict)
    return outcome


async def one(who: Caller, path: str, name: str, **asked: Any) -> Answer:
    """Ask for one thing where a list of them is taken; its outcome."""
    (outcome,) = (await ask(who, path, {name: [asked]}))["outcomes"]
    assert isinstance(outcome, dict)
    return outcome


async def balance(who: Caller, customer: str = "ann") -> int:
    """What a member has."""
    found: int = (await get(who, f"accounts/{customer}"))["balance"]
    return found


async def proven(who: Caller) -> Answer:
    """The proof of the ledger, which finds nothing wrong."""
    proof = await ask(who, "verification", {})
    assert (proof["different"], proof["differences"]) == (0, [])
    return proof
