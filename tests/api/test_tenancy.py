"""One tenant never sees another's anything, on any route that the document names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from counterfoil import clock
from counterfoil.access import keys
from counterfoil.access.types import MERCHANT_SCOPES, SCOPES
from counterfoil.api.verbs import ROUTES
from counterfoil.app import App
from counterfoil.db import jobs
from counterfoil.db.transactions import Tx, begin
from counterfoil.ids import format_id, new_id
from counterfoil.linkage.campaigns import Computed, store
from counterfoil.linkage.rejoin import rejoin
from counterfoil.points import accounts, ledger, programs
from counterfoil.points.files import keys as partner_keys
from counterfoil.points.files import partners, verbs
from counterfoil.points.files.layouts import builtin_layout
from counterfoil.points.files.ssh_keys import fingerprint, make_ssh_key
from counterfoil.points.files.terms import Terms as PartnerTerms
from counterfoil.points.ledger import Entry
from counterfoil.points.programs import Program
from counterfoil.vouchers import campaigns, pool
from counterfoil.vouchers.campaign_actions import ACTIONS
from counterfoil.vouchers.campaigns import Limits
from counterfoil.vouchers.terms import Terms
from counterfoil.webhooks import deliveries, endpoints
from tests.api.conftest import Caller
from tests.builders import NOW, at, load

Operation = tuple[str, str]
TERMS = {"discount": {"kind": "amount", "amount_minor": 500}}
SSH_KEY = make_ssh_key("bread")[1]

SCOPE_OF: dict[Operation, str] = {
    ("GET", "/v1/vouchers/{voucher_id}/full-link"): "linkage:read",
    ("GET", "/v1/breaks"): "linkage:read",
    ("POST", "/v1/analyses"): "linkage:write",
    ("GET", "/v1/analyses"): "linkage:read",
    ("GET", "/v1/analyses/{analysis_id}"): "linkage:read",
    ("GET", "/v1/jobs"): "jobs:read",
    ("GET", "/v1/jobs/{job_id}"): "jobs:read",
    ("GET", "/v1/merchants"): "merchants:read",
    ("GET", "/v1/merchants/{merchant}"): "merchants:read",
    ("POST", "/v1/merchants"): "merchants:write",
    ("GET", "/v1/keys"): "keys:write",
    ("POST", "/v1/keys"): "keys:write",
    ("POST", "/v1/keys/{key_id}/revoke"): "keys:write",
    ("GET", "/v1/webhooks"): "webhooks:read",
    ("POST", "/v1/webhooks"): "webhooks:write",
    ("GET", "/v1/webhooks/{endpoint_id}"): "webhooks:read",
    ("PATCH", "/v1/webhooks/{endpoint_id}"): "webhooks:write",
    ("DELETE", "/v1/webhooks/{endpoint_id}"): "webhooks:write",
    ("POST", "/v1/webhooks/{endpoint_id}/rotate-secret"): "webhooks:write",
    ("POST", "/v1/webhooks/{endpoint_id}/test"): "webhooks:write",
    ("POST", "/v1/webhooks/{endpoint_id}/replay"): "webhooks:write",
    ("GET", "/v1/webhook-deliveries"): "webhooks:read",
    ("GET", "/v1/webhook-deliveries/{delivery_id}"): "webhooks:read",
    ("POST", "/v1/webhook-deliveries/{delivery_id}/replay"): "webhooks:write",
    ("POST", "/v1/campaigns"): "campaigns:write",
    ("GET", "/v1/campaigns"): "campaigns:read",
    ("GET", "/v1/campaigns/{campaign_id}"): "campaigns:read",
    ("PATCH", "/v1/campaigns/{campaign_id}"): "campaigns:write",
    **{("POST", f"/v1/campaigns/{{campaign_id}}/{action}"): "campaigns:write" for action in ACTIONS},
    ("GET", "/v1/campaigns/{campaign_id}/counters"): "campaigns:read",
    ("GET", "/v1/campaigns/{campaign_id}/counters/stream"): "campaigns:read",
    ("POST", "/v1/campaigns/{campaign_id}/codes/generate"): "campaigns:write",
    ("POST", "/v1/campaigns/{campaign_id}/codes"): "campaigns:write",
    ("GET", "/v1/campaigns/{campaign_id}/codes/export"): "campaigns:read",
    ("GET", "/v1/vouchers"): "vouchers:read",
    ("GET", "/v1/vouchers/{voucher_id}"): "vouchers:read",
    ("GET", "/v1/vouchers/{voucher_id}/qr.svg"): "vouchers:read",
    ("GET", "/v1/redemptions"): "vouchers:read",
    **{("POST", route.path): route.scope for route in ROUTES.values()},
    ("GET", "/v1/points/program"): "points:read",
    ("PUT", "/v1/points/program"): "points:write",
    ("POST", "/v1/points/accounts"): "points:write",
    ("GET", "/v1/points/accounts"): "points:read",
    ("GET", "/v1/points/accounts/{customer_id}"): "points:read",
    ("GET", "/v1/points/accounts/{customer_id}/statement"): "points:read",
    ("GET", "/v1/points/accounts/{customer_id}/balance"): "points:read",
    ("POST", "/v1/points/accounts/{customer_id}/close"): "points:write",
    ("POST", "/v1/points/accounts/{customer_id}/reopen"): "points:write",
    ("POST", "/v1/points/transfers"): "points:write",
    ("GET", "/v1/points/transfers"): "points:read",
    ("GET", "/v1/points/transfers/{transfer_id}"): "points:read",
    ("POST", "/v1/points/reversals"): "points:write",
    ("POST", "/v1/points/settlements"): "points:write",
    ("POST", "/v1/points/earn"): "points:write",
    ("POST", "/v1/points/take-back"): "points:write",
    ("POST", "/v1/points/burn"): "points:write",
    ("GET", "/v1/points/totals"): "points:read",
    ("GET", "/v1/points/export"): "points:read",
    ("POST", "/v1/points/verification"): "points:read",
    ("POST", "/v1/points/partners"): "points:write",
    ("GET", "/v1/points/partners"): "points:read",
    ("GET", "/v1/points/partners/{partner_id}"): "points:read",
    ("PATCH", "/v1/points/partners/{partner_id}"): "points:write",
    ("POST", "/v1/points/partners/{partner_id}/keys"): "points:write",
    ("GET", "/v1/points/partners/{partner_id}/keys"): "points:read",
    ("DELETE", "/v1/points/partners/{partner_id}/keys"): "points:write",
    ("POST", "/v1/points/partners/{partner_id}/test"): "points:write",
    ("POST", "/v1/points/partners/{partner_id}/files"): "points:write",
    ("GET", "/v1/points/own-keys"): "points:read",
    ("POST", "/v1/points/own-keys"): "points:write",
    ("DELETE", "/v1/points/own-keys"): "points:write",
    ("POST", "/v1/points/host-keys"): "points:write",
    ("GET", "/v1/points/files"): "points:read",
    ("GET", "/v1/points/files/{file_id}"): "points:read",
    ("GET", "/v1/points/files/{file_id}/content"): "points:read",
    ("GET", "/v1/points/files/{file_id}/response"): "points:read",
    ("POST", "/v1/points/files/{file_id}/confirm"): "points:write",
    ("GET", "/v1/points/files/{file_id}/records"): "points:read",
    ("GET", "/v1/points/files/{file_id}/export"): "points:read",
    ("GET", "/v1/points/files/{file_id}/batches"): "points:read",
    ("GET", "/v1/points/files/{file_id}/decisions"): "points:read",
    ("GET", "/v1/points/transfers/{transfer_id}/origin"): "points:read",
}
OPEN: set[Operation] = {("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics")}
FOR_NO_MERCHANT = {"/v1/jobs", "/v1/jobs/{job_id}", "/v1/merchants", "/v1/merchants/{merchant}"}
FOR_NO_MERCHANT |= {"/v1/keys", "/v1/keys/{key_id}/revoke"}
"""What an operator may ask for without saying for which merchant."""


def _scope(operation: Operation) -> str:
    return "records:write" if _is_of_records(operation) else SCOPE_OF[operation]


def _is_of_records(operation: Operation) -> bool:
    return operation[1].endswith("/bulk") and operation not in SCOPE_OF


@pytest.fixture
def operations(api: FastAPI) -> list[Operation]:
    """Every operation of the document that needs a key, its path without converters."""
    paths: dict[str, dict[str, Any]] = api.openapi()["paths"]
    found = {(method.upper(), re.sub(r":path}", "}", path)) for path in paths for method in paths[path]}
    return sorted(found - OPEN)


_BODIES: dict[str, Any] = {
    "/v1/analyses": {},
    "/v1/merchants": {"reference": "new", "name": "New", "time_zone": "UTC", "currency": "CNY"},
    "/v1/keys": {"name": "x", "scopes": ["jobs:read"]},
    "/v1/webhooks": {"url": "https://hooks.invalid/"},
    "/v1/webhooks/{endpoint_id}": {},
    "/v1/webhooks/{endpoint_id}/replay": {"since": "2026-05-01T00:00:00Z"},
    "/v1/campaigns": {"campaign_id": "new", "terms": TERMS},
    "/v1/campaigns/{campaign_id}": {"name": "Bread for all"},
    "/v1/campaigns/{campaign_id}/codes": {"codes": ["ONE"]},
    "/v1/campaigns/{campaign_id}/codes/generate": {"count": 1},
    "/v1/points/program": {},
    "/v1/points/accounts": {"customer_ids": ["nobody"]},
    "/v1/points/transfers": {"transfers": [{"customer_id": "nobody", "reference": "r", "points": 1}]},
    "/v1/points/reversals": {"reversals": [{"transfer_id": "trf_none", "reference": "r"}]},
    "/v1/points/settlements": {"settlements": [{"transfer_id": "trf_none"}]},
    "/v1/points/earn": {"orders": [{"order_id": "o", "customer_id": "nobody", "paid_minor": 1}]},
    "/v1/points/take-back": {"refunds": [{"order_id": "o", "refund_id": "r"}]},
    "/v1/points/burn": {"burns": [{"order_id": "o", "customer_id": "nobody", "points": 1}]},
    "/v1/points/partners": {"partner_id": "new", "name": "New", "terms": {"sender": "N", "receiver": "G"}},
    "/v1/points/partners/{partner_id}": {"name": "Breadbank"},
    "/v1/points/partners/{partner_id}/keys": {"kind": "ssh", "public_key": SSH_KEY},
    "/v1/points/own-keys": {"kind": "ssh"},
    "/v1/points/host-keys": {"host": "127.0.0.1"},
}
_PARAMETERS: dict[str, dict[str, str]] = {
    "/v1/vouchers": {"campaign_id": "none"},
    "/v1/redemptions": {"order_id": "none"},
    "/v1/points/transfers": {"order_id": "none"},
    "/v1/points/partners/{partner_id}/keys": {"fingerprint": fingerprint(SSH_KEY)},
    "/v1/points/partners/{partner_id}/files": {"name": "bread.pgp"},
    "/v1/points/own-keys": {"fingerprint": "none"},
    # Without it, it goes on for an hour.
    "/v1/campaigns/{campaign_id}/counters/stream": {"for_seconds": "0"},
}


async def _ask(client: httpx.AsyncClient, operation: Operation, **more: Any) -> httpx.Response:
    """Ask with ids of nothing and a body that the document allows."""
    method, path = operation
    body = _BODIES.get(path, {"records": []}) if method in {"POST", "PUT", "PATCH"} else None
    headers = {"idempotency-key": new_id().hex, **more.pop("headers", {})}
    url = re.sub(r"{(\w+)}", lambda m: more.get(m[1], "none"), path)
    return await client.request(method, url, json=body, headers=headers, params=_PARAMETERS.get(path))


def _turn(operation: Operation) -> int:
    """In the order of a campaign's life; deleting comes last, when all have been asked of what is deleted."""
    word = operation[1].rpartition("/")[2]
    last = len(ACTIONS) + 1
    return last if operation[0] == "DELETE" else ACTIONS.index(word) + 1 if word in ACTIONS else 0


