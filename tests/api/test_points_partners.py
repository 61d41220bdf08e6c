"""Partners of points over HTTP: terms whose secrets stay secret, keys of both sides, and trying them out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from counterfoil.app import App
from counterfoil.db.transactions import begin, read
from counterfoil.points.files import keys, partners
from counterfoil.points.files.ssh_keys import make_ssh_key
from tests.api.conftest import Caller
from tests.points_files.sftp_server import asyncssh_partner
from tests.points_files.world import pair

PARTNERS = "/v1/points/partners"
OUTSIDE = {"url": "https://loyalty.example/api", "secret": "s3cret"}


async def _add(who: Caller, partner_id: str = "bank", **said: Any) -> httpx.Response:
    body = {
        "partner_id": partner_id,
        "name": "Bank",
        **said,
        "terms": {"sender": "BANK", "receiver": "SHOP", **said.pop("terms", {})},
    }
    return await who.client.post(PARTNERS, json={**body, **said})


async def _terms(platform: App, merchant_id: UUID, partner_id: str = "bank") -> Any:
    async with read(platform.engine) as tx:
        return (await partners.get(tx, merchant_id=merchant_id, partner_id=partner_id)).terms


async def test_a_partner_is_added_listed_shown_and_changed(grocer: Caller) -> None:
    added = await _add(grocer, layout="csv", first_sequence=7)
    assert added.status_code == 201, added.text
    made = added.json()
    assert (made["next_sequence"], made["layout"]["shape"], made["state"]) == (7, "csv", "open")
    assert (await grocer.client.get(f"{PARTNERS}/bank")).json() == made
    assert (await grocer.client.get(PARTNERS)).json() == {"data": [made]}
    change = {"name": "The Bank", "state": "closed", "terms": {"points_max": 9}, "layout": "fixed"}
    changed = (await grocer.client.patch(f"{PARTNERS}/bank", json=change)).json()
    assert (changed["name"], changed["state"], changed["terms"]["points_max"]) == ("The Bank", "closed", 9)
    assert changed["terms"]["sender"] == "BANK"
    assert changed["layout"]["shape"] == "fixed"


async def test_a_layout_may_be_a_document(grocer: Caller) -> None:
    known = (await _add(grocer)).json()["layout"]
    document = {name: value for name, value in known.items() if value is not None}
    document["delimiter"] = ";"
    made = await _add(grocer, "other", layout=document)
    assert made.status_code == 201, made.text
    assert made.json()["layout"]["delimiter"] == ";"
    wrong = await _add(grocer, "third", layout={"shape": "delimited"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "layout_invalid")


async def test_a_secret_is_never_shown_and_stays_where_it_is_left_out_or_masked(
    platform: App, grocer: Caller
) -> None:
    added = await _add(grocer, terms={"outside": OUTSIDE})
    assert added.json()["terms"]["outside"]["secret"] == "********"
    shown = (await grocer.client.get(f"{PARTNERS}/bank")).json()["terms"]
    changes: list[dict[str, Any]] = [
        {"points_max": 5},
        shown,
        {"outside": {"mode": "record"}},
        {"outside": {"secret": "********"}},
    ]
    for change in changes:
        answer = await grocer.client.patch(f"{PARTNERS}/bank", json={"terms": change})
        assert answer.status_code == 200, answer.text
        assert "s3cret" not in answer.text
        assert (await _terms(platform, grocer.merchant.id)).outside.secret == "s3cret"
    for change, secret in (({"secret": "new"}, "new"), ({"secret": None}, None)):
        await grocer.client.patch(f"{PARTNERS}/bank", json={"terms": {"outside": change}})
        assert (await _terms(platform, grocer.merchant.id)).outside.secret == secret
    await grocer.client.patch(f"{PARTNERS}/bank", json={"terms": {"outside": None}})
    assert (await _terms(platform, grocer.merchant.id)).outside is None


async def test_a_secret_is_not_sent_to_another_address(platform: App, grocer: Caller) -> None:
    await _add(grocer, terms={"outside": OUTSIDE})
    other = {"outside": {"url": "https://thief.example/"}}
    answer = await grocer.client.patch(f"{PARTNERS}/bank", json={"terms": other})
    assert (answer.status_code, answer.json()["code"]) == (422, "secret_missing")
    given = {"outside": {**other["outside"], "secret": "its-own"}}
    assert (await grocer.client.patch(f"{PARTNERS}/bank", json={"terms": given})).status_code == 200
    outside = (await _terms(platform, grocer.merchant.id)).outside
    assert (outside.url, outside.secret) == ("https://thief.example/", "its-own")


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"terms": {"points_min": 5, "points_max": 1}}, "partner_invalid"),
        ({"terms": {"outside": {"url": "http://127.0.0.1/"}}}, "webhook_url_forbidden"),
        ({"terms": {"server": {"host": "h"}}}, "invalid"),
        ({"terms": {"limiter": {"workers_max": 0}}}, "invalid"),
        ({"terms": {"other": 1}}, "invalid"),
        ({"layout": "none"}, "invalid"),
        ({"first_sequence": 0}, "invalid"),
    ],
)
async def test_terms_that_cannot_be_are_refused_with_why(
    grocer: Caller, said: dict[str, Any], code: str
) -> None:
    answer = await _add(grocer, **said)
    told = answer.json()
    assert (answer.status_code, told["code"]) == (422, code)
    assert told["errors"]
    assert (await grocer.client.get(PARTNERS)).json() == {"data": []}


async def test_a_partner_is_there_once(grocer: Caller, baker: Caller) -> None:
    headers = {"idempotency-key": "k"}
    body = {"partner_id": "bank", "name": "B", "terms": {"sender": "B", "receiver": "S"}}
    first = await grocer.client.post(PARTNERS, json=body, headers=headers)
    again = await grocer.client.post(PARTNERS, json=body, headers=headers)
    assert (again.status_code, again.content) == (201, first.content)
    assert (await _add(grocer)).json()["code"] == "partner_exists"
    assert (await _add(baker)).status_code == 201


async def test_a_wrong_change_of_terms_changes_nothing(platform: App, grocer: Caller) -> None:
    await _add(grocer)
    before = await _terms(platform, grocer.merchant.id)
    for change in ({"points_max": "many"}, {"sender": None}, {"server": {"host": "h"}}, {"x": 1}):
        answer = await grocer.client.patch(f"{PARTNERS}/bank", json={"terms": change})
        assert (answer.status_code, answer.json()["code"]) == (422, "partner_invalid")
        assert answer.json()["errors"][0]["pointer"].startswith("/terms/")
    assert await _terms(platform, grocer.merchant.id) == before


async def test_keys_of_a_partner_are_pinned_once_listed_and_retired(grocer: Caller) -> None:
    await _add(grocer)
    at = f"{PARTNERS}/bank/keys"
    pgp = {"kind": "openpgp", "public_key": pair("bank").public}
    ssh = {"kind": "ssh", "public_key": make_ssh_key("bank")[1]}
    for key in (pgp, pgp, ssh):
        assert (await grocer.client.post(at, json=key)).status_code == 201
    listed = (await grocer.client.get(at)).json()["data"]
    assert sorted(key["kind"] for key in listed) == ["openpgp", "ssh"]
    assert next(key for key in listed if key["kind"] == "openpgp")["user_ids"] == [
        "bank <files@bank.example>"
    ]
    for key in listed:
        retired = await grocer.client.delete(at, params={"fingerprint": key["fingerprint"]})
        assert retired.json()["retired_at"] is not None
    gone = await grocer.client.delete(at, params={"fingerprint": "none"})
    assert (gone.status_code, gone.json()["code"]) == (404, "partner_key_not_found")
    secret = await grocer.client.post(at, json={**pgp, "public_key": pair("bank").secret})
    assert secret.status_code == 422
    wrong = await grocer.client.post(at, json={**pgp, "public_key": "no key"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "key_unreadable")


async def test_keys_of_ours_are_made_at_first_use_and_their_secrets_never_shown(
    platform: App, grocer: Caller
) -> None:
    first = await grocer.client.get("/v1/points/own-keys")
    assert sorted(key["kind"] for key in first.json()["data"]) == ["openpgp", "ssh"]
    assert (await grocer.client.get("/v1/points/own-keys")).json() == first.json()
    made = (await grocer.client.post("/v1/points/own-keys", json={"kind": "ssh"})).json()
    async with read(platform.engine) as tx:
        for kind in ("openpgp", "ssh"):
            for key in await keys.own(tx, merchant_id=grocer.merchant.id, kind=kind):
                assert key.secret_key.splitlines()[2] not in first.text
        newest = await keys.own(tx, merchant_id=grocer.merchant.id, kind="ssh")
    assert newest[0].fingerprint == made["fingerprint"]
    assert "PRIVATE" not in first.text
    for key, status in ((newest[1], 200), (newest[0], 409)):
        answer = await grocer.client.delete("/v1/points/own-keys", params={"fingerprint": key.fingerprint})
        assert answer.status_code == status, answer.text


async def test_a_test_of_a_partner_tells_what_works_what_waits_and_what_is_left(
    api: FastAPI, platform: App, grocer: Caller, tmp_path: Path
) -> None:
    with asyncssh_partner(tmp_path) as there:
        server = {
            name: getattr(there.server, name)
            for name in ("host", "port", "user", "host_keys", "incoming", "responses")
        }
        await _add(grocer, terms={"server": {**server, "done": "/nowhere"}})
        await grocer.client.post(
            f"{PARTNERS}/bank/keys", json={"kind": "openpgp", "public_key": pair("bank").public}
        )
        forbidden = (await grocer.client.post(f"{PARTNERS}/bank/test")).json()
        codes = {check["name"]: check["code"] for check in forbidden["checks"]}
        assert codes == {
            "own_key": None, "partner_key": None, "seal": None, "server": "sftp_host_forbidden",
        }  # fmt: skip
        allowing = platform.settings.model_copy(update={"webhook_allow": "127.0.0.0/8"})
        api.state.platform = replace(platform, settings=allowing)
        unknown = (await grocer.client.post(f"{PARTNERS}/bank/test")).json()
        assert unknown["checks"][-1]["code"] == "sftp_sign_in_refused"
        asked = {"host": "127.0.0.1", "port": there.server.port}
        shown = (await grocer.client.post("/v1/points/host-keys", json=asked)).json()["data"]
        assert shown[0]["public_key"] in there.server.host_keys[0]
        await _sign_in_with(platform, grocer, there.client_key)
        (there.outbox / "a.pgp").write_bytes(b"a")
        (there.outbox / ("b" * 210 + ".pgp")).write_bytes(b"b")
        good = (await grocer.client.post(f"{PARTNERS}/bank/test")).json()
        codes = {check["name"]: check["code"] for check in good["checks"]}
        assert (codes["incoming"], codes["responses"], codes["done"]) == (None, None, "sftp_missing")
        assert [file["name"] for file in good["waiting"]] == ["a.pgp"]
        assert "longer than" in good["ignored"][0]["reason"]
        assert good["ok"] is False
        assert (there.outbox / "a.pgp").exists()


async def _sign_in_with(platform: App, who: Caller, secret: str) -> None:
    async with begin(platform.engine) as tx:
        await tx.execute(
            "UPDATE points_own_keys SET secret_key = :s WHERE merchant_id = :m AND kind = 'ssh'",
            {"s": secret, "m": who.merchant.id},
        )


async def test_a_partner_without_a_key_cannot_be_answered_and_the_test_says_so(grocer: Caller) -> None:
    await _add(grocer)
    told = (await grocer.client.post(f"{PARTNERS}/bank/test")).json()
    assert told["ok"] is False
    assert [(c["name"], c["code"]) for c in told["checks"]] == [
        ("own_key", None),
        ("partner_key", "partner_key_missing"),
    ]


async def test_host_keys_are_not_asked_for_in_our_own_network(grocer: Caller) -> None:
    for host in ("127.0.0.1", "localhost", "169.254.169.254", "10.0.0.1"):
        answer = await grocer.client.post("/v1/points/host-keys", json={"host": host})
        assert (answer.status_code, answer.json()["code"]) == (422, "sftp_host_forbidden")
