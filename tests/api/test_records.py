from __future__ import annotations

from tests.api.conftest import Caller

ORDER = {
    "order_id": "o1",
    "ordered_at": "2026-01-01T10:00:00+08:00",
    "amount_minor": 1200,
    "transaction_id": "t1",
}
PAYMENT = {"transaction_id": "t1", "paid_at": "2026-01-01T10:00:05+08:00", "amount_minor": 1200}


async def test_a_batch_says_what_became_of_it(grocer: Caller) -> None:
    answer = await grocer.client.post("/v1/orders/bulk", json={"records": [ORDER]})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "received": 1,
        "created": 1,
        "updated": 0,
        "unchanged": 0,
        "refused": 0,
        "refusals": [],
    }


async def test_the_same_batch_again_changes_nothing(grocer: Caller) -> None:
    await grocer.client.post("/v1/orders/bulk", json={"records": [ORDER]})
    answer = await grocer.client.post("/v1/orders/bulk", json={"records": [ORDER]})
    assert (answer.json()["created"], answer.json()["unchanged"]) == (0, 1)


async def test_an_order_sent_again_replaces_what_was_known(grocer: Caller) -> None:
    early = {**ORDER, "transaction_id": None}
    await grocer.client.post("/v1/orders/bulk", json={"records": [early]})
    answer = await grocer.client.post("/v1/orders/bulk", json={"records": [ORDER]})
    assert answer.json()["updated"] == 1


async def test_a_fact_sent_again_with_other_content_is_refused(grocer: Caller) -> None:
    await grocer.client.post("/v1/transactions/bulk", json={"records": [PAYMENT]})
    answer = await grocer.client.post(
        "/v1/transactions/bulk", json={"records": [{**PAYMENT, "amount_minor": 1}]}
    )
    body = answer.json()
    assert (body["refused"], body["created"]) == (1, 0)
    assert body["refusals"][0]["key"] == {"transaction_id": "t1"}
    assert body["refusals"][0]["code"] == "content_differs"


async def test_every_wrong_field_is_named_at_once(grocer: Caller) -> None:
    records = [{**ORDER, "amount_minor": "dear"}, {"order_id": "", "ordered_at": "2026-01-01T10:00:00"}]
    answer = await grocer.client.post("/v1/orders/bulk", json={"records": records})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    pointers = {error["pointer"] for error in answer.json()["errors"]}
    assert pointers == {"/records/0/amount_minor", "/records/1/order_id", "/records/1/ordered_at"}


async def test_a_misspelt_field_is_not_lost_in_silence(grocer: Caller) -> None:
    answer = await grocer.client.post("/v1/orders/bulk", json={"records": [{**ORDER, "ammount": 1}]})
    assert answer.json()["errors"][0]["pointer"] == "/records/0/ammount"


async def test_two_merchants_use_the_same_ids_without_meeting(grocer: Caller, baker: Caller) -> None:
    first = await grocer.client.post("/v1/orders/bulk", json={"records": [ORDER]})
    second = await baker.client.post("/v1/orders/bulk", json={"records": [ORDER]})
    assert first.json()["created"] == second.json()["created"] == 1


async def test_a_text_with_a_nul_character_is_refused_by_name(grocer: Caller) -> None:
    answer = await grocer.client.post("/v1/stores/bulk", json={"records": [{"store_id": "a\x00b"}]})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/records/0/store_id"


async def test_a_broken_body_says_where(grocer: Caller) -> None:
    answer = await grocer.client.post(
        "/v1/orders/bulk", content=b'{"records": [', headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400
    assert answer.json()["code"] == "json_invalid"