def _plain(answer: httpx.Response, *ids: str) -> tuple[int, str]:
    """An answer without what must differ: the id that was asked for, and that of the request."""
    text = re.sub(r'"request_id":"\w+"', "", answer.text)
    for text_id in ids:
        text = text.replace(text_id, "<id>")
    return answer.status_code, text


@pytest.fixture
async def secrets(platform: App, baker: Caller, tmp_path: Path) -> dict[str, str]:
    """Ids of all that the baker has, by the name of the parameter that asks for it."""
    merchant_id = baker.merchant.id
    analysis_id = new_id()
    async with begin(platform.engine) as tx:
        job = await jobs.create(tx, kind="analysis", merchant_id=merchant_id, request={}, now=NOW)
        line = {"campaign_id": "bread", "addressed": 1}
        computed = Computed(totals={"secret": 1}, lines={"campaign": [line]})
        await store(tx, analysis_id=analysis_id, merchant_id=merchant_id, taken_at=NOW, computed=computed)
        await campaigns.create(
            tx,
            merchant_id=merchant_id,
            campaign_id="breadrun",
            name=None,
            kind=None,
            attributes={},
            terms=Terms.model_validate({**TERMS, "time_zone": "UTC"}),
            limits=Limits(),
            now=NOW,
        )
        await pool.bring(tx, merchant_id=merchant_id, campaign_id="breadrun", brought=["BREAD"], now=NOW)
        redemption = {"redemption_id": "r", "voucher_id": "BREADCRUMB", "redeemed_at": at(1)}
        await load(tx, merchant_id, "redemptions", redemption)
        await rejoin(tx, merchant_id=merchant_id, kind="redemptions", keys=None, now=NOW)
        key, _ = await keys.create(
            tx, name="k", merchant_id=merchant_id, scopes=["jobs:read"], expires_at=None, now=NOW
        )
        endpoint, _ = await endpoints.create(
            tx, merchant_id=merchant_id, url="https://bread.invalid/", now=NOW
        )
        told = {"id": "m", "type": "voucher.voided", "time": NOW.isoformat(), "subject": "BREAD", "data": {}}
        await deliveries.fan_out(tx, merchant_id=merchant_id, events=[told], now=NOW)
        delivery_id = await tx.scalar("SELECT id FROM webhook_deliveries")
        member: dict[str, Any] = {"customer_id": "breadwinner", "order_id": "none"}
        await programs.put(tx, merchant_id=merchant_id, program=Program(), now=NOW)
        await accounts.open_accounts(tx, merchant_id=merchant_id, customer_ids=["breadwinner"], now=NOW)
        source = await accounts.source_no(tx, merchant_id=merchant_id, source="adjusted", now=NOW)
        entries = [Entry(**member, source_no=source, reference=f"r{n}", points=n) for n in (7, -7)]
        credited, _ = await ledger.post(tx, merchant_id=merchant_id, entries=entries, now=NOW)
        assert credited.transfer_id is not None
        file_id = await _partners_file(tx, merchant_id, tmp_path)
    return {
        "job_id": format_id("job", job.id),
        "analysis_id": format_id("analysis", analysis_id),
        "voucher_id": "BREAD",
        "campaign_id": "breadrun",
        "merchant": format_id("merchant", merchant_id),
        "key_id": format_id("api_key", key.id),
        "endpoint_id": format_id("webhook_endpoint", endpoint.id),
        "delivery_id": format_id("webhook_delivery", delivery_id),
        "customer_id": "breadwinner",
        "transfer_id": format_id("transfer", credited.transfer_id),
        "partner_id": "breadbank",
        "file_id": format_id("partner_file", file_id),
    }


