"""`Idempotency-Key`: the work is done once, whatever happens between asking and answering."""

from __future__ import annotations

import asyncio

import anyio
import httpx
import pytest

from counterfoil.app import App
from counterfoil.db.transactions import begin, read
from tests.api.conftest import Caller

STORE = {"records": [{"store_id": "s1", "name": "one"}]}


def _key(text: str) -> dict[str, str]:
    return {"Idempotency-Key": text}


async def _count(platform: App, table: str) -> int:
    async with read(platform.engine) as seen:
        return int(await seen.scalar(f"SELECT count(*) FROM {table}"))


async def test_a_repeated_request_gives_the_first_answer_again_and_says_so(
    platform: App, grocer: Caller
) -> None:
    first = await grocer.client.post("/v1/stores/bulk", json=STORE, headers=_key("a"))
    again = await grocer.client.post("/v1/stores/bulk", json=STORE, headers=_key("a"))
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["content-type"] == first.headers["content-type"] == "application/json"
    assert again.json()["created"] == 1


async def test_a_repeated_request_for_long_work_names_the_same_job(platform: App, grocer: Caller) -> None:
    answers = [
        await grocer.client.post("/v1/analyses", json={"period": "day"}, headers=_key("b")) for _ in range(3)
    ]
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await _count(platform, "jobs") == await _count(platform, "pgqueuer") == 1


async def test_the_same_key_for_another_content_or_route_is_refused(grocer: Caller) -> None:
    await grocer.client.post("/v1/stores/bulk", json=STORE, headers=_key("c"))
    other = {"records": [{"store_id": "s2"}]}
    for answer in (
        await grocer.client.post("/v1/stores/bulk", json=other, headers=_key("c")),
        await grocer.client.post("/v1/analyses", json={}, headers=_key("c")),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


async def test_where_it_is_required_its_absence_is_400(platform: App, grocer: Caller) -> None:
    answer = await grocer.client.post("/v1/analyses", json={})
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_missing")
    assert answer.headers["content-type"] == "application/problem+json"
    assert await _count(platform, "jobs") == 0


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "\u00fc"])
async def test_what_can_be_no_key_is_invalid(grocer: Caller, key: str) -> None:
    headers = {"Idempotency-Key": key.encode("latin-1")}
    answer = await grocer.client.post("/v1/stores/bulk", json=STORE, headers=headers)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert answer.json()["errors"][0]["parameter"] == "idempotency-key"


async def test_two_merchants_may_use_the_same_key(grocer: Caller, baker: Caller) -> None:
    for who in (grocer, baker):
        answer = await who.client.post("/v1/stores/bulk", json=STORE, headers=_key("d"))
        assert (answer.status_code, "idempotency-replayed" in answer.headers) == (200, False)


async def test_an_operator_may_use_the_same_key_for_two_merchants(
    operator: httpx.AsyncClient, grocer: Caller, baker: Caller
) -> None:
    for name in ("grocer", "baker", None):
        headers = _key("e") | ({"counterfoil-merchant": name} if name else {})
        answer = await operator.post("/v1/stores/bulk", json=STORE, headers=headers)
        assert "idempotency-replayed" not in answer.headers
        assert answer.status_code == (200 if name else 422)


async def test_a_request_that_failed_leaves_its_key_free(platform: App, operator: httpx.AsyncClient) -> None:
    wrong = {"reference": "x", "name": "x", "time_zone": "UTC", "currency": "no"}
    right = {**wrong, "currency": "EUR"}
    assert (await operator.post("/v1/merchants", json=wrong, headers=_key("f"))).status_code == 422
    assert (await operator.post("/v1/merchants", json=right, headers=_key("f"))).status_code == 201
    assert (await operator.post("/v1/merchants", json=right, headers=_key("f"))).status_code == 201
    assert await _count(platform, "merchants") == 1


async def test_while_it_is_worked_on_the_same_key_is_a_conflict_and_the_work_is_done_once(
    platform: App, grocer: Caller
) -> None:
    answers: list[httpx.Response] = []

    async def ask() -> None:
        answers.append(await grocer.client.post("/v1/stores/bulk", json=STORE, headers=_key("g")))

    async with anyio.create_task_group() as tasks, begin(platform.engine) as blocking:
        # Somebody else is writing the same store: the first request waits for them inside its work.
        await blocking.execute(
            "INSERT INTO stores (merchant_id, store_id, recorded_at) VALUES (:m, 's1', now())",
            {"m": grocer.merchant.id},
        )
        tasks.start_soon(ask)
        await _until_somebody_waits(platform)
        second = await grocer.client.post("/v1/stores/bulk", json=STORE, headers=_key("g"))
        assert (second.status_code, second.json()["code"]) == (409, "idempotency_key_in_use")
        assert not answers
    assert answers[0].json()["updated"] == 1
    third = await grocer.client.post("/v1/stores/bulk", json=STORE, headers=_key("g"))
    assert (third.content, third.headers["idempotency-replayed"]) == (answers[0].content, "true")


async def _until_somebody_waits(platform: App) -> int:
    """The process that waits for a lock in this database, as soon as there is one."""
    with anyio.fail_after(30):
        while True:
            async with read(platform.engine) as seen:
                pid = await seen.scalar(
                    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
                    "AND wait_event_type = 'Lock'"
                )
            if pid is not None:
                return int(pid)
            await anyio.sleep(0.005)


async def test_many_at_once_do_the_work_once(platform: App, grocer: Caller) -> None:
    answers = await asyncio.gather(
        *(grocer.client.post("/v1/analyses", json={}, headers=_key("h")) for _ in range(12))
    )
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1
    assert await _count(platform, "jobs") == await _count(platform, "pgqueuer") == 1


async def test_a_crash_in_the_work_leaves_neither_half(platform: App, grocer: Caller) -> None:
    answers: list[httpx.Response] = []

    async def ask() -> None:
        answers.append(await grocer.client.post("/v1/stores/bulk", json=STORE, headers=_key("i")))

    async with anyio.create_task_group() as tasks, begin(platform.engine) as blocking:
        await blocking.execute("LOCK TABLE idempotency_keys IN SHARE ROW EXCLUSIVE MODE")
        tasks.start_soon(ask)
        # Its store is written, its answer is not kept yet: now its connection dies.
        pid = await _until_somebody_waits(platform)
        async with begin(platform.engine) as other:
            await other.execute("SELECT pg_terminate_backend(:pid, 10000)", {"pid": pid})
    assert (answers[0].status_code, answers[0].json()["code"]) == (503, "database_unavailable")
    assert await _count(platform, "stores") == await _count(platform, "idempotency_keys") == 0
    again = await grocer.client.post("/v1/stores/bulk", json=STORE, headers=_key("i"))
    assert (again.status_code, again.json()["created"]) == (200, 1)