async def _partners_file(tx: Tx, merchant_id: UUID, directory: Path) -> UUID:
    """A file of a partner of the baker's, which has a response."""
    which: dict[str, Any] = {"merchant_id": merchant_id, "partner_id": "breadbank", "now": NOW}
    terms = PartnerTerms(sender="BREADBANK", receiver="BREAD")
    await partners.add(tx, **which, name="Breadbank", terms=terms, layout=builtin_layout("delimited"))
    await partner_keys.add(tx, **which, kind="ssh", text=SSH_KEY)
    (directory / "bread.pgp").write_bytes(b"bread")
    file = await verbs.receive(tx, **which, name="bread.pgp", path=directory / "bread.pgp", via="api")
    await tx.execute(
        """UPDATE points_files SET state = 'rejected', reason = 'damaged', decided_at = received_at,
               answered_at = received_at, response_name = 'breadcrumb.pgp'"""
    )
    return file.file_id


async def test_every_operation_is_known_here(operations: list[Operation]) -> None:
    assert {o for o in operations if not _is_of_records(o)} == set(SCOPE_OF)
    assert len([o for o in operations if _is_of_records(o)]) == 14


async def test_another_merchants_id_answers_exactly_as_an_unknown_one(
    operations: list[Operation], grocer: Caller, baker: Caller, secrets: dict[str, str]
) -> None:
    unknown = {
        "job_id": format_id("job", new_id()),
        "analysis_id": format_id("analysis", new_id()),
        "voucher_id": "BROOD",
        "campaign_id": "broodrun",
        "merchant": format_id("merchant", new_id()),
        "key_id": format_id("api_key", new_id()),
        "endpoint_id": format_id("webhook_endpoint", new_id()),
        "delivery_id": format_id("webhook_delivery", new_id()),
        "customer_id": "broodwinner",
        "transfer_id": format_id("transfer", new_id()),
        "partner_id": "broodbank",
        "file_id": format_id("partner_file", new_id()),
    }
    with_id = [o for o in operations if "{" in o[1]]
    assert with_id
    for operation in sorted(with_id, key=_turn):
        (parameter,) = re.findall(r"{(\w+)}", operation[1])
        theirs = await _ask(grocer.client, operation, **secrets)
        nobodys = await _ask(grocer.client, operation, **unknown)
        assert _plain(theirs, secrets[parameter]) == _plain(nobodys, unknown[parameter]), operation
        assert theirs.status_code == (403 if parameter == "key_id" else 404), operation
        if parameter != "key_id":
            assert (await _ask(baker.client, operation, **secrets)).is_success, operation


async def test_another_merchants_name_answers_as_an_unknown_one_too(grocer: Caller, baker: Caller) -> None:
    theirs = await grocer.client.get("/v1/merchants/baker")
    nobodys = await grocer.client.get("/v1/merchants/maker")
    assert _plain(theirs, "baker") == _plain(nobodys, "maker")
    assert theirs.status_code == 404


async def test_no_list_shows_anything_of_another_merchant(
    operations: list[Operation], grocer: Caller, secrets: dict[str, str]
) -> None:
    await grocer.client.put("/v1/points/program", json={})
    for operation in operations:
        if operation[0] == "GET" and "{" not in operation[1] and operation[1] != "/v1/keys":
            answer = await _ask(grocer.client, operation)
            assert answer.status_code == 200
            assert not [s for s in secrets.values() if s in answer.text], operation
            assert "BREAD" not in answer.text
            assert "bread" not in answer.text


async def test_a_merchants_key_cannot_act_for_another(
    operations: list[Operation], grocer: Caller, baker: Caller
) -> None:
    for operation in operations:
        if _scope(operation) in {"merchants:write", "keys:write"}:
            continue
        answers = []
        ids = [format_id("merchant", merchant_id) for merchant_id in (baker.merchant.id, new_id())]
        for name in ("baker", "maker", *ids):
            answer = await _ask(grocer.client, operation, headers={"counterfoil-merchant": name})
            assert (answer.status_code, answer.json()["code"]) == (404, "merchant_not_found"), operation
            answers.append(_plain(answer, name))
        assert len(set(answers)) == 1


async def test_a_merchants_key_may_name_itself(grocer: Caller) -> None:
    for name in ("grocer", format_id("merchant", grocer.merchant.id)):
        answer = await grocer.client.get("/v1/breaks", headers={"counterfoil-merchant": name})
        assert answer.status_code == 200


async def test_an_operators_key_says_for_which_merchant(
    operations: list[Operation], operator: httpx.AsyncClient, grocer: Caller
) -> None:
    for operation in operations:
        if operation[1] in FOR_NO_MERCHANT:
            continue
        answer = await _ask(operator, operation, voucher_id="v", analysis_id=format_id("analysis", new_id()))
        expected = "invalid" if _is_of_records(operation) else "merchant_missing"
        assert (answer.status_code, answer.json()["code"]) == (422, expected), operation
    answer = await operator.post("/v1/stores/bulk", json={"records": [{"store_id": "s"}]})
    assert answer.json()["code"] == "merchant_missing"
    headers = {"counterfoil-merchant": "grocer"}
    answer = await operator.post("/v1/stores/bulk", json={"records": [{"store_id": "s"}]}, headers=headers)
    assert answer.status_code == 200
    nobody = {"counterfoil-merchant": "nobody"}
    assert (await operator.get("/v1/breaks", headers=nobody)).json()["code"] == "merchant_not_found"


async def _key(platform: App, scopes: Iterable[str], merchant: Caller | None) -> str:
    async with begin(platform.engine) as tx:
        _, secret = await keys.create(
            tx,
            name="scoped",
            merchant_id=merchant.merchant.id if merchant else None,
            scopes=scopes,
            expires_at=None,
            now=clock.now(),
        )
    return secret


async def test_every_operation_asks_for_its_scope_and_for_no_other(
    platform: App, operations: list[Operation], client: httpx.AsyncClient, grocer: Caller
) -> None:
    for scope in SCOPES:
        one = {"authorization": f"Bearer {await _key(platform, [scope], None)}"}
        others = [s for s in SCOPES if s != scope]
        rest = {"authorization": f"Bearer {await _key(platform, others, None)}"}
        for operation in (o for o in operations if _scope(o) == scope):
            with_it = await _ask(client, operation, headers={**one, "counterfoil-merchant": "grocer"})
            assert with_it.status_code not in {401, 403}, (operation, with_it.text)
            without = await _ask(client, operation, headers={**rest, "counterfoil-merchant": "grocer"})
            assert (without.status_code, without.json()["code"]) == (403, "scope_missing"), operation


async def test_a_key_without_the_scope_learns_nothing_of_what_there_is(
    platform: App, client: httpx.AsyncClient, grocer: Caller
) -> None:
    secret = await _key(platform, ["jobs:read"], grocer)
    answers = set()
    for name in ("grocer", "baker", "nobody"):
        headers = {"authorization": f"Bearer {secret}", "counterfoil-merchant": name}
        answers.add(_plain(await client.get("/v1/breaks", headers=headers)))
    assert len(answers) == 1


async def test_unknown_expired_revoked_and_torn_keys_are_answered_alike(
    platform: App, operations: list[Operation], client: httpx.AsyncClient, grocer: Caller
) -> None:
    revoked = await _key(platform, list(MERCHANT_SCOPES), grocer)
    expired = await _key(platform, list(MERCHANT_SCOPES), grocer)
    async with begin(platform.engine) as tx:
        for secret, column in ((revoked, "revoked_at"), (expired, "expires_at")):
            await tx.execute(
                f"UPDATE api_keys SET {column} = now() WHERE hash = sha256(CAST(:secret AS bytea))",
                {"secret": secret.encode()},
            )
    wrong = [revoked, expired, "cfk_unknown", revoked[:-1], "\u00ff\u00fe", "x" * 5000]
    for operation in operations:
        answers = set()
        for secret in wrong:
            headers = {"authorization": b"Bearer " + secret.encode("latin-1")}
            answer = await _ask(client, operation, headers=headers)
            assert answer.headers["www-authenticate"] == 'Bearer realm="counterfoil"'
            answers.add(_plain(answer))
        ((status, text),) = answers
        assert status == 401
        assert "api_key_invalid" in text


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic Y2ZrXw==", "cfk_x", "bearer"])
async def test_what_is_no_bearer_key_is_a_missing_one(client: httpx.AsyncClient, header: str) -> None:
    answer = await client.get("/v1/breaks", headers={"authorization": header})
    assert answer.status_code == 401


async def test_the_same_ids_of_two_merchants_never_meet_in_a_full_link(grocer: Caller, baker: Caller) -> None:
    time = "2026-01-01T00:00:00Z"
    for who, amount in ((grocer, 1), (baker, 2)):
        for path, row in (
            ("issuances", {"voucher_id": "V", "issued_at": time, "order_id": "O"}),
            ("orders", {"order_id": "O", "ordered_at": time, "transaction_id": "T"}),
            ("transactions", {"transaction_id": "T", "paid_at": time, "amount_minor": amount}),
        ):
            answer = await who.client.post(f"/v1/{path}/bulk", json={"records": [row]})
            assert answer.json()["created"] == 1
    for who, amount in ((grocer, 1), (baker, 2)):
        link = (await who.client.get("/v1/vouchers/V/full-link")).json()
        assert link["purchase_transaction"]["amount_minor"] == amount
        assert "merchant_id" not in str(link)
